"""Embeddings of a split in two dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ser.html_report.answers import ClassAnswers, ValueAnswers
from ser.html_report.elements import Chart, Charts, Mark, Section
from ser.html_report.svg import Axis, Plot, shape_of, thin

_MOST_POINTS = 800  # 80 kB of SVG
_RADIUS, _OPACITY = 3.2, 0.8
_LEVELS = 5  # colours of values
_LEAST_VARIANCE = 1e-12  # of a component, by that of the first: less is rounding of the products


@dataclass(frozen=True)
class Plane:
    """Embeddings of N utterances, by their first two principal components.

    Args:
        ids: Utterance ids.
        points: Components [N, 2].
        shares: Share of the variance that each explains [2].
        total: Number of utterances of the split; more than N if only some were kept.
    """

    ids: Sequence[str]
    points: np.ndarray
    shares: Sequence[float]
    total: int


def project(ids: Sequence[str], embeddings: Tensor, *, total: int) -> Plane:
    """Project embeddings [N, D] on their first two principal components."""
    points, shares = principal_components(embeddings)
    return Plane(ids, points.numpy(), shares, total)


def principal_components(points: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """Compute the first two principal components of points, and the share of the variance that each explains.

    They are eigenvectors of the products of all columns, or of all points if these are fewer: of points [800, 4096], in
    1.1 s on one thread, where their singular values take 16 s. The sign of a component is arbitrary: here, the first
    of its large loadings is positive. Missing components, of points on a line or of fewer than three points, are zeros.

    Args:
        points: Points [N, K].

    Returns:
        Projected points [N, 2] float64, and two shares in 0..1.
    """
    centred = points.double() - points.double().mean(0)
    few_points = len(centred) < centred.shape[1]
    variances, vectors = torch.linalg.eigh(centred @ centred.T if few_points else centred.T @ centred)
    variances, vectors = variances.flip(0)[:2], vectors.flip(1)[:, :2]
    axes = functional.normalize(centred.T @ vectors, dim=0) if few_points else vectors
    axes = axes * (variances > _LEAST_VARIANCE * variances[0])
    sizes = axes.abs()
    large = sizes > 0.9 * sizes.amax(0)  # otherwise rounding would choose among nearly equal loadings
    axes = axes * axes.gather(0, large.int().argmax(0, keepdim=True)).sign()
    projected = functional.pad(centred @ axes, (0, 2))[:, :2]
    shares = (projected.square().sum(0) / centred.square().sum().clamp_min(1e-300)).tolist()
    return projected, (shares[0], shares[1])


def embedding_section(plane: Plane | None, answers: ClassAnswers | ValueAnswers, unit: str) -> list[Section]:
    """Return the section with the embeddings by label and by correctness; none without embeddings.

    Args:
        plane: The embeddings.
        answers: Answers of the main task.
        unit: What is scored, such as `utterance`.
    """
    if plane is None:
        return []
    place = {name: number for number, name in enumerate(answers.ids)}
    rows = np.array([(number, place[name]) for number, name in enumerate(plane.ids) if name in place])
    if len(rows) < 3:
        return []
    rows = thin(rows, _MOST_POINTS)
    rows = np.random.default_rng(0).permutation(rows)  # so that no class hides the others
    explained = ", ".join(
        f"component {number} {share:.0%}" for number, share in enumerate(plane.shares, start=1)
    )
    some = f"{len(rows):,} of {plane.total:,} utterances, " if len(rows) < plane.total else ""
    mean = " The embedding of an utterance is the mean over its steps." * (unit == "frame")
    draw = _draw_classes if isinstance(answers, ClassAnswers) else _draw_values
    return [
        Section(
            "Embeddings",
            [Charts(draw(plane, answers, rows))],  # type: ignore[arg-type]
            f"What the model's head reads, in the two directions of the largest variance: {some}{explained}.{mean} "
            "Points that lie apart differ; points that lie together may differ in other directions.",
        )
    ]


def _draw_classes(plane: Plane, answers: ClassAnswers, rows: np.ndarray) -> list[Chart]:
    by_label, by_right = _plot(plane), _plot(plane)
    points, labels, right = plane.points[rows[:, 0]], answers.labels[rows[:, 1]], answers.correct[rows[:, 1]]
    titles = [
        f"{answers.ids[row]}: {answers.classes[answers.labels[row]]}, "
        f"predicted {answers.classes[answers.predicted[row]]}"
        for row in rows[:, 1]
    ]
    shown = [index for index in range(len(answers.classes)) if (labels == index).any()]
    for index in shown:
        _add(by_label, points, labels == index, index, shape_of(index), titles)
    for is_right, color, shape in ((True, "good", "circle"), (False, "bad", "cross")):
        _add(by_right, points, right == is_right, color, shape, titles)
    legend = [Mark(answers.classes[index], index, shape_of(index)) for index in shown]
    outcome = [
        Mark(f"right: {right.sum():,}", "good", "circle"),
        Mark(f"wrong: {(~right).sum():,}", "bad", "cross"),
    ]
    return [
        Chart("By label", by_label.render("Embeddings by label"), legend),
        Chart("By correctness", by_right.render("Embeddings by correctness"), outcome),
    ]


def _draw_values(plane: Plane, answers: ValueAnswers, rows: np.ndarray) -> list[Chart]:
    """Draw points by their label and by their error, each in five groups of equal size."""
    points, truth = plane.points[rows[:, 0]], answers.truth[rows[:, 1]]
    errors = np.abs(answers.predicted[rows[:, 1]] - truth)
    titles = [
        f"{answers.ids[row]}: {answers.truth[row]:.3g}, predicted {answers.predicted[row]:.3g}"
        for row in rows[:, 1]
    ]
    charts = []
    for title, values in ((f"By {answers.field}", truth), ("By error", errors)):
        plot, legend = _plot(plane), []
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _LEVELS + 1)))
        groups = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
        for group in np.unique(groups).tolist():
            color = f"s{group}"
            _add(plot, points, groups == group, color, "circle", titles)
            ends = edges[group], edges[min(group + 1, len(edges) - 1)]
            legend.append(Mark(f"{ends[0]:.2g} to {ends[1]:.2g}", color, "circle"))
        charts.append(Chart(title, plot.render(f"Embeddings {title.lower()}"), legend))
    return charts


def _plot(plane: Plane) -> Plot:
    axes = [Axis.around(f"component {number + 1}", plane.points[:, number].tolist()) for number in range(2)]
    return Plot(axes[0], axes[1], height=360)


def _add(
    plot: Plot, points: np.ndarray, chosen: np.ndarray, color: int | str, shape: str, titles: Sequence[str]
) -> None:
    texts = [title for title, is_chosen in zip(titles, chosen, strict=True) if is_chosen]
    pairs = [(float(x), float(y)) for x, y in points[chosen]]
    plot.points(pairs, color, shape=shape, titles=texts, radius=_RADIUS, opacity=_OPACITY)
