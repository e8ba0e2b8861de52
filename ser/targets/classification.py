"""One of several named classes, of each utterance."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ser.batch import Batch
from ser.errors import ConfigError
from ser.names import normalize_name
from ser.targets.base import Compare, Quantity, Target
from ser.targets.labels import Labels, choose_field, complete_names, label_columns
from ser.targets.metrics import ClassificationScores, Scores


class ClassTarget(Target):
    """Base class of targets that answer with the probabilities of named classes; one of one's own has a constructor.

    Args:
        class_names: Names [C] by class index.
        field: Label field that is read.
    """

    predicts: ClassVar[Quantity] = "classes"
    monitor = "accuracy"
    accuracy_names = ("accuracy",)

    def __init__(self, class_names: Sequence[str], field: str) -> None:
        self.class_names = tuple(class_names)
        self.label_names = (field,)
        self.out_dim = len(self.class_names)
        self.logit_names = self.class_names

    def encode(self, labels: np.ndarray) -> Tensor:
        """Encode names [N, 1] as class indices [N], -1 for names that are no class."""
        index = {name: number for number, name in enumerate(self.class_names)}
        names = (normalize_name(str(name)) for name in labels[:, 0])
        return torch.tensor([index.get(name, -1) for name in names], dtype=torch.int64)

    def decode(self, classes: Tensor) -> list[dict[str, Any]]:
        """Turn class indices [B] into the answer in the label fields, such as `{"emotion": "anger"}`."""
        return [{self.label_names[0]: self.class_names[index]} for index in classes.tolist()]

    def scores(self, outputs: Tensor) -> Tensor:
        """Turn logits [..., C] into probabilities [..., C]."""
        return outputs.softmax(-1)

    def metrics(self) -> Scores:
        """Build accuracy, UAR and what goes with them."""
        return ClassificationScores(self.class_names)

    def is_labelled(self, targets: Tensor) -> Tensor:
        """Return where a label is a class."""
        return targets >= 0

    def loss(self, outputs: Tensor, batch: Batch, compare: Compare) -> Tensor:
        """Return the losses [B] of utterances."""
        return self.label_loss(outputs, batch.labels, compare)

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the losses [R] of outputs [R, out_dim] against class indices [R]: of one question, which class."""
        return compare(outputs, labels, self.label_names[0])

    def correct(self, answers: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Return where the most likely class is the true one."""
        return {"accuracy": answers.argmax(-1).eq(truth)}

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

    def label_columns(self, targets: Tensor) -> list[dict[str, Any]]:
        """Return the name of the class as `label`."""
        return [{"label": self.class_names[index]} for index in self.class_index(targets).tolist()]

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
        super().__init__(names, normalize_name(field))

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
