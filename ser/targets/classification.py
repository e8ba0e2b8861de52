"""What is predicted: how labels become tensors, logits become scores, and scores become an answer.

Everything in which one job differs from another is here, so that the task has no case distinctions.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from ser.batch import Batch
from ser.errors import ConfigError, DataError
from ser.names import normalize_name
from ser.targets.metrics import ClassificationScores, QuadrantScores

QUADRANTS = ("sadness", "anger", "pleasure", "joy")
"""Class names by index 2 * valence + activation. Activation is the challenge's word for arousal."""


@dataclass(frozen=True)
class View:
    """One categorical question put to the logits; the loss of a target is the weighted sum over its views.

    Args:
        name: short and unique within the target.
        logits: [B, C].
        labels: [B] int64, 0..C-1.
        weight: its share of the loss.
    """

    name: str
    logits: Tensor
    labels: Tensor
    weight: float = 1.0


class Target(Protocol):
    """The interface of everything that can be predicted, for an utterance or for each of its frames."""

    out_dim: int
    """Logits the head must give."""
    label_names: tuple[str, ...]
    """Fields of a manifest this target reads and answers with."""
    class_names: tuple[str, ...]
    """Names of the classes that scores and pictures are about."""
    logit_names: tuple[str, ...]
    """Name of each logit, out_dim of them: heads of other targets are compared by it."""
    monitor: str
    """Metric by which a checkpoint is chosen, larger is better."""

    def encode(self, labels: np.ndarray) -> Tensor:
        """Labels [N, K] in the order of `label_names` -> class index [N] int64, -1 for what is no class."""
        ...

    def views(self, logits: Tensor, labels: Tensor) -> list[View]:
        """Logits [B, out_dim] and class indices [B] -> the questions that the loss sums."""
        ...

    def scores(self, logits: Tensor) -> Tensor:
        """Logits [B, out_dim] -> probabilities [B, C] over `class_names`."""
        ...

    def decode(self, classes: Tensor) -> list[dict[str, Any]]:
        """Class indices [B] -> the answer in the label fields, plain numbers or names."""
        ...

    def metrics(self) -> Metric:
        """A metric with `update(scores [B, C], labels [B])` whose `compute()` is a dict of floats."""
        ...

    def learnt(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of a model's logits for a batch those that the loss is of, [R, out_dim], and their class indices [R]."""
        ...

    def scored(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Probabilities [R, C] of what metrics count, and their class indices [R]."""
        ...

    def decided(self, logits: Tensor, batch: Batch) -> Tensor:
        """Probabilities [B, C] of whole utterances; NaN for one that nothing can be said of."""
        ...

    def counts(self, classes: Tensor, frames: Tensor, spoken: Tensor) -> Mapping[str, Tensor]:
        """View name -> how often each class is learnt [C].

        Args:
            classes: [N] class index of each utterance of the training split.
            frames: [N] of each.
            spoken: [N] those of speech.
        """
        ...


class OfUtterances(ABC):
    """What targets have in common that give one answer an utterance."""

    out_dim: int

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """Logits [B, out_dim] -> probabilities [B, C]."""

    @abstractmethod
    def views(self, logits: Tensor, labels: Tensor) -> list[View]:
        """Logits [B, out_dim] and class indices [B] -> questions."""

    def learnt(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """All of them."""
        labels: Any = batch.targets
        return logits, labels

    def scored(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """All of them."""
        labels: Any = batch.targets
        return self.scores(logits), labels

    def decided(self, logits: Tensor, batch: Batch) -> Tensor:
        """The probabilities as they are."""
        return self.scores(logits)

    def counts(self, classes: Tensor, frames: Tensor, spoken: Tensor) -> Mapping[str, Tensor]:
        """Utterances of each class, whatever their lengths."""
        views = self.views(torch.zeros(len(classes), self.out_dim), classes)
        return {view.name: torch.bincount(view.labels, minlength=view.logits.shape[-1]) for view in views}


class Classes(OfUtterances):
    """One of several named classes, such as an emotion or a language.

    Args:
        class_names: C names, by class index; numbers are read as text, utterances with another label are left out.
            None in a config, which is completed from the data: all labels, in alphabetical order.
        field: the label field; None in a config likewise: the only one that the data has.

    Raises:
        ConfigError: there are less than two names, or one occurs twice.
    """

    monitor: ClassVar[str] = "accuracy"

    def __init__(self, class_names: Sequence[str | float] | None = None, field: str | None = None) -> None:
        names = tuple(normalize_name(str(name)) for name in class_names or ())
        if field is None or not 1 < len(names) == len({*names}):
            raise ConfigError(
                f"target.class_names={class_names}, target.field={field}: expected a field and two names or more, each "
                "once. Give others, or null for those of the data."
            )
        self.class_names = names
        self.label_names = (normalize_name(field),)
        self.out_dim = len(names)
        self.logit_names: tuple[str, ...] = names

    def encode(self, labels: np.ndarray) -> Tensor:
        """Names [N, 1] -> class index [N], -1 for names that are no class."""
        index = {name: number for number, name in enumerate(self.class_names)}
        names = (normalize_name(str(name)) for name in labels[:, 0])
        return torch.tensor([index.get(name, -1) for name in names], dtype=torch.int64)

    def views(self, logits: Tensor, labels: Tensor) -> list[View]:
        """One question: which class."""
        return [View(self.label_names[0], logits, labels)]

    def scores(self, logits: Tensor) -> Tensor:
        """[B, C] -> [B, C]."""
        return logits.softmax(-1)

    def decode(self, classes: Tensor) -> list[dict[str, Any]]:
        """[B] -> `{"emotion": "anger"}` each, after the field."""
        return [{self.label_names[0]: self.class_names[index]} for index in classes.tolist()]

    def metrics(self) -> Metric:
        """Accuracy, UAR and what goes with them."""
        return ClassificationScores(self.class_names)


class Binary(Classes):
    """One of two named classes, from one logit: above 0 it is the second.

    The loss of a logit z is that of the pair (0, z), so cross-entropy becomes binary cross-entropy.

    Args:
        class_names: two names, as in Classes.
        field: as in Classes.

    Raises:
        ConfigError: there are not two names.
    """

    def __init__(self, class_names: Sequence[str | float] | None = None, field: str | None = None) -> None:
        super().__init__(class_names, field)
        if len(self.class_names) != 2:
            raise ConfigError(
                f"target.class_names={[*self.class_names]}: one logit tells two classes apart, not "
                f"{len(self.class_names)}. Name two of them, such as [en,es], or use target=classes."
            )
        self.out_dim = 1
        self.logit_names = (logit_name(*self.class_names),)

    def views(self, logits: Tensor, labels: Tensor) -> list[View]:
        """One question: whether it is the second class."""
        return [View(self.label_names[0], functional.pad(logits, (1, 0)), labels)]

    def scores(self, logits: Tensor) -> Tensor:
        """[B, 1] -> [B, 2]."""
        return functional.pad(logits, (1, 0)).softmax(-1)


def logit_name(first: str, second: str) -> str:
    """Return the name of the logit that is above 0 for the second of two classes."""
    return f"{second} against {first}"


class Quadrant(OfUtterances):
    """The challenge's four classes, valence x activation, from four logits."""

    out_dim = 4
    label_names = ("valence", "activation")
    class_names = QUADRANTS
    logit_names: tuple[str, ...] = QUADRANTS
    monitor: ClassVar[str] = "accuracy"

    def encode(self, labels: np.ndarray) -> Tensor:
        """Valence and activation bits [N, 2], as numbers or texts -> class index [N]; -1 where one is "", unknown.

        Raises:
            DataError: a label is neither 0 nor 1.
        """
        if labels.dtype.kind == "U" and (unknown := (labels == "").any(1)).any():
            return self.encode(np.where(unknown[:, None], "0", labels)).where(~torch.from_numpy(unknown), -1)
        strange = sorted({*map(str, np.unique(labels))} - {"0", "1"})
        if strange:
            raise DataError(
                f"{', '.join(self.label_names)}: found {strange[0]!r}, expected 0 or 1. "
                "Correct the labels, or translate them with data.label_map."
            )
        bits = torch.from_numpy(labels.astype(np.int64))
        return 2 * bits[:, 0] + bits[:, 1]

    def views(self, logits: Tensor, labels: Tensor) -> list[View]:
        """One question: which quadrant."""
        return [View("quadrant", logits, labels)]

    def scores(self, logits: Tensor) -> Tensor:
        """[B, out_dim] -> [B, 4]."""
        return logits[:, :4].softmax(-1)

    def decode(self, classes: Tensor) -> list[dict[str, Any]]:
        """[B] -> `{"valence": 0 or 1, "activation": 0 or 1}` each."""
        return [{"valence": index // 2, "activation": index % 2} for index in classes.tolist()]

    def metrics(self) -> Metric:
        """Accuracy with both bits right, and what goes with it."""
        return QuadrantScores(self.class_names)


class TwoBinary(Quadrant):
    """The same four classes from two independent logits, valence and activation."""

    out_dim = 2
    logit_names = ("valence", "activation")

    def views(self, logits: Tensor, labels: Tensor) -> list[View]:
        """Two questions, one a bit."""
        return _bit_views(logits, labels)

    def scores(self, logits: Tensor) -> Tensor:
        """[B, 2] -> [B, 4], the products of the bits' probabilities."""
        valence, activation = logits.sigmoid().unbind(-1)
        pairs = [(1 - valence) * (1 - activation), (1 - valence) * activation]
        pairs += [valence * (1 - activation), valence * activation]
        return torch.stack(pairs, -1)


class MultiView(Quadrant):
    """Four classes, and both bits as helpers that shape the embedding; the answer is the four classes'.

    Args:
        bit_weight: weight of each bit's loss beside the four classes' 1, 0 or more.

    Source: Neumann and Vu, "Attentive convolutional neural network based speech emotion recognition", 2017.
    """

    out_dim = 6
    logit_names = (*QUADRANTS, "valence", "activation")

    def __init__(self, bit_weight: float = 0.5) -> None:
        self.bit_weight = bit_weight

    def views(self, logits: Tensor, labels: Tensor) -> list[View]:
        """Three questions: the quadrant, and each bit."""
        return [View("quadrant", logits[:, :4], labels), *_bit_views(logits[:, 4:], labels, self.bit_weight)]


def _bit_views(logits: Tensor, labels: Tensor, weight: float = 1.0) -> list[View]:
    """Logits [B, 2] of valence and activation; one logit z of a bit is the pair (0, z) of its two classes."""
    pairs = functional.pad(logits.unsqueeze(-1), (1, 0))
    return [
        View("valence", pairs[:, 0], labels // 2, weight),
        View("activation", pairs[:, 1], labels % 2, weight),
    ]
