"""Weights of an ensemble's members, fitted on validation."""

from collections.abc import Sequence

import numpy as np

from ser.calibration.measures import SMALLEST

_MOST_STEPS = 2000
_TOLERANCE = 1e-7


def fit_weights(members: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Find weights [M], 0 or more with the sum 1, of the mean of probabilities that has the lowest log-loss.

    The weights of a mixture are found by expectation-maximisation, in which the loss never rises.

    Args:
        members: Probabilities [N, C] of each of M members.
        labels: Class indices [N].
    """
    own = np.stack([np.maximum(each[np.arange(len(labels)), labels], SMALLEST) for each in members])
    weights = np.full(len(own), 1 / len(own))
    for _ in range(_MOST_STEPS):
        shares = weights[:, None] * own
        updated = (shares / shares.sum(0)).mean(1)
        if np.abs(updated - weights).max() < _TOLERANCE:
            break
        weights = updated
    return weights


def average(members: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Average the probabilities [N, C] of M members by their weights [M]."""
    mean: np.ndarray = np.einsum("m,mnc->nc", weights, np.stack([*members]))
    return mean
