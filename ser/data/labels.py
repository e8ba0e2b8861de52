"""From the labels that a corpus has to those a model learns: renamed, merged, split into fields, dropped.

Nothing is dropped in silence: a raw label that occurs is mapped or listed as dropped, or it is an error.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ser.data.manifest import Label, Manifest, Utterance, first_ten
from ser.data.rows import read_text
from ser.errors import DataError, did_you_mean

LabelMap = Mapping[str, Label | Mapping[str, Label] | None]
"""Raw label -> label, or -> labels of several fields such as {valence: 0, activation: 1}, or -> None: dropped."""


@dataclass(frozen=True)
class LabelCount:
    """What became of one raw label.

    Args:
        raw: as the manifest has it.
        mapped: what it is now, to be shown; None = dropped.
        utterances: how many carry it; 0 where only the map knows it.
    """

    raw: str
    mapped: str | None
    utterances: int


def map_labels(manifest: Manifest, field: str, mapping: LabelMap | None) -> tuple[Manifest, list[LabelCount]]:
    """Return the manifest with new labels, without what the map drops, and what became of each raw label.

    Utterances without a label in the field stay as they are: `require_labels` refuses them.

    Args:
        manifest: utterances with raw labels.
        field: label field that holds them; a label takes the raw one's place, labels of several fields
            are added beside it.
        mapping: of every raw label that occurs; None = the labels stay as they are.

    Raises:
        DataError: nothing has the field, a raw label is not in the map, the map is not of this form, or it
            drops everything.
    """
    _check_field(manifest, field)
    counts = Counter(str(utterance.labels[field]) for utterance in manifest if field in utterance.labels)
    if mapping is None:
        return manifest, [LabelCount(raw, raw, counts[raw]) for raw in sorted(counts)]
    targets = _targets(mapping, field)
    _check_mapped(manifest.source, field, counts, targets)
    mapped = (_mapped(utterance, field, targets) for utterance in manifest)
    kept = tuple(utterance for utterance in mapped if utterance is not None)
    if not kept:
        raise DataError(
            f"{manifest.source}: the label map of '{field}' drops all utterances. Map some labels."
        )
    table = [LabelCount(raw, _shown(targets[raw], field), counts[raw]) for raw in sorted(targets)]
    return Manifest(kept, manifest.source), table


def read_label_map(path: str | Path) -> LabelMap:
    """Return a label map from YAML; raw labels are text, however YAML would read them.

    Raises:
        DataError: the file cannot be read, or is no mapping, or a raw label occurs twice.
    """
    path = Path(path)
    text = read_text(path)
    labels: dict[str, Any] = {}
    try:
        loader = yaml.SafeLoader(text)
        for key, value in _pairs(loader.get_single_node(), path):
            if key.value in labels:
                line = key.start_mark.line + 1
                raise DataError(f"{path}, line {line}: {key.value!r} occurs twice. Remove one of the lines.")
            labels[key.value] = loader.construct_object(value, deep=True)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML ({' '.join(str(error).split())}). Correct it.") from error
    return labels


def require_labels(manifest: Manifest, field: str) -> None:
    """Make sure that every utterance has a label in the field.

    Raises:
        DataError: some have none; it lists the first ten and the count.
    """
    _check_field(manifest, field)
    bare = [utterance.id for utterance in manifest if field not in utterance.labels]
    if bare:
        raise DataError(
            f"{manifest.source}: {len(bare)} of {len(manifest)} utterances have no '{field}':{first_ten(bare)}\n"
            "Label them, or remove them."
        )


def lonely_classes(manifest: Manifest, field: str) -> list[str]:
    """The labels that one speaker alone carries: no split by speaker can both train and test them."""
    speakers = defaultdict(set)
    for utterance in manifest:
        if field in utterance.labels:
            speakers[str(utterance.labels[field])].add(utterance.speaker)
    return sorted(
        label for label, names in speakers.items() if len(names - {None}) == 1 and None not in names
    )


def _pairs(node: yaml.Node | None, path: Path) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """The lines of a mapping as YAML's nodes: only they still tell a repeated key, and 'no' from false."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    if not pairs or not all(isinstance(key, yaml.ScalarNode) for key, _ in pairs):
        raise DataError(
            f"{path}: holds no mapping of labels. Write lines such as 'ang: anger', or 'xxx: null' to drop one."
        )
    return pairs


Target = dict[str, Label] | None
"""New labels by field; None = dropped."""


def _targets(mapping: LabelMap, field: str) -> dict[str, Target]:
    targets = {str(raw): _target(value, field, str(raw)) for raw, value in mapping.items()}
    forms = {tuple(sorted(target)): raw for raw, target in targets.items() if target is not None}
    if len(forms) > 1:
        (first, one), (second, other), *_ = forms.items()
        raise DataError(
            f"Label map of '{field}': {one!r} sets {', '.join(first)}, but {other!r} sets {', '.join(second)}. "
            "Let all labels set the same fields."
        )
    return targets


def _target(value: Any, field: str, raw: str) -> Target:
    if value is None:
        return None
    target = dict(value) if isinstance(value, Mapping) else {field: value}
    for name, label in target.items():
        if type(name) is not str or type(label) not in (str, int):
            raise DataError(
                f"Label map of '{field}': {raw!r} is mapped to {value!r}, expected a label, labels of several fields "
                "such as {valence: 0, activation: 1}, or null to drop it. Put words such as yes and no in quotes."
            )
    return target


def _mapped(utterance: Utterance, field: str, targets: Mapping[str, Target]) -> Utterance | None:
    if field not in utterance.labels:
        return utterance
    target = targets[str(utterance.labels[field])]
    return None if target is None else replace(utterance, labels={**utterance.labels, **target})


def _shown(target: Target, field: str) -> str | None:
    if target is None:
        return None
    if list(target) == [field]:
        return str(target[field])
    return ", ".join(f"{name}={label}" for name, label in target.items())


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
        lines.append(f"\n  {raw!r}, {counts[raw]} utterances{hint}")
    raise DataError(
        f"{source}: {len(unmapped)} labels of '{field}' are not in the label map:{''.join(lines)}\n"
        "Map each to a label, or to null to drop its utterances."
    )
