"""Running sums over an epoch of a split."""

from collections.abc import Callable

import torch
from torch import Tensor

from ser.batch import Batch

_HELD = 1024  # batches whose sums stay on the device; fetching them synchronises once


class EpochTotals:
    """Loss, correct predictions and frames since the last `take`.

    Values on the device are summed there, batch by batch, so that no step waits for them. The host adds the batches
    exactly, so that no device needs float64.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._counts: list[Tensor] = []  # [2] int64 each: correct, frames
        self._loss = 0.0
        self._correct = self._frames = self._learnt = self._scored = self._padded_frames = 0

    def add(self, batch: Batch, losses: Tensor, correct: Tensor | None) -> None:
        """Add a batch.

        Args:
            batch: Batch of B utterances.
            losses: Losses of the utterances or frames.
            correct: Whether each scored prediction is correct, bool; None if predictions are not right or wrong.
        """
        self._losses.append(losses.detach().sum())
        frames = batch.audio.lengths.sum()
        self._counts.append(
            torch.stack([torch.zeros_like(frames) if correct is None else correct.sum(), frames])
        )
        self._learnt += len(losses)
        self._scored += 0 if correct is None else len(correct)
        self._padded_frames += len(batch) * batch.audio.values.shape[1]
        if len(self._losses) == _HELD:
            self._add_up()

    def _add_up(self) -> None:
        """Fetch the sums of the stored batches, and add them to those of the host."""
        if self._losses:
            self._loss += sum(torch.stack(self._losses).tolist())
            correct, frames = torch.stack(self._counts).sum(0).tolist()
            self._correct += correct
            self._frames += frames
            self._losses, self._counts = [], []

    def state(self) -> Tensor:
        """Return loss, correct predictions, frames, losses, predictions and padded frames, [6] float64 on the CPU."""
        self._add_up()
        counts = (self._correct, self._frames, self._learnt, self._scored, self._padded_frames)
        return torch.tensor([self._loss, *counts], dtype=torch.float64)

    def load(self, state: Tensor) -> None:
        """Restore what `state` returned."""
        self._losses, self._counts = [], []
        self._loss, *counts = state.tolist()
        self._correct, self._frames, self._learnt, self._scored, self._padded_frames = map(int, counts)

    def take(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Compute mean loss, accuracy, padding ratio and frames over all processes, and reset the sums.

        Args:
            reduce: Function that sums a tensor over processes; None for one process.
        """
        if reduce is not None:
            self.load(reduce(self.state()))
        self._add_up()
        means = {
            "loss": self._loss / max(self._learnt, 1),
            **({"accuracy": self._correct / self._scored} if self._scored else {}),
            "padding_ratio": self._padded_frames / max(self._frames, 1),
            "frames": float(self._frames),
        }
        self.load(torch.zeros(6))
        return means
