"""Measure how much of the differences between jobs each setting explains.

For a setting alone, it is the variance of scores between its values as a share of all, corrected for the number of
values (epsilon squared); numbers with many values, as of a random search, are cut into quarters by rank. A random
forest would also see settings that matter together, but needs hundreds of jobs; sweeps have tens.

Source: Kelley, "An unbiased correlation ratio measure", 1935.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser.comparison.runs import Run, is_numeric
from ser.runs.sweep_tables import REPEATS

_MOST_VALUES = 4  # numbers with more values are cut into as many groups
FEWEST_JOBS = 4
"""With fewer jobs, nothing can be said about a setting."""


@dataclass(frozen=True)
class Jobs:
    """Jobs with their scores, and the settings in which they differ.

    Args:
        settings: Value of each job by setting; numbers are numbers.
        values: Monitored values of the jobs [J].
        monitor: Name of the monitored metric.
        is_min: Whether smaller values of it are better.
    """

    settings: Mapping[str, Sequence[Any]]
    values: np.ndarray
    monitor: str
    is_min: bool = False


def collect_jobs(runs: Sequence[Run]) -> Jobs | None:
    """Return the jobs whose monitored value is known; None if they are fewer than four, or differ in no setting.

    Their values are those of validation, which may choose settings.
    """
    monitor = runs[0].monitor
    known = [run for run in runs if run.value is not None and run.monitor == monitor]
    keys = dict.fromkeys(key for run in known for key in run.overrides)
    settings = {key: [_value_of(run, key) for run in known] for key in keys}
    varied = {key: values for key, values in settings.items() if len({*map(str, values)}) > 1}
    if len(known) < FEWEST_JOBS or not varied:
        return None
    return Jobs(varied, np.array([run.value for run in known], dtype=np.float64), monitor, runs[0].is_min)


def explain_variance(jobs: Jobs) -> dict[str, float]:
    """Return the share of variance that each setting explains, 0..1, the largest first; seeds and folds included."""
    shares = {key: _explained(_group(values), jobs.values) for key, values in jobs.settings.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def is_repeat(key: str) -> bool:
    """Return whether a setting is a seed or a fold, which nobody chooses."""
    return key in REPEATS


def _explained(groups: np.ndarray, values: np.ndarray) -> float:
    """Return epsilon squared of groups [J] for values [J]; 0 where it is not positive or not defined."""
    count = len(np.unique(groups))
    total = np.square(values - values.mean()).sum()
    if count >= len(values) or not total:
        return 0.0
    within = sum(
        np.square(own - own.mean()).sum() for own in (values[groups == group] for group in range(count))
    )
    return max(0.0, float(1 - within / (len(values) - count) / (total / (len(values) - 1))))


def _group(values: Sequence[Any]) -> np.ndarray:
    """Return the group of each value [J]: each value is one, or numbers are cut into quarters by rank."""
    if all(map(is_numeric, values)) and len({*values}) > _MOST_VALUES:
        edges = np.quantile(np.array(values, dtype=np.float64), np.linspace(0, 1, _MOST_VALUES + 1)[1:-1])
        return np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]
    return np.unique([str(value) for value in values], return_inverse=True)[1]


def _value_of(run: Run, key: str) -> Any:
    """Return the value of a setting: from the config, where numbers are numbers, else as typed."""
    if key in run.settings:
        return run.settings[key]
    return run.overrides.get(key, "default")
