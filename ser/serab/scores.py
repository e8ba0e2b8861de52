"""Scores of the benchmark: accuracy, UAR, their means over corpora, and how far chance may have moved them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FEW_SPEAKERS = 20
"""Of fewer, an interval over speakers alone is too narrow."""
_DRAWS = 10_000
_NORMAL = 1.959964  # 97.5% of a normal distribution lie below
_PERCENTILES = (2.5, 97.5)


class Interval(NamedTuple):
    """Where a score lies with 95% confidence, 0..1."""

    low: float
    high: float


class Means(NamedTuple):
    """Accuracies of several corpora as one number, in the unit of the accuracies.

    Args:
        um: mean over corpora, each counting alike.
        wm: mean over utterances.
        gm: geometric mean over corpora; 0 where an accuracy is.
    """

    um: float
    wm: float
    gm: float


def accuracy(predicted: np.ndarray, classes: np.ndarray) -> float:
    """Share of right answers, 0..1, of predicted [N] among true [N] class names."""
    return float(np.mean(predicted == classes))


def uar(predicted: np.ndarray, classes: np.ndarray) -> float:
    """Mean recall over the classes that occur in `classes`, 0..1; both [N] class names."""
    return float(np.mean([np.mean(predicted[classes == name] == name) for name in np.unique(classes)]))


def majority_floor(classes: np.ndarray) -> float:
    """Share of the most frequent of [N] class names: the accuracy of an answer that never listens."""
    return float(np.unique(classes, return_counts=True)[1].max() / len(classes))


def means(accuracies: Sequence[float], sizes: Sequence[int]) -> Means:
    """UM, WM and GM.

    Args:
        accuracies: of each corpus, one or more.
        sizes: test utterances of each corpus.
    """
    values, weights = np.array(accuracies, dtype=np.float64), np.array(sizes, dtype=np.float64)
    geometric = float(np.exp(np.log(values).mean())) if (values > 0).all() else 0.0
    return Means(float(values.mean()), float(values @ weights / weights.sum()), geometric)


def interval(correct: np.ndarray, speakers: np.ndarray, *, seed: int = 0) -> Interval:
    """95% interval of the accuracy: over speakers and, where they are few, never within that of utterances.

    Two speakers who are answered equally well would leave almost no interval, however few their utterances are. So
    of fewer than 20 speakers it reaches as far as the wider of both on either side.

    Args:
        correct: [N] bool.
        speakers: [N] who talks.
        seed: of the draws.
    """
    drawn = bootstrap(correct, speakers, seed=seed)
    if len(np.unique(speakers)) >= FEW_SPEAKERS:
        return drawn
    independent = wilson(int(correct.sum()), len(correct))
    return Interval(min(drawn.low, independent.low), max(drawn.high, independent.high))


def wilson(right: int, total: int) -> Interval:
    """95% interval of a share if answers are independent of each other.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    squared = _NORMAL**2
    centre = (right + squared / 2) / (total + squared)
    half = _NORMAL * np.sqrt(right * (total - right) / total + squared / 4) / (total + squared)
    return Interval(max(float(centre - half), 0.0), min(float(centre + half), 1.0))


def bootstrap(correct: np.ndarray, speakers: np.ndarray, *, seed: int = 0) -> Interval:
    """95% interval of the accuracy if other speakers had been tested: speakers are drawn with replacement.

    Utterances of a speaker resemble each other, so that drawing utterances would give too narrow an interval; of
    few speakers, even this one is too narrow: see `interval`.

    Args:
        correct: [N] bool.
        speakers: [N] who talks.
        seed: of the draws.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993 (percentile interval).
    """
    names, owners = np.unique(speakers, return_inverse=True)
    right = np.bincount(owners, weights=correct, minlength=len(names))
    total = np.bincount(owners, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(len(names), size=(_DRAWS, len(names)))
    low, high = np.percentile(right[drawn].sum(1) / total[drawn].sum(1), _PERCENTILES)
    return Interval(float(low), float(high))
