"""Normalise embeddings to z-scores, by speaker or by the training split."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

Normalization = Literal["speaker", "global"]


class Problem(NamedTuple):
    """Training data of a classifier, and data to predict.

    Args:
        x: Embeddings for training [N, D] float64.
        y: Class names for training [N].
        x_scored: Embeddings to predict [M, D] float64.
        y_scored: Their class names [M].
    """

    x: np.ndarray
    y: np.ndarray
    x_scored: np.ndarray
    y_scored: np.ndarray


class Problems(NamedTuple):
    """The two problems of a corpus.

    Args:
        search: Train on train, score on validation.
        final: Train on train and validation, score on test.
    """

    search: Problem
    final: Problem


def make_problems(
    embeddings: np.ndarray,
    classes: np.ndarray,
    assignment: Mapping[str, np.ndarray],
    *,
    speakers: np.ndarray,
    normalize: Normalization,
) -> Problems:
    """Split and normalise the embeddings of a corpus for its two problems.

    `speaker`: the embeddings of each speaker become z-scores by the speaker's own mean and standard deviation within
    the split. This uses no labels, but the other test utterances of a test speaker: it is transductive. `global`:
    z-scores by the training data: train in the search, train and validation at the end.

    Args:
        embeddings: Embeddings [N, D].
        classes: Class names [N].
        assignment: Indices [n] of train, validation and test.
        speakers: Speaker of each utterance [N].
        normalize: Normalisation: `speaker` or `global`.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    train, validation, test = (assignment[split] for split in ("train", "validation", "test"))
    both = np.concatenate([train, validation])
    if normalize == "speaker":
        x = x.copy()
        for split in (train, validation, test):
            x[split] = normalize_by_speaker(x[split], speakers[split])
    made = []
    for learnt, scored in ((train, validation), (both, test)):
        mean, scale = (0.0, 1.0) if normalize == "speaker" else mean_and_std(x[learnt])
        x_learnt, x_scored = ((x[split] - mean) / scale for split in (learnt, scored))
        made.append(Problem(x_learnt, classes[learnt], x_scored, classes[scored]))
    return Problems(*made)


def normalize_by_speaker(x: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Compute z-scores by each speaker's own mean and standard deviation.

    Args:
        x: Embeddings [N, D].
        speakers: Speaker of each utterance [N]; a speaker with one utterance gets zeros.
    """
    normalized = np.empty_like(x)
    for speaker in np.unique(speakers):
        own = speakers == speaker
        mean, scale = mean_and_std(x[own])
        normalized[own] = (x[own] - mean) / scale
    return normalized


def mean_and_std(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean and standard deviation [D] of the columns of [N, D]; for a constant column, the deviation is 1.

    The mean of equal numbers may differ from them in the last bits; such a column counts as constant.
    """
    mean, scale = x.mean(0), x.std(0)
    return mean, np.where(scale > 10 * np.finfo(x.dtype).eps * np.abs(mean), scale, 1.0)
