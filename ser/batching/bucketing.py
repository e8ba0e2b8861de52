"""Plan the batches of an epoch from utterances of similar length.

A plan is a pure function of (lengths, limits, seed, epoch): a list of batches that contains every utterance once, or
the utterances that class balancing draws. Rank r of R takes the batches r, r + R, r + 2R, ...: every rank gets the
same number of batches, and batches of one step have similar lengths. Every epoch has the same number of batches,
because Lightning asks for it only once.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ser.batching.class_balance import Balance, epoch_indices
from ser.errors import ConfigError

Integers = npt.NDArray[np.int64]
Plan = list[list[int]]

_EPOCHS_COMPARED = (
    4  # numbers of batches differ by a few between epochs: 228 to 231 for 8000 frames, pools of 2000
)


@dataclass(frozen=True)
class Budget:
    """Limits of a batch.

    Args:
        max_frames: Maximum length of the longest utterance times the number of utterances; a longer utterance forms a
            batch of its own.
        max_utterances: Maximum number of utterances in a batch.
    """

    max_frames: int
    max_utterances: int

    def __post_init__(self) -> None:
        check_positive("batching.max_frames", self.max_frames)
        check_positive("batching.max_utterances", self.max_utterances)

    def fill(self, lengths: Integers) -> Plan:
        """Cut all utterances, longest first, into as few batches as possible."""
        order = longest_first(lengths[None])[0]
        return self.cut(order.tolist(), lengths[order])

    def cut(self, indices: list[int], lengths: Integers) -> Plan:
        """Cut utterances, whose lengths [n] descend, into as few batches as possible."""
        starts = self.starts(lengths)
        return [indices[start:end] for start, end in zip(starts, [*starts[1:], len(indices)], strict=True)]

    def count(self, lengths: Integers) -> int:
        """Count the batches of utterances, whose lengths are [R, n]; each row is cut on its own."""
        keys = _descending_keys(lengths)
        rows = int(lengths.max(initial=0)) - np.sort(keys, axis=1, kind="stable").astype(np.int64)
        return sum(len(self.starts(row)) for row in rows)

    def starts(self, lengths: Integers) -> list[int]:
        """Return where each batch of utterances starts, whose lengths [n] are given in descending order."""
        starts = []
        start, end = 0, len(lengths)
        while start < end:
            left = end - start
            count = min(self.max_frames // int(lengths[start]), self.max_utterances) or 1
            if count < left < 2 * count:  # the last two batches get equal sizes
                count = math.ceil(left / 2)
            starts.append(start)
            start += count
        return starts


def longest_first(lengths: Integers) -> Integers:
    """Return the order of each row of lengths [R, n] in which they descend; equal ones keep their order."""
    order: Integers = np.argsort(_descending_keys(lengths), axis=1, kind="stable")
    return order


def _descending_keys(lengths: Integers) -> Integers:
    """Return numbers that ascend where lengths descend, in 16 bits if possible.

    numpy sorts those in linear time: 10^6 in 15 ms instead of 80.
    """
    most = int(lengths.max(initial=0))
    keys: Integers = (most - lengths).astype(np.uint16 if most < 1 << 16 else np.int64)
    return keys


def plan_batches(
    lengths: npt.ArrayLike,
    *,
    max_frames: int,
    max_utterances: int,
    pool: int,
    seed: int,
    epoch: int,
    ranks: int = 1,
    classes: npt.ArrayLike | None = None,
    balance: Balance = "none",
    quotas: npt.ArrayLike | None = None,
    count: int | None = None,
) -> Plan:
    """Plan the training batches of one epoch: similar lengths, random order; rank r takes `plan[r::ranks]`.

    Utterances are shuffled, cut into pools, and sorted by length within each pool, so that batches change from epoch to
    epoch.

    Args:
        lengths: Number of frames of each utterance [N], 1 or more.
        max_frames: Maximum number of padded frames in a batch; a longer utterance forms a batch of its own.
        max_utterances: Maximum number of utterances in a batch.
        pool: Number of utterances that are sorted together, at most half of them: fewer are more random, more pad
            less.
        seed: Seed of the run, 0 or more.
        epoch: Number of the epoch, from 0.
        ranks: Number of processes that train together.
        classes: Class index of each utterance [N]; ignored without a balance.
        balance: Which utterances an epoch contains, see `epoch_indices`; the repeated or omitted ones change from
            epoch to epoch. If lengths differ, a few more may be omitted.
        quotas: See `epoch_indices`.
        count: Number of batches of every epoch, from `count_batches`; None computes it, which takes three times as long
            as the plan.

    Raises:
        ConfigError: A limit is below 1, or the ranks cannot have the same number of batches.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    budget = Budget(max_frames, max_utterances)
    check_positive("batching.pool", pool)
    drawing: dict[str, Any] = {"classes": classes, "balance": balance, "quotas": quotas}
    if count is None:
        sizes: dict[str, Any] = {"max_frames": max_frames, "max_utterances": max_utterances, "pool": pool}
        count = count_batches(lengths, **sizes, seed=seed, ranks=ranks, **drawing)
    indices = _draw(len(lengths), _rng(seed, epoch), **drawing)
    pools, rng = _num_pools(len(indices), pool), _rng(seed, epoch)
    batches = _fill_pools(lengths, indices, pools, rng, budget)
    while len(batches) > count and pools > 1:  # larger pools need fewer batches, a single pool the fewest
        # Half, as pools of a few utterances more are no multiple of max_utterances, and need more batches.
        pools //= 2
        batches = _fill_pools(lengths, indices, pools, rng, budget)
    batches = batches[:count]  # with a balance, the utterances drawn for this epoch may need more batches
    steps = _group_into_steps(_split_largest(batches, count), lengths, ranks)
    if ranks == 1:
        return [steps[step][0] for step in rng.permutation(len(steps)).tolist()]
    return [steps[step][rank] for step in rng.permutation(len(steps)) for rank in rng.permutation(ranks)]


def count_batches(
    lengths: npt.ArrayLike,
    *,
    max_frames: int,
    max_utterances: int,
    pool: int,
    seed: int,
    ranks: int = 1,
    classes: npt.ArrayLike | None = None,
    balance: Balance = "none",
    quotas: npt.ArrayLike | None = None,
) -> int:
    """Compute the number of batches of all ranks, the same in every epoch: the most that one of the first epochs needs.

    Raises:
        ConfigError: A limit is below 1, or the ranks cannot have the same number of batches.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    budget = Budget(max_frames, max_utterances)
    check_positive("batching.pool", pool)
    needed = 0
    for epoch in reversed(range(_EPOCHS_COMPARED)):
        indices = _draw(len(lengths), _rng(seed, epoch), classes=classes, balance=balance, quotas=quotas)
        pools = _cut_into_pools(indices, _num_pools(len(indices), pool), _rng(seed, epoch))
        needed = max(needed, sum(budget.count(lengths[rows]) for rows in pools))
    return _num_batches(needed, lengths[indices], budget, ranks)


def plan_evaluation(lengths: npt.ArrayLike, *, max_frames: int, max_utterances: int, ranks: int = 1) -> Plan:
    """Plan batches of similar length, longest first, so that insufficient memory shows at once.

    Args:
        lengths: Number of frames of each utterance [N], 1 or more.
        max_frames: Maximum number of padded frames in a batch; a longer utterance forms a batch of its own.
        max_utterances: Maximum number of utterances in a batch.
        ranks: Number of processes that evaluate together; rank r takes `plan[r::ranks]`.

    Raises:
        ConfigError: A limit is below 1, or the ranks cannot have the same number of batches.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    budget = Budget(max_frames, max_utterances)
    batches = budget.fill(lengths)
    total = _num_batches(len(batches), lengths, budget, ranks)
    return [
        batch for step in _group_into_steps(_split_largest(batches, total), lengths, ranks) for batch in step
    ]


def padding_ratio(lengths: npt.ArrayLike, batches: Sequence[Sequence[int]]) -> float:
    """Compute padded steps / real steps over all batches, 1 or more."""
    lengths = np.asarray(lengths, dtype=np.int64)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return padded / int(sum(lengths[batch].sum() for batch in batches))


def _rng(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng((seed, epoch))


def _draw(
    utterances: int,
    rng: np.random.Generator,
    *,
    classes: npt.ArrayLike | None,
    balance: Balance,
    quotas: npt.ArrayLike | None,
) -> Integers:
    """Draw the utterances of an epoch."""
    owners = np.zeros(utterances, dtype=np.int64) if classes is None else np.asarray(classes)
    return epoch_indices(owners, balance, rng, None if quotas is None else np.asarray(quotas))


def _num_pools(utterances: int, pool: int) -> int:
    """Return the number of pools of an epoch: at least two, so that batches change."""
    return max(math.ceil(utterances / pool), min(utterances, 2), 1)


def _fill_pools(
    lengths: Integers, drawn: Integers, pools: int, rng: np.random.Generator, budget: Budget
) -> Plan:
    """Shuffle utterances, cut them into pools, and fill batches of each."""
    batches = []
    for rows in _cut_into_pools(drawn, pools, rng):
        own = lengths[rows]
        places = longest_first(own)
        rows, own = np.take_along_axis(rows, places, 1), np.take_along_axis(own, places, 1)
        batches += [
            batch for order, row in zip(rows.tolist(), own, strict=True) for batch in budget.cut(order, row)
        ]
    return batches


def _cut_into_pools(drawn: Integers, pools: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Shuffle utterances, and cut them into rows, one for each pool: first those with one more, then the others."""
    order = rng.permutation(drawn)
    size, larger = divmod(len(order), pools)
    split = larger * (size + 1)
    return order[:split].reshape(larger, size + 1), order[split:].reshape(pools - larger, size)


def _num_batches(needed: int, lengths: Integers, budget: Budget, ranks: int) -> int:
    """Return a number of batches, `needed` or a few more, that gives every rank the same number, at least one."""
    total = ranks * min(math.ceil(needed / ranks), len(lengths) // ranks)
    if total == 0 or total < budget.count(lengths[None]):
        raise ConfigError(
            f"trainer.devices={ranks}: {len(lengths)} utterances in batches of {budget.max_utterances} at most "
            f"(batching.max_utterances) and {budget.max_frames} padded frames (batching.max_frames) cannot be "
            "split into the same number of batches for each device. Use fewer devices, more utterances or larger "
            "batches."
        )
    return total


def _split_largest(batches: Plan, total: int) -> Plan:
    """Split the batch with the most utterances, of equal ones the first, until there are `total` batches."""
    parts = dict(enumerate(batches))
    largest = [(-len(batch), place) for place, batch in parts.items()] if len(batches) < total else []
    heapq.heapify(largest)
    for place in range(len(batches), 2 * total - len(batches), 2):
        batch = parts.pop(heapq.heappop(largest)[1])
        middle = len(batch) // 2
        for half, part in enumerate((batch[:middle], batch[middle:])):
            parts[place + half] = part
            heapq.heappush(largest, (-len(part), place + half))
    return [*parts.values()]


def _group_into_steps(batches: Plan, lengths: Integers, ranks: int) -> list[Plan]:
    """Group batches by step, one per rank, longest first, so that all ranks compute similar lengths at a time."""
    longest = lengths[[batch[0] for batch in batches]]
    plan = [batches[place] for place in np.argsort(-longest, kind="stable").tolist()]
    return [plan[start : start + ranks] for start in range(0, len(plan), ranks)]


def check_positive(name: str, value: int) -> None:
    """Refuse a limit below 1.

    Raises:
        ConfigError: The value is below 1.
    """
    if value < 1:
        raise ConfigError(f"{name}={value}: expected 1 or more. Correct it.")
