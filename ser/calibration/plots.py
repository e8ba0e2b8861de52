"""Plots of calibration: reliability, and accuracy against coverage."""

from typing import TYPE_CHECKING

import numpy as np

from ser.calibration.measures import BINS, accuracy_by_coverage
from ser.report.figures import FAINT, INK, SIZES, add_legend, format_percent, make_panels
from ser.report.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_calibration(
    probabilities: np.ndarray, scaled: np.ndarray, labels: np.ndarray, title: str
) -> "Figure":
    """Plot accuracy against confidence, before and after scaling, and accuracy against coverage.

    Args:
        probabilities: Probabilities [N, C].
        scaled: The same after temperature scaling.
        labels: Class indices [N].
        title: Name of the split, with its size.
    """
    titles = (f"Reliability\n{title}", f"Accuracy of the most confident\n{title}")
    figure, (reliability, coverage) = make_panels(*titles, size=(10.4, 4.6))
    reliability.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5, linestyle="--")
    for name, scores, color in (
        ("as trained", probabilities, PALETTE[0]),
        ("scaled", scaled, PALETTE[1]),
    ):
        _draw_reliability(reliability, scores, labels, name, color)
    reliability.set(
        xlim=(0, 1), ylim=(0, 1.04), xlabel="probability of the predicted class", ylabel="accuracy"
    )
    format_percent(reliability)
    accuracies = accuracy_by_coverage(scaled, labels)
    shares = np.arange(1, len(labels) + 1) / len(labels)
    coverage.plot(shares, accuracies, color=PALETTE[1], linewidth=1.8)
    floor = max(0.0, float(accuracies[len(accuracies) // 10 :].min()) - 0.1)
    coverage.set(
        xlim=(0, 1), ylim=(floor, 1.02), xlabel="share of utterances that are answered", ylabel="accuracy"
    )
    coverage.axhline(float(accuracies[-1]), color=FAINT, linewidth=1.5, linestyle="--")
    level = float(accuracies[-1])
    coverage.text(0.01, level, f"all answered: {level:.1%}", fontsize=SIZES["note"], color=INK, va="bottom")
    format_percent(coverage)
    add_legend(figure, reliability)
    return figure


def _draw_reliability(
    axes: "Axes", probabilities: np.ndarray, labels: np.ndarray, name: str, color: str
) -> None:
    """Plot the accuracy of each bin against its mean confidence; larger points have more utterances."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    means, accuracies = (
        np.bincount(bins, weights, BINS)[filled] / counts[filled] for weights in (confidence, right)
    )
    axes.plot(means, accuracies, color=color, linewidth=1.2)
    sizes = 12 + 180 * counts[filled] / counts.sum()
    axes.scatter(means, accuracies, sizes, color=color, label=name)
