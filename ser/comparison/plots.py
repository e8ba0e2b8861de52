"""Plot a comparison: scores with intervals, jobs as lines across their settings, and what settings explain."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ser.comparison.compare import Comparison
from ser.comparison.importance import Jobs, is_repeat
from ser.comparison.runs import is_numeric
from ser.comparison.wording import TITLES
from ser.report import figures
from ser.report.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_IN = 0.42  # height of a row
_LONGEST = 48  # characters of a name
_DECADE = 10.0  # numbers that span more are on a logarithmic axis


def plot_intervals(comparison: Comparison) -> "Figure":
    """Plot the scores of all rows with their intervals, the best above, and the floor of the accuracy."""
    entries = comparison.entries
    titles = [f"{title} on {comparison.split}" for title in TITLES.values()]
    figure, panels = figures.make_panels(*titles, size=(11, 1.8 + _ROW_IN * len(entries)))
    places = np.arange(len(entries))
    for axes, metric, color in zip(panels, TITLES, PALETTE, strict=False):
        values = np.array([entry.values[metric] for entry in entries])
        ends = np.array([entry.intervals[metric] for entry in entries])
        axes.hlines(places, 100 * ends[:, 0], 100 * ends[:, 1], color=color, linewidth=2)
        axes.plot(100 * values, places, "o", color=color)
        axes.set_ylim(len(entries) - 0.5, -0.5)
        axes.set_xlabel("percent, with 95% intervals")
        axes.grid(axis="x", color=figures.FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
    panels[0].axvline(100 * comparison.floor, color=figures.INK, linestyle="dotted", label="majority floor")
    names = [f"{figures.shorten_name(entry.name, _LONGEST)}  {entry.letter}" for entry in entries]
    panels[0].set_yticks(places, names)
    panels[1].set_yticks(places, [entry.letter for entry in entries])
    figures.add_legend(figure, panels[0])
    return figure


def plot_jobs(jobs: Jobs) -> "Figure":
    """Plot each job as a line across the settings, darker for a better value, which the last axis shows."""
    names = [*jobs.settings, jobs.monitor]
    columns = [*jobs.settings.values(), jobs.values.tolist()]
    scales = [_Scale(values) for values in columns]
    figure, (axes,) = figures.make_panels(
        "Jobs: the darker, the better", size=(max(6.4, 1.9 * len(names)), 4.8)
    )
    heights = np.array([scale.place(values) for scale, values in zip(scales, columns, strict=True)])
    order = np.argsort(-jobs.values if jobs.is_min else jobs.values)
    from matplotlib import colormaps

    for rank, job in enumerate(order):
        color = colormaps["viridis_r"](rank / max(1, len(order) - 1))
        axes.plot(range(len(names)), heights[:, job], color=color, linewidth=1.6, alpha=0.85)
    for place, scale in enumerate(scales):
        axes.axvline(place, color=figures.INK, linewidth=0.8)
        for height, label in scale.ticks():
            axes.annotate(
                figures.shorten_name(label, 22),
                (place, height),
                (4, 0),
                textcoords="offset points",
                fontsize=figures.SIZES["note"],
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
            )
    _hide_frame(axes)
    figures.name_columns(axes, [figures.shorten_name(name, 28) for name in names])
    axes.set_xlim(-0.1, len(names) - 0.55)
    return figure


def plot_importance(shares: Mapping[str, float], monitor: str) -> "Figure":
    """Plot the share of the variance between jobs that each setting explains; seeds and folds are grey."""
    figure, (axes,) = figures.make_panels(
        f"Variance of {monitor} between jobs\nthat each setting explains alone",
        size=(7.5, 1.8 + _ROW_IN * len(shares)),
    )
    colors = [figures.FAINT if is_repeat(key) else PALETTE[0] for key in shares]
    bars = axes.barh([*shares], [100 * share for share in shares.values()], color=colors)
    axes.bar_label(bars, fmt="%.0f%%", padding=3, fontsize=figures.SIZES["tick"])
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("percent; seeds and folds are grey")
    return figure


class _Scale:
    """Places of values on an axis of height 0..1: numbers by their size, other values in alphabetical order.

    Args:
        values: Values of all jobs.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        self.is_numeric = all(map(is_numeric, values))
        self.names = sorted({str(value) for value in values})
        self.levels = sorted({float(value) for value in values}) if self.is_numeric else []
        self.is_log = self.is_numeric and self.levels[0] > 0 and self.levels[-1] > _DECADE * self.levels[0]

    def place(self, values: Sequence[Any]) -> list[float]:
        """Return the heights of values."""
        if not self.is_numeric:
            return [(self.names.index(str(value)) + 0.5) / len(self.names) for value in values]
        low, high = self._scaled(self.levels[0]), self._scaled(self.levels[-1])
        return [(self._scaled(value) - low) / (high - low) if high > low else 0.5 for value in values]

    def ticks(self) -> list[tuple[float, str]]:
        """Return heights and labels: all values if they are few, else the ends of the axis."""
        if not self.is_numeric:
            return [*zip(self.place(self.names), self.names, strict=True)]
        shown = self.levels if len(self.levels) <= 5 else [self.levels[0], self.levels[-1]]
        return [(height, f"{level:.3g}") for height, level in zip(self.place(shown), shown, strict=True)]

    def _scaled(self, value: float) -> float:
        return float(np.log(value)) if self.is_log else float(value)


def _hide_frame(axes: "Axes") -> None:
    axes.spines[:].set_visible(False)
    axes.set_yticks([])
    axes.tick_params(length=0)
