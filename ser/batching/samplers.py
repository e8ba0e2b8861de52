"""Samplers that yield a rank's batches of a planned epoch, and the loader that resumes within an epoch."""

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

from ser.batching.bucketing import Integers, Plan, count_batches, plan_batches, plan_evaluation
from ser.batching.class_balance import Balance
from ser.errors import REPEAT_RUN, CheckpointError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchIndices:
    """Indices of the utterances of one batch, which a sampler passes to a dataset.

    Args:
        epoch: Number of the epoch, from 0; part of the request, so that worker processes know it.
        indices: Indices of the utterances.
        continues: Whether each row continues the recording of the same row in the previous batch; None if no row
            does.
    """

    epoch: int
    indices: list[int]
    continues: list[bool] | None = None


class PlannedSampler(Sampler[BatchIndices], ABC):
    """Base class of samplers that yield one rank's share of a plan in every epoch, for a `BucketLoader`.

    Args:
        lengths: Number of frames of each utterance [N], 1 or more.
        rank: Rank of this process, 0..ranks - 1.
        settings: Other arguments of the plan.
    """

    def __init__(self, lengths: npt.ArrayLike, rank: int, settings: Mapping[str, int]) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.rank = rank
        self.settings = dict(settings)
        self.epoch = 0
        self.first = 0
        """Number of batches of this rank that the next pass skips, because the run had them before it was resumed."""
        self._planned = (0, self._plan(0))
        digest = hashlib.sha256(json.dumps(self.plan).encode()).hexdigest()
        self.fingerprint: dict[str, int | str] = {
            **self.settings,
            "utterances": len(self.lengths),
            "plan": digest,
        }
        """Identity of this sampler's plans: the settings, and a digest of the first epoch's plan."""
        if rank == 0:
            _warn_about_long_utterances(self.lengths, self.settings["max_frames"])

    @property
    def plan(self) -> Plan:
        """Return the batches of all ranks in the current epoch."""
        if self._planned[0] != self.epoch:
            self._planned = (self.epoch, self._plan(self.epoch))
        return self._planned[1]

    def __len__(self) -> int:
        """Return the number of batches of this rank in an epoch, the same in every epoch, also after a resume."""
        return len(self.plan) // self.settings["ranks"]

    def __iter__(self) -> Iterator[BatchIndices]:
        epoch = self.epoch
        for indices in self.plan[self.rank :: self.settings["ranks"]][self.first :]:
            yield BatchIndices(epoch, indices)

    @abstractmethod
    def _plan(self, epoch: int) -> Plan: ...


class BucketSampler(PlannedSampler):
    """Yield training batches of similar length, planned for every epoch.

    Args:
        lengths: Number of frames of each utterance [N], 1 or more.
        max_frames: Maximum number of padded frames in a batch; a longer utterance forms a batch of its own, with one
            warning.
        max_utterances: Maximum number of utterances in a batch.
        pool: Number of utterances that are sorted together: fewer are more random, more pad less.
        seed: Seed of the run, 0 or more.
        rank: Rank of this process, 0..ranks - 1.
        ranks: Number of processes that train together.
        classes: Class index of each utterance [N]; ignored without a balance.
        balance: Which utterances an epoch contains, see `epoch_indices`.
        quotas: See `epoch_indices`.

    Raises:
        ConfigError: A limit is below 1, or the ranks cannot have the same number of batches.
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
        quotas: npt.ArrayLike | None = None,
    ) -> None:
        self.balancing: dict[str, Any] = {"classes": classes, "balance": balance, "quotas": quotas}
        self._count: int | None = None
        limits = {"max_frames": max_frames, "max_utterances": max_utterances}
        super().__init__(lengths, rank, {**limits, "pool": pool, "seed": seed, "ranks": ranks})

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each epoch."""
        self.epoch = epoch

    def _plan(self, epoch: int) -> Plan:
        settings: dict[str, Any] = {**self.settings, **self.balancing}
        if self._count is None:
            self._count = count_batches(self.lengths, **settings)
        return plan_batches(self.lengths, epoch=epoch, **settings, count=self._count)


class EvaluationSampler(PlannedSampler):
    """Yield batches of similar length, longest first and always the same.

    Args:
        lengths: Number of frames of each utterance [N], 1 or more.
        max_frames: Maximum number of padded frames in a batch; a longer utterance forms a batch of its own, with one
            warning.
        max_utterances: Maximum number of utterances in a batch.
        rank: Rank of this process, 0..ranks - 1.
        ranks: Number of processes that evaluate together.

    Raises:
        ConfigError: A limit is below 1, or the ranks cannot have the same number of batches.
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
            "max_frames=%d: %d of %d utterances are longer (up to %d frames), and each forms a batch of its own. "
            "If memory runs short, cut them, in training with batching.crop_frames, in prediction of recordings with "
            "window_s.",
            *(max_frames, longer.size, lengths.size, longer.max()),
        )


class BucketLoader(DataLoader[Any]):
    """Data loader whose dataset takes `BatchIndices`, and which can resume within an epoch.

    Its state counts the batches that it has yielded, not those that workers have prefetched.

    Args:
        dataset: Dataset whose items are whole batches, indexed by `BatchIndices`.
        sampler: Sampler of the `BatchIndices`.
        num_workers: Number of worker processes; 0 loads in this process.
        pin_memory: Whether to put batches into page-locked memory, for a GPU.
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
            # Each pass draws a seed for its workers. With torch's global generator, this would change the
            # dropout of a resumed run, which has one more pass.
            generator=torch.Generator(),
        )
        self._epoch = 0
        self._handed_out = 0
        self._resumes = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises its own iterator class
        """Yield the batches of the sampler's epoch, without those before a loaded state.

        This is a generator, because Lightning asks a resumed run for the iterator before it sets the epoch; so
        workers start when the first batch is requested.
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
        """Return the epoch, the number of its batches that were yielded, and the fingerprint of the plan."""
        return {"epoch": self._epoch, "batches": self._handed_out, **self.sampler.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Skip the batches that were yielded before, if the next pass is in the state's epoch.

        Raises:
            CheckpointError: The checkpoint belongs to other batches.
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
        f"batching, seed and number of devices (ranks), or {REPEAT_RUN}."
    )
