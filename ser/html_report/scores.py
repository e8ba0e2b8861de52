"""Sections about scores: intervals, confusion matrices, predictions against truth, groups of utterances."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ser.comparison.intervals import Interval
from ser.html_report.answers import Answers, ClassAnswers, ValueAnswers
from ser.html_report.elements import Cell, Chart, Charts, Element, Range, Section, Share, Table
from ser.html_report.svg import Axis, Plot, thin
from ser.report.facts import RunReport
from ser.report.sections import ValueSection, class_table

MOST_ROWS = 30
"""Most rows of a table of groups; the others are counted."""
_MOST_CLASSES = 25  # of a confusion matrix; of more classes, a list of the most frequent confusions is shown
_MOST_CONFUSIONS = 30
_MOST_POINTS = 600
_LEAST = 10  # utterances of a group of lengths
_FIFTHS = 5
_SHARES = ("0%", "25%", "50%", "75%", "100%")


def found_intervals(answers: Answers) -> dict[str, Interval]:
    """Return the intervals over speakers by the names of scores within a split, such as `uar` or `ccc_arousal`."""
    found: dict[str, Interval] = {}
    for task in answers.classes:
        prefix = f"{task.task}/" if task.task else ""
        found |= {f"{prefix}{name}": interval for name, interval in task.intervals().items()}
    for field in answers.values:
        if interval := field.interval():
            found[f"ccc_{field.field}"] = interval
    if len(answers.values) == 1 and f"ccc_{answers.values[0].field}" in found:
        found["ccc"] = found[f"ccc_{answers.values[0].field}"]
    return found


def intervals_of(report: RunReport, answers: Answers) -> dict[str, Interval]:
    """Return the intervals by the names of the metrics of the headline split, such as `emotion/uar`.

    Answers of a model of frames are those to whole utterances, so their intervals are those of `file_accuracy` and
    `file_uar`. There are none if some have no answer, which counts as wrong in these metrics.

    Args:
        report: Content of the report.
        answers: Answers to its headline split.
    """
    found = found_intervals(answers)
    if answers_whole_utterances(report):
        return {} if answers.unanswered else {f"file_{name}": interval for name, interval in found.items()}
    for result in report.headline_results:
        fields: Sequence[str] = getattr(result, "fields", ())
        if result.name and len(fields) == 1 and f"ccc_{fields[0]}" in found:
            found[f"{result.name}/ccc"] = found[f"ccc_{fields[0]}"]
    return found


def answers_whole_utterances(report: RunReport) -> bool:
    """Return whether scores are those of frames, and the answers in a table of predictions those of utterances."""
    return report.unit == "frame" and report.labelled_at == "utterance"


def result_section(result: Any, split: str, metrics: Mapping[str, float]) -> Section:
    """Return the section of a result: the confusion of classes, or predictions of values against truth.

    Args:
        result: Result of a task in a split.
        split: Name of the split.
        metrics: Name within the task -> value, of this split.
    """
    title = f"{split} ({result.name})" if result.name else split
    if result.kind == "classes":
        return Section(f"Classes of {title}", confusion(result.counts, result.class_names, title))
    header, rows = ValueSection(result).table(metrics)
    return Section(
        f"Values of {title}", [Table(f"Scores of each field of {title}", header, rows), scatter(result)]
    )


def confusion(counts: np.ndarray, names: Sequence[str], title: str) -> list[Element]:
    """Return the confusion matrix as a table, and the scores of each class."""
    head, rows = class_table(counts, names)
    scores = Table(f"Classes of {title}", head, [_with_bars(row) for row in rows])
    if len(names) > _MOST_CLASSES:
        return [scores, _frequent_confusions(counts, names)]
    totals = np.maximum(counts.sum(1), 1)
    cells: list[list[Cell]] = [
        [name, *(Share(str(count), count / total, "heat") for count in row)]
        for name, row, total in zip(names, counts.tolist(), totals.tolist(), strict=True)
    ]
    matrix = Table(
        f"Confusion of {title}: rows are true classes, columns predicted ones; the colour is the share of the row",
        ["true \\ predicted", *names],
        cells,
        is_matrix=True,
    )
    return [matrix, scores]


def _with_bars(row: Sequence[str]) -> list[Cell]:
    """Draw a bar behind each percentage of a row."""
    name, *cells, count = row
    return [
        name,
        *(Share(cell, float(cell[:-1]) / 100) if cell.endswith("%") else cell for cell in cells),
        count,
    ]


def _frequent_confusions(counts: np.ndarray, names: Sequence[str]) -> Table:
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = [divmod(place, len(counts)) for place in order.tolist()]
    rows = [
        [names[true], names[taken], str(wrong[true, taken])] for true, taken in pairs if wrong[true, taken]
    ]
    return Table(
        f"The most frequent confusions of {len(names)} classes", ["true", "predicted", "utterances"], rows
    )


def scatter(result: Any) -> Charts:
    """Return predictions against truth, a chart for each field."""
    charts = []
    for place, field in enumerate(result.fields):
        known = ~np.isnan(result.truth[:, place])
        pairs = np.stack([result.truth[known, place], result.predicted[known, place]], 1)
        if not len(pairs):
            continue
        shown = thin(pairs, _MOST_POINTS)
        axes = [Axis.around(f"{name} {field}", pairs.ravel().tolist()) for name in ("true", "predicted")]
        plot = Plot(axes[0], axes[1], height=360)
        plot.line([(axes[0].low, axes[1].low), (axes[0].high, axes[1].high)], "faint", dash=True)
        plot.points([*map(tuple, shown.tolist())], 0, opacity=0.6, radius=2.6)
        some = (
            f"{len(shown):,} of {len(pairs):,} answers"
            if len(shown) < len(pairs)
            else f"{len(pairs):,} answers"
        )
        charts.append(
            Chart(
                field,
                plot.render(f"Predictions of {field} against truth"),
                note=f"{some}; on the line, both are equal.",
            )
        )
    return Charts(charts)


def group_sections(
    answers: Answers, seconds: Callable[[str], float] | None, *, unit: str = "utterances"
) -> list[Section]:
    """Return the scores by speaker and by length of the main task.

    Args:
        answers: Answers to the split.
        seconds: Returns the duration of an utterance in s; None if it is unknown.
        unit: What has an answer, where that is not a step.
    """
    unit = "steps" if answers.is_over_time else unit
    tasks: list[ClassAnswers | ValueAnswers] = [*answers.classes[:1], *answers.values]
    by_speaker = [table for task in tasks if (table := _by_speaker(task, unit))]
    by_length = [
        table
        for task in tasks
        if seconds and not answers.is_over_time and (table := _by_length(task, seconds, unit))
    ]
    return [Section("By speaker", by_speaker), Section("By length", by_length)]


def _name(task: ClassAnswers | ValueAnswers) -> str:
    name = task.task if isinstance(task, ClassAnswers) else task.field
    return f" of {name}" if name else ""


def _by_speaker(task: ClassAnswers | ValueAnswers, unit: str) -> Table | None:
    """Return the scores of each speaker, the lowest first; None for fewer than two, or unknown ones."""
    if None in task.speakers or len({*task.speakers}) < 2:
        return None
    speakers = np.array([*map(str, task.speakers)])
    groups = {name: np.flatnonzero(speakers == name) for name in np.unique(speakers).tolist()}
    scored = [(task.scores(rows), name, rows) for name, rows in groups.items()]
    scored.sort(key=lambda each: next(iter(each[0].values())))
    rows = [[name, *_cells(scores), f"{len(places):,}"] for scores, name, places in scored[:MOST_ROWS]]
    more = len(scored) - MOST_ROWS
    rest = f"; {more} speakers with higher scores are left out" if more > 0 else ""
    head = ["speaker", *scored[0][0], unit]
    return Table(f"Scores{_name(task)} by speaker, the lowest first{rest}", head, rows)


def _by_length(task: ClassAnswers | ValueAnswers, seconds: Callable[[str], float], unit: str) -> Table | None:
    """Return the scores of fifths of the utterances by length; None if all are equally long, or there are few."""
    lengths = np.array([seconds(name) for name in task.ids])
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, _FIFTHS + 1)).round(3))
    if len(edges) < 3 or len(lengths) < _LEAST * _FIFTHS:
        return None
    groups = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, len(edges) - 2)
    rows: list[list[Cell]] = []
    for place in np.unique(groups).tolist():
        own = np.flatnonzero(groups == place)
        rows.append(
            [f"{edges[place]:.2f} to {edges[place + 1]:.2f} s", *_cells(task.scores(own)), f"{len(own):,}"]
        )
    head = ["length", *task.scores(np.arange(len(lengths))), unit]
    return Table(f"Scores{_name(task)} by length", head, rows)


def _cells(scores: Mapping[str, float]) -> list[Cell]:
    """Format scores: shares as percentages with a bar, others as numbers."""
    return [
        Share(f"{value:.1%}", value) if name in ("accuracy", "UAR") else f"{value:.3f}"
        for name, value in scores.items()
    ]


def score_cell(text: str, value: float | None, interval: Interval | None, floor: float | None) -> Cell:
    """Return a score of 0..1 as a cell that draws it with its interval and floor; others as text."""
    if value is None or not 0 <= value <= 1:
        return text
    low, high = interval or (None, None)
    return Range(text, value, low, high, floor if floor is None or 0 <= floor <= 1 else None)
