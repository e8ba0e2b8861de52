"""Plot waveforms and their features."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ser.report.figures import color_bar, make_panels, shorten_name
from ser.report.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 20_000  # points drawn of a waveform


def recordings(
    waveforms: Mapping[str, np.ndarray],
    features: Sequence[np.ndarray],
    *,
    sample_rate: int,
    unit: str = "value",
    frequencies: Sequence[float] | None = None,
) -> "Figure":
    """Plot the input of a model: waveforms on a common y-axis, and their features on a common colour scale.

    Args:
        waveforms: Waveform [samples] in -1..1 by title.
        features: Features [T, F] of each waveform.
        sample_rate: Sample rate of the waveforms, in Hz.
        unit: Unit of the features, for the colour bar.
        frequencies: Frequencies [F] of the features in Hz; None if features are not bands.
    """
    titles = [title for name in waveforms for title in (shorten_name(name, 60), "")]
    figure, panels = make_panels(*titles, size=(9.6, 0.5 + 1.7 * len(waveforms)), columns=2)
    peak = max(float(np.abs(waveform).max()) for waveform in waveforms.values()) or 1.0
    images = []
    everything = np.concatenate([frames.ravel() for frames in features])
    darkest = np.percentile(everything, 5)  # digital silence is far below all other values
    scale = {"vmin": darkest, "vmax": max(everything.max(), darkest + 1e-6)}
    for row, (waveform, frames) in enumerate(zip(waveforms.values(), features, strict=True)):
        left, right = panels[2 * row : 2 * row + 2]
        _draw_waveform(left, waveform, sample_rate, peak)
        if frames.shape[1] == 1:  # the feature is a waveform
            _draw_waveform(right, frames[:, 0], sample_rate, float(np.abs(everything).max()) or 1.0)
            continue
        extent = (0, len(waveform) / sample_rate, -0.5, frames.shape[1] - 0.5)
        look: dict[str, Any] = {"origin": "lower", "aspect": "auto", "cmap": "magma", "extent": extent}
        images.append(right.imshow(frames.T, **look, **scale))
        right.set_ylabel("feature" if frequencies is None else "Hz")
        if frequencies is not None:
            places = np.unique(np.linspace(0, len(frequencies) - 1, 4).round().astype(int))
            right.set_yticks(places, [f"{frequencies[place]:,.0f}" for place in places])
    if images:
        color_bar(figure, images[-1], panels[1::2], unit)
    for axes in panels[-2:]:
        axes.set_xlabel("seconds")
    return figure


def waveforms(recorded: Mapping[str, np.ndarray], *, sample_rate: int) -> "Figure":
    """Plot waveforms below each other, on a common y-axis and x-axis.

    Args:
        recorded: Waveform [samples] by title.
        sample_rate: Sample rate in Hz.
    """
    shown = [shorten_name(title) for title in recorded]
    figure, panels = make_panels(*shown, size=(9.6, 0.5 + 1.4 * len(recorded)), columns=1)
    peak = max(float(np.abs(waveform).max()) for waveform in recorded.values()) or 1.0
    longest = max(map(len, recorded.values())) / sample_rate
    for axes, waveform in zip(panels, recorded.values(), strict=True):
        _draw_waveform(axes, waveform, sample_rate, peak)
        axes.set_xlim(0, longest)
    panels[-1].set_xlabel("seconds")
    return figure


def _draw_waveform(axes: "Axes", waveform: np.ndarray, sample_rate: int, peak: float) -> None:
    """Plot amplitude against seconds, on a common y-axis."""
    step = max(1, len(waveform) // _MOST_POINTS)
    seconds = np.arange(0, len(waveform), step) / sample_rate
    axes.plot(seconds, waveform[::step], color=PALETTE[0], linewidth=0.6)
    axes.set(ylim=(-peak, peak), xlim=(0, len(waveform) / sample_rate), ylabel="amplitude")
