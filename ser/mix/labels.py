"""Join labels of the corpora of a mix that differ in case only, or are synonyms."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path

from ser.catalogue.synonyms import SYNONYMS
from ser.config.settings import find_conf
from ser.data.label_map import LabelMap, read_label_map
from ser.errors import setting
from ser.names import normalize_name

Counts = Mapping[str, Counter[str]]
"""Corpus -> label -> number of utterances."""

NewLabels = Mapping[str, Mapping[str, str]]
"""Corpus -> label -> label that stands for it."""


def join_labels(counts: Counts, mapped: Container[str]) -> tuple[NewLabels, list[str]]:
    """Choose one label for those that differ between corpora in case only, or are synonyms.

    It is that of a corpus with a map of its own, whose labels stay as they are, else the catalogue's word, else that
    of the first corpus. Labels that any corpus tells apart are joined in none, or a class that two corpora name
    alike would be lost.

    Args:
        counts: Labels of each corpus, after its own map.
        mapped: Names of the corpora that have a map of their own.

    Returns:
        Label that stands for each label of each corpus in which some change, and a note on each corpus.
    """
    apart = _told_apart(counts, _word)
    apart_in_case = _told_apart(counts, str.casefold)

    def key(label: str) -> str:
        if _word(label) not in apart:
            return _word(label)
        return label if label.casefold() in apart_in_case else label.casefold()

    chosen = _choose_all(counts, mapped, key)
    joined = _choose_all(counts, mapped, _word)
    new_labels, notes = {}, []
    for name, labels in counts.items():
        if name in mapped:
            continue
        new_labels[name] = {label: chosen[key(label)] for label in labels}
        notes += _describe(name, new_labels[name])
        others = {_word(label) for other, own in counts.items() if other != name for label in own}
        if pairs := {
            word: own for word, own in _group(labels, _word).items() if len(own) > 1 and word in others
        }:
            named = ", ".join(" and ".join(own) for own in pairs.values())
            own_map = {
                label: joined[_word(label)] if _word(label) in pairs else new
                for label, new in new_labels[name].items()
            }
            notes.append(
                f"{name}: {named} may mean the same, but are different labels here and stay as they are. "
                f"To join them: {setting(f'data.settings.{name}.label_map', own_map)}"
            )
    return _changed(new_labels), notes


def join_with_map(counts: Counts, label_map: LabelMap) -> tuple[NewLabels, list[str]]:
    """Choose a label of the common map for those that it lacks, if it differs in case only, or is a synonym.

    Of several synonyms in the map it is the catalogue's word; if the map lacks that, the label stays as it is.

    Args:
        counts: Labels of each corpus, after its own map.
        label_map: Map of the labels of all corpora.

    Returns:
        As of `join_labels`.
    """
    known = [normalize_name(str(raw)) for raw in label_map]
    forms = {word: names[0] for word, names in _group(known, _word).items() if len(names) == 1}
    forms |= {name.casefold(): name for name in known}
    new_labels, notes = {}, []
    for name, labels in counts.items():
        new_labels[name] = {
            label: label if label in known else forms.get(label.casefold(), forms.get(_word(label), label))
            for label in labels
        }
        notes += _describe(name, new_labels[name])
    return _changed(new_labels), notes


def quadrants_shared(counts: Counts) -> bool:
    """Return whether `label_map=quadrant` maps all labels, and gives the corpora two classes or more in common."""
    quadrants = read_label_map(find_conf(Path(__file__)) / "label_map" / "quadrant.yaml")
    new_labels, _ = join_with_map(counts, quadrants)
    labels = {
        name: {new_labels.get(name, {}).get(label, label) for label in own} for name, own in counts.items()
    }
    if not set.union(*labels.values()) <= {*quadrants}:
        return False
    classes = ({str(quadrants[label]) for label in own if quadrants[label]} for own in labels.values())
    return len(set.intersection(*classes)) > 1


def _word(label: str) -> str:
    return SYNONYMS.get(label.casefold(), label.casefold())


def _group(labels: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    """Return the labels of each key, sorted."""
    found: dict[str, list[str]] = {}
    for label in sorted(labels):
        found.setdefault(key(label), []).append(label)
    return found


def _told_apart(counts: Counts, key: Callable[[str], str]) -> set[str]:
    """Return the keys of which a corpus has two labels."""
    return {each for labels in counts.values() for each, own in _group(labels, key).items() if len(own) > 1}


def _choose_all(counts: Counts, mapped: Container[str], key: Callable[[str], str]) -> dict[str, str]:
    """Choose the label that stands for each key."""
    groups = {name: _group(labels, key) for name, labels in counts.items()}
    return {
        each: _choose(each, {name: own.get(each, []) for name, own in groups.items()}, mapped)
        for group in groups.values()
        for each in group
    }


def _choose(word: str, labels: Mapping[str, Sequence[str]], mapped: Container[str]) -> str:
    """Choose the label that stands for a word, of the labels that each corpus has for it."""
    used = [label for own in labels.values() for label in own]
    if len({*used}) == 1:
        return used[0]
    by_map = [label for name, own in labels.items() if name in mapped for label in own]
    return by_map[0] if by_map else word if word in SYNONYMS.values() else used[0]


def _changed(new_labels: NewLabels) -> NewLabels:
    """Select the corpora of which a label changes."""
    return {name: own for name, own in new_labels.items() if any(old != new for old, new in own.items())}


def _describe(name: str, new_labels: Mapping[str, str]) -> list[str]:
    changed = [f"{old} as {new}" for old, new in sorted(new_labels.items()) if old != new]
    return [
        f"{name}: labels are read as those of the other corpora or the label map: {', '.join(changed)}."
    ] * bool(changed)
