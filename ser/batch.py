"""Padded sequences with their lengths, and the batch that a data loader yields.

Axis letters in all modules: B batch, T time, F feature, D embedding, H heads, C classes, K label fields.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

UtteranceId = str | int
"""Id as in the user's file, in its original type: the key of a JSON object, or the `id` field of a record."""


@dataclass(eq=False)  # not frozen, because trainer.precision=16-true replaces the tensors of a copy
class Padded:
    """Sequences of different lengths in one tensor.

    Args:
        values: Sequences [B, T, F]; values beyond a sequence's length are padding without meaning.
        lengths: Number of steps of each sequence [B] int64, 1..T.
    """

    values: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """Return a mask [B, T] bool that is true on real steps."""
        steps = torch.arange(self.values.shape[1], device=self.values.device)
        return steps < self.lengths[:, None]

    def zeroed(self) -> "Padded":
        """Set padding to 0, so that convolutions do not read other values there."""
        return self.with_values(self.values * self.mask.unsqueeze(-1))

    def with_values(self, values: Tensor) -> "Padded":
        """Replace the values, and keep the lengths."""
        return Padded(values, self.lengths)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Padded":
        """Move both tensors to a device."""
        return Padded(
            self.values.to(device, non_blocking=non_blocking),
            self.lengths.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "Padded":
        """Copy both tensors to page-locked memory."""
        return Padded(self.values.pin_memory(), self.lengths.pin_memory())

    @staticmethod
    def collate(sequences: Sequence[Tensor]) -> "Padded":
        """Pad sequences [T_i, F] with zeros to the longest one."""
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        return Padded(torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths)


@dataclass(eq=False)
class Batch:
    """Batch of utterances, from a data loader to a task.

    Args:
        ids: Ids of the B utterances, in their original type.
        audio: Features [B, T, F], or waveforms [B, T, 1].
        targets: [B] or [B, K] for labels of an utterance, Padded [B, T, K] for labels of a step, None where
            there are none.
        keys: Keys [B] int64, one per utterance, from (seed, epoch, index); all random numbers of augmentation depend
            on them, and not on other utterances of the batch or on workers.
        speech: Mask of speech [B, T] bool, false on silence and padding; None without silence detection.
        continues: Whether each sequence continues that of the same row in the previous batch [B] bool; None if no row
            does.
        groups: Index of each utterance's speaker or corpus [B] int64, for a head that normalises by it; None without.
    """

    ids: Sequence[UtteranceId]
    audio: Padded
    targets: Tensor | Padded | None
    keys: Tensor
    speech: Tensor | None = None
    continues: Tensor | None = None
    groups: Tensor | None = None

    @property
    def labels(self) -> Tensor:
        """Return the targets of a labelled batch, [B] or [B, K]."""
        assert isinstance(self.targets, Tensor)
        return self.targets

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Move every tensor to a device; Lightning calls this."""
        return self._map(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """Copy every tensor to page-locked memory; a DataLoader with pin_memory=True calls this."""
        return self._map(lambda part: part.pin_memory())

    def _map(self, move: Callable[[Any], Any]) -> "Batch":
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(
            **{k: move(part) if isinstance(part, Tensor | Padded) else part for k, part in parts.items()}
        )
