"""95% confidence intervals for the speakers that were not tested, from the scores without each tested speaker.

The percentile bootstrap over speakers is too narrow for few speakers: with 12, it covers 88 to 91% instead of 95%. The
delete-one jackknife with Student's t, on the logit scale for scores of 0..1, covers 93 to 96% with 5 to 24 speakers:
`python -m benchmarks.coverage`. It also needs no random draws.

Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 11.
"""

import functools
import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ser.comparison.scores import Score

LEVEL = 0.95
_EXACT_UP_TO = 200  # degrees of freedom; beyond, two terms of a series are exact to 6 digits


class Interval(NamedTuple):
    """95% confidence interval; NaN where there is none.

    Args:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


def leave_one_out(sums: np.ndarray, score: Score) -> np.ndarray:
    """Compute the scores [..., S] without each of S clusters, from the sums [..., S, 2, C] of each.

    Args:
        sums: Sums of each cluster, two or more.
        score: Score of sums.
    """
    return score(sums.sum(-3, keepdims=True) - sums)


def standard_error(without: np.ndarray) -> np.ndarray:
    """Compute the standard error [...] of a score or of a difference from the values [..., S] without each cluster."""
    size = without.shape[-1]
    deviations = without - without.mean(-1, keepdims=True)
    return np.asarray(np.sqrt((size - 1) / size * np.square(deviations).sum(-1)))


def share_interval(value: float, error: float, clusters: int) -> Interval:
    """Return the interval of a score in 0..1, within 0..1.

    There is none where all predictions or none are correct, because the variance between speakers is unknown then.

    Args:
        value: The score.
        error: Its standard error.
        clusters: Number of clusters S.
    """
    if not 0 < value < 1:
        return Interval(math.nan, math.nan)
    centre = math.log(value / (1 - value))
    half = student_quantile(clusters - 1) * error / (value * (1 - value))
    return Interval(_expit(centre - half), _expit(centre + half))


def difference_interval(difference: float, error: float, clusters: int) -> Interval:
    """Return the interval of the difference of two scores, within -1..1."""
    half = student_quantile(clusters - 1) * error
    return Interval(max(difference - half, -1.0), min(difference + half, 1.0))


@functools.cache
def student_quantile(degrees: int, probability: float = (1 + LEVEL) / 2) -> float:
    """Return the quantile of Student's t distribution.

    Args:
        degrees: Degrees of freedom, 1 or more.
        probability: Share of the distribution below the quantile, 0.5..1.

    Source: Abramowitz and Stegun, "Handbook of mathematical functions", 1964, 26.7.3, 26.7.4 and 26.7.5.
    """
    if degrees > _EXACT_UP_TO:
        normal = NormalDist().inv_cdf(probability)
        first = (normal**3 + normal) / 4
        second = (5 * normal**5 + 16 * normal**3 + 3 * normal) / 96
        return normal + first / degrees + second / degrees**2
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # bisection of the angle whose tangent is t / sqrt(degrees)
        middle = (low + high) / 2
        is_below = _student_share(middle, degrees) < 2 * probability - 1
        low, high = (middle, high) if is_below else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _student_share(angle: float, degrees: int) -> float:
    """Return the share of Student's t distribution between -t and t, with t = sqrt(degrees) tan(angle)."""
    is_odd = degrees % 2
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for step in range(2 + is_odd, degrees + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (step - 1) / step
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if is_odd else total


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
