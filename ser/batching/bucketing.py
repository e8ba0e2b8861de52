"""Batches of utterances of like length: the plan of an epoch.

A plan is a pure function of (lengths, limits, seed, epoch): a list of batches that holds every utterance once, or
of unequally frequent classes what a balance draws.
Rank r of R takes the batches r, r + R, r + 2R, ...: equally many on every rank, and of like length within a
step. Every epoch has as many batches as any other, because Lightning asks for their number only once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ser.batching.class_balance import Balance, epoch_indices
from ser.errors import ConfigError

Integers = npt.NDArray[np.int64]
Plan = list[list[int]]

_EPOCHS_COMPARED = 4  # their numbers of batches differ by a few; 8000 frames in pools of 2000: 228 to 231


@dataclass(frozen=True)
class Budget:
    """What a batch may hold.

    Args:
        max_frames: longest utterance times their number; a longer utterance is alone in its batch.
        max_utterances: their number.
    """

    max_frames: int
    max_utterances: int

    def __post_init__(self) -> None:
        check_positive("batching.max_frames", self.max_frames)
        check_positive("batching.max_utterances", self.max_utterances)

    def fill(self, lengths: Integers, indices: Integers) -> list[Integers]:
        """Cut the utterances at `indices` [n], longest first, into the fewest batches."""
        indices = indices[np.argsort(-lengths[indices], kind="stable")]
        batches = []
        start = 0
        while start < len(indices):
            left = len(indices) - start
            count = min(self.max_frames // int(lengths[indices[start]]), self.max_utterances)
            count = max(count, 1)
            if count < left < 2 * count:  # the last two batches share evenly
                count = math.ceil(left / 2)
            batches.append(indices[start : start + count])
            start += count
        return batches


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
) -> Plan:
    """Batches of like length for one epoch of training, in random order; rank r takes `plan[r::ranks]`.

    Utterances are shuffled, cut into pools and sorted by length within each: mates change from epoch to epoch.

    Args:
        lengths: [N] frames of each utterance, 1 or more.
        max_frames: padded frames of a batch, at most; a longer utterance makes its own.
        max_utterances: utterances of a batch, at most.
        pool: utterances sorted together, never more than half of them: smaller is more random, larger pads less.
        seed: of the run, 0 or more.
        epoch: from 0.
        ranks: processes that train together.
        classes: [N] class index of each utterance; not looked at without a balance.
        balance: which of them an epoch has, see `epoch_indices`; those of a class that are repeated or left out are
            others in every epoch, and so may be a few more where lengths differ.

    Raises:
        ConfigError: a limit is below 1, or the ranks cannot have equally many batches.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    owners = np.zeros(len(lengths), dtype=np.int64) if classes is None else np.asarray(classes)
    budget = Budget(max_frames, max_utterances)
    check_positive("batching.pool", pool)
    drawn = [epoch_indices(owners, balance, _rng(seed, early)) for early in (*range(_EPOCHS_COMPARED), epoch)]
    pools = max(math.ceil(len(drawn[0]) / pool), min(len(drawn[0]), 2), 1)
    needed = max(
        len(_fill_pools(lengths, drawn[early], budget, pools, _rng(seed, early)))
        for early in range(_EPOCHS_COMPARED)
    )
    total = _num_batches(needed, lengths[drawn[0]], budget, ranks)
    rng = _rng(seed, epoch)
    batches = _fill_pools(lengths, drawn[-1], budget, pools, rng)
    while len(batches) > total and pools > 1:  # larger pools need fewer batches, and a single one the fewest
        pools -= 1
        batches = _fill_pools(lengths, drawn[-1], budget, pools, rng)
    batches = batches[:total]  # with a balance, what is drawn anew in every epoch may need more of them
    steps = _group_into_steps(_split_largest(batches, total), lengths, ranks)
    return [steps[step][rank] for step in rng.permutation(len(steps)) for rank in rng.permutation(ranks)]


def plan_evaluation(lengths: npt.ArrayLike, *, max_frames: int, max_utterances: int, ranks: int = 1) -> Plan:
    """Batches of like length, longest first, so that too little memory shows at once.

    Args:
        lengths: [N] frames of each utterance, 1 or more.
        max_frames: padded frames of a batch, at most; a longer utterance makes its own.
        max_utterances: utterances of a batch, at most.
        ranks: processes that evaluate together; rank r takes `plan[r::ranks]`.

    Raises:
        ConfigError: a limit is below 1, or the ranks cannot have equally many batches.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    budget = Budget(max_frames, max_utterances)
    batches = budget.fill(lengths, np.arange(len(lengths)))
    total = _num_batches(len(batches), lengths, budget, ranks)
    return [
        batch for step in _group_into_steps(_split_largest(batches, total), lengths, ranks) for batch in step
    ]


def padding_ratio(lengths: npt.ArrayLike, batches: Sequence[Sequence[int]]) -> float:
    """Padded steps / real steps, 1 or more, over all batches."""
    lengths = np.asarray(lengths, dtype=np.int64)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return padded / int(sum(lengths[batch].sum() for batch in batches))


def _rng(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng((seed, epoch))


def _fill_pools(
    lengths: Integers, drawn: Integers, budget: Budget, pools: int, rng: np.random.Generator
) -> list[Integers]:
    order = rng.permutation(drawn)
    return [batch for pool in np.array_split(order, pools) for batch in budget.fill(lengths, pool)]


def _num_batches(needed: int, lengths: Integers, budget: Budget, ranks: int) -> int:
    """The number of batches, `needed` or a few more, that gives every rank equally many and none nothing."""
    total = ranks * min(math.ceil(needed / ranks), len(lengths) // ranks)
    if total == 0 or total < len(budget.fill(lengths, np.arange(len(lengths)))):
        raise ConfigError(
            f"trainer.devices={ranks}: {len(lengths)} utterances in batches of {budget.max_utterances} at most "
            f"(batching.max_utterances) and {budget.max_frames} padded frames (batching.max_frames) cannot be "
            "dealt out in equally many batches. Use fewer devices, more utterances or larger batches."
        )
    return total


def _split_largest(batches: list[Integers], total: int) -> list[Integers]:
    """Halve the batch of most utterances until there are `total` batches."""
    batches = list(batches)
    while len(batches) < total:
        largest = max(range(len(batches)), key=lambda i: len(batches[i]))
        batch = batches.pop(largest)
        middle = len(batch) // 2
        batches += [batch[:middle], batch[middle:]]
    return batches


def _group_into_steps(batches: list[Integers], lengths: Integers, ranks: int) -> list[Plan]:
    """Groups of one batch a rank, longest first: what the ranks compute at the same time is of like length."""
    batches = sorted(batches, key=lambda batch: -int(lengths[batch[0]]))
    plan = [batch.tolist() for batch in batches]
    return [plan[start : start + ranks] for start in range(0, len(plan), ranks)]


def check_positive(name: str, value: int) -> None:
    """Refuse a limit below 1.

    Raises:
        ConfigError: the value is below 1.
    """
    if value < 1:
        raise ConfigError(f"{name}={value}: a batch of nothing cannot be learnt from. Give 1 or more.")
