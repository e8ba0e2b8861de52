"""Map a corpus's labels to the labels of a model: rename, merge, split into fields, or drop them.

No label is dropped silently: a raw label that occurs must be mapped or listed as dropped, else it is an error.
"""

import logging
import math
import re
import reprlib
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ser.data.json_fields import shorten_json
from ser.data.manifest import Label, Manifest, Utterance, first_ten
from ser.errors import DataError, counted, did_you_mean, setting
from ser.files import read_text
from ser.names import find_lookalikes, is_missing, normalize_name
from ser.yaml_bombs import refuse_yaml_bomb

_MOST_NUMBERS = 20  # different numeric labels; more of them are probably ratings

_log = logging.getLogger(__name__)

LabelMap = Mapping[str, Label | Mapping[str, Label] | None]
"""Raw label -> label, or labels of several fields such as {valence: 0, activation: 1}, or None to drop it."""


@dataclass(frozen=True)
class LabelCount:
    """Result of mapping one raw label.

    Args:
        raw: Raw label, as in the manifest.
        mapped: New label, for display; None if it is dropped.
        utterances: Number of utterances with it; 0 if only the map contains it.
        corpus: Name of its corpus, if there are several.
    """

    raw: str
    mapped: str | None
    utterances: int
    corpus: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        plain = {"raw": self.raw, "mapped": self.mapped, "utterances": self.utterances}
        return plain if self.corpus is None else {"corpus": self.corpus, **plain}


def map_labels(manifest: Manifest, field: str, mapping: LabelMap | None) -> tuple[Manifest, list[LabelCount]]:
    """Apply a label map; return the manifest without the dropped utterances, and the count of each raw label.

    Utterances without a label in the field are kept as they are; `require_labels` refuses them. Raw labels are
    compared in the form of `normalize_name`.

    Args:
        manifest: Utterances with raw labels.
        field: Label field with the raw labels. A new label replaces the raw one; labels of several fields are added
            beside it.
        mapping: New label of every raw label that occurs; None keeps all labels.

    Raises:
        DataError: No utterance has the field, a raw label is not in the map, the map is malformed, or it drops all
            utterances.
    """
    _check_field(manifest, field)
    counts = Counter(str(utterance.labels[field]) for utterance in manifest if field in utterance.labels)
    if mapping is None:
        return manifest, [LabelCount(raw, raw, counts[raw]) for raw in sorted(counts)]
    targets = _parse_map(mapping, field)
    _check_mapped(manifest.source, field, counts, targets)
    mapped = (_map_utterance(utterance, field, targets) for utterance in manifest)
    kept = tuple(utterance for utterance in mapped if utterance is not None)
    if not kept:
        raise DataError(
            f"{manifest.source}: the label map of '{field}' drops all utterances. Map some labels."
        )
    table = [LabelCount(raw, _describe_target(targets[raw], field), counts[raw]) for raw in sorted(targets)]
    return replace(manifest, utterances=kept), table


def read_label_map(path: str | Path) -> LabelMap:
    """Read a label map from YAML; raw labels are read as text.

    Raises:
        DataError: The file cannot be read or holds no mapping, or a raw label occurs twice.
    """
    path = Path(path)
    text = read_text(path)
    refuse_yaml_bomb(path, text)
    labels: dict[str, Any] = {}
    try:
        loader = yaml.SafeLoader(text)
        for key, value in _pairs(loader.get_single_node(), path):
            if normalize_name(key.value) in labels:
                line = key.start_mark.line + 1
                raise DataError(f"{path}, line {line}: {key.value!r} occurs twice. Remove one of the lines.")
            labels[normalize_name(key.value)] = loader.construct_object(value, deep=True)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML ({' '.join(str(error).split())}). Correct it.") from error
    return labels


def require_labels(manifest: Manifest, field: str, mapping: LabelMap | None = None) -> None:
    """Check that every utterance has a label in the field, and that it can be a class.

    A placeholder such as nan is not a label, and a number with a fraction is not a class, unless the map contains it.

    Raises:
        DataError: Labels are missing (with the first ten utterances, the count and the placeholders), are numbers
            with fractions, or are not text.
    """
    _check_field(manifest, field)
    known = {normalize_name(str(raw)) for raw in mapping or ()}
    bare, words = [], Counter[str]()
    for utterance in manifest:
        label = utterance.labels.get(field)
        if label is None or (is_missing(str(label)) and str(label) not in known):
            bare.append(utterance.id)
            words.update([] if label is None else [str(label)])
    if bare:
        counts = ", ".join(f"{count} with {word!r}" for word, count in words.most_common())
        remedy = f" Where {next(iter(words))!r} is a class, name it in data.label_map." if words else ""
        raise DataError(
            f"{manifest.source}: {len(bare)} of {len(manifest)} utterances have no '{field}'"
            f"{f' ({counts})' if words else ''}:{first_ten(bare)}\nLabel them, or remove them.{remedy}"
        )
    _check_label_values(manifest, field, known)


def require_fields(manifest: Manifest, fields: Sequence[str]) -> None:
    """Check that at least one utterance has a label in each field.

    Raises:
        DataError: No utterance has a field; the message names the first such field.
    """
    for field in fields:
        _check_field(manifest, field)


def warn_about_lookalikes(manifest: Manifest, field: str) -> None:
    """Log labels, speakers and groups that differ only in case, spacing or number format, as possible typing errors."""
    found = {
        f"labels of '{field}'": [str(u.labels[field]) for u in manifest if field in u.labels],
        "speakers": [u.speaker for u in manifest if u.speaker is not None],
        "groups": [u.group for u in manifest if u.group is not None],
    }
    for kind, names in found.items():
        counts = Counter(names)
        groups = find_lookalikes(counts)
        listed = [", ".join(f"{name!r} ({counts[name]})" for name in group) for group in groups]
        if listed:
            _log.warning(
                "%s: %d sets of %s look alike but count as different ones:%s\n"
                "If they mean the same, write them in the same way.",
                *(manifest.source, len(listed), kind, first_ten(listed)),
            )


def single_speaker_classes(manifest: Manifest, field: str) -> list[str]:
    """Return the labels that only one speaker has, which a split by speaker cannot both train on and test."""
    speakers = defaultdict(set)
    for utterance in manifest:
        if field in utterance.labels:
            speakers[str(utterance.labels[field])].add(utterance.speaker)
    return sorted(
        label for label, names in speakers.items() if len(names - {None}) == 1 and None not in names
    )


def _pairs(node: yaml.Node | None, path: Path) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Return the entries of a mapping as YAML nodes, which preserve repeated keys and the text 'no'."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    if not pairs or not all(isinstance(key, yaml.ScalarNode) for key, _ in pairs):
        raise DataError(
            f"{path}: holds no mapping of labels. Write lines such as 'ang: anger', or 'xxx: null' to drop one."
        )
    return pairs


Target = dict[str, Label] | None
"""New labels by field; None if the utterance is dropped."""


def _parse_map(mapping: LabelMap, field: str) -> dict[str, Target]:
    targets: dict[str, Target] = {}
    raw: Any  # a config's keys may be of any type
    for raw, value in mapping.items():
        name = normalize_name(str(raw))
        if isinstance(raw, bool):
            raise DataError(
                f"Label map of '{field}': YAML reads a word such as yes, no, on or off as {str(raw).lower()}. "
                "Put the raw label in quotes, as in 'no': neutral."
            )
        if name in targets:
            raise DataError(
                f"Label map of '{field}': {name!r} occurs twice, written in two ways. Remove one of them."
            )
        targets[name] = _parse_target(value, field, name)
    forms = {tuple(sorted(target)): raw for raw, target in targets.items() if target is not None}
    if len(forms) > 1:
        (first, one), (second, other), *_ = forms.items()
        raise DataError(
            f"Label map of '{field}': {one!r} sets {', '.join(first)}, but {other!r} sets {', '.join(second)}. "
            "Make all labels set the same fields."
        )
    return targets


def _parse_target(value: Any, field: str, raw: str) -> Target:
    if value is None:
        return None
    target = dict(value) if isinstance(value, Mapping) else {field: value}
    target = {
        normalize_name(name) if isinstance(name, str) else name: normalize_name(label)
        if isinstance(label, str)
        else label
        for name, label in target.items()
    }
    for name, label in target.items():
        if type(name) is not str or type(label) not in (str, int, float):
            raise DataError(
                f"Label map of '{field}': {raw!r} is mapped to {reprlib.repr(value)}, expected a label, labels of "
                "several fields such as {valence: 0, activation: 1}, or null to drop it. Put words such as yes and no "
                "in quotes."
            )
    return target


def _map_utterance(utterance: Utterance, field: str, targets: Mapping[str, Target]) -> Utterance | None:
    if field not in utterance.labels:
        return utterance
    target = targets[str(utterance.labels[field])]
    return None if target is None else replace(utterance, labels={**utterance.labels, **target})


def _describe_target(target: Target, field: str) -> str | None:
    if target is None:
        return None
    if list(target) == [field]:
        return str(target[field])
    return ", ".join(f"{name}={label}" for name, label in target.items())


def _check_label_values(manifest: Manifest, field: str, known: Container[str]) -> None:
    """Refuse labels that are neither text nor numbers, and numbers with fractions."""
    for utterance in manifest:
        label: Any = utterance.labels[field]
        if type(label) not in (str, int, float):
            raise DataError(
                f"{manifest.source}, utterance {utterance.id!r}: '{field}' is {shorten_json(label)}, expected text or "
                "an integer. Write each label as text."
            )
    labels = [str(utterance.labels[field]) for utterance in manifest]
    fractions = [label for label in labels if label not in known and _is_fraction(label)]
    if fractions:
        numeric = {name for u in manifest for name, label in u.labels.items() if _is_fraction(str(label))}
        others = sorted({name for utterance in manifest for name in utterance.labels} - numeric)
        choice = (
            f", or choose another label field, such as {setting('data.label', others[0])}" if others else ""
        )
        raise DataError(
            f"{manifest.source}: '{field}' holds numbers such as {fractions[0]} ({len({*fractions})} different ones), "
            f"which are not classes. Give each number a class in data.label_map{choice}."
        )
    numbers = {label for label in labels if re.fullmatch(r"[+-]?\d+", label)}
    if len(numbers) > _MOST_NUMBERS and numbers >= {*labels}:
        _log.warning(
            "%s: %r holds %d different numbers, each of which is a class of its own",
            *(manifest.source, field, len(numbers)),
        )


def _is_fraction(label: str) -> bool:
    try:
        number = float(label.replace(",", "."))
    except ValueError:
        return False
    return math.isfinite(number) and not number.is_integer()


def _check_field(manifest: Manifest, field: str) -> None:
    fields = {name for utterance in manifest for name in utterance.labels}
    if not fields:
        raise DataError(f"{manifest.source}: has no labels at all. Add a column '{field}'.")
    if field not in fields:
        raise DataError(f"{manifest.source}: has no labels '{field}'. {did_you_mean(field, fields)}")


def _check_mapped(source: str, field: str, counts: Mapping[str, int], targets: Mapping[str, Target]) -> None:
    unmapped = sorted(set(counts) - set(targets))
    if not unmapped:
        return
    unused = sorted(set(targets) - set(counts))
    lines = []
    for raw in unmapped:
        nearest = get_close_matches(raw, unused, n=1)
        hint = f"; {nearest[0]!r} is in the map and never occurs" if nearest else ""
        lines.append(f"\n  {raw!r}, {counted(counts[raw], 'utterance')}{hint}")
    raise DataError(
        f"{source}: the label map lacks {counted(len(unmapped), 'label')} of '{field}':{''.join(lines)}\n"
        "Map each to a label, or to null to drop its utterances."
    )
