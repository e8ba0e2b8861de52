"""Dealing utterances out to parts of wanted sizes: what belongs together stays together, and classes are balanced."""

from collections.abc import Sequence

import numpy as np

from ser.data.manifest import Manifest

_DRAWS = 1000  # 40 ms for 10 to 100 speakers; more would balance hardly better


def blocks_of(manifest: Manifest, fields: Sequence[str]) -> np.ndarray:
    """[N] the block of each utterance, numbered in alphabetical order.

    Utterances of one speaker or of one group are of one block, and so are those that are linked by way of others.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    nodes = [[(field, name) for field in fields if (name := getattr(u, field)) is not None] for u in manifest]
    for first, *others in nodes:
        for other in others:
            # The smaller becomes the root, so that a block is called the same whatever the order of rows.
            small, large = sorted((root(first), root(other)))
            parent[large] = small
    roots = [root(first) for first, *_ in nodes]
    number = {name: index for index, name in enumerate(sorted(set(roots)))}
    return np.array([number[name] for name in roots], dtype=np.int64)


def best_draw(counts: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """[B] the part of each block: of many random orders, each cut into parts, the one that is balanced best.

    Args:
        counts: [B, C] utterances of each class in each block.
        shares: [P] that the parts should have, the first being train.
        seed: of the orders.
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
    """[P] where in a row of blocks of these sizes [B] each part begins; none is empty."""
    middles = np.cumsum(sizes) - sizes / 2
    cuts = np.searchsorted(middles, (np.cumsum(shares) - shares) * sizes.sum())
    ahead = np.arange(len(shares))  # blocks that the parts before need at least
    return np.clip(np.maximum.accumulate(cuts - ahead), 0, len(sizes) - len(shares)) + ahead


def _imbalance(table: np.ndarray, shares: np.ndarray) -> tuple[int, int, float]:
    """How bad parts are: classes that train lacks, then those that any part lacks, then distance from the shares.

    Args:
        table: [P, 1 + C] utterances of each part, then those of each class.
        shares: [P] wanted.
    """
    lacking = (table == 0).sum(1)
    in_train = lacking[shares == shares[0]].sum()  # of equally large folds, each is in train at times
    distance = np.abs(table / table.sum(0) - shares[:, None]).sum(0)
    return int(in_train), int(lacking.sum()), float(distance[0] + distance[1:].mean())
