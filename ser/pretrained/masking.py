"""Masks over time in training, as in SpecAugment and in the pre-training of wav2vec 2.0."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError


@dataclass(frozen=True)
class TimeMask:
    """Replace spans of steps, drawn from torch's generator of the device.

    Args:
        share: Share of the steps that is replaced, 0..1; spans may overlap.
        length: Number of steps of a span.

    Raises:
        ConfigError: The share or the length is out of range.
    """

    share: float
    length: int

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(
                f"model.mask_time_prob={self.share}: expected a share, 0 to 1. Write 0.1, or 0 for no masks."
            )
        if self.length < 1:
            raise ConfigError(
                f"model.mask_time_length={self.length}: expected 1 step or more. Write 10, or set "
                "model.mask_time_prob=0."
            )

    def draw(self, lengths: Tensor, num_steps: int) -> Tensor:
        """Draw the steps to replace [B, T] bool: real ones, and not all of a sequence."""
        starts_per_step = 1 - (1 - self.share) ** (1 / self.length)
        # A span may start before the first step, so that all steps are replaced equally often.
        draws = torch.rand(len(lengths), num_steps + self.length - 1, device=lengths.device)
        starts = (draws < starts_per_step).float()[:, None]
        is_masked = functional.max_pool1d(starts, self.length, stride=1)[:, 0] > 0
        steps = torch.arange(num_steps, device=lengths.device)
        is_real = steps < lengths[:, None]
        kept = (torch.rand(len(lengths), device=lengths.device) * lengths).long()
        has_none_left = (is_masked | ~is_real).all(1)
        return is_masked & is_real & ~(has_none_left[:, None] & (steps == kept[:, None]))

    def __call__(self, steps: Padded, vector: Tensor | None) -> Padded:
        """Return steps [B, T, D] of which some are the vector [D], or 0."""
        chosen = self.draw(steps.lengths, steps.values.shape[1]).unsqueeze(-1)
        other = steps.values.new_zeros(()) if vector is None else vector.to(steps.values.dtype)
        return steps.with_values(torch.where(chosen, other, steps.values))
