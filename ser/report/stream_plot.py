"""Plot the predictions of a model over a recording."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ser.report.figures import format_percent, make_panels, shorten_name
from ser.report.palette import class_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMOOTHED_S = 1.0
_COLUMNS = 110  # characters in a line of the legend; the sample of a line takes 6


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
