"""Select the utterances whose labels a target can use, and encode these labels."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ser.config.instantiate import find_class
from ser.config.settings import option_of
from ser.data.store import Store
from ser.errors import ConfigError
from ser.targets.base import Target
from ser.targets.labels import Labels, encode_labels

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepLabels:
    """Labels of all steps of a split, as targets read them.

    Args:
        ids: Ids of the utterances, for messages.
        labels: Labels [sum of T, K].
        label_names: Names of the K fields.
    """

    ids: Sequence[object]
    labels: np.ndarray
    label_names: tuple[str, ...]


def labels_of(store: Store) -> Labels:
    """Return the labels of a labelled split: those of its steps one after the other, or of its utterances."""
    if store.step_labels is None:
        return store
    everything = np.arange(len(store)), np.zeros(len(store), dtype=np.int64), store.lengths
    return StepLabels(store.ids, store.gather_step_labels(*everything), store.label_names)


def labelled(stores: Mapping[str, Store]) -> dict[str, Labels]:
    """Return the labels of the splits that have some."""
    return {split: labels_of(store) for split, store in stores.items() if store.is_labelled}


def complete_target(spec: Mapping[str, Any], stores: Mapping[str, Store]) -> dict[str, Any]:
    """Complete a target's spec with what its config leaves open, such as class names, from the data.

    Args:
        spec: Spec of a target.
        stores: Stores of all splits, by name.

    Raises:
        SerError: The data lacks what the target needs.
    """
    kind: type[Target] = find_class(spec, slot="target")
    over_time = any(store.step_labels is not None for store in stores.values())
    if over_time != (kind.labelled_at == "frame") and any(store.is_labelled for store in stores.values()):
        has, fits = (
            ("labels over time", "target=step_regression")
            if over_time
            else ("labels of utterances", "target=regression")
        )
        raise ConfigError(
            f"target={option_of('target', kind)}: does not fit this data, which has {has}. Use {fits}, or other data."
        )
    completed: dict[str, Any] = kind.complete(spec, labelled(stores))
    return completed


def select_labelled(store: Store, target: Target, *, name: str = "") -> tuple[Store, Tensor | None]:
    """Select the utterances with a label, and encode their labels [N, ...]; None if the store has no labels.

    Labels over time are those of all steps [sum of T, K], and no utterance is left out.

    Args:
        store: Store of a split.
        target: Target that encodes the labels.
        name: Name of the split, for remarks in the log.

    Raises:
        SerError: The labels are not those of the target.
    """
    if not store.is_labelled:
        return store, None
    targets = encode_labels(target, labels_of(store))
    if target.labelled_at == "frame":
        unknown = int((~target.is_labelled(targets)).sum())
        if unknown:
            _log.info("%s: %d of %d steps have no label", name or "labels", unknown, len(targets))
        return store, targets
    kept = target.is_labelled(targets)
    if not kept.all():
        if target.requested_fields:
            _log.warning(
                "%s: %d of %d utterances have no label in %s, and are left out",
                *(name or "labels", int((~kept).sum()), len(kept), ", ".join(target.requested_fields)),
            )
        chosen = kept.nonzero()[:, 0]
        store, targets = store.select(chosen.numpy()), targets[chosen]
    for remark in target.remarks(targets, store.ids):
        _log.warning("%s: %s", name or "labels", remark)
    return store, targets
