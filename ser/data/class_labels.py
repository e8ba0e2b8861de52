"""Between the labels of the data and a target: which field, which classes, which utterances."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ser.data.store import Store
from ser.errors import ConfigError, did_you_mean, setting
from ser.names import normalize_name
from ser.targets.classification import Target


def complete_target(spec: Mapping[str, Any], stores: Mapping[str, Store]) -> dict[str, Any]:
    """A target's spec with the label field and the class names of the data, where the config leaves them open.

    Args:
        spec: of a target; one without `class_names` needs nothing.
        stores: all splits, by name.

    Raises:
        ConfigError: the data has no such field or class, several fields of which none is named, or one class only;
            or train lacks a class.
    """
    if "class_names" not in spec:
        return dict(spec)
    labelled = {split: store for split, store in stores.items() if store.labels is not None}
    field = _choose(spec.get("field"), {name for store in labelled.values() for name in store.label_names})
    by_split = {split: _names(store, field) for split, store in labelled.items()}
    found = {name for names in by_split.values() for name in names}
    names = [normalize_name(str(name)) for name in spec["class_names"] or sorted(found)]
    if len(names) < 2:
        raise ConfigError(
            f"target.field={field}: all utterances are labelled {names[0]!r}. "
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
        raise ConfigError(
            f"target.class_names: train has no utterance labelled {absent[0]!r}{_more(absent)}, so that it cannot be "
            f"learnt. {remedy} choose another split."
        )
    return {**spec, "field": field, "class_names": names}


def classified(store: Store, target: Target) -> tuple[Store, Tensor | None]:
    """The utterances that belong to a class of the target, and their class indices [N]; None without labels.

    Raises:
        SerError: the labels are not those of the target.
    """
    if store.labels is None:
        return store, None
    classes = target.encode(columns(store, target.label_names))
    if (classes >= 0).all():
        return store, classes
    kept = (classes >= 0).nonzero()[:, 0]
    return store.select(kept.numpy()), classes[kept]


def columns(store: Store, fields: Sequence[str]) -> np.ndarray:
    """The labels [N, K] of some fields.

    Raises:
        ConfigError: the data has no such field.
    """
    absent = [field for field in fields if field not in store.label_names]
    if absent or store.labels is None:
        raise ConfigError(
            f"target: needs the labels {', '.join(fields)}, but the data has {', '.join(store.label_names) or 'none'}. "
            "Use target=classes, or give these labels with data.label_map."
        )
    return store.labels[:, [store.label_names.index(field) for field in fields]]


def _names(store: Store, field: str) -> set[str]:
    return {normalize_name(str(label)) for label in columns(store, (field,))[:, 0]}


def _more(names: Sequence[str]) -> str:
    return f" (nor {len(names) - 1} other classes)" if len(names) > 1 else ""


def _choose(field: str | None, fields: set[str]) -> str:
    field = None if field is None else normalize_name(field)
    if field is None and len(fields) == 1:
        return next(iter(fields))
    if field is None:
        listed = ", ".join(sorted(fields)) or "none"
        raise ConfigError(f"target.field=null: the data has the label fields {listed}. Name one of them.")
    if field not in fields:
        raise ConfigError(f"target.field={field}: the data has no such labels. {did_you_mean(field, fields)}")
    return field
