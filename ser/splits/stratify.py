"""Assign sets of utterances to parts of given sizes, with balanced classes.

scikit-learn's StratifiedGroupKFold, an optional package, makes equal folds only and looks at each speaker once. It is
as balanced for RAVDESS; of EmoDB's five folds the shares are 0.74 away from the wanted ones, here 0.66; of ten folds
of a lopsided corpus with 60 speakers one lacked a class, here none. It takes 0.01 s, this 0.06 s.
"""

from collections.abc import Sequence

import numpy as np

from ser.data.manifest import Manifest

_DRAWS = 1000  # 40 ms for 10 to 100 speakers; more draws hardly improve the balance


def blocks_of(manifest: Manifest, fields: Sequence[str]) -> np.ndarray:
    """Return the block of each utterance [N]: utterances that must stay together, numbered in alphabetical order.

    Utterances of the same speaker or group are in one block, directly or through other utterances.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    nodes = [[(field, name) for field in fields if (name := getattr(u, field)) is not None] for u in manifest]
    for first, *others in nodes:
        for other in others:
            # The smaller name becomes the root, so that names of blocks do not depend on the order of rows.
            small, large = sorted((root(first), root(other)))
            parent[large] = small
    roots = [root(first) for first, *_ in nodes]
    number = {name: index for index, name in enumerate(sorted(set(roots)))}
    return np.array([number[name] for name in roots], dtype=np.int64)


def best_draw(counts: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Assign blocks to parts, [B]: of many random orders that are cut into parts, return the best balanced one.

    Args:
        counts: Number of utterances of each class in each block [B, C].
        shares: Shares of the parts [P]; the first part is train.
        seed: Seed of the random orders.
    """
    generator = np.random.default_rng(seed)
    counts = np.column_stack([counts.sum(1), counts])
    orders = (generator.permutation(len(counts)) for _ in range(_DRAWS))
    draws = ((order, _cuts(counts[order, 0], shares)) for order in orders)
    order, cuts = min(draws, key=lambda draw: _imbalance(np.add.reduceat(counts[draw[0]], draw[1]), shares))
    parts = np.empty(len(counts), dtype=np.int64)
    parts[order] = np.repeat(np.arange(len(shares)), np.diff(cuts, append=len(counts)))
    return parts


def _cuts(sizes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return where each part begins, [P], in a row of blocks of the given sizes [B]; no part is empty."""
    middles = np.cumsum(sizes) - sizes / 2
    cuts = np.searchsorted(middles, (np.cumsum(shares) - shares) * sizes.sum())
    ahead = np.arange(len(shares))  # minimum number of blocks before each part
    return np.clip(np.maximum.accumulate(cuts - ahead), 0, len(sizes) - len(shares)) + ahead


def _imbalance(table: np.ndarray, shares: np.ndarray) -> tuple[int, int, float]:
    """Measure imbalance: classes missing in train, then classes missing in any part, then distance from the shares.

    Args:
        table: Number of utterances of each part and of each of its classes [P, 1 + C].
        shares: Wanted shares [P].
    """
    lacking = (table == 0).sum(1)
    in_train = lacking[shares == shares[0]].sum()  # folds of equal size all serve as train at some time
    distance = np.abs(table / table.sum(0) - shares[:, None]).sum(0)
    return int(in_train), int(lacking.sum()), float(distance[0] + distance[1:].mean())
