"""Learning-rate schedules, each in the form Lightning takes: scheduler, when it steps, what it watches."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from ser.errors import ConfigError

Schedule = dict[str, Any]

_MOMENTUM_SWING = 0.05  # 0.9 becomes 0.95 to 0.85, as in the paper


def one_cycle(optimizer: Optimizer, total_steps: int, *, warmup_share: float = 0.25) -> Schedule:
    """Up to the optimiser's learning rate and down to nearly zero, along half cosines.

    Momentum, or Adam's first beta, moves the other way, by 0.05 around that of the optimiser, if it has any.

    Args:
        optimizer: its learning rate is the peak; it starts at a 25th of it.
        total_steps: optimiser steps of the whole training.
        warmup_share: share of the steps spent going up, 0..1.

    Raises:
        ConfigError: the share is not within 0..1.

    Source: Smith and Topin, "Super-convergence", 2018.
    """
    if not 0 <= warmup_share <= 1:
        raise ConfigError(
            f"schedule.warmup_share={warmup_share}: is a share of the training, 0 to 1. Write 0.25 for a quarter."
        )
    peaks = [group["lr"] for group in optimizer.param_groups]
    total_steps = max(total_steps, 4)
    shortest = 2 / total_steps  # a way up or down of one step would divide by zero
    scheduler = OneCycleLR(
        optimizer,
        peaks,
        total_steps=total_steps,
        pct_start=min(max(warmup_share, shortest), 1 - shortest),
        **_momenta(optimizer),
    )
    return {"scheduler": scheduler, "interval": "step"}


def _momenta(optimizer: Optimizer) -> dict[str, Any]:
    """How far momentum moves; not at all where there is none."""
    groups = optimizer.param_groups
    own = [group["betas"][0] if "betas" in group else group.get("momentum", 0.0) for group in groups]
    if not any(own):
        return {"cycle_momentum": False}
    return {
        "base_momentum": [max(momentum - _MOMENTUM_SWING, 0.0) for momentum in own],
        "max_momentum": [min(momentum + _MOMENTUM_SWING, (1 + momentum) / 2) for momentum in own],
    }


def cosine(optimizer: Optimizer, total_steps: int, *, final_share: float = 0.01) -> Schedule:
    """From the optimiser's learning rate down along half a cosine.

    Args:
        optimizer: its learning rate is the start.
        total_steps: optimiser steps of the whole training.
        final_share: the last learning rate as a share of the first, 0..1.
    """
    final = final_share * optimizer.param_groups[0]["lr"]
    return {"scheduler": CosineAnnealingLR(optimizer, total_steps, eta_min=final), "interval": "step"}


def plateau(
    optimizer: Optimizer,
    total_steps: int,  # noqa: ARG001  every schedule is given it; this one has no use for it
    *,
    factor: float = 0.5,
    patience: int = 5,
    monitor: str = "validation/loss",
) -> Schedule:
    """Lower the learning rate when the validation loss has stopped falling.

    Args:
        optimizer: its learning rate is the start.
        total_steps: not used.
        factor: the learning rate is multiplied by it, 0..1.
        patience: epochs without a new lowest value before that.
        monitor: a logged loss.
    """
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    # Not reduce_on_plateau: the task steps it, see Task.lr_scheduler_step.
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor, "reduce_on_plateau": False}
