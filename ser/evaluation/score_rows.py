"""Scores of an evaluation with their intervals and floors, as numbers for pages and as text for tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from ser.comparison.intervals import Interval
from ser.evaluation.scores import Evaluation
from ser.report.score_table import METRICS, NUMBERS

_FLOORS = {"accuracy": "majority_floor", "uar": "uar_floor", "mse": "mse_floor", "mae": "mae_floor"}
_NO_FLOOR = {"ccc": 0.0, "pcc": 0.0}
"""Score of a constant answer, where no metric tells it."""


@dataclass(frozen=True)
class ScoreRow:
    """A score of a task.

    Args:
        title: Title, after the name of its task where there are several.
        metric: Name within the task, such as uar.
        value: The score.
        interval: Its 95% interval; None if there is none.
        floor: What an answer without any input reaches; None if it is unknown.
    """

    title: str
    metric: str
    value: float
    interval: Interval | None
    floor: float | None

    @property
    def is_share(self) -> bool:
        """Return whether the score is shown as a percentage."""
        return self.metric not in NUMBERS

    def cells(self) -> list[str]:
        """Format title, score, interval and floor."""
        floor = "" if self.floor is None else show(self.floor, self.metric)
        return [self.title, show(self.value, self.metric), show_interval(self.interval, self.metric), floor]


def score_rows(found: Evaluation) -> list[ScoreRow]:
    """Return the scores of each task in the order of reports."""
    rows = []
    for task in dict.fromkeys([*(result.name for result in found.results), ""]):
        prefix = f"{task}/" if task else ""
        for metric, title in METRICS.items():
            name = f"{prefix}{metric}"
            if name in found.metrics and not metric.endswith("floor"):
                floor = found.metrics.get(f"{prefix}{_FLOORS.get(metric)}", _NO_FLOOR.get(metric))
                interval = found.intervals.get(name)
                shown = f"{task}: {title}" if task else title
                rows.append(ScoreRow(shown, metric, found.metrics[name], interval, floor))
    return rows


def score_table(found: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Return a row for each score: its value, its interval, and what an answer without any input reaches."""
    header = ["", "score", f"95%, {found.clustered_by}", "floor"]
    return header, [row.cells() for row in score_rows(found)]


def show(value: float, metric: str) -> str:
    """Format a score: a percentage, or a number."""
    return f"{value:.3f}" if metric in NUMBERS else f"{value:.1%}"


def show_interval(interval: Sequence[float] | None, metric: str) -> str:
    """Format an interval; empty if there is none."""
    return "" if interval is None else f"{show(interval[0], metric)} to {show(interval[1], metric)}"
