"""Values as targets: arousal, valence, dominance or whatever numbers a corpus has, with gaps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ser.batch import Batch
from ser.errors import ConfigError, setting
from ser.names import is_missing, normalize_name
from ser.targets.base import Compare, Quantity, Target
from ser.targets.labels import LabelError, Labels, encode_labels
from ser.targets.value_metrics import ValueScores


class ValueTarget(Target):
    """Base class of targets that answer with numbers, each named by its label field; an empty cell is not labelled.

    Args:
        fields: Label fields that hold numbers, K of them.
    """

    predicts: ClassVar[Quantity] = "values"
    monitor = "ccc"

    def __init__(self, fields: Sequence[str]) -> None:
        self.label_names = self.logit_names = self.requested_fields = tuple(fields)
        self.out_dim = self.label_width = len(self.label_names)

    def encode(self, labels: np.ndarray) -> Tensor:
        """Read numbers [N, K], or texts of them, as float32 [N, K]; NaN where there is none."""
        if labels.dtype.kind in "fiub":
            return torch.from_numpy(labels.astype(np.float32))
        rows = [
            [self._read(str(cell), row, field) for cell, field in zip(cells, self.label_names, strict=True)]
            for row, cells in enumerate(labels.tolist())
        ]
        return torch.tensor(rows, dtype=torch.float32).reshape(-1, len(self.label_names))

    def _read(self, text: str, row: int, field: str) -> float:
        if is_missing(text):
            return math.nan
        try:
            value = float(text)
        except ValueError:
            value = math.inf
        if not math.isfinite(value):
            dot = text.replace(",", ".")
            hint = f"Write {dot}, with a point" if dot != text else "Correct it, or leave the cell empty"
            raise LabelError(row, f"{field} is {text!r}, expected a number", f"{hint}.")
        return value

    def is_labelled(self, targets: Tensor) -> Tensor:
        """Return where at least one field has a value."""
        return ~targets.isnan().all(-1)

    def scores(self, outputs: Tensor) -> Tensor:
        """Return outputs [..., K] as they are."""
        return outputs

    def metrics(self) -> ValueScores:
        """CCC, PCC, MSE and MAE."""
        return ValueScores(self.label_names)

    def predictions(self, answers: Tensor) -> list[dict[str, Any]]:
        """Return the values by field."""
        return [
            {
                field: None if math.isnan(value) else value
                for field, value in zip(self.label_names, row, strict=True)
            }
            for row in answers.tolist()
        ]

    def labels_of(self, answers: Tensor) -> list[dict[str, Any]]:
        """Return the values by field."""
        return self.predictions(answers)

    def label_columns(self, targets: Tensor) -> list[dict[str, Any]]:
        """Return the values as `label_<field>`."""
        rows = self.predictions(targets)
        return [{f"label_{field}": value for field, value in row.items()} for row in rows]

    def describe(self, answer: Sequence[float]) -> str:
        """Return such as `arousal 0.31, valence -0.20`."""
        return ", ".join(
            f"{field} {value:.2f}" for field, value in zip(self.label_names, answer, strict=True)
        )

    def describe_label(self, targets: Tensor) -> str:
        """Return the values that are labelled."""
        pairs = zip(self.label_names, targets[0].tolist(), strict=True)
        return ", ".join(f"{field} {value:g}" for field, value in pairs if not math.isnan(value))


class Regression(ValueTarget):
    """A value in each of several label fields, for an utterance; an empty cell is not labelled.

    The network works in units of the training split's standard deviation, so that the scale of a field is of no
    matter; what is written and scored is in units of the labels.

    Args:
        fields: label fields that hold numbers, K of them.
        mean: K means of the training split; None in a config, which is completed from the data.
        std: K standard deviations of the training split; None likewise.

    Raises:
        ConfigError: there is no field, or one occurs twice; or mean and std do not belong to them.
    """

    def __init__(
        self,
        fields: Sequence[str],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        names = tuple(normalize_name(str(field)) for field in fields)
        if not names or len({*names}) < len(names):
            raise ConfigError(
                f"target.fields={list(fields)}: expected one field or more, each once. Name them as in the data, such "
                "as target.fields=[arousal,valence]"
            )
        super().__init__(names)
        self.mean = tuple(mean if mean is not None else [0.0] * len(names))
        self.std = tuple(std if std is not None else [1.0] * len(names))
        if not len(self.mean) == len(self.std) == len(names) or min(self.std) <= 0:
            raise ConfigError(
                f"target.mean={mean}, target.std={std}: expected a number for each of {', '.join(names)}, std above 0. "
                "Set target.mean=null target.std=null: they are computed from the training split."
            )

    @classmethod
    def complete(cls, spec: Mapping[str, Any], labels: Mapping[str, Labels]) -> dict[str, Any]:
        """Return the spec with the mean and the deviation of the training split.

        Raises:
            SerError: a label is no number, or a field has less than two values that differ in train.
        """
        target = cls(spec["fields"])
        values = encode_labels(target, labels["train"]).double()
        moments: dict[str, list[float]] = {"mean": [], "std": []}
        for field, column in zip(target.label_names, values.T, strict=True):
            others = [name for name in target.label_names if name != field]
            mean, std = cls.moments_of_train(field, column[~column.isnan()], others)
            moments["mean"].append(mean)
            moments["std"].append(std)
        return {
            **spec,
            **{name: own if spec.get(name) is None else spec[name] for name, own in moments.items()},
        }

    @classmethod
    def moments_of_train(cls, field: str, known: Tensor, others: Sequence[str]) -> tuple[float, float]:
        """Return the mean and the deviation of the labelled values [N] of a field.

        Args:
            field: Name of the field.
            known: Its labelled values.
            others: Names of the other fields, for the message.

        Raises:
            ConfigError: Fewer than two of them differ.
        """
        if len(known) < 2 or bool((known == known[0]).all()):
            what = f"the value {known[0]:g} alone" if len(known) else "no value"
            without = (
                f"Leave it out with {setting('target.fields', others)}, or choose" if others else "Choose"
            )
            raise ConfigError(
                f"target.fields: {field!r} has {what} in train, so there is nothing to learn. {without} another split."
            )
        return float(known.mean()), float(known.std(correction=0))

    def scores(self, outputs: Tensor) -> Tensor:
        """Turn outputs [..., K] into values in units of the labels."""
        return outputs * outputs.new_tensor(self.std) + outputs.new_tensor(self.mean)

    def loss(self, outputs: Tensor, batch: Batch, compare: Compare) -> Tensor:
        """Return the losses [B] in units of the training split's deviation."""
        return compare(outputs, self.standardize(batch.labels))

    def standardize(self, labels: Tensor) -> Tensor:
        """Turn labels [..., K] into units of the training split's deviation."""
        return (labels - labels.new_tensor(self.mean)) / labels.new_tensor(self.std)

    def floors(self, train: Tensor, targets: Tensor) -> dict[str, float]:
        """Return MSE and MAE of always answering the mean of the training split, of each field and in the mean."""
        means = train.double().nanmean(0)
        errors = targets.double() - means
        squared, absolute = errors.square().nanmean(0), errors.abs().nanmean(0)
        found: dict[str, float] = {}
        for name, values in {"mse_floor": squared, "mae_floor": absolute}.items():
            known = ~values.isnan()
            if known.any():
                found[name] = float(values[known].mean())
            pairs = zip(self.label_names, values.tolist(), strict=True)
            found |= {f"{name}_{field}": value for field, value in pairs if not math.isnan(value)}
        return found

    def floors_of_train(self, targets: Tensor) -> dict[str, float]:
        """Return MSE and MAE of always answering the mean of the training split."""
        return self.floors(torch.tensor([self.mean]), targets)

    def summary(self, targets: Tensor) -> dict[str, str]:
        """Return mean and deviation of each field, and how many are labelled where not all are."""
        rows = {}
        for field, column in zip(self.label_names, targets.double().T, strict=True):
            known = column[~column.isnan()]
            spread = f"{known.mean():.2f} +- {known.std(correction=0):.2f}" if len(known) else "no value"
            rows[field] = spread if len(known) == len(column) else f"{spread} ({len(known)})"
        return rows
