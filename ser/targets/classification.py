"""What is predicted: how labels become tensors, logits become scores, and scores become an answer.

Each utterance, or each of its frames, is of one class.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ser.batch import Batch
from ser.errors import ConfigError, DataError, did_you_mean, setting
from ser.names import normalize_name
from ser.targets.base import Compare, Labels, Quantity, Scores, Target, label_columns
from ser.targets.metrics import ClassificationScores, QuadrantScores

QUADRANTS = ("sadness", "anger", "pleasure", "joy")
"""Class names by index 2 * valence + activation. Activation is the challenge's word for arousal."""


class ClassTarget(Target):
    """What targets have in common that answer with the probabilities of named classes."""

    predicts: ClassVar[Quantity] = "classes"
    monitor = "accuracy"

    @abstractmethod
    def decode(self, classes: Tensor) -> list[dict[str, Any]]:
        """Turn class indices [B] into the answer in the label fields, plain numbers or names."""

    def is_labelled(self, targets: Tensor) -> Tensor:
        """Return where a label is a class."""
        return targets >= 0

    def loss(self, outputs: Tensor, batch: Batch, compare: Compare) -> Tensor:
        """Return the losses [B] of utterances."""
        return self.label_loss(outputs, batch.labels, compare)

    @abstractmethod
    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the losses [R] of outputs [R, out_dim] against class indices [R]."""

    def correct(self, answers: Tensor, truth: Tensor) -> Tensor | None:
        """Return where the most likely class is the true one."""
        return answers.argmax(-1).eq(truth)

    def counts(self, targets: Tensor, frames: Tensor, spoken: Tensor) -> Mapping[str, Tensor]:
        """Return utterances of each class, whatever their lengths, for each question of the loss."""
        found: dict[str, Tensor] = {}

        def count(outputs: Tensor, labels: Tensor, name: str = "", criterion: Any = None) -> Tensor:  # noqa: ARG001
            found[name] = torch.bincount(labels, minlength=outputs.shape[-1])
            return torch.zeros(len(labels))

        self.label_loss(torch.zeros(len(targets), self.out_dim), targets, count)
        return found

    def labels_of(self, answers: Tensor) -> list[dict[str, Any]]:
        """Return the most likely class in the label fields."""
        return self.decode(answers.argmax(-1))

    @property
    def answer_fields(self) -> tuple[str, ...]:
        """Return the label fields that an answer fills beside `label`: where there are several."""
        return self.label_names if len(self.label_names) > 1 else ()

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """Return `p_<class>` of each."""
        return tuple(f"p_{name}" for name in self.class_names)

    def predictions(self, answers: Tensor) -> list[dict[str, Any]]:
        """Return the most likely class as `label`, its label fields where there are several, and `p_<class>`."""
        best = answers.argmax(-1)
        fields = self.decode(best) if self.answer_fields else [{}] * len(best)
        columns = self.probability_columns
        rows = [
            {"label": self.class_names[index], **own, **dict(zip(columns, row, strict=True))}
            for index, own, row in zip(best.tolist(), fields, answers.tolist(), strict=True)
        ]
        for silent in answers.isnan().any(-1).nonzero().flatten().tolist():
            rows[silent] |= dict.fromkeys(["label", *columns])
        return rows

    def describe_label(self, targets: Tensor) -> str:
        """Return the name of the class."""
        return self.class_names[int(self.class_index(targets)[0])]

    def describe(self, answer: Sequence[float]) -> str:
        """Return the most likely class, its probability, and its label fields where there are several."""
        best = int(np.argmax(answer))
        fields = self.decode(torch.tensor([best]))[0] if self.answer_fields else {}
        detail = "".join(f", {field} {value}" for field, value in fields.items())
        return f"{self.class_names[best]} {answer[best]:.1%}{detail}"


class Classes(ClassTarget):
    """One of several named classes, such as an emotion or a language.

    Args:
        class_names: C names, by class index; numbers are read as text, utterances with another label are left out.
            None in a config, which is completed from the data: all labels, in alphabetical order.
        field: the label field; None in a config likewise: the only one that the data has.

    Raises:
        ConfigError: there are less than two names, or one occurs twice.
    """

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

    @classmethod
    def example(cls, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return a spec with two classes: what is logged does not depend on them."""
        return {**spec, "class_names": ["a", "b"], "field": spec.get("field") or "label"}

    @classmethod
    def complete(cls, spec: Mapping[str, Any], labels: Mapping[str, Labels]) -> dict[str, Any]:
        """Return the spec with the label field and the class names of the data, where the config leaves them open.

        Raises:
            ConfigError: the data has no such field or class, several fields of which none is named, or one class only;
                or train lacks a class.
        """
        field = choose_field(spec.get("field"), {name for one in labels.values() for name in one.label_names})
        by_split = {
            split: {normalize_name(str(label)) for label in label_columns((field,), one)[:, 0]} - {""}
            for split, one in labels.items()
        }
        return {**spec, "field": field, "class_names": complete_names(spec["class_names"], by_split, field)}

    def encode(self, labels: np.ndarray) -> Tensor:
        """Names [N, 1] -> class index [N], -1 for names that are no class."""
        index = {name: number for number, name in enumerate(self.class_names)}
        names = (normalize_name(str(name)) for name in labels[:, 0])
        return torch.tensor([index.get(name, -1) for name in names], dtype=torch.int64)

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the losses of one question: which class."""
        return compare(outputs, labels, self.label_names[0])

    def scores(self, outputs: Tensor) -> Tensor:
        """[B, C] -> [B, C]."""
        return outputs.softmax(-1)

    def decode(self, classes: Tensor) -> list[dict[str, Any]]:
        """[B] -> `{"emotion": "anger"}` each, after the field."""
        return [{self.label_names[0]: self.class_names[index]} for index in classes.tolist()]

    def metrics(self) -> Scores:
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
        self.opposite_logit_names = (logit_name(*reversed(self.class_names)),)

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the losses of one question: whether it is the second class."""
        return compare(functional.pad(outputs, (1, 0)), labels, self.label_names[0])

    def scores(self, outputs: Tensor) -> Tensor:
        """[B, 1] -> [B, 2]."""
        return functional.pad(outputs, (1, 0)).softmax(-1)


def logit_name(first: str, second: str) -> str:
    """Return the name of the logit that is above 0 for the second of two classes."""
    return f"{second} against {first}"


class Quadrant(ClassTarget):
    """The challenge's four classes, valence x activation, from four logits."""

    out_dim = 4
    label_names = ("valence", "activation")
    class_names = QUADRANTS
    logit_names: tuple[str, ...] = QUADRANTS

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

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the losses of one question: which quadrant."""
        return compare(outputs, labels, "quadrant")

    def scores(self, outputs: Tensor) -> Tensor:
        """[B, out_dim] -> [B, 4]."""
        return outputs[:, :4].softmax(-1)

    def decode(self, classes: Tensor) -> list[dict[str, Any]]:
        """[B] -> `{"valence": 0 or 1, "activation": 0 or 1}` each."""
        return [{"valence": index // 2, "activation": index % 2} for index in classes.tolist()]

    def metrics(self) -> Scores:
        """Accuracy with both bits right, and what goes with it."""
        return QuadrantScores(self.class_names)


class TwoBinary(Quadrant):
    """The same four classes from two independent logits, valence and activation."""

    out_dim = 2
    logit_names = ("valence", "activation")

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the sums of the losses of two questions, one a bit."""
        valence, activation = _bit_losses(outputs, labels, compare)
        return valence + activation

    def scores(self, outputs: Tensor) -> Tensor:
        """[B, 2] -> [B, 4], the products of the bits' probabilities."""
        valence, activation = outputs.sigmoid().unbind(-1)
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

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the weighted sums of the losses of three questions: the quadrant, and each bit."""
        valence, activation = _bit_losses(outputs[:, 4:], labels, compare)
        quadrant = compare(outputs[:, :4], labels, "quadrant")
        return quadrant + self.bit_weight * valence + self.bit_weight * activation


def _bit_losses(logits: Tensor, labels: Tensor, compare: Compare) -> tuple[Tensor, Tensor]:
    """Losses of valence and activation, logits [B, 2]; one logit z is the pair (0, z) of the two classes of its bit."""
    pairs = functional.pad(logits.unsqueeze(-1), (1, 0))
    return compare(pairs[:, 0], labels // 2, "valence"), compare(pairs[:, 1], labels % 2, "activation")


def choose_field(field: str | None, fields: set[str]) -> str:
    """Return a label field that the data has: the one that is named, else the only one.

    Raises:
        ConfigError: there is no such field, or there are several.
    """
    field = None if field is None else normalize_name(field)
    if field is None and len(fields) == 1:
        return next(iter(fields))
    if field is None:
        listed = ", ".join(sorted(fields)) or "none"
        raise ConfigError(f"target.field=null: the data has the label fields {listed}. Name one of them.")
    if field not in fields:
        raise ConfigError(f"target.field={field}: the data has no such labels. {did_you_mean(field, fields)}")
    return field


def complete_names(
    given: Sequence[str | float] | None, by_split: Mapping[str, set[str]], field: str
) -> list[str]:
    """Return the class names that are given, else those of the data in alphabetical order.

    Args:
        given: as in the config.
        by_split: split -> names that occur.
        field: label field, for messages.

    Raises:
        ConfigError: there is one class only, no utterance has one of them, or none of train.
    """
    found = {name for names in by_split.values() for name in names}
    names = [normalize_name(str(name)) for name in given or sorted(found)]
    if len(names) < 2:
        raise ConfigError(
            f"target.field={field}: all utterances are labelled {(names or [''])[0]!r}. "
            "With one class there is nothing to learn: choose another field or other data."
        )
    for name in names:
        if name not in found:
            nearest = did_you_mean(name, found)
            raise ConfigError(f"target.class_names: no utterance is labelled {name!r}. {nearest}")
    if absent := [name for name in names if name not in by_split["train"]]:
        learnt = [name for name in names if name not in absent]
        remedy = (
            f"Leave it out with {setting('target.class_names', learnt)}, or" if len(learnt) > 1 else "Please"
        )
        others = f" (nor {len(absent) - 1} other classes)" if len(absent) > 1 else ""
        raise ConfigError(
            f"target.class_names: train has no utterance labelled {absent[0]!r}{others}, so that it cannot be "
            f"learnt. {remedy} choose another split."
        )
    return names
