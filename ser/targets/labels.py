"""Labels of a split: which fields a target reads, and which classes they name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

from ser.errors import ConfigError, DataError, did_you_mean, setting
from ser.names import normalize_name

if TYPE_CHECKING:
    from ser.targets.base import Target


class LabelError(DataError):
    """A label that a target cannot read.

    Args:
        row: Index of the utterance among those that are encoded.
        problem: What is wrong, without the utterance.
        remedy: One sentence.
    """

    def __init__(self, row: int, problem: str, remedy: str) -> None:
        super().__init__(f"row {row + 1}: {problem}. {remedy}")
        self.row = row
        self.problem = problem
        self.remedy = remedy


class Labels(Protocol):
    """Labels of a split."""

    @property
    def ids(self) -> Sequence[object]:
        """[N] utterance ids."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """[N, K], None where there are none."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """[K] fields."""
        ...


def label_columns(fields: Sequence[str], labels: Labels) -> np.ndarray:
    """Return the labels [N, K] of some fields.

    Raises:
        ConfigError: The data has no such field.
    """
    absent = [field for field in fields if field not in labels.label_names]
    if absent or labels.labels is None:
        raise ConfigError(
            f"target: needs the labels {', '.join(fields)}, but the data has "
            f"{', '.join(labels.label_names) or 'none'}. Use target=classes, or give these labels with data.label_map."
        )
    return labels.labels[:, [labels.label_names.index(field) for field in fields]]


def encode_labels(target: "Target", labels: Labels) -> Tensor:
    """Return the labels of all utterances of a split as a target encodes them [N, ...].

    Raises:
        SerError: The labels are not those of the target.
    """
    try:
        return target.encode(label_columns(target.label_names, labels))
    except LabelError as error:
        name = labels.ids[error.row]
        raise DataError(f"utterance {name!r}: {error.problem}. {error.remedy}") from error


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
