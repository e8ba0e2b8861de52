"""From energies to their logarithms: which logarithm, and what becomes of silence."""

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
    """Logarithms of energies, or of magnitudes.

    Args:
        log: natural, log10 or decibel; the reference is 1.
        floor: smallest energy, above 0.
        floor_by: energies are raised to it (max), it is added to them (add), or it stands for 0 alone (zero).
        top_db: decibels below an utterance's own largest value to which everything is raised; None for none.
        power: 2 for energies, 1 for magnitudes, of which ten times as large are 20 dB more.

    Raises:
        ConfigError: silence would have no logarithm, or nothing would be left of speech.
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
        """Energies or magnitudes of any shape, `top_db` left aside."""
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
        """Blocks with what is more than `top_db` below an utterance's largest raised to that.

        Args:
            blocks: logarithms [B, n, F] in order; all are held, if there is a `top_db`.
            lengths: [B] int64, steps of each utterance.
        """
        if self.top_db is None:
            return blocks
        held = [*blocks]
        peak = torch.full((len(lengths), 1, 1), -math.inf, device=lengths.device)
        first = 0
        for block in held:
            steps = torch.arange(first, first + block.shape[1], device=lengths.device)
            heard = block.masked_fill((steps >= lengths[:, None]).unsqueeze(-1), -math.inf)
            peak = torch.maximum(peak, heard.amax((1, 2), keepdim=True))
            first += block.shape[1]
        decibels = 20 / self.power  # of what is ten times as large
        tenfold = {"natural": math.log(10), "log10": 1.0, "decibel": decibels}[self.log]
        lowest = peak - self.top_db / decibels * tenfold
        return (torch.maximum(block, lowest) for block in held)
