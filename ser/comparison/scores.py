"""Scores of classes as functions of sums over utterances.

A speaker is left out by subtracting their sums, and two runs are exchanged for a speaker by exchanging their sums: so
neither needs a loop over utterances.
"""

from collections.abc import Callable

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]
"""From sums [..., 2, C] to scores [...]."""


def count_classes(correct: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the counts [..., N, 2, C] of N items, which are added up before they are scored.

    Args:
        correct: How often each item was predicted correctly [..., N], 0..1: a mean over seeds.
        labels: Class indices of the items [N].
        classes: Number of classes C.

    Returns:
        Correct predictions and number of items, by class.
    """
    shown = np.eye(classes)[labels]
    totals = np.broadcast_to(shown, (*correct.shape, classes))
    return np.stack([correct[..., None] * shown, totals], -2)


def add_by_cluster(counts: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Add the counts [..., N, 2, C] of each cluster, such as a speaker; returns [..., S, 2, C].

    Args:
        counts: Counts of items.
        clusters: Cluster of each item [N], 0..S-1; each has an item.
    """
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    return np.add.reduceat(counts[..., order, :, :], starts, axis=-3)


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Compute the share of correct predictions [...] from sums [..., 2, C]."""
    totals = sums.sum(-1)
    return np.asarray(totals[..., 0] / totals[..., 1])


def uar(sums: np.ndarray) -> np.ndarray:
    """Compute the mean recall [...] of the classes that have items from sums [..., 2, C]."""
    correct, totals = sums[..., 0, :], sums[..., 1, :]
    present = totals > 0.5
    recalls = np.divide(correct, totals, out=np.zeros(present.shape), where=present)
    return np.asarray(recalls.sum(-1) / present.sum(-1))


SCORES: dict[str, Score] = {"accuracy": accuracy, "uar": uar}
