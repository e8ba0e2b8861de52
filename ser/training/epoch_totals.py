"""Running sums over an epoch of a split."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ser.batch import Batch

_HELD = 1024  # batches whose sums stay on the device; fetching them synchronises once


class EpochTotals:
    """Loss, correct predictions and frames since the last `take`.

    Values on the device are summed there, batch by batch, so that no step waits for them. The host adds the batches
    exactly, so that no device needs float64.

    Args:
        names: Names of the accuracies, such as `accuracy` or `emotion/accuracy`.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = tuple(names)
        self._reset()

    def _reset(self) -> None:
        self._losses: list[Tensor] = []
        self._counts: list[Tensor] = []  # [1 + names] int64 each: frames, correct predictions by name
        self._loss = 0.0
        self._frames = self._learnt = self._padded_frames = 0
        self._correct = [0] * len(self._names)
        self._scored = [0] * len(self._names)

    def add(self, batch: Batch, losses: Tensor, correct: Mapping[str, Tensor]) -> None:
        """Add a batch.

        Args:
            batch: Batch of B utterances.
            losses: Losses of the utterances or frames.
            correct: Whether each scored prediction is correct, bool, by the name of the accuracy.
        """
        self._losses.append(losses.detach().sum())
        frames = batch.audio.lengths.sum()
        self._counts.append(torch.stack([frames, *(correct[name].sum() for name in self._names)]))
        self._learnt += len(losses)
        for place, name in enumerate(self._names):
            self._scored[place] += len(correct[name])
        self._padded_frames += len(batch) * batch.audio.values.shape[1]
        if len(self._losses) == _HELD:
            self._add_up()

    def _add_up(self) -> None:
        """Fetch the sums of the stored batches, and add them to those of the host."""
        if self._losses:
            self._loss += sum(torch.stack(self._losses).tolist())
            frames, *correct = torch.stack(self._counts).sum(0).tolist()
            self._frames += frames
            self._correct = [before + more for before, more in zip(self._correct, correct, strict=True)]
            self._losses, self._counts = [], []

    def state(self) -> Tensor:
        """Return loss, correct predictions, frames, losses, predictions and padded frames, float64 on the CPU.

        Correct predictions and predictions of further names follow, so that checkpoints with one name stay as they are.
        """
        self._add_up()
        pairs = [*zip(self._correct, self._scored, strict=True)]
        (correct, scored), *others = pairs or [(0, 0)]
        counts = (correct, self._frames, self._learnt, scored, self._padded_frames)
        return torch.tensor(
            [self._loss, *counts, *(count for pair in others for count in pair)], dtype=torch.float64
        )

    def load(self, state: Tensor) -> None:
        """Restore what `state` returned."""
        self._losses, self._counts = [], []
        self._loss, *counts = state.tolist()
        correct, self._frames, self._learnt, scored, self._padded_frames, *others = map(int, counts)
        self._correct = [correct, *others[::2]][: len(self._names)]
        self._scored = [scored, *others[1::2]][: len(self._names)]

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
            **{
                name: correct / scored
                for name, correct, scored in zip(self._names, self._correct, self._scored, strict=True)
                if scored
            },
            "padding_ratio": self._padded_frames / max(self._frames, 1),
            "frames": float(self._frames),
        }
        self._reset()
        return means
