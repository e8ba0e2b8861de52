"""Batches of utterances of like length: the plan of an epoch, and the loader that follows and resumes it.

A plan is a pure function of (lengths, limits, seed, epoch): a list of batches that holds every utterance once, or
of unequally frequent classes what a balance draws.
Rank r of R takes the batches r, r + R, r + 2R, ...: equally many on every rank, and of like length within a
step. Every epoch has as many batches as any other, because Lightning asks for their number only once.
"""

import hashlib
import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ser.data.balance import Balance, population
from ser.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

Integers = npt.NDArray[np.int64]
Plan = list[list[int]]

_EPOCHS_COMPARED = 4  # their numbers of batches differ by a few; 8000 frames in pools of 2000: 228 to 231


@dataclass(frozen=True)
class Draw:
    """What a sampler asks of a dataset: one batch.

    Args:
        epoch: from 0; it travels with the draw, so that worker processes know it.
        indices: of the utterances.
        continues: whether each goes on where the batch before has ended in its row; None = nothing goes on.
    """

    epoch: int
    indices: list[int]
    continues: list[bool] | None = None


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
        balance: which of them an epoch has, see `population`; those of a class that are repeated or left out are
            others in every epoch, and so may be a few more where lengths differ.

    Raises:
        ConfigError: a limit is below 1, or the ranks cannot have equally many batches.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    owners = np.zeros(len(lengths), dtype=np.int64) if classes is None else np.asarray(classes)
    budget = Budget(max_frames, max_utterances)
    check_positive("batching.pool", pool)
    drawn = [population(owners, balance, _rng(seed, early)) for early in (*range(_EPOCHS_COMPARED), epoch)]
    pools = max(math.ceil(len(drawn[0]) / pool), min(len(drawn[0]), 2), 1)
    needed = max(
        len(_fill_pools(lengths, drawn[early], budget, pools, _rng(seed, early)))
        for early in range(_EPOCHS_COMPARED)
    )
    total = _dealable(needed, lengths[drawn[0]], budget, ranks)
    rng = _rng(seed, epoch)
    batches = _fill_pools(lengths, drawn[-1], budget, pools, rng)
    while len(batches) > total and pools > 1:  # larger pools need fewer batches, and a single one the fewest
        pools -= 1
        batches = _fill_pools(lengths, drawn[-1], budget, pools, rng)
    batches = batches[
        :total
    ]  # what is drawn anew in every epoch may need more of them: never without a balance
    steps = _steps(_split(batches, total), lengths, ranks)
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
    total = _dealable(len(batches), lengths, budget, ranks)
    return [batch for step in _steps(_split(batches, total), lengths, ranks) for batch in step]


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


def _dealable(needed: int, lengths: Integers, budget: Budget, ranks: int) -> int:
    """The number of batches, `needed` or a few more, that gives every rank equally many and none nothing."""
    total = ranks * min(math.ceil(needed / ranks), len(lengths) // ranks)
    if total == 0 or total < len(budget.fill(lengths, np.arange(len(lengths)))):
        raise ConfigError(
            f"trainer.devices={ranks}: {len(lengths)} utterances in batches of {budget.max_utterances} at most "
            f"(batching.max_utterances) and {budget.max_frames} padded frames (batching.max_frames) cannot be "
            "dealt out in equally many batches. Use fewer devices, more utterances or larger batches."
        )
    return total


def _split(batches: list[Integers], total: int) -> list[Integers]:
    """Halve the batch of most utterances until there are `total` batches."""
    batches = list(batches)
    while len(batches) < total:
        largest = max(range(len(batches)), key=lambda i: len(batches[i]))
        batch = batches.pop(largest)
        middle = len(batch) // 2
        batches += [batch[:middle], batch[middle:]]
    return batches


def _steps(batches: list[Integers], lengths: Integers, ranks: int) -> list[Plan]:
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


class PlannedSampler(Sampler[Draw], ABC):
    """Draws one rank's share of a plan, epoch after epoch; made to be given to a `BucketLoader`.

    Args:
        lengths: [N] frames of each utterance, 1 or more.
        rank: of this process, 0..ranks - 1.
        settings: the other arguments of the plan.
    """

    def __init__(self, lengths: npt.ArrayLike, rank: int, settings: Mapping[str, int]) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.rank = rank
        self.settings = dict(settings)
        self.epoch = 0
        self.first = 0
        """Batches of this rank that are left out of the next pass, because a resumed run has had them."""
        self._planned = (0, self._plan(0))
        digest = hashlib.sha256(json.dumps(self.plan).encode()).hexdigest()
        self.fingerprint: dict[str, int | str] = {
            **self.settings,
            "utterances": len(self.lengths),
            "plan": digest,
        }
        """What tells this sampler's plans from others: the settings, and a digest of the first epoch's plan."""
        if rank == 0:
            _warn_of_longer(self.lengths, self.settings["max_frames"])

    @property
    def plan(self) -> Plan:
        """The batches of all ranks in the current epoch."""
        if self._planned[0] != self.epoch:
            self._planned = (self.epoch, self._plan(self.epoch))
        return self._planned[1]

    def __len__(self) -> int:
        """Batches of this rank in an epoch: the same in every epoch, and in a resumed one."""
        return len(self.plan) // self.settings["ranks"]

    def __iter__(self) -> Iterator[Draw]:
        epoch = self.epoch
        for indices in self.plan[self.rank :: self.settings["ranks"]][self.first :]:
            yield Draw(epoch, indices)

    @abstractmethod
    def _plan(self, epoch: int) -> Plan: ...


class BucketSampler(PlannedSampler):
    """Draws batches of like length for training, planned anew in every epoch.

    Args:
        lengths: [N] frames of each utterance, 1 or more.
        max_frames: padded frames of a batch, at most; a longer utterance makes its own, which is said once.
        max_utterances: utterances of a batch, at most.
        pool: utterances sorted together: smaller is more random, larger pads less.
        seed: of the run, 0 or more.
        rank: of this process, 0..ranks - 1.
        ranks: processes that train together.
        classes: [N] class index of each utterance; not looked at without a balance.
        balance: what an epoch has of classes that are unequally frequent, see `population`.

    Raises:
        ConfigError: a limit is below 1, or the ranks cannot have equally many batches.
    """

    def __init__(
        self,
        lengths: npt.ArrayLike,
        *,
        max_frames: int,
        max_utterances: int,
        pool: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        classes: npt.ArrayLike | None = None,
        balance: Balance = "none",
    ) -> None:
        self.balancing: dict[str, Any] = {"classes": classes, "balance": balance}
        limits = {"max_frames": max_frames, "max_utterances": max_utterances}
        super().__init__(lengths, rank, {**limits, "pool": pool, "seed": seed, "ranks": ranks})

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; Lightning calls this before each."""
        self.epoch = epoch

    def _plan(self, epoch: int) -> Plan:
        settings: dict[str, Any] = {**self.settings, **self.balancing}
        return plan_batches(self.lengths, epoch=epoch, **settings)


class EvaluationSampler(PlannedSampler):
    """Draws batches of like length, longest first and always the same.

    Args:
        lengths: [N] frames of each utterance, 1 or more.
        max_frames: padded frames of a batch, at most; a longer utterance makes its own, which is said once.
        max_utterances: utterances of a batch, at most.
        rank: of this process, 0..ranks - 1.
        ranks: processes that evaluate together.

    Raises:
        ConfigError: a limit is below 1, or the ranks cannot have equally many batches.
    """

    def __init__(
        self,
        lengths: npt.ArrayLike,
        *,
        max_frames: int,
        max_utterances: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        limits = {"max_frames": max_frames, "max_utterances": max_utterances}
        super().__init__(lengths, rank, {**limits, "ranks": ranks})

    def _plan(self, epoch: int) -> Plan:
        return plan_evaluation(self.lengths, **self.settings)


def _warn_of_longer(lengths: Integers, max_frames: int) -> None:
    longer = lengths[lengths > max_frames]
    if longer.size:
        logger.warning(
            "max_frames=%d: %d of %d utterances are longer (up to %d frames), and each makes a batch of its own. "
            "If memory runs short, cut them, in training with batching.crop_frames, in prediction with window_s.",
            *(max_frames, longer.size, lengths.size, longer.max()),
        )


class BucketLoader(DataLoader[Any]):
    """A data loader whose dataset takes a `Draw`, and which goes on where a checkpoint was written.

    Its state counts the batches that were handed out, not those that workers have fetched ahead.

    Args:
        dataset: its items are whole batches, asked for by a `Draw`.
        sampler: of the draws.
        num_workers: processes that fetch; 0 fetches in this one.
        pin_memory: put batches into page-locked memory, for a GPU.
    """

    sampler: PlannedSampler

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: PlannedSampler,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            sampler=sampler,
            batch_size=None,
            num_workers=num_workers,
            pin_memory=pin_memory,
            # A pass draws a seed for its workers. Taken from torch's own generator, that would shift the
            # dropout of a resumed run, which makes one pass more.
            generator=torch.Generator(),
        )
        self._epoch = 0
        self._handed_out = 0
        self._resumes = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises its own iterator class
        """Batches of the sampler's epoch, less those that a loaded state has had.

        A generator, because Lightning asks a resumed run for the iterator before it sets the epoch: so workers
        begin to draw with the first batch that is wanted.
        """
        if not (self._resumes and self._epoch == self.sampler.epoch):
            self._handed_out = 0
        self._resumes = False
        self._epoch = self.sampler.epoch
        self.sampler.first = self._handed_out
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The epoch, how many of its batches were handed out, and the fingerprint of the plan."""
        return {"epoch": self._epoch, "batches": self._handed_out, **self.sampler.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Leave out what was handed out before, should the next pass be in the state's epoch.

        Raises:
            CheckpointError: the checkpoint belongs to other batches.
        """
        _check_same_plan(state, self.sampler.fingerprint)
        self._epoch, self._handed_out = state["epoch"], state["batches"]
        self._resumes = True


def _check_same_plan(state: Mapping[str, Any], fingerprint: Mapping[str, int | str]) -> None:
    then_now = {name: (state.get(name), now) for name, now in fingerprint.items() if state.get(name) != now}
    if not then_now:
        return
    if set(then_now) == {"plan"}:
        differences = "the lengths of the utterances"
    else:
        differences = ", ".join(
            f"{name} was {then}, is {now}" for name, (then, now) in then_now.items() if name != "plan"
        )
    raise CheckpointError(
        f"resume: the checkpoint's batches are not those of this run: {differences}. Resume with the same data, "
        "batching, seed and number of devices (ranks), or start a new run."
    )
