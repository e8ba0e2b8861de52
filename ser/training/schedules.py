"""Learning-rate schedules in Lightning's form: scheduler, interval, monitored metric.

A function that takes `total_steps` plans the learning rate for that many steps, so that they cannot change on resume.
"""

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from ser.errors import ConfigError

Schedule = dict[str, Any]

_MOMENTUM_SWING = 0.05  # 0.9 becomes 0.95 to 0.85, as in the paper


def one_cycle(optimizer: Optimizer, total_steps: int, *, warmup_share: float = 0.25) -> Schedule:
    """Raise the learning rate to that of the optimiser and lower it to nearly zero, along half cosines.

    Momentum, or Adam's first beta, moves in the opposite direction, by 0.05 around that of the optimiser, if it has
    any.

    Args:
        optimizer: Optimiser whose learning rate is the peak; the start is a 25th of it.
        total_steps: Number of optimiser steps of the whole training.
        warmup_share: Share of the steps in which the learning rate rises, 0..1.

    Raises:
        ConfigError: The share is not within 0..1.

    Source: Smith and Topin, "Super-convergence", 2018.
    """
    if not 0 <= warmup_share <= 1:
        raise ConfigError(
            f"schedule.warmup_share={warmup_share}: expected a share of the training, 0 to 1. Write 0.25 for a quarter."
        )
    peaks = [group["lr"] for group in optimizer.param_groups]
    total_steps = max(total_steps, 4)
    shortest = 2 / total_steps  # a rise or fall of one step would divide by zero
    scheduler = OneCycleLR(
        optimizer,
        peaks,
        total_steps=total_steps,
        pct_start=min(max(warmup_share, shortest), 1 - shortest),
        **_momenta(optimizer),
    )
    return {"scheduler": scheduler, "interval": "step"}


def _momenta(optimizer: Optimizer) -> dict[str, Any]:
    """Return the range of the momentum; no range without momentum."""
    groups = optimizer.param_groups
    own = [group["betas"][0] if "betas" in group else group.get("momentum", 0.0) for group in groups]
    if not any(own):
        return {"cycle_momentum": False}
    return {
        "base_momentum": [max(momentum - _MOMENTUM_SWING, 0.0) for momentum in own],
        "max_momentum": [min(momentum + _MOMENTUM_SWING, (1 + momentum) / 2) for momentum in own],
    }


def cosine(optimizer: Optimizer, total_steps: int, *, final_share: float = 0.01) -> Schedule:
    """Lower the learning rate from that of the optimiser along half a cosine.

    Args:
        optimizer: Optimiser whose learning rates are the start, each of its own group of parameters.
        total_steps: Number of optimiser steps of the whole training.
        final_share: Last learning rate / first learning rate, 0..1.
    """
    return {"scheduler": _Cosine(optimizer, total_steps, final_share), "interval": "step"}


class _Cosine(LRScheduler):
    """Half a cosine for each group, where that of torch ends all groups at one learning rate."""

    def __init__(self, optimizer: Optimizer, total_steps: int, final_share: float) -> None:
        self._total_steps, self._final_share = total_steps, final_share
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rates of the groups at the present step."""
        done = min(self.last_epoch / self._total_steps, 1)
        share = self._final_share + (1 - self._final_share) * (1 + math.cos(math.pi * done)) / 2
        return [rate * share for rate in self.base_lrs]


def plateau(
    optimizer: Optimizer,
    *,
    factor: float = 0.5,
    patience: int = 5,
    monitor: str = "validation/loss",
) -> Schedule:
    """Lower the learning rate when the validation loss stops falling.

    Args:
        optimizer: Optimiser whose learning rate is the start.
        factor: Factor by which the learning rate is multiplied, 0..1.
        patience: Number of epochs without a lower value before that.
        monitor: Name of a logged loss.
    """
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    # Not reduce_on_plateau: the task steps it, see Task.lr_scheduler_step.
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor, "reduce_on_plateau": False}
