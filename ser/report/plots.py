"""Plot data and scores, for TensorBoard and reports."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ser.report.figures import FAINT, INK, SIZES, add_legend, format_percent, make_panels, name_columns
from ser.report.palette import PALETTE, class_styles, share_map, split_colors
from ser.splits.assignment import SPLITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ABSENT = "#E8E8E8"
_HISTOGRAM_BINS = 30
_MOST_CLASSES_WITH_TEXT = 20
_BAR_IN = 0.34  # width of a bar in inches, enough for `100%`
_MOST_NAMES_BELOW = 7  # class names below the axes; more names are beside the axes
_SMOOTHED = 40  # a curve is smoothed over a twentieth of its length


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str], title: str) -> "Figure":
    """Plot a confusion matrix, with the count and the share of the true class in each cell.

    Args:
        counts: Number of utterances [C, C]; rows are true, columns predicted classes. An empty row is grey and marked
            as absent.
        class_names: Class names [C].
        title: Title, such as the split and the model; accuracy and UAR are added below.
    """
    classes = len(class_names)
    side = min(2.6 + 0.6 * classes, 14.0)
    figure, (axes,) = make_panels(f"{title}\n{_scores(counts)}", size=(side + 1.0, side + 0.2))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap=share_map(), vmin=0, vmax=1)
    absent = np.flatnonzero(counts.sum(1) == 0)
    for row in absent:
        axes.axhspan(row - 0.5, row + 0.5, facecolor=_ABSENT, linewidth=0)
    if classes <= _MOST_CLASSES_WITH_TEXT:
        _write_cells(axes, counts, shares)
    name_columns(axes, class_names)
    marked = [name + "\n(absent)" * (row in absent) for row, name in enumerate(class_names)]
    axes.set_yticks(range(classes), marked)
    axes.set(xlabel="predicted", ylabel="true, each row is 100%")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def length_histogram(lengths: Mapping[str, np.ndarray]) -> "Figure":
    """Plot a histogram of lengths: shares of each split in bins of equal width on a logarithmic axis.

    Args:
        lengths: Number of frames of each utterance [N], 1 or more, by split.
    """
    figure, (axes,) = make_panels("Lengths of utterances")
    edges = _length_edges(np.concatenate(list(lengths.values())))
    for (name, frames), color in zip(lengths.items(), split_colors(lengths), strict=True):
        shares = np.histogram(frames, edges)[0] / len(frames)
        label = f"{name}: {len(frames)} utterances, median {np.median(frames):.0f} frames"
        axes.stairs(shares, edges, color=color, linewidth=1.8, label=label)
    axes.set(xscale="log", xlabel="frames", ylabel="share of the split's utterances")
    axes.margins(y=0.08)
    format_percent(axes)
    _plain_log_ticks(axes)
    add_legend(figure, axes)
    return figure


def scatter(
    truth: np.ndarray,
    predicted: np.ndarray,
    fields: Sequence[str],
    *,
    ccc: Sequence[float | None],
    title: str,
) -> "Figure":
    """Plot predictions against truth, one panel per field; both are equal on the dashed line.

    Args:
        truth: True values [N, K], NaN if a value is not labelled.
        predicted: Predicted values [N, K].
        fields: Names of the K fields.
        ccc: CCC of each field [K], None if nothing is labelled.
        title: Title of the figure.
    """
    marks = ("no labels" if value is None else f"CCC {value:.2f}" for value in ccc)
    titles = [f"{field}: {mark}" for field, mark in zip(fields, marks, strict=True)]
    columns = min(len(fields), 3)
    blank = -len(fields) % columns
    size = (4.2 * columns, 0.5 + 4.5 * (len(fields) + blank) / columns)
    figure, panels = make_panels(*titles, *[""] * blank, size=size, columns=columns)
    for place, axes in enumerate(panels):
        if place >= len(fields):
            axes.remove()
            continue
        known = ~np.isnan(truth[:, place])
        x, y = truth[known, place], predicted[known, place]
        if len(x):
            low, high = min(x.min(), y.min()), max(x.max(), y.max())
            pad = 0.05 * (high - low) or 1.0
            axes.plot(
                [low - pad, high + pad], [low - pad, high + pad], color=FAINT, linestyle="--", linewidth=1.2
            )
            area = float(np.clip(12_000 / len(x), 4, 36))
            axes.scatter(x, y, s=area, color=PALETTE[0], alpha=0.5, linewidths=0)
            axes.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad))
            axes.set_box_aspect(1)  # both axes have the same limits
        axes.set(xlabel=f"true {fields[place]}", ylabel=f"predicted {fields[place]}")
    figure.suptitle(title, fontsize=SIZES["title"], color=INK)
    return figure


def class_shares(counts: Mapping[str, Mapping[str, int]]) -> "Figure":
    """Plot the share of each class in each split, with the majority floor of each split as a line.

    Args:
        counts: Number of utterances by split and class name, with the same classes in each split.
    """
    class_names = list(next(iter(counts.values())))
    bars_in = 1.0 + _BAR_IN * (len(counts) + 1) * len(class_names)
    figure, (axes,) = make_panels("Classes", size=(float(np.clip(bars_in, 6.4, 14)), 4.4))
    width = 0.8 / len(counts)
    for position, (name, color) in enumerate(zip(counts, split_colors(counts), strict=True)):
        values = np.array([counts[name][label] for label in class_names], dtype=float)
        shares = values / max(values.sum(), 1)
        places = np.arange(len(class_names)) + (position - (len(counts) - 1) / 2) * width
        label = f"{name}: {values.sum():.0f} utterances, majority floor {shares.max():.1%} (dashed)"
        bars = axes.bar(places, shares, width * 0.92, color=color, label=label)
        axes.axhline(shares.max(), color=color, linewidth=1.2, linestyle="--", zorder=0)
        if bars_in <= 14:  # else numbers would overlap
            percentages = [f"{share:.0%}" for share in shares]
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # hides the lines behind a number
            axes.bar_label(bars, percentages, padding=2, fontsize=SIZES["note"], color=INK, bbox=paper)
    name_columns(axes, class_names)
    axes.set_ylabel("share of the split's utterances")
    axes.margins(y=0.1)
    format_percent(axes)
    axes.tick_params(axis="x", length=0)
    add_legend(figure, axes)
    return figure


def learning_curves(
    series: Mapping[str, Mapping[int, float]],
    *,
    best_epoch: int | None = None,
    metric: str = "accuracy",
    title: str = "accuracy",
) -> "Figure":
    """Plot loss and another metric against epoch, with a mark at the best epoch.

    Args:
        series: Value by epoch of each metric, such as `train/loss` or `validation/accuracy`; others are ignored.
        best_epoch: Selected epoch, counted as in `series`.
        metric: Metric beside the loss; in percent if it is an accuracy.
        title: Title of the metric.
    """
    from matplotlib.ticker import MaxNLocator

    figure, panels = make_panels("Loss", title[0].upper() + title[1:], size=(8.8, 3.8))
    for axes, quantity in zip(panels, ("loss", metric), strict=True):
        names = [split for split in SPLITS if series.get(f"{split}/{quantity}")]
        for name, color in zip(names, split_colors(names), strict=True):
            epochs, values = zip(*sorted(series[f"{name}/{quantity}"].items()), strict=True)
            marker = "o" if len(epochs) == 1 else ""  # one point makes no line
            axes.plot(epochs, values, color=color, linewidth=1.8, marker=marker, label=name)
        if best_epoch is not None:
            axes.axvline(best_epoch, color=INK, linewidth=1, linestyle=":", label="best epoch")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if metric.endswith("accuracy"):
        format_percent(panels[1])
    add_legend(figure, panels[0])
    return figure


def loss_curve(points: np.ndarray, *, utterances: int) -> "Figure":
    """Plot loss against optimiser step; the training loss is also smoothed.

    Args:
        points: Step, training loss and validation loss [P, 3], in the order of steps.
        utterances: Number of validation utterances that were scored.
    """
    title = f"Loss of training batches, and of {utterances} validation utterances"
    figure, (axes,) = make_panels(title, size=(8.8, 4.4))
    steps, train, validation = points.T
    train_color, validation_color = split_colors(SPLITS[:2])
    window = 2 * (len(points) // _SMOOTHED) + 1
    line: dict[str, Any] = {"marker": "o" if len(points) == 1 else ""}  # one point makes no line
    thin: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.4} if window > 1 else {"linewidth": 1.8}
    axes.plot(steps, train, color=train_color, label="train", **thin, **line)
    if window > 1:
        label = f"train, mean of {window} points"
        axes.plot(steps, _running_mean(train, window), color=train_color, linewidth=1.8, label=label)
    axes.plot(steps, validation, color=validation_color, linewidth=1.8, label="validation", **line)
    axes.set(xlabel="optimiser step", ylabel="loss")
    axes.margins(x=0.01)
    add_legend(figure, axes)
    return figure


def output_space(
    points: np.ndarray,
    classes: np.ndarray,
    class_names: Sequence[str],
    *,
    shares: Sequence[float],
    title: str,
) -> "Figure":
    """Plot the utterances of each class in a plane; or, along a line, the distribution of each class.

    Args:
        points: First two principal components [N, 2].
        classes: True class indices [N].
        class_names: Class names [C].
        shares: Share of the variance that each component explains [2]; 0 for a second one that does not exist.
        title: Title, such as the name of the split; the shares are added.
    """
    explained = ", ".join(f"PC{n} {share:.1%}" for n, share in enumerate(shares, start=1))
    figure, (axes,) = make_panels(f"{title}\nvariance explained: {explained}", size=(7.2, 6.0))
    draw = _draw_plane if np.ptp(points[:, 1]) > 0 else _draw_line
    draw(axes, points, classes, class_names)
    axes.set_xlabel("PC1")
    if len(class_names) <= _MOST_NAMES_BELOW:
        add_legend(figure, axes)
    else:
        figure.legend(loc="outside right center", fontsize=SIZES["tick"], frameon=False)
    return figure


def _scores(counts: np.ndarray) -> str:
    """Format accuracy, and UAR over the classes that occur."""
    support = counts.sum(1)
    if not support.any():
        return "nothing to score"
    recalls = counts.diagonal()[support > 0] / support[support > 0]
    return f"accuracy {counts.trace() / support.sum():.1%}, UAR {recalls.mean():.1%}"


def _write_cells(axes: "Axes", counts: np.ndarray, shares: np.ndarray) -> None:
    """Write count and share into each cell that is not 0."""
    size = SIZES["label"] if len(counts) <= 6 else max(65 / max(len(counts), 8), 5)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count}\n{shares[row, column]:.0%}" if count else "0"
        axes.text(column, row, text, ha="center", va="center", color="black", fontsize=size)


def _draw_plane(axes: "Axes", points: np.ndarray, classes: np.ndarray, class_names: Sequence[str]) -> None:
    """Draw one point per utterance in random order, so that no class hides the others."""
    styles = class_styles(len(class_names))
    order = np.random.default_rng(0).permutation(len(points))
    size = float(np.clip(12_000 / len(points), 4, 36))  # square points: 12 of a thousand utterances
    for marker in dict.fromkeys(style.marker for style in styles):
        mine = [index for index in order if styles[classes[index]].marker == marker]
        colors = [styles[classes[index]].color for index in mine]
        x, y = points[mine, 0], points[mine, 1]
        axes.scatter(x, y, c=colors, s=size, alpha=0.7, linewidths=0, marker=marker)
    for index in np.unique(classes):
        style = {"color": styles[index].color, "marker": styles[index].marker}
        axes.plot([], [], linestyle="", label=class_names[index], **style)
    axes.set_ylabel("PC2")


def _draw_line(axes: "Axes", points: np.ndarray, classes: np.ndarray, class_names: Sequence[str]) -> None:
    """Plot histograms of each class along the first component, if there is no second one."""
    styles = class_styles(len(class_names))
    edges = np.histogram_bin_edges(points[:, 0], _HISTOGRAM_BINS)
    for index in np.unique(classes):
        inside = points[classes == index, 0]
        shares = np.histogram(inside, edges)[0] / len(inside)
        style = {"color": styles[index].color, "linestyle": styles[index].dash, "linewidth": 1.8}
        axes.stairs(shares, edges, label=class_names[index], **style)
    axes.set_ylabel("share of the class's utterances")
    format_percent(axes)


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Compute the mean over an odd number of neighbours; at the ends over those that exist."""
    ones = np.ones(window)
    means: np.ndarray = np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")
    return means


def _length_edges(frames: np.ndarray) -> np.ndarray:
    """Compute bin edges between whole numbers, because finer bins of short lengths would be empty."""
    edges = np.geomspace(frames.min(), frames.max() + 1, _HISTOGRAM_BINS + 1).round()
    return np.unique(edges) - 0.5


def _plain_log_ticks(axes: "Axes") -> None:
    """Set ticks at 1, 2, 5 times powers of ten, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
