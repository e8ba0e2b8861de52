"""What a report shows of a task in a split: a picture and tables, by the kind of its result."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from ser.data.summary import markdown_table
from ser.report import plots
from ser.targets.metrics import precision, recall

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Section(Protocol):
    """Tables and a picture of a result."""

    stem: str
    """Of the picture's file name."""

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
            _markdown_classes(counts, names),
            "Rows are true, columns predicted:",
            _markdown_confusion(counts, names),
            f"![Confusion matrix of {split}{of_task}]({picture})",
        ]


SECTIONS: dict[str, type[Section]] = {"classes": ClassSection}
"""Kind of a result -> what a report shows of it."""


def section_of(result: Any) -> Section:
    """Return what a report shows of a result."""
    return SECTIONS[result.kind](result)  # type: ignore[call-arg]


def _markdown_classes(counts: np.ndarray, class_names: Sequence[str]) -> str:
    """Recall, precision, F1 and support of each class; a dash where nothing can be divided by."""
    matrix = torch.as_tensor(counts)
    f1 = 2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))
    scores = torch.stack([recall(matrix), precision(matrix), f1], 1).tolist()
    rows = [
        [name, *("-" if math.isnan(score) else f"{score:.1%}" for score in triple), str(support)]
        for name, triple, support in zip(class_names, scores, counts.sum(1).tolist(), strict=True)
    ]
    return markdown_table(["class", "recall", "precision", "F1", "support"], rows)


def _markdown_confusion(counts: np.ndarray, class_names: Sequence[str]) -> str:
    rows = [[name, *map(str, row)] for name, row in zip(class_names, counts.tolist(), strict=True)]
    return markdown_table(["", *class_names], rows)
