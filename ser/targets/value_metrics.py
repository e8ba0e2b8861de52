"""Scores of values over a whole split: CCC, PCC, MSE and MAE of each field, over its labelled values alone.

All answers of a split are kept and scored at its end, on the CPU in float64: so ranks merge exactly, and nothing is a
mean of batch values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ser.targets.metrics import Result, Scores

MEASURES = ("ccc", "pcc", "mse", "mae")


@dataclass(frozen=True)
class Scatter:
    """Truth against prediction in a split.

    Args:
        truth: [N, K], NaN where a value is not labelled.
        predicted: [N, K].
        fields: [K].
        name: of the task; empty where there is one alone.
    """

    truth: np.ndarray
    predicted: np.ndarray
    fields: tuple[str, ...]
    name: str = ""
    kind: str = "values"
    headline: str = "ccc"
    title: str = "CCC"
    floor: str = "ccc_floor"
    floor_title: str = "floor"

    @property
    def count(self) -> int:
        """Answers that were scored."""
        return len(self.truth)


class ValueScores(Scores):
    """CCC, PCC, MSE and MAE of each field, and their means over the fields.

    Args:
        fields: [K].
    """

    headline = "ccc"
    points: Any

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.names = (*MEASURES, *(f"{measure}_{field}" for field in self.fields for measure in MEASURES))
        self.add_state("points", default=[], dist_reduce_fx="cat")

    def update(self, answers: Tensor, truth: Tensor) -> None:
        """Keep answers [B, K] and values [B, K], NaN where one is not labelled."""
        self.points.append(torch.cat([truth, answers], 1))

    def compute(self) -> dict[str, Tensor]:
        """Return name -> value, and the `points` [N, 2K] themselves.

        Means are over the fields that have labels, and NaN without any.
        """
        found = self.points
        points = torch.cat(found) if isinstance(found, list) and found else torch.as_tensor(found)
        points = points.reshape(-1, 2 * len(self.fields)).cpu().double()
        values: dict[str, list[Tensor]] = {measure: [] for measure in MEASURES}
        named = {}
        for place, field in enumerate(self.fields):
            truth, answer = points[:, place], points[:, len(self.fields) + place]
            known = ~truth.isnan()
            if not known.any():
                continue
            for measure, value in measures(truth[known], answer[known]).items():
                values[measure].append(value)
                named[f"{measure}_{field}"] = value
        undefined = torch.full((1,), torch.nan, dtype=torch.float64)
        means = {measure: torch.stack([*own] or [*undefined]).mean() for measure, own in values.items()}
        return {"points": points, **means, **named}

    def results(self, values: Mapping[str, Tensor]) -> list[Result]:
        """Return truth against prediction."""
        truth, predicted = values["points"].numpy().reshape(-1, 2, len(self.fields)).swapaxes(0, 1)
        return [Scatter(truth, predicted, self.fields)]


def measures(truth: Tensor, predicted: Tensor) -> dict[str, Tensor]:
    """Compute CCC, PCC, MSE and MAE of values [N] against predictions [N], in float64."""
    truth, predicted = truth.double(), predicted.double()
    errors = predicted - truth
    return {
        "ccc": ccc(truth, predicted),
        "pcc": pcc(truth, predicted),
        "mse": errors.square().mean(),
        "mae": errors.abs().mean(),
    }


def ccc(truth: Tensor, predicted: Tensor) -> Tensor:
    """Compute Lin's concordance correlation coefficient of [N] with [N]; 0, not NaN, where one is constant.

    Source: Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989; with moments
    that divide by N.
    """
    if _is_constant(truth) or _is_constant(predicted):
        return torch.zeros((), dtype=torch.float64)
    truth, predicted = truth.double(), predicted.double()
    own, other = truth - truth.mean(), predicted - predicted.mean()
    distance = (truth.mean() - predicted.mean()).square()
    return 2 * (own * other).mean() / (own.square().mean() + other.square().mean() + distance)


def pcc(truth: Tensor, predicted: Tensor) -> Tensor:
    """Compute Pearson's correlation coefficient of [N] with [N]; 0, not NaN, where one is constant."""
    if _is_constant(truth) or _is_constant(predicted):
        return torch.zeros((), dtype=torch.float64)
    truth, predicted = truth.double(), predicted.double()
    own, other = truth - truth.mean(), predicted - predicted.mean()
    return (own * other).sum() / (own.square().sum() * other.square().sum()).sqrt()


def _is_constant(values: Tensor) -> bool:
    """Tell whether all values are the same: their deviation would be a rounding error."""
    return bool((values == values[0]).all())
