"""Read predictions_<split>.csv by task: classes with probabilities, and values by field."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ser.comparison import intervals
from ser.comparison.intervals import Interval
from ser.comparison.scored import Scored
from ser.files import read_text
from ser.runs.predictions_file import class_columns
from ser.targets.value_metrics import measures

_LEAST_CLUSTERS = 2


@dataclass(frozen=True)
class ClassAnswers:
    """Answers of a task with classes to the N utterances that have a label and an answer.

    Args:
        task: Name of the task; empty where there is one alone.
        ids: Utterance ids.
        speakers: Speakers; None where one is unknown.
        classes: Names of the C classes.
        labels: Class indices [N].
        probabilities: Probabilities [N, C].
    """

    task: str
    ids: Sequence[str]
    speakers: Sequence[str | None]
    classes: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Return the most likely class [N]."""
        return np.asarray(self.probabilities.argmax(1))

    @property
    def correct(self) -> np.ndarray:
        """Return whether each answer is right [N] bool."""
        return np.asarray(self.predicted == self.labels)

    def scores(self, rows: np.ndarray) -> dict[str, float]:
        """Return accuracy and UAR of some utterances."""
        right, labels = self.correct[rows], self.labels[rows]
        return {
            "accuracy": float(right.mean()),
            "UAR": float(np.mean([right[labels == each].mean() for each in np.unique(labels)])),
        }

    def intervals(self) -> dict[str, Interval]:
        """Return the 95% intervals of accuracy and UAR over speakers, or utterances if speakers are unknown."""
        clusters = _clusters(self.speakers)
        if not len(clusters) or clusters.max() + 1 < _LEAST_CLUSTERS:
            return {}
        labels = np.unique(self.labels, return_inverse=True)[1]
        scored = Scored(self.correct[None].astype(float), labels, clusters, None not in self.speakers)
        found = {name: interval for name, (interval,) in scored.intervals().items()}
        return {name: interval for name, interval in found.items() if interval.low < interval.high}


@dataclass(frozen=True)
class ValueAnswers:
    """Answers in one field of values to the N utterances, or steps, that have a label in it.

    Args:
        field: Name of the field.
        ids: Utterance ids, that of its utterance for each step.
        speakers: Speakers; None where one is unknown.
        truth: Labels [N].
        predicted: Predictions [N].
        steps: Number of each step in its utterance [N]; zeros for utterances.
    """

    field: str
    ids: Sequence[str]
    speakers: Sequence[str | None]
    truth: np.ndarray
    predicted: np.ndarray
    steps: np.ndarray

    def scores(self, rows: np.ndarray) -> dict[str, float]:
        """Return CCC and mean absolute error of some of them."""
        found = measures(torch.from_numpy(self.truth[rows]), torch.from_numpy(self.predicted[rows]))
        return {"CCC": float(found["ccc"]), "MAE": float(found["mae"])}

    def interval(self) -> Interval | None:
        """Return the 95% interval of the CCC over speakers; None for fewer than two, unknown ones, or no CCC."""
        if None in self.speakers or len({*self.speakers}) < _LEAST_CLUSTERS:
            return None
        clusters = _clusters(self.speakers)
        without = np.array(
            [self.scores(np.flatnonzero(clusters != each))["CCC"] for each in range(int(clusters.max()) + 1)]
        )
        whole = self.scores(np.arange(len(self.truth)))["CCC"]
        if np.isnan([whole, *without]).any():
            return None
        return intervals.difference_interval(whole, float(intervals.standard_error(without)), len(without))

    def mean_over_steps(self) -> "ValueAnswers":
        """Return the mean label and the mean prediction of each utterance."""
        ids, firsts, groups = np.unique(np.array(self.ids), return_index=True, return_inverse=True)
        counts = np.bincount(groups)
        truth, predicted = (np.bincount(groups, values) / counts for values in (self.truth, self.predicted))
        speakers = [self.speakers[place] for place in firsts.tolist()]
        return ValueAnswers(self.field, ids.tolist(), speakers, truth, predicted, np.zeros(len(ids)))


@dataclass(frozen=True)
class Answers:
    """Answers to a split.

    Args:
        classes: Answers of each task with classes.
        values: Answers of each field of values.
        is_over_time: Whether steps have labels, and not utterances.
        unanswered: Number of utterances with a label of the first task but without an answer.
    """

    classes: Sequence[ClassAnswers]
    values: Sequence[ValueAnswers]
    is_over_time: bool
    unanswered: int = 0

    @property
    def main(self) -> ClassAnswers | ValueAnswers | None:
        """Return the answers of the first task; None without any."""
        found: list[ClassAnswers | ValueAnswers] = [*self.classes, *self.values]
        return found[0] if found else None


def read_answers(path: Path) -> Answers:
    """Read the predictions of a split; those without a label or an answer are left out.

    Raises:
        DataError: The file cannot be read.
    """
    return sort_answers([*csv.DictReader(io.StringIO(read_text(path), newline=""))])


def sort_answers(rows: Sequence[Mapping[str, str]]) -> Answers:
    """Sort the rows of a table of predictions by task."""
    columns = [*rows[0]] if rows else []
    of_classes = class_columns(columns)
    classes: list[ClassAnswers] = []
    values: list[ValueAnswers] = []
    unanswered = 0
    for label in columns:
        field = label.removeprefix("label").removeprefix("_")
        answer = f"prediction_{field}".removesuffix("_")
        if not label.startswith("label") or answer not in columns:
            continue
        known = [row for row in rows if row[label] and row[answer]]
        if not classes and not values:
            unanswered = sum(1 for row in rows if row[label] and not row[answer])
        if own := of_classes.get(field):
            classes.append(_read_classes(field, known, label, own))
        else:
            values.append(_read_values(field, known, (label, answer)))
    classes = [each for each in classes if each.ids]
    values = [each for each in values if each.ids and np.isfinite(each.truth).all()]
    return Answers(classes, values, is_over_time="step" in columns, unanswered=unanswered)


def _read_classes(
    task: str, rows: Sequence[Mapping[str, str]], label: str, columns: Mapping[str, str]
) -> ClassAnswers:
    """Read the answers of a task whose probabilities are in a column for each class."""
    index = {name: place for place, name in enumerate(columns)}
    rows = [row for row in rows if row[label] in index]
    probabilities = [[float(row[column]) for column in columns.values()] for row in rows]
    return ClassAnswers(
        task,
        ids=[row["id"] for row in rows],
        speakers=[row["speaker"] or None for row in rows],
        classes=[*columns],
        labels=np.array([index[row[label]] for row in rows], dtype=int),
        probabilities=np.array(probabilities).reshape(-1, len(columns)),
    )


def _read_values(field: str, rows: Sequence[Mapping[str, str]], columns: tuple[str, str]) -> ValueAnswers:
    """Read the answers of a field from the columns of its label and its prediction."""
    truth, predicted = (_numbers(row[name] for row in rows) for name in columns)
    return ValueAnswers(
        field,
        ids=[row["id"] for row in rows],
        speakers=[row["speaker"] or None for row in rows],
        truth=truth,
        predicted=predicted,
        steps=_numbers(row.get("step", "0") for row in rows),
    )


def _numbers(cells: Iterable[str]) -> np.ndarray:
    """Convert cells to numbers [N]; NaN for text."""
    return np.array([_number(cell) for cell in cells])


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _clusters(speakers: Sequence[str | None]) -> np.ndarray:
    """Return the speaker of each utterance [N], 0..S-1; its own number if a speaker is unknown."""
    if None in speakers:
        return np.arange(len(speakers))
    return np.unique(np.array(speakers), return_inverse=True)[1]
