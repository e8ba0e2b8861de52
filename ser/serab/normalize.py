"""Embeddings on a common scale: z-scores by speaker, or by the training split."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

Normalization = Literal["speaker", "global"]


class Problem(NamedTuple):
    """What a classifier learns from, and what it then answers.

    Args:
        x: [N, D] float64.
        y: [N] class names.
        x_scored: [M, D] float64.
        y_scored: [M] class names.
    """

    x: np.ndarray
    y: np.ndarray
    x_scored: np.ndarray
    y_scored: np.ndarray


class Problems(NamedTuple):
    """The two problems of a corpus.

    Args:
        search: train, scored on validation.
        final: train and validation one after the other, scored on test.
    """

    search: Problem
    final: Problem


def problems(
    embeddings: np.ndarray,
    classes: np.ndarray,
    assignment: Mapping[str, np.ndarray],
    *,
    speakers: np.ndarray,
    normalize: Normalization,
) -> Problems:
    """Deal embeddings out to the two problems of a corpus, normalised.

    `speaker`: each speaker's embeddings become z-scores by that speaker's own mean and standard deviation within the
    split. No label is looked at, but the other test utterances of a test speaker are: it is transductive.
    `global`: z-scores by what is learnt from: train in the search, train and validation at the end.

    Args:
        embeddings: [N, D].
        classes: [N] class names.
        assignment: train, validation and test -> indices [n].
        speakers: [N] who talks.
        normalize: which of the two.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    train, validation, test = (assignment[split] for split in ("train", "validation", "test"))
    both = np.concatenate([train, validation])
    if normalize == "speaker":
        x = x.copy()
        for split in (train, validation, test):
            x[split] = by_speaker(x[split], speakers[split])
    made = []
    for learnt, scored in ((train, validation), (both, test)):
        mean, scale = (0.0, 1.0) if normalize == "speaker" else moments(x[learnt])
        x_learnt, x_scored = ((x[split] - mean) / scale for split in (learnt, scored))
        made.append(Problem(x_learnt, classes[learnt], x_scored, classes[scored]))
    return Problems(*made)


def by_speaker(x: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """[N, D] as z-scores by each speaker's own mean and standard deviation.

    Args:
        x: [N, D].
        speakers: [N]; somebody with one utterance becomes zeros.
    """
    normalized = np.empty_like(x)
    for speaker in np.unique(speakers):
        own = speakers == speaker
        mean, scale = moments(x[own])
        normalized[own] = (x[own] - mean) / scale
    return normalized


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [D] of the columns of [N, D]; a column that does not vary has 1.

    The mean of equal numbers may differ from them in its last bits: such a column does not vary either.
    """
    mean, scale = x.mean(0), x.std(0)
    return mean, np.where(scale > 10 * np.finfo(x.dtype).eps * np.abs(mean), scale, 1.0)
