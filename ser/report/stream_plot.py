"""Plot the predictions of a model over a recording."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ser.report.figures import FAINT, INK, format_percent, make_panels, shorten_name
from ser.report.palette import class_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMOOTHED_S = 1.0
_COLUMNS = 110  # characters in a line of the legend; the sample of a line takes 6

_ROW_S = 30.0  # of a plot of values: 75 words, which fit into four lines
_MOST_ROWS = 20  # 10 minutes; rows of longer recordings are longer
_ROW_LENGTHS_S = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
_FIGURE_IN, _AXES_IN = 14.0, 12.9  # widths of the figure, and of its axes at least
_ROW_IN, _ONLY_ROW_IN = 1.7, 2.4  # heights
_TICKS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_MOST_TICKS = 12
_LANES, _LANE_SHARE = 4, 0.1  # lines of words under the curves, and the share of the height of each
_WORD_SIZE = 7.5  # points
_LETTER_IN = 0.602 * _WORD_SIZE / 72  # width of a letter of DejaVu Sans Mono
_SHOWN_SHARE = 0.5  # of the words; fewer would be read as if nothing else was said

Span = tuple[float, float, str]
"""Start and end of a word in s, and the word."""


def probabilities(
    times: np.ndarray,
    scores: np.ndarray,
    running: np.ndarray,
    silence: np.ndarray,
    *,
    class_names: Sequence[str],
    title: str,
) -> "Figure":
    """Plot probabilities over time, and the decision so far; silence is shaded.

    Args:
        times: Times [T] of the frames, in seconds, evenly spaced.
        scores: Probabilities of each frame [T, C].
        running: Probabilities of the recording up to each frame [T, C]; NaN before the first decision.
        silence: Whether each frame is silence, which does not count in decisions [T] bool.
        class_names: Class names [C].
        title: Title of the plot.
    """
    titles = shorten_name(f"{title}: each frame"), "The decision so far"
    figure, (frames, decision) = make_panels(*titles, size=(11.0, 6.0), columns=1)
    shift = times[1] - times[0] if len(times) > 1 else 1.0
    mean = _means(scores, max(1, round(_SMOOTHED_S / shift)))
    for index, (name, style) in enumerate(zip(class_names, class_styles(len(class_names)), strict=True)):
        bold: dict[str, Any] = {"color": style.color, "linestyle": style.dash, "linewidth": 1.6}
        frames.plot(times, scores[:, index], color=style.color, linewidth=0.4, alpha=0.35)
        frames.plot(times, mean[:, index], label=name, **bold)
        decision.plot(times, running[:, index], **bold)
    for axes in (frames, decision):
        _shade(axes, times, silence, shift)
        axes.set(ylim=(-0.02, 1.02), xlim=(times[0], times[-1] + shift))
        format_percent(axes)
    frames.set(ylabel="probability, bold: mean of 1 s")
    decision.set(ylabel="mean over speech", xlabel="seconds; silence is grey")
    columns = int(_COLUMNS / (max(map(len, class_names)) + 6))
    look: dict[str, Any] = {"ncols": min(max(columns, 1), 8), "frameon": False}
    figure.legend(*frames.get_legend_handles_labels(), loc="outside lower center", **look)
    return figure


def values_over_time(
    values: np.ndarray,
    fields: Sequence[str],
    *,
    step_s: float,
    words: Sequence[Span],
    others: np.ndarray,
    title: str,
) -> "Figure":
    """Plot values over time in rows of half a minute, or longer ones for long recordings, with the words under them.

    Args:
        values: Values [T, K] at steps of equal duration.
        fields: Names of the K fields.
        step_s: Duration of a step in s.
        words: Words with their times, sorted. Those that do not fit are left out, and counted in the title; if they are
            more than half, none are shown.
        others: Whether somebody else than the subject speaks at each step [T] bool, which is shaded.
        title: Title of the plot.
    """
    from matplotlib.ticker import MultipleLocator

    duration_s = step_s * len(values)
    row_s = min(_row_length(duration_s), max(duration_s, 5.0))
    rows = math.ceil(duration_s / row_s - 1e-6)
    lanes, note = _fit_words(words, row_s)
    low, high = _limits(values)
    size = (_FIGURE_IN, 1.0 + max(_ROW_IN * rows, _ONLY_ROW_IN))
    figure, panels = make_panels(shorten_name(f"{title}{note}"), *[""] * (rows - 1), size=size, columns=1)
    times = step_s * np.arange(len(values))
    band = _LANE_SHARE * max((lane + 1 for _, lane, _ in lanes), default=0)
    bottom = low - (high - low) * band / (1 - band)
    tick_s = next((tick for tick in _TICKS_S if row_s <= _MOST_TICKS * tick), row_s)
    for row, axes in enumerate(panels):
        axes.set(xlim=(row * row_s, (row + 1) * row_s), ylim=(bottom, high))
        steps = slice(max(round(row * row_s / step_s) - 1, 0), round((row + 1) * row_s / step_s) + 1)
        axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
        for index, (name, style) in enumerate(zip(fields, class_styles(len(fields)), strict=True)):
            look: dict[str, Any] = {"color": style.color, "linestyle": style.dash, "linewidth": 1.4}
            marker = "o" if len(values) == 1 else ""  # one point makes no line
            axes.plot(times[steps], values[steps, index], marker=marker, label=name, **look)
        _shade(axes, times[steps], others[steps], step_s)
        axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
        axes.xaxis.set_major_locator(MultipleLocator(tick_s))
        axes.xaxis.set_major_formatter(_clock)
        own = [word for word in lanes if row * row_s <= word[0] < (row + 1) * row_s]
        _write_words(axes, own, top=band)
    grey = "; grey: somebody else than the subject speaks" if others.any() else ""
    panels[-1].set_xlabel(f"minutes:seconds{grey}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=8, frameon=False)
    return figure


def _row_length(duration_s: float) -> float:
    """Return the duration of a row in s."""
    fitting = (length for length in _ROW_LENGTHS_S if duration_s <= _MOST_ROWS * length + 1e-6)
    return next(fitting, duration_s / _MOST_ROWS)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Return limits of an axis that hold all values, 0.2 apart at least."""
    low, high = float(values.min()), float(values.max())
    pad = max(0.08 * (high - low), (0.2 - (high - low)) / 2)
    return low - pad, high + pad


def _clock(seconds: float, _: object) -> str:
    """Format a time such as `1:05`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _fit_words(words: Sequence[Span], row_s: float) -> tuple[list[tuple[float, int, str]], str]:
    """Put words on lines, each on the first where it overlaps none.

    Returns:
        Left end in s, line and text of each word that fits; and what to say of the others.
    """
    letter_s = _LETTER_IN / _AXES_IN * row_s
    free: list[tuple[int, float]] = [(-1, 0.0)] * _LANES  # row and time up to which each line is full
    placed = []
    for start, _, text in words:
        row = int(start / row_s)
        width = (len(text) + 1) * letter_s
        left = min(start, (row + 1) * row_s - width)
        lane = next((lane for lane, (last, end) in enumerate(free) if row > last or left >= end), None)
        if lane is not None and left >= row * row_s:
            free[lane] = (row, left + width)
            placed.append((left, lane, text))
    if len(placed) < _SHOWN_SHARE * len(words):
        return [], f" ({len(words)} words, too many to be shown)"
    missing = len(words) - len(placed)
    return placed, f" ({missing} of {len(words)} words do not fit)" if missing else ""


def _write_words(axes: "Axes", words: Sequence[tuple[float, int, str]], *, top: float) -> None:
    """Write words in lines below a share of the height: left end in s, line and text of each."""
    for left, lane, text in words:
        axes.text(
            left,
            top - (lane + 0.5) * _LANE_SHARE,
            text,
            transform=axes.get_xaxis_transform(),
            fontfamily="DejaVu Sans Mono",
            fontsize=_WORD_SIZE,
            color=INK,
            verticalalignment="center",
            clip_on=True,
            parse_math=False,
        )


def truth_and_prediction(
    truth: np.ndarray, predicted: np.ndarray, fields: Sequence[str], *, step_s: float, title: str
) -> "Figure":
    """Plot labels and predictions of a recording over time, a panel for each field.

    Args:
        truth: Labels [T, K]; NaN where there is none.
        predicted: Predictions [T, K].
        fields: Names of the K fields.
        step_s: Duration of a step in s.
        title: Title of the plot.
    """
    size = (11.0, 1.2 + 1.9 * len(fields))
    figure, panels = make_panels(shorten_name(title), *[""] * (len(fields) - 1), size=size, columns=1)
    times = step_s * np.arange(len(truth))
    style = class_styles(1)[0]
    for index, (axes, field) in enumerate(zip(panels, fields, strict=True)):
        axes.plot(times, truth[:, index], color=INK, linewidth=1.2, label="label")
        axes.plot(times, predicted[:, index], color=style.color, linewidth=1.6, label="prediction")
        axes.set(ylabel=field, xlim=(0, step_s * len(truth)))
    panels[-1].set_xlabel("seconds")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _shade(axes: "Axes", times: np.ndarray, silence: np.ndarray, shift: float) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], silence.astype(np.int8), [0]])))
    ends = np.append(times, times[-1] + shift)
    for start, stop in edges.reshape(-1, 2):
        axes.axvspan(ends[start], ends[stop], color="#D9D9D9", alpha=0.6, linewidth=0, zorder=0)


def _means(scores: np.ndarray, window: int) -> np.ndarray:
    """Compute causal means [T, C] over the last `window` frames, or over those available."""
    sums = np.cumsum(np.concatenate([np.zeros((1, scores.shape[1])), scores]), axis=0)
    ends = np.arange(1, len(scores) + 1)
    begins = np.maximum(ends - window, 0)
    means: np.ndarray = (sums[ends] - sums[begins]) / (ends - begins)[:, None]
    return means
