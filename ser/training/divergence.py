"""Detect the first step at which a training diverges, without waiting for the device at every step."""

import math

import torch
from torch import Tensor

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
