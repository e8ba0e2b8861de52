"""From the plan of an epoch to its batches: samplers that draw a rank's share, and the loader that resumes it."""

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ser.batching.bucketing import Integers, Plan, plan_batches, plan_evaluation
from ser.batching.class_balance import Balance
from ser.errors import CheckpointError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchIndices:
    """What a sampler asks of a dataset: one batch.

    Args:
        epoch: from 0; it travels with the draw, so that worker processes know it.
        indices: of the utterances.
        continues: whether each goes on where the batch before has ended in its row; None = nothing goes on.
    """

    epoch: int
    indices: list[int]
    continues: list[bool] | None = None


class PlannedSampler(Sampler[BatchIndices], ABC):
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
            _warn_about_long_utterances(self.lengths, self.settings["max_frames"])

    @property
    def plan(self) -> Plan:
        """The batches of all ranks in the current epoch."""
        if self._planned[0] != self.epoch:
            self._planned = (self.epoch, self._plan(self.epoch))
        return self._planned[1]

    def __len__(self) -> int:
        """Batches of this rank in an epoch: the same in every epoch, and in a resumed one."""
        return len(self.plan) // self.settings["ranks"]

    def __iter__(self) -> Iterator[BatchIndices]:
        epoch = self.epoch
        for indices in self.plan[self.rank :: self.settings["ranks"]][self.first :]:
            yield BatchIndices(epoch, indices)

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


def _warn_about_long_utterances(lengths: Integers, max_frames: int) -> None:
    longer = lengths[lengths > max_frames]
    if longer.size:
        logger.warning(
            "max_frames=%d: %d of %d utterances are longer (up to %d frames), and each makes a batch of its own. "
            "If memory runs short, cut them, in training with batching.crop_frames, in prediction with window_s.",
            *(max_frames, longer.size, lengths.size, longer.max()),
        )


class BucketLoader(DataLoader[Any]):
    """A data loader whose dataset takes a `BatchIndices`, and which goes on where a checkpoint was written.

    Its state counts the batches that were handed out, not those that workers have fetched ahead.

    Args:
        dataset: its items are whole batches, asked for by a `BatchIndices`.
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
