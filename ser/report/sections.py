"""Sections of a report: a plot and tables of a task in a split, by the kind of its result."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from ser.report import plots
from ser.runs.tables import format_markdown
from ser.targets.metrics import precision, recall
from ser.targets.value_metrics import MEASURES, measures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Section(Protocol):
    """Tables and a picture of a result."""

    stem: str
    """Stem of the plot's file name."""

    def picture(self, title: str) -> "Figure":
        """Draw the picture."""
        ...

    def blocks(self, split: str, picture: str, metrics: Mapping[str, float]) -> list[str]:
        """Return blocks of Markdown.

        Args:
            split: Name of the split.
            picture: File of the picture.
            metrics: Name within the task -> value, of this split.
        """
        ...


class ClassSection:
    """The confusion matrix, and scores of each class."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.stem = "_".join(["confusion", *[result.name] * bool(result.name)])

    def picture(self, title: str) -> "Figure":
        """Draw the confusion matrix."""
        return plots.confusion_matrix(self.result.counts, self.result.class_names, title)

    def blocks(self, split: str, picture: str, metrics: Mapping[str, float]) -> list[str]:
        """Return both tables and the picture."""
        counts, names, task = self.result.counts, self.result.class_names, self.result.name
        of_task = f" ({task})" if task else ""
        return [
            f"## Classes of {split}{of_task}",
            format_markdown(*class_table(counts, names)),
            "Rows are true, columns predicted:",
            _markdown_confusion(counts, names),
            f"![Confusion matrix of {split}{of_task}]({picture})",
        ]


class ValueSection:
    """Plot of predictions against truth, and scores of each field."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.stem = "_".join(["scatter", *[result.name] * bool(result.name)])

    def picture(self, title: str) -> "Figure":
        """Draw predictions against truth, one panel per field."""
        concordances = [
            values["ccc"] if values else None
            for values in map(self._measures, range(len(self.result.fields)))
        ]
        return plots.scatter(
            self.result.truth, self.result.predicted, self.result.fields, ccc=concordances, title=title
        )

    def blocks(self, split: str, picture: str, metrics: Mapping[str, float]) -> list[str]:
        """Return the table of the fields and the picture."""
        of_task = f" ({self.result.name})" if self.result.name else ""
        return [
            f"## Values of {split}{of_task}",
            format_markdown(*self.table(metrics)),
            "The floor of CCC and PCC is 0: a constant answer agrees with nothing.",
            f"![Prediction against truth of {split}{of_task}]({picture})",
        ]

    def table(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Return header and rows: the scores of each field, and those of an answer without any input.

        Args:
            metrics: Name within the task -> value, of this split.
        """
        rows = []
        for place, field in enumerate(self.result.fields):
            found = self._measures(place)
            cells = [f"{found[name]:.3f}" if found else "-" for name in MEASURES]
            floors = [
                f"{metrics[name]:.3f}" if (name := f"{measure}_floor_{field}") in metrics else "-"
                for measure in ("mse", "mae")
            ]
            labelled = str(int((~np.isnan(self.result.truth[:, place])).sum()))
            rows.append([field, *cells, *floors, labelled])
        header = [
            "",
            "CCC",
            "PCC",
            "MSE",
            "MAE",
            "MSE of the training mean",
            "MAE of the training mean",
            "labelled",
        ]
        return header, rows

    def _measures(self, place: int) -> dict[str, float]:
        """Compute the scores of a field; empty if nothing is labelled."""
        truth, predicted = (
            torch.from_numpy(part[:, place]) for part in (self.result.truth, self.result.predicted)
        )
        known = ~truth.isnan()
        if not known.any():
            return {}
        return {name: float(value) for name, value in measures(truth[known], predicted[known]).items()}


SECTIONS: dict[str, type[Section]] = {"classes": ClassSection, "values": ValueSection}
"""Section of a report by kind of result."""


def section_of(result: Any) -> Section:
    """Return the section of a result."""
    return SECTIONS[result.kind](result)  # type: ignore[call-arg]


def class_table(counts: np.ndarray, class_names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: recall, precision, F1 and support of each class; a dash for a division by zero."""
    matrix = torch.as_tensor(counts)
    f1 = 2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))
    scores = torch.stack([recall(matrix), precision(matrix), f1], 1).tolist()
    rows = [
        [name, *("-" if math.isnan(score) else f"{score:.1%}" for score in triple), str(support)]
        for name, triple, support in zip(class_names, scores, counts.sum(1).tolist(), strict=True)
    ]
    return ["class", "recall", "precision", "F1", "support"], rows


def _markdown_confusion(counts: np.ndarray, class_names: Sequence[str]) -> str:
    rows = [[name, *map(str, row)] for name, row in zip(class_names, counts.tolist(), strict=True)]
    return format_markdown(["", *class_names], rows)
