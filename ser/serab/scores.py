"""Scores of the benchmark: accuracy, UAR, means over corpora, and confidence intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FEW_SPEAKERS = 20
"""With fewer speakers, an interval over speakers alone is too narrow."""
_DRAWS = 10_000
_NORMAL = 1.959964  # 97.5% quantile of the normal distribution
_PERCENTILES = (2.5, 97.5)


class Interval(NamedTuple):
    """95% confidence interval of a score, 0..1."""

    low: float
    high: float


class Means(NamedTuple):
    """Mean accuracies over several corpora, in the unit of the accuracies.

    Args:
        um: Unweighted mean over corpora.
        wm: Mean over corpora, weighted by their test utterances.
        gm: Geometric mean over corpora; 0 if an accuracy is 0.
    """

    um: float
    wm: float
    gm: float


def accuracy(predicted: np.ndarray, classes: np.ndarray) -> float:
    """Compute the share of correct predictions, 0..1, from predicted and true class names [N]."""
    return float(np.mean(predicted == classes))


def uar(predicted: np.ndarray, classes: np.ndarray) -> float:
    """Compute the mean recall over the classes that occur in `classes`, 0..1, from class names [N]."""
    return float(np.mean([np.mean(predicted[classes == name] == name) for name in np.unique(classes)]))


def majority_floor(classes: np.ndarray) -> float:
    """Compute the share of the most frequent class name, the accuracy without any input."""
    return float(np.unique(classes, return_counts=True)[1].max() / len(classes))


def means(accuracies: Sequence[float], sizes: Sequence[int]) -> Means:
    """Compute UM, WM and GM.

    Args:
        accuracies: Accuracy of each corpus, one or more.
        sizes: Number of test utterances of each corpus.
    """
    values, weights = np.array(accuracies, dtype=np.float64), np.array(sizes, dtype=np.float64)
    geometric = float(np.exp(np.log(values).mean())) if (values > 0).all() else 0.0
    return Means(float(values.mean()), float(values @ weights / weights.sum()), geometric)


def interval(correct: np.ndarray, speakers: np.ndarray, *, seed: int = 0) -> Interval:
    """Compute the 95% interval of the accuracy over speakers, for few speakers not narrower than that over utterances.

    Two speakers with equal accuracies would give an interval of almost no width, however few their utterances are. So
    for fewer than 20 speakers, each end is that of the wider of both intervals.

    Args:
        correct: Whether each prediction is correct [N] bool.
        speakers: Speaker of each utterance [N].
        seed: Seed of the bootstrap.
    """
    drawn = bootstrap(correct, speakers, seed=seed)
    if len(np.unique(speakers)) >= FEW_SPEAKERS:
        return drawn
    independent = wilson(int(correct.sum()), len(correct))
    return Interval(min(drawn.low, independent.low), max(drawn.high, independent.high))


def wilson(right: int, total: int) -> Interval:
    """Compute the 95% interval of a share for independent predictions.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    squared = _NORMAL**2
    centre = (right + squared / 2) / (total + squared)
    half = _NORMAL * np.sqrt(right * (total - right) / total + squared / 4) / (total + squared)
    return Interval(max(float(centre - half), 0.0), min(float(centre + half), 1.0))


def bootstrap(correct: np.ndarray, speakers: np.ndarray, *, seed: int = 0) -> Interval:
    """Compute the 95% interval of the accuracy by drawing speakers with replacement.

    Utterances of a speaker are correlated, so that drawing utterances would give too narrow an interval; for few
    speakers, even this one is too narrow: see `interval`. `scipy.stats.bootstrap` draws the same speakers for a seed
    and returns the same interval, in 1 to 2 times the time, but it refuses a single speaker.

    Args:
        correct: Whether each prediction is correct [N] bool.
        speakers: Speaker of each utterance [N].
        seed: Seed of the draws.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993 (percentile interval).
    """
    names, owners = np.unique(speakers, return_inverse=True)
    right = np.bincount(owners, weights=correct, minlength=len(names))
    total = np.bincount(owners, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(len(names), size=(_DRAWS, len(names)))
    low, high = np.percentile(right[drawn].sum(1) / total[drawn].sum(1), _PERCENTILES)
    return Interval(float(low), float(high))
