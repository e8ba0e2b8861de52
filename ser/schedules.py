"""Learning-rate schedules, each in the form Lightning takes: scheduler, when it steps, what it watches."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

Schedule = dict[str, Any]


def one_cycle(optimizer: Optimizer, total_steps: int, *, warmup_share: float = 0.25) -> Schedule:
    """Up to the optimiser's learning rate and down to nearly zero, along half cosines.

    Args:
        optimizer: its learning rate is the peak; it starts at a 25th of it.
        total_steps: optimiser steps of the whole training.
        warmup_share: share of the steps spent going up, 0..1.

    Source: Smith and Topin, "Super-convergence", 2018.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    total_steps = max(total_steps, math.ceil(2 / warmup_share))  # a way up of one step would divide by zero
    scheduler = OneCycleLR(optimizer, peaks, total_steps=total_steps, pct_start=warmup_share)
    return {"scheduler": scheduler, "interval": "step"}


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
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor}
