"""Yield batches for stateful training, in which each row follows one recording after the other."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ser.batching.bucketing import Plan, check_positive
from ser.batching.samplers import BatchIndices, PlannedSampler
from ser.errors import ConfigError


class StatefulSampler(PlannedSampler):
    """Yield batches whose row r continues row r of the previous batch, or starts a recording.

    Recordings are assigned to rows so that all rows have about the same length; their order within a row is drawn
    anew in every epoch. Rows that have ended leave the batch, the last rows first, so that the others keep their
    index.

    Args:
        lengths: Number of frames of each sequence [N]; the sequences of a recording follow one another.
        begins: Whether each sequence is the first of its recording [N] bool.
        max_utterances: Maximum number of rows in a batch.
        seed: Seed of the run, 0 or more.
        rank: Rank of this process; only 0 is possible.
        ranks: Number of processes; only 1 is possible.

    Raises:
        ConfigError: Several processes train together, or there is no row.
    """

    def __init__(
        self,
        lengths: npt.ArrayLike,
        *,
        begins: npt.ArrayLike,
        max_utterances: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if ranks > 1:
            raise ConfigError(
                f"batching.carry_state=true, trainer.devices={ranks}: no process has the states of the others. "
                "Train on one device, or with batching.carry_state=false."
            )
        check_positive("batching.max_utterances", max_utterances)
        firsts = np.flatnonzero(np.asarray(begins))
        self._recordings = np.split(np.arange(len(np.asarray(begins))), firsts[1:])
        self._rows = _rows([len(sequences) for sequences in self._recordings], max_utterances)
        self._begins = np.asarray(begins)
        self._seed = seed
        limits = {"max_frames": int(np.max(lengths)) * max_utterances, "max_utterances": max_utterances}
        super().__init__(lengths, rank, {**limits, "seed": seed, "ranks": ranks})

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[BatchIndices]:
        for draw in super().__iter__():
            yield BatchIndices(draw.epoch, draw.indices, (~self._begins[draw.indices]).tolist())

    def _plan(self, epoch: int) -> Plan:
        rng = np.random.default_rng((self._seed, epoch))
        rows = [
            np.concatenate([self._recordings[index] for index in rng.permutation(row)]) for row in self._rows
        ]
        return [[int(row[step]) for row in rows if step < len(row)] for step in range(len(rows[0]))]


def _rows(sizes: list[int], most: int) -> list[list[int]]:
    """Assign recordings to rows, the longest first to the shortest row; the longest row comes first."""
    rows: list[list[int]] = [[] for _ in range(min(most, len(sizes)))]
    filled = np.zeros(len(rows), dtype=np.int64)
    for index in np.argsort([-size for size in sizes], kind="stable").tolist():
        shortest = int(filled.argmin())
        rows[shortest].append(index)
        filled[shortest] += sizes[index]
    order: Any = np.argsort(-filled, kind="stable")
    return [rows[number] for number in order.tolist()]
