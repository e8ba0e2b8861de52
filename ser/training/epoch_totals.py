"""Running sums over an epoch of a split."""

from collections.abc import Callable

import torch
from torch import Tensor

from ser.batch import Batch

_HELD = 1024  # batches whose sums stay on the device; adding them up makes the host wait for it once


class Tally:
    """Loss, correct answers and frames since the last `take`.

    What only the device knows is summed there, batch by batch, so that no step waits for it. Batches are added up by
    the host, exactly: no device needs numbers of 64 bits with a point.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._counts: list[Tensor] = []  # [2] int64 each: correct, frames
        self._loss = 0.0
        self._correct = self._frames = self._learnt = self._scored = self._padded_frames = 0

    def add(self, batch: Batch, losses: Tensor, correct: Tensor | None) -> None:
        """Count a batch.

        Args:
            batch: of B utterances.
            losses: of what is learnt: utterances, or frames.
            correct: bool, of what is scored; None where answers are not right or wrong.
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
        """Fetch the sums of the batches that are held, and add them to the host's."""
        if self._losses:
            self._loss += sum(torch.stack(self._losses).tolist())
            correct, frames = torch.stack(self._counts).sum(0).tolist()
            self._correct += correct
            self._frames += frames
            self._losses, self._counts = [], []

    def state(self) -> Tensor:
        """[6] float64 on the CPU: loss, correct answers, frames; losses, answers, padded frames."""
        self._add_up()
        counts = (self._correct, self._frames, self._learnt, self._scored, self._padded_frames)
        return torch.tensor([self._loss, *counts], dtype=torch.float64)

    def load(self, state: Tensor) -> None:
        """Go on from what `state` returned."""
        self._losses, self._counts = [], []
        self._loss, *counts = state.tolist()
        self._correct, self._frames, self._learnt, self._scored, self._padded_frames = map(int, counts)

    def take(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Mean loss, accuracy, padding ratio and frames over all processes; then begin anew.

        Args:
            reduce: adds a tensor up over processes; None where there is one.
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
