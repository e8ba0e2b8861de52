"""Detect losses and statistics that are not finite, without waiting for the device at every step."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ser.errors import DivergedError, setting

_SCALED_STEPS = 10
"""Consecutive steps that may overflow with a gradient scaler, which skips them and reduces its scale."""
_LARGEST_ADVICE = 1e-3  # learning rate; a tenth of 1e6 would diverge as well


class LossWatch:
    """Store the number of the first step whose loss was not finite, on the device.

    Args:
        is_scaled: Whether gradients are scaled (precision 16-mixed), so that single steps may overflow.
    """

    def __init__(self, *, is_scaled: bool = False) -> None:
        self.is_scaled = is_scaled
        self.patience = _SCALED_STEPS if is_scaled else 0
        self._first = torch.tensor(-1)
        self._in_row = torch.tensor(0)

    def add(self, loss: Tensor, step: int) -> None:
        """Check the loss of a step."""
        if loss.device.type == "cpu" and math.isfinite(loss.item()):  # 3 us instead of 60
            self._in_row.zero_()
            return
        lost = ~loss.detach().isfinite()
        self._first, self._in_row = self._first.to(loss.device), self._in_row.to(loss.device)
        self._in_row = torch.where(lost, self._in_row + 1, 0)
        has_diverged = (self._in_row > self.patience) & (self._first < 0)
        self._first = torch.where(has_diverged, step - self.patience, self._first)

    @property
    def first(self) -> Tensor:
        """Return the number of the first step from which on the loss was not finite, or -1."""
        return self._first


def diverged(fact: str, *, learning_rate: float | None) -> DivergedError:
    """Return the error that ends a training.

    Args:
        fact: What is not finite, and where.
        learning_rate: Learning rate of the run; the message suggests a lower one.
    """
    lower = _LARGEST_ADVICE if learning_rate is None else min(learning_rate / 10, _LARGEST_ADVICE)
    return DivergedError(
        f"{fact} not finite: training has diverged. Train again with "
        f"{setting('optimizer.lr', float(f'{lower:g}'))} and, if that is not enough, a smaller "
        "trainer.gradient_clip_val."
    )


def running_statistics(norms: Sequence[nn.modules.batchnorm._BatchNorm]) -> list[Tensor]:
    """Return the buffers that batch norms update in every training step."""
    found = [(norm.running_mean, norm.running_var) for norm in norms]
    return [buffer for pair in found for buffer in pair if buffer is not None]


@torch.no_grad()
def keep_finite(buffers: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Restore buffers if one of them is not finite any more.

    A loud batch overflows in float16. The scaler skips its gradients, but running statistics would stay NaN.

    Args:
        buffers: Buffers after a step.
        before: Copies from before the step.
    """
    if not buffers:
        return
    is_finite = torch.stack(torch._foreach_norm([*buffers])).isfinite().all()
    if is_finite.device.type == "cpu" and is_finite:
        return  # on another device, asking would wait for it
    for now, then in zip(buffers, before, strict=True):
        now.data.copy_(torch.where(is_finite, now, then))  # data: no backward pass reads the values
