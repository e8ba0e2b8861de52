"""Translate the labels of a corpus to those of a model: by the label maps of both, by name, by common synonyms."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ser.catalogue.synonyms import SYNONYMS
from ser.config.settings import find_conf
from ser.data.label_map import LabelMap, read_label_map
from ser.data.manifest import Label, Manifest, Utterance
from ser.errors import DataError, setting
from ser.names import is_missing, normalize_name
from ser.targets.base import Target

_NO_LABEL = "no label"


@dataclass(frozen=True)
class LeftOut:
    """An utterance that cannot be scored.

    Args:
        id: Utterance id.
        speaker: Speaker; None if unknown.
        label: Label of the corpus; empty if there is none.
        reason: Why, without the utterance.
    """

    id: object
    speaker: str | None
    label: str
    reason: str


@dataclass(frozen=True)
class Translation:
    """Utterances with labels of the model.

    Args:
        manifest: Utterances that have one.
        counts: Raw label -> label of the model, for display, and number of utterances; those that are left out have
            None.
        left_out: Utterances that have none.
    """

    manifest: Manifest
    counts: Mapping[str, tuple[str | None, int]] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()


class Translator:
    """Labels of a corpus to the label fields of a model's target.

    Args:
        target: Target of the model.
        own: Label map of the command; None for none.
        trained: Label maps of the runs that trained the model.
    """

    def __init__(self, target: Target, own: LabelMap | None, trained: Sequence[LabelMap]) -> None:
        self.target = target
        self.own = _plain(own or {})
        self.maps = [*map(_plain, trained), *_standard_maps(target)]
        self.classes = {name: _fields_of(target, index) for index, name in enumerate(target.class_names)}
        """Class -> its labels in the fields of the target."""
        common = [SYNONYMS.get(name.casefold()) for name in target.class_names]
        self.common = {
            word: name
            for word, name in zip(common, target.class_names, strict=True)
            if word is not None and common.count(word) == 1
        }
        """Name in the catalogue -> class, if only one class has it."""

    def translate(self, raw: str) -> Mapping[str, Label] | str:
        """Return the labels in the fields of the target, or the reason why there are none."""
        name = raw
        if raw in self.own:
            value = self.own[raw]
            if value is None:
                return "dropped by the label map"
            if isinstance(value, Mapping):
                return self._checked(value)
            name = normalize_name(str(value))
            if name in self.classes:
                return self.classes[name]
        word = SYNONYMS.get(name.casefold(), name)
        for mapping in self.maps:
            for form in (name, word):
                if form not in mapping:
                    continue
                value = mapping[form]
                if value is None:
                    return "dropped by the label map of the training"
                if isinstance(value, Mapping):
                    return self._checked(value)
                if (found := normalize_name(str(value))) in self.classes:
                    return self.classes[found]
        known = name if name in self.classes else self.common.get(word, "")
        return self.classes.get(known, "no class of the model")

    def _checked(self, value: Mapping[str, Label]) -> Mapping[str, Label] | str:
        """Return labels that a map sets, if they are those of the target."""
        lacking = [name for name in self.target.label_names if name not in value]
        return "mapped to other fields than the model's" if lacking and self.classes else value


def translate_labels(manifest: Manifest, label: str, translator: Translator) -> Translation:
    """Translate the labels of a manifest.

    Fields of the target that the manifest has are read as they are; else the labels of the field `label` are
    translated.

    Args:
        manifest: Utterances with raw labels.
        label: Label field of the corpus.
        translator: Of the model.

    Raises:
        DataError: No utterance has a label of the model.
    """
    target = translator.target
    fields = target.label_names
    single = fields[0] if len(fields) == 1 else ""
    if not target.class_names:
        return _read_fields(_add_values(manifest, label, translator), fields)
    present = {name for utterance in manifest for name in utterance.labels}
    if not single and present & {*fields}:
        return _read_fields(manifest, fields)
    source = label if label in present or not single else single
    raws = [_label_of(utterance, source) for utterance in manifest]
    found = {raw: translator.translate(raw) for raw in {*raws} - {""}}
    kept, left_out = [], []
    for utterance, raw in zip(manifest, raws, strict=True):
        new = found.get(raw, _NO_LABEL)
        if isinstance(new, str):
            left_out.append(LeftOut(utterance.id, utterance.speaker, raw, new))
        else:
            kept.append(replace(utterance, labels={**utterance.labels, **new}))
    if not kept:
        raise _nothing_in_common(manifest, source, raws, target)
    shown = {raw: None if isinstance(new, str) else _describe(new, translator) for raw, new in found.items()}
    counts = {raw: (shown[raw], count) for raw, count in sorted(Counter(raws).items()) if raw}
    return Translation(replace(manifest, utterances=tuple(kept)), counts, left_out)


def _add_values(manifest: Manifest, label: str, translator: Translator) -> Manifest:
    """Add the values that label maps give to labels such as emotions, in fields that an utterance lacks."""
    found = []
    for utterance in manifest:
        new = translator.translate(_label_of(utterance, label))
        added = {} if isinstance(new, str) else new
        found.append(replace(utterance, labels={**added, **utterance.labels}))
    return replace(manifest, utterances=tuple(found))


def _read_fields(manifest: Manifest, fields: Sequence[str]) -> Translation:
    """Select the utterances that have a label in one of the fields."""
    has = [any(_label_of(utterance, name) for name in fields) for utterance in manifest]
    left_out = [
        LeftOut(each.id, each.speaker, "", _NO_LABEL)
        for each, known in zip(manifest, has, strict=True)
        if not known
    ]
    kept = manifest.select(place for place, known in enumerate(has) if known)
    if not len(kept):
        raise DataError(
            f"{manifest.source}: no utterance has a label in {', '.join(fields)}. Fill in these columns."
        )
    return Translation(kept, {}, left_out)


def _nothing_in_common(manifest: Manifest, source: str, raws: Sequence[str], target: Target) -> DataError:
    named = sorted({*raws} - {""})
    wanted = ", ".join(target.class_names or target.label_names)
    if not named:
        others = sorted({name for utterance in manifest for name in utterance.labels} - {source})
        choice = f"Choose another field with {setting('data.label', others[0])}." if others else "Label them."
        return DataError(f"{manifest.source}: no utterance has a label '{source}'. {choice}")
    few = ", ".join(named[:10]) + ", ..." * (len(named) > 10)
    return DataError(
        f"{manifest.source}: none of its labels '{source}' ({few}) is one of the model's ({wanted}). Translate them "
        "with data.label_map=FILE, a YAML file with lines such as 'ang: anger'."
    )


def _label_of(utterance: Utterance, name: str) -> str:
    label = normalize_name(str(utterance.labels.get(name, "")))
    return "" if is_missing(label) else label


def _plain(mapping: LabelMap) -> dict[str, Label | Mapping[str, Label] | None]:
    """Return a label map whose raw labels are compared as names."""
    return {normalize_name(str(raw)): value for raw, value in mapping.items()}


def _standard_maps(target: Target) -> Iterator[Mapping[str, Label | Mapping[str, Label] | None]]:
    """Yield the options of `label_map=` that set the label fields of a target with classes, such as quadrant."""
    fields = {*target.label_names}
    if not target.class_names or len(fields) == 1:
        return
    for file in sorted((find_conf(Path(__file__)) / "label_map").glob("*.yaml")):
        kept = {raw: value for raw, value in _plain(read_label_map(file)).items() if value is not None}
        if all(isinstance(value, Mapping) and {*value} == fields for value in kept.values()):
            yield kept


def _fields_of(target: Target, index: int) -> dict[str, Label]:
    """Return the labels of a class in the fields of its target."""
    (found,) = target.labels_of(torch.eye(len(target.class_names))[index][None])
    if {*target.label_names} <= {*found}:
        return {name: found[name] for name in target.label_names}
    own, columns = target.class_names[index], target.probability_columns
    return {
        name: float(name == f"p_{own}") if name in columns else own for name in target.label_names
    }  # of a distribution: everything is of one class, or every rater named it


def _describe(labels: Mapping[str, Label], translator: Translator) -> str:
    """Return the class, or the labels by field."""
    names = [name for name, fields in translator.classes.items() if fields == labels]
    return names[0] if names else ", ".join(f"{name}={value}" for name, value in labels.items())
