"""Running sums over an epoch of a split."""

from collections.abc import Callable

import torch
from torch import Tensor

from ser.batch import Batch


class Tally:
    """Loss, correct answers and frames since the last `take`.

    What only the device knows is summed there, so that no step waits for it; what the host knows stays numbers.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64)  # loss, correct, frames
        self._learnt = self._scored = self._padded_frames = 0

    def add(self, batch: Batch, losses: Tensor, correct: Tensor) -> None:
        """Count a batch.

        Args:
            batch: of B utterances.
            losses: of what is learnt: utterances, or frames.
            correct: bool, of what is scored.
        """
        sums = torch.stack([losses.detach().sum(), correct.sum(), batch.audio.lengths.sum()])
        self._sums = self._sums.to(sums.device).add_(sums)
        self._learnt += len(losses)
        self._scored += len(correct)
        self._padded_frames += len(batch) * batch.audio.values.shape[1]

    def state(self) -> Tensor:
        """[6] float64: loss, correct answers, frames; losses, answers, padded frames."""
        counts = self._sums.new_tensor([self._learnt, self._scored, self._padded_frames])
        return torch.cat([self._sums, counts])

    def load(self, state: Tensor) -> None:
        """Go on from what `state` returned."""
        self._sums = state[:3].double()
        self._learnt, self._scored, self._padded_frames = map(int, state[3:].tolist())

    def take(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Mean loss, accuracy, padding ratio and frames over all processes; then begin anew.

        Args:
            reduce: adds a tensor up over processes.
        """
        loss, correct, frames, learnt, scored, padded_frames = reduce(self.state()).tolist()
        self.load(torch.zeros(6))
        return {
            "loss": loss / max(learnt, 1),
            "accuracy": correct / max(scored, 1),
            "padding_ratio": padded_frames / frames,
            "frames": frames,
        }
