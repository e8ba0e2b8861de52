"""Assign the utterances of a manifest to splits: the result of every rule, and the fields that rules read."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ser.data.manifest import Manifest, first_ten, speaker_remedy
from ser.errors import ConfigError, DataError, did_you_mean
from ser.names import normalize_name

SPLITS = ("train", "validation", "test")

Assignment = dict[str, np.ndarray]
"""Split -> ascending indices [n] int64 into a manifest. Train and validation are always present, test is optional."""

Validation = Literal["split", "none"]
"""Use of the validation split: as the rule makes it, or none, so that its utterances are trained on."""

_COLUMNS = ("speaker", "group", "split")  # columns of a manifest; other names are label fields

AT_RANDOM = "use a random split, in which speakers leak: split=random"

_MOST_NAMED = 10  # classes that a message lists


def make_assignment(
    manifest: Manifest, names: np.ndarray, label: str | None, *, remedy: str = "Choose another rule."
) -> Assignment:
    """Build an assignment from the name of each utterance's split [N].

    Raises:
        DataError: Train or validation is empty, or train lacks a class.
    """
    found = {name: np.flatnonzero(names == name) for name in SPLITS}
    for name in ("train", "validation"):
        if not len(found[name]):
            raise DataError(
                f"{manifest.source}: the split '{name}' is empty, but training needs it. {remedy}"
            )
    classes = class_of_each(manifest, label)
    if absent := sorted({*classes.tolist()} - {*classes[found["train"]].tolist()} - {""}):  # "" is no label
        named = [f"'{name}' ({np.sum(classes == name)} in the other splits)" for name in absent[:_MOST_NAMED]]
        listed = ", ".join([*named, *[f"and {len(absent) - _MOST_NAMED} more"] * (len(absent) > _MOST_NAMED)])
        raise DataError(
            f"{manifest.source}: train has no utterance of the {label} {listed}, and so cannot learn it. Drop or "
            "merge it with data.label_map, choose another data.split.seed, fold or rule, or, where it is mapped to "
            "labels that train has, set data.split.label=null."
        )
    return {name: indices for name, indices in found.items() if len(indices)}


def use_validation(assignment: Assignment, validation: Validation) -> Assignment:
    """Return an assignment; with `none`, the utterances of validation are in train."""
    if validation != "none" or "validation" not in assignment:
        return assignment
    rest = {name: indices for name, indices in assignment.items() if name not in ("train", "validation")}
    return {"train": np.union1d(assignment["train"], assignment["validation"]), **rest}


def unassigned(manifest: Manifest, assignment: Assignment) -> list[str]:
    """Return the ids of the utterances that are in no split."""
    left = np.setdiff1d(np.arange(len(manifest)), np.concatenate([*assignment.values()]))
    return [manifest.utterances[index].id for index in left.tolist()]


def describe_left_out(ids: Sequence[str], total: int) -> list[str]:
    """Describe how many utterances are in no split, with the first of them; empty if there are none.

    Args:
        ids: Their ids.
        total: Number of all utterances.
    """
    if not ids:
        return []
    listed = ", ".join([*ids[:_MOST_NAMED], *["..."] * (len(ids) > _MOST_NAMED)])
    return [
        f"Splits: {len(ids)} of {total} utterances fit in none and are left out; splits.json lists them: {listed}"
    ]


def field_values(manifest: Manifest, field: str) -> np.ndarray:
    """Return the speaker, group, predefined split or label of each utterance [N].

    Raises:
        DataError: Utterances have none; the message lists the first ten and the count.
    """
    field = normalize_name(field)
    is_column = field in _COLUMNS
    found = [
        getattr(utterance, field) if is_column else utterance.labels.get(field) for utterance in manifest
    ]
    bare = [utterance.id for utterance, name in zip(manifest, found, strict=True) if name is None]
    if bare:
        raise DataError(
            f"{manifest.source}: {len(bare)} of {len(manifest)} utterances have no '{field}':{first_ten(bare)}\n"
            f"{speaker_remedy(manifest, repr(field))}, or {AT_RANDOM}."
        )
    return np.array([str(name) for name in found])


def class_of_each(manifest: Manifest, label: str | None) -> np.ndarray:
    """Return the class of each utterance [N]; all are equal without a label field."""
    if label is None:
        return np.zeros(len(manifest), dtype=np.int64)
    label = normalize_name(label)
    check_field(manifest, "label", label)
    return np.array([str(utterance.labels.get(label, "")) for utterance in manifest])


def check_field(manifest: Manifest, option: str, field: str) -> None:
    """Refuse a label field that no utterance has.

    Args:
        manifest: Utterances.
        option: Setting of `data.split` that names the field, for the message.
        field: Name of the field.

    Raises:
        ConfigError: There is no such field; the message names the nearest one.
    """
    fields = {name for utterance in manifest for name in utterance.labels}
    if normalize_name(field) not in fields:
        nearest = did_you_mean(field, fields) if fields else "It has no labels at all."
        raise ConfigError(
            f"data.split.{option}={field}: {manifest.source} has no such label field. {nearest}"
        )
