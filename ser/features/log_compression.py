"""Compute logarithms of energies, with a floor for silence."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ser.errors import ConfigError

Log = Literal["natural", "log10", "decibel"]
FloorBy = Literal["max", "add", "zero"]


@dataclass(frozen=True)
class Logarithm:
    """Logarithm of energies or magnitudes.

    Args:
        log: `natural`, `log10` or `decibel`; the reference is 1.
        floor: Smallest energy, above 0.
        floor_by: How the floor applies: energies below it are raised to it (max), it is added to all energies (add),
            or it replaces 0 only (zero).
        top_db: Raise values that are more than `top_db` dB below the utterance's maximum to that level; None for no
            limit.
        power: 2 for energies, 1 for magnitudes; a magnitude ten times as large is 20 dB more.

    Raises:
        ConfigError: The floor or `top_db` is not above 0.
    """

    log: Log = "natural"
    floor: float = 1e-10
    floor_by: FloorBy = "max"
    top_db: float | None = None
    power: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        if not self.floor > 0:
            raise ConfigError(
                f"features.floor={self.floor}: silence has no logarithm. Set an energy above 0, features.floor=1e-10."
            )
        if self.top_db is not None and not self.top_db > 0:
            raise ConfigError(
                f"features.top_db={self.top_db}: expected decibels above 0. Set features.top_db=80, or null for none."
            )

    def __call__(self, energies: Tensor) -> Tensor:
        """Compute the logarithm of energies or magnitudes of any shape, without `top_db`."""
        if self.floor_by == "max":
            energies = energies.clamp_min(self.floor)
        elif self.floor_by == "add":
            energies = energies + self.floor
        else:
            energies = energies.where(energies > 0, self.floor)
        if self.log == "natural":
            return energies.log()
        logarithms = energies.log10()
        return 20 / self.power * logarithms if self.log == "decibel" else logarithms

    def apply_top_db(self, blocks: Iterable[Tensor], lengths: Tensor) -> Iterable[Tensor]:
        """Raise values that are more than `top_db` below an utterance's maximum to that level.

        Args:
            blocks: Logarithms [B, n, F] in order; with a `top_db`, all of them are held in memory.
            lengths: Number of steps of each utterance [B] int64.
        """
        if self.top_db is None:
            return blocks
        held = [*blocks]
        peak = torch.full((lengths.shape[0], 1, 1), -math.inf, device=lengths.device)
        first = 0
        for block in held:
            steps = torch.arange(first, first + block.shape[1], device=lengths.device)
            real = block.masked_fill((steps >= lengths[:, None]).unsqueeze(-1), -math.inf)
            peak = torch.maximum(peak, real.amax((1, 2), keepdim=True))
            first += block.shape[1]
        decibels = 20 / self.power  # for a factor of ten
        tenfold = {"natural": math.log(10), "log10": 1.0, "decibel": decibels}[self.log]
        lowest = peak - self.top_db / decibels * tenfold
        return (torch.maximum(block, lowest) for block in held)
