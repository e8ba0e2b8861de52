"""Select the utterances whose labels a target can use, and encode these labels."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ser.config.instantiate import find_class
from ser.data.store import Store
from ser.targets.base import Target
from ser.targets.labels import encode_labels

_log = logging.getLogger(__name__)


def labelled(stores: Mapping[str, Store]) -> dict[str, Store]:
    """Return the splits that have labels."""
    return {split: store for split, store in stores.items() if store.labels is not None}


def complete_target(spec: Mapping[str, Any], stores: Mapping[str, Store]) -> dict[str, Any]:
    """Complete a target's spec with what its config leaves open, such as class names, from the data.

    Args:
        spec: Spec of a target.
        stores: Stores of all splits, by name.

    Raises:
        SerError: The data lacks what the target needs.
    """
    completed: dict[str, Any] = find_class(spec, slot="target").complete(spec, labelled(stores))
    return completed


def select_labelled(store: Store, target: Target, *, name: str = "") -> tuple[Store, Tensor | None]:
    """Select the utterances with a label, and encode their labels [N, ...]; None if the store has no labels.

    Args:
        store: Store of a split.
        target: Target that encodes the labels.
        name: Name of the split, for remarks in the log.

    Raises:
        SerError: The labels are not those of the target.
    """
    if store.labels is None:
        return store, None
    targets = encode_labels(target, store)
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
