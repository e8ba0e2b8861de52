"""Plan the batches of an epoch from utterances of similar length.

A plan is a pure function of (lengths, limits, seed, epoch): a list of batches that contains every utterance once, or
the utterances that class balancing draws. Rank r of R takes the batches r, r + R, r + 2R, ...: every rank gets the
same number of batches, and batches of one step have similar lengths. Every epoch has the same number of batches,
because Lightning asks for it only once.
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

    def fill(self, lengths: Integers, indices: Integers) -> list[Integers]:
        """Cut the utterances at `indices` [n], longest first, into as few batches as possible."""
        indices = indices[np.argsort(-lengths[indices], kind="stable")]
        batches = []
        start = 0
        while start < len(indices):
            left = len(indices) - start
            count = min(self.max_frames // int(lengths[indices[start]]), self.max_utterances)
            count = max(count, 1)
            if count < left < 2 * count:  # the last two batches get equal sizes
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
    quotas: npt.ArrayLike | None = None,
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

    Raises:
        ConfigError: A limit is below 1, or the ranks cannot have the same number of batches.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    owners = np.zeros(len(lengths), dtype=np.int64) if classes is None else np.asarray(classes)
    budget = Budget(max_frames, max_utterances)
    check_positive("batching.pool", pool)
    wanted = None if quotas is None else np.asarray(quotas)
    epochs = (*range(_EPOCHS_COMPARED), epoch)
    drawn = [epoch_indices(owners, balance, _rng(seed, early), wanted) for early in epochs]
    pools = max(math.ceil(len(drawn[0]) / pool), min(len(drawn[0]), 2), 1)
    needed = max(
        len(_fill_pools(lengths, drawn[early], budget, pools, _rng(seed, early)))
        for early in range(_EPOCHS_COMPARED)
    )
    total = _num_batches(needed, lengths[drawn[0]], budget, ranks)
    rng = _rng(seed, epoch)
    batches = _fill_pools(lengths, drawn[-1], budget, pools, rng)
    while len(batches) > total and pools > 1:  # larger pools need fewer batches, a single pool the fewest
        pools -= 1
        batches = _fill_pools(lengths, drawn[-1], budget, pools, rng)
    batches = batches[:total]  # with a balance, the utterances drawn for this epoch may need more batches
    steps = _group_into_steps(_split_largest(batches, total), lengths, ranks)
    return [steps[step][rank] for step in rng.permutation(len(steps)) for rank in rng.permutation(ranks)]


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
    batches = budget.fill(lengths, np.arange(len(lengths)))
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


def _fill_pools(
    lengths: Integers, drawn: Integers, budget: Budget, pools: int, rng: np.random.Generator
) -> list[Integers]:
    order = rng.permutation(drawn)
    return [batch for pool in np.array_split(order, pools) for batch in budget.fill(lengths, pool)]


def _num_batches(needed: int, lengths: Integers, budget: Budget, ranks: int) -> int:
    """Return a number of batches, `needed` or a few more, that gives every rank the same number, at least one."""
    total = ranks * min(math.ceil(needed / ranks), len(lengths) // ranks)
    if total == 0 or total < len(budget.fill(lengths, np.arange(len(lengths)))):
        raise ConfigError(
            f"trainer.devices={ranks}: {len(lengths)} utterances in batches of {budget.max_utterances} at most "
            f"(batching.max_utterances) and {budget.max_frames} padded frames (batching.max_frames) cannot be "
            "split into the same number of batches for each device. Use fewer devices, more utterances or larger "
            "batches."
        )
    return total


def _split_largest(batches: list[Integers], total: int) -> list[Integers]:
    """Split the batch with the most utterances until there are `total` batches."""
    batches = list(batches)
    while len(batches) < total:
        largest = max(range(len(batches)), key=lambda i: len(batches[i]))
        batch = batches.pop(largest)
        middle = len(batch) // 2
        batches += [batch[:middle], batch[middle:]]
    return batches


def _group_into_steps(batches: list[Integers], lengths: Integers, ranks: int) -> list[Plan]:
    """Group batches by step, one per rank, longest first, so that all ranks compute similar lengths at a time."""
    batches = sorted(batches, key=lambda batch: -int(lengths[batch[0]]))
    plan = [batch.tolist() for batch in batches]
    return [plan[start : start + ranks] for start in range(0, len(plan), ranks)]


def check_positive(name: str, value: int) -> None:
    """Refuse a limit below 1.

    Raises:
        ConfigError: The value is below 1.
    """
    if value < 1:
        raise ConfigError(f"{name}={value}: expected 1 or more. Correct it.")
