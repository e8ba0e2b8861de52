"""Curves of values over steps: the delay of annotators, smoothing, and matching of predictions to the training split.

Annotators react late: a label at time t is about the speech a few seconds before. Labels are moved to an earlier time
before training, and predictions back to the later one before they are compared with labels as annotated.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ser.errors import DataError

_log = logging.getLogger(__name__)

Match = Literal["none", "centre", "moments"]

STEP_S = 0.1
_RIDGE = 1e-3  # share of the mean variance of the inputs that is added to each, as inputs may be collinear


def compensate_delay(labels: Tensor, delay_s: float, *, step_s: float = STEP_S) -> Tensor:
    """Move labels [T, K] to the earlier time that they are about; NaN at the end, where there are none."""
    steps = min(round(delay_s / step_s), len(labels))
    return torch.cat([labels[steps:], labels.new_full((steps, labels.shape[1]), torch.nan)])


def restore_delay(predicted: Tensor, delay_s: float, *, step_s: float = STEP_S) -> Tensor:
    """Move predictions [T, K] to the later time at which they are annotated; the first one is repeated before."""
    steps = min(round(delay_s / step_s), len(predicted))
    return torch.cat([predicted[:1].expand(steps, -1), predicted[: len(predicted) - steps]])


def estimate_delay(
    inputs: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    max_delay_s: float = 6.0,
    smoothing_s: float = 1.0,
    step_s: float = STEP_S,
) -> float:
    """Return the delay in s with which a linear regression explains most of the labels' variance; also log it.

    Inputs are smoothed first, as annotators do: else delays within an annotator's own smoothing explain equally much.
    All delays are compared on the same input steps. A gap counts as the mean of its field.

    Args:
        inputs: Features or predictions [T, F] of each recording of the training split, F up to some hundreds.
        labels: Labels [T, K] of each, NaN where there is none.
        max_delay_s: Largest delay that is considered.
        smoothing_s: Window of the smoothing of inputs.
        step_s: Duration of a step.

    Raises:
        DataError: No recording is longer than the largest delay.

    Source: Mariooryad, Busso, "Analysis and compensation of the reaction lag of evaluators in continuous emotional
    annotations", ACII 2013, with linear regression in place of mutual information.
    """
    most = round(max_delay_s / step_s)
    pairs = [
        (smooth(own.double(), smoothing_s, step_s=step_s), other.double())
        for own, other in zip(inputs, labels, strict=True)
        if len(own) > most
    ]
    if not pairs:
        raise DataError(
            f"annotation delay: no recording of train has more than {most} steps, so a delay of up to "
            f"{max_delay_s:g} s cannot be estimated. Give the delay as a number, or allow a smaller one only."
        )
    explained = _explained_variance(pairs, most)
    best = int(explained.argmax())
    _log.info(
        "annotation delay: %.1f s explains %.1f %% of the variance of labels, no delay %.1f %%",
        best * step_s,
        100 * explained[best],
        100 * explained[0],
    )
    return best * step_s


def _explained_variance(pairs: Sequence[tuple[Tensor, Tensor]], most: int) -> Tensor:
    """Return the share of variance that is explained with each delay [most + 1], the mean over fields."""
    mean = torch.cat([own[: len(own) - most] for own, _ in pairs]).mean(0)
    centre = torch.cat([other for _, other in pairs]).nanmean(0)
    width, fields = len(mean), len(centre)
    squares = torch.zeros(width, width, dtype=torch.float64)
    products = torch.zeros(most + 1, width, fields, dtype=torch.float64)
    totals = torch.zeros(most + 1, fields, dtype=torch.float64)
    for own, other in pairs:
        used = own[: len(own) - most] - mean
        moved = (other - centre).nan_to_num().unfold(0, len(used), 1)  # [most + 1, K, T - most]
        squares += used.T @ used
        products += (moved @ used).mT
        totals += moved.square().sum(-1)
    ridge = _RIDGE * squares.diagonal().mean().clamp_min(1e-12)
    solved = torch.linalg.solve(squares + ridge * torch.eye(width, dtype=torch.float64), products)
    shares = (solved * products).sum(1) / totals.clamp_min(1e-12)
    means: Tensor = shares.mean(-1)
    return means


def smooth(values: Tensor, window_s: float, *, step_s: float = STEP_S) -> Tensor:
    """Replace each step of [T, K] by the mean over a window around it, which is narrower at both ends."""
    reach = round(window_s / step_s) // 2
    if not reach:
        return values
    sums = functional.pad(values.double().cumsum(0), (0, 0, 1, 0))
    steps = torch.arange(len(values))
    first, last = (steps - reach).clamp_min(0), (steps + reach + 1).clamp_max(len(values))
    return ((sums[last] - sums[first]) / (last - first)[:, None]).to(values.dtype)


@dataclass(frozen=True)
class PostProcessing:
    """What is done with predicted curves; nothing by default. It holds plain values, for a checkpoint.

    Args:
        smoothing_s: Window of the smoothing; 0 = none.
        scale: Factor of each field, such as `fit_match` returns; empty = 1.
        offset: What is added to each field afterwards; empty = 0.
        delay_s: Delay of annotators that labels were compensated for in training; 0 = none.
    """

    smoothing_s: float = 0.0
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    delay_s: float = 0.0

    def __call__(self, values: Tensor, *, step_s: float = STEP_S) -> Tensor:
        """Return smoothed, matched and delayed predictions [T, K]."""
        values = smooth(values, self.smoothing_s, step_s=step_s)
        if self.scale:
            values = values * values.new_tensor(self.scale)
        if self.offset:
            values = values + values.new_tensor(self.offset)
        return restore_delay(values, self.delay_s, step_s=step_s) if self.delay_s else values

    def __str__(self) -> str:
        parts = [f"smoothed over {self.smoothing_s:g} s"] if self.smoothing_s else []
        for name, numbers in (("scaled by", self.scale), ("moved by", self.offset)):
            parts += [f"{name} {', '.join(f'{number:.3g}' for number in numbers)}"] if numbers else []
        parts += [f"delayed by {self.delay_s:g} s"] if self.delay_s else []
        return "; ".join(parts) or "unchanged"


def fit_match(predicted: Tensor, labels: Tensor, match: Match) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and offset of each field by which predictions get the mean, and the deviation, of labels.

    Args:
        predicted: Predictions [R, K] of all steps of the training split.
        labels: Labels [R, K] of the same steps, NaN where there is none; these steps count for neither.
        match: `centre` = the mean alone, `moments` = mean and deviation, `none`.
    """
    if match == "none":
        return (), ()
    scales, offsets = [], []
    for own, truth in zip(predicted.double().T, labels.double().T, strict=True):
        known = ~truth.isnan()
        own, truth = own[known], truth[known]
        spread = float(own.std(correction=0)) if len(own) else 0.0
        scale = float(truth.std(correction=0)) / spread if match == "moments" and spread > 0 else 1.0
        scales.append(scale)
        offsets.append(float(truth.mean() - scale * own.mean()) if len(own) else 0.0)
    return tuple(scales), tuple(offsets)
