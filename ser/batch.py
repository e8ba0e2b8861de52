"""Tensors that know how long they are, and the batch that travels through training.

Axis letters used everywhere: B batch, T time, F feature, D embedding, H heads, C classes, K label fields.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

UtteranceId = str | int
"""An id as the user's file has it: the key of a JSON object, or the `id` field of a record, type kept."""


@dataclass(eq=False)  # not frozen: trainer.precision=16-true and others replace the tensors of a copy
class Padded:
    """Sequences of different lengths in one tensor.

    Args:
        values: [B, T, F], anything beyond a sequence's length is padding and carries no meaning.
        lengths: [B] int64, steps of each sequence, 1..T.
    """

    values: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """[B, T] bool, true on real steps."""
        steps = torch.arange(self.values.shape[1], device=self.values.device)
        return steps < self.lengths[:, None]

    def zeroed(self) -> "Padded":
        """The same sequences with zeros for padding, so that convolutions see silence and not leftovers."""
        return self.with_values(self.values * self.mask.unsqueeze(-1))

    def with_values(self, values: Tensor) -> "Padded":
        """The same lengths around other values."""
        return Padded(values, self.lengths)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Padded":
        """Move both tensors."""
        return Padded(
            self.values.to(device, non_blocking=non_blocking),
            self.lengths.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "Padded":
        """Both tensors in page-locked memory."""
        return Padded(self.values.pin_memory(), self.lengths.pin_memory())

    @staticmethod
    def collate(sequences: Sequence[Tensor]) -> "Padded":
        """Pad sequences [T_i, F] with zeros to the longest."""
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        return Padded(torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths)


@dataclass(eq=False)
class Batch:
    """What a data loader yields and a task consumes.

    Args:
        ids: B utterance ids, original type kept.
        audio: features [B, T, F], or waveforms [B, T, 1].
        targets: [B] or [B, K] for labels of an utterance, Padded [B, T, K] for labels of a step, None where
            there are none.
        keys: [B] int64, one number an utterance from (seed, epoch, index): all randomness of augmentation
            comes from it, so it does not depend on batch mates or workers.
        text: word vectors [B, T, F] where a task has a transcript.
        speech: [B, T] bool, false on silence and padding, where a detector has told them apart.
        continues: [B] bool, whether a sequence goes on where that of its row in the batch before has ended; None
            where nothing does.
    """

    ids: Sequence[UtteranceId]
    audio: Padded
    targets: Tensor | Padded | None
    keys: Tensor
    text: Padded | None = None
    speech: Tensor | None = None
    continues: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Move every tensor. Lightning and users alike call this."""
        return self._map(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """Every tensor in page-locked memory; a DataLoader with pin_memory=True calls this."""
        return self._map(lambda part: part.pin_memory())

    def _map(self, move: Callable[[Any], Any]) -> "Batch":
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(
            **{k: move(part) if isinstance(part, Tensor | Padded) else part for k, part in parts.items()}
        )
