"""Scores over a whole split: the base class of all, and those of classes, from one confusion matrix.

Rows are true classes, columns predicted ones. Everything is a function of the matrix, so an update costs one
count, nothing is a mean of batch values, and ranks are merged by adding matrices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric


class Scores(Metric):
    """Base class of metrics over a whole split: numbers, and what a report shows of them."""

    full_state_update = False
    names: tuple[str, ...] = ()
    """Numbers that `compute` always gives."""
    headline: str
    """The one that sums up the others."""

    def compute(self) -> dict[str, Tensor]:
        """Return numbers by name, and tensors with dimensions that `results` reads."""
        raise NotImplementedError

    def results(self, values: Mapping[str, Tensor]) -> "list[Result]":
        """Return what a report shows, as tables and pictures, of the values that were computed."""
        return []


class Result(Protocol):
    """What a report shows of a task in a split."""

    @property
    def kind(self) -> str:
        """Which section of a report shows it, a key of `ser.report.sections.SECTIONS`."""
        ...

    @property
    def name(self) -> str:
        """Of the task; empty where there is one alone."""
        ...

    @property
    def headline(self) -> str:
        """Metric that sums it up."""
        ...

    @property
    def title(self) -> str:
        """The headline for people."""
        ...

    @property
    def floor(self) -> str:
        """Metric that an answer reaches which looks at no input."""
        ...

    @property
    def floor_title(self) -> str:
        """The floor for people."""
        ...

    @property
    def count(self) -> int:
        """Answers that were scored."""
        ...


def numbers(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Select the numbers among computed values."""
    return {name: float(value) for name, value in values.items() if value.ndim == 0}


@dataclass(frozen=True)
class Confusion:
    """What was taken for what in a split.

    Args:
        counts: [C, C], rows true, columns predicted.
        class_names: [C], by class index.
        name: of the task; empty where there is one alone.
    """

    counts: np.ndarray
    class_names: tuple[str, ...]
    name: str = ""
    kind: str = "classes"
    headline: str = "accuracy"
    title: str = "accuracy"
    floor: str = "majority_floor"
    floor_title: str = "majority floor"

    @property
    def count(self) -> int:
        """Answers that were scored."""
        return int(self.counts.sum())


class ClassificationScores(Scores):
    """Accuracy, UAR, macro-F1, the majority floor, and the recall of each class.

    Args:
        class_names: [C] by class index.
    """

    headline = "accuracy"
    names: tuple[str, ...] = ("accuracy", "uar", "macro_f1", "majority_floor")
    """What `compute` gives beside the matrix and the recalls."""
    confusion: Tensor

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        self.num_classes = len(class_names)
        empty = torch.zeros(self.num_classes, self.num_classes, dtype=torch.long)
        self.add_state("confusion", empty, dist_reduce_fx="sum")

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Count scores [B, C] against labels [B]."""
        cells = labels * self.num_classes + scores.argmax(-1)
        self.confusion += torch.bincount(cells, minlength=self.num_classes**2).view_as(self.confusion)

    def compute(self) -> dict[str, Tensor]:
        """Name -> value in 0..1, and the matrix itself as `confusion` [C, C]."""
        return {
            "confusion": self.confusion.clone(),
            "accuracy": accuracy(self.confusion),
            "uar": uar(self.confusion),
            "macro_f1": macro_f1(self.confusion),
            "majority_floor": majority_floor(self.confusion),
        } | {
            f"recall_{name}": value
            for name, value in zip(self.class_names, recall(self.confusion), strict=True)
            if not value.isnan()
        }

    def results(self, values: Mapping[str, Tensor]) -> list[Result]:
        """Return the confusion matrix."""
        return [Confusion(values["confusion"].cpu().numpy(), self.class_names)]


class QuadrantScores(ClassificationScores):
    """The same for the challenge's four classes, with the accuracy of each bit."""

    names = (*ClassificationScores.names, "valence_accuracy", "activation_accuracy")

    def compute(self) -> dict[str, Tensor]:
        """Name -> value in 0..1; `accuracy` has both bits right."""
        by_bits = self.confusion.view(2, 2, 2, 2)  # true valence, true activation, predicted ones
        return super().compute() | {
            "valence_accuracy": accuracy(by_bits.sum((1, 3))),
            "activation_accuracy": accuracy(by_bits.sum((0, 2))),
        }


def accuracy(confusion: Tensor) -> Tensor:
    """Share of utterances on the diagonal of a confusion matrix [C, C]; the field's WA."""
    return confusion.trace() / confusion.sum()


def recall(confusion: Tensor) -> Tensor:
    """[C], the share of each true class that was found; NaN where a class has no utterance."""
    return confusion.diagonal() / confusion.sum(1)


def precision(confusion: Tensor) -> Tensor:
    """[C], the share of each predicted class that was right; NaN where a class was never predicted."""
    return confusion.diagonal() / confusion.sum(0)


def uar(confusion: Tensor) -> Tensor:
    """Unweighted average recall: over the classes that have utterances, as scikit-learn's balanced accuracy.

    torchmetrics' macro recall counts a class that is absent but was predicted as 0, which is another number.
    """
    return recall(confusion).nanmean()


def macro_f1(confusion: Tensor) -> Tensor:
    """F1 averaged over the classes that occur among labels or predictions."""
    support, predicted = confusion.sum(1), confusion.sum(0)
    return (2 * confusion.diagonal() / (support + predicted)).nanmean()


def majority_floor(confusion: Tensor) -> Tensor:
    """Accuracy of always answering the most frequent class of this split."""
    return confusion.sum(1).max() / confusion.sum()
