"""Describe leaks between splits: lines for console and report, and stamps for every result."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ser.data.manifest import Manifest
from ser.errors import ConfigError, counted, did_you_mean
from ser.names import find_lookalikes
from ser.splits.leaks import KINDS, Leak, find_leaks

_EXAMPLES = 5
_COLUMNS = ("speaker", "group", "text")
"""Kinds of leaks that are columns of a manifest."""


class LeakReport(NamedTuple):
    """Leaks between the splits of a corpus, with their descriptions.

    Args:
        leaks: Leaks that were found.
        remarks: A line about each leak and each doubt, for the console.
        stamps: Warnings that every report must show.
    """

    leaks: list[Leak]
    remarks: list[str]
    stamps: list[str]


def report_leaks(
    manifest: Manifest,
    assignment: Mapping[str, np.ndarray],
    digests: np.ndarray | None,
    *,
    declared: Sequence[str],
    within: Mapping[str, Sequence[str]] = MappingProxyType({}),
    unknown_remedy: str = "",
) -> LeakReport:
    """Find and describe the leaks between splits, and speakers who may be in two splits.

    Args:
        manifest: Manifest of N utterances.
        assignment: Indices [n] into the manifest for each split, in the order train, validation, test.
        digests: Digests of the features [N, 16] uint8; None if there are none.
        declared: Kinds of leaks that are known and accepted.
        within: Corpus -> kinds of leaks that are accepted between its own utterances: speaker, group or text, whose
            names differ between corpora.
        unknown_remedy: How to add unknown speakers, as the end of a remark.

    Raises:
        ConfigError: There is no such kind of leak.
    """
    open_to_leaks = _hide(manifest, lambda kind, corpus: kind in within.get(corpus, ()))
    leaks = find_leaks(open_to_leaks, assignment, digests)
    accepted = _find_within(manifest, assignment, within) if within else []
    doubts = [] if "speaker" in declared else describe_lookalike_speakers(open_to_leaks, assignment)
    unknown = sum(utterance.speaker is None for utterance in manifest)
    unchecked = [
        f"Leaks not checked: the speakers of {counted(unknown, 'utterance')} are unknown, so splits may share "
        f"speakers.{unknown_remedy}"
    ]
    return LeakReport(
        [*leaks, *accepted],
        [*describe_leaks(leaks, declared, accepted), *doubts, *unchecked * bool(unknown)],
        [*leak_stamps(leaks, declared), *doubts],
    )


def _find_within(
    manifest: Manifest, assignment: Mapping[str, np.ndarray], within: Mapping[str, Sequence[str]]
) -> list[Leak]:
    """Find the leaks that are accepted within corpora."""
    hidden = _hide(manifest, lambda kind, corpus: kind not in within.get(corpus, ()))
    return [leak for leak in find_leaks(hidden, assignment, None) if leak.kind in _COLUMNS]


def _hide(manifest: Manifest, is_hidden: Callable[[str, str], bool]) -> Manifest:
    """Remove the columns of a manifest for whose kind of leak and corpus a function is true."""
    corpora = {utterance.corpus for utterance in manifest}
    removed: dict[str | None, dict[str, Any]] = {
        corpus: {kind: None for kind in _COLUMNS if is_hidden(kind, corpus or "")} for corpus in corpora
    }
    if not any(removed.values()):
        return manifest
    return replace(manifest, utterances=tuple(replace(each, **removed[each.corpus]) for each in manifest))


def describe_lookalike_speakers(manifest: Manifest, assignment: Mapping[str, np.ndarray]) -> list[str]:
    """Describe speakers of two splits that may be the same person, as their names look alike.

    Args:
        manifest: Manifest of N utterances.
        assignment: Indices [n] into the manifest for each split.
    """
    by_split = {
        split: {manifest.utterances[index].speaker for index in indices.tolist()} - {None}
        for split, indices in assignment.items()
    }
    groups = find_lookalikes(str(name) for names in by_split.values() for name in names)
    found = []
    for first, second in combinations(by_split, 2):
        for group in groups:
            found += [
                f"{one!r} of {first} and {other!r} of {second}"
                for one, other in product(group, group)
                if one != other and one in by_split[first] and other in by_split[second]
            ]
    if not found:
        return []
    listed = ", ".join([*found[:_EXAMPLES], *["..."] * (len(found) > _EXAMPLES)])
    return [
        f"POSSIBLE LEAK: speakers whose names differ only in case, spacing or number format may be one: {listed}"
    ]


def describe_leaks(
    leaks: Iterable[Leak], declared: Sequence[str], accepted: Iterable[Leak] = ()
) -> list[str]:
    """Describe each leak in one line for console and report; one line if there is none.

    Args:
        leaks: Leaks that were found.
        declared: Kinds of leaks that are known and accepted.
        accepted: Further leaks, which are accepted whatever their kind.

    Raises:
        ConfigError: There is no such kind.
    """
    _check_kinds(declared)
    lines = [_describe_leak(leak, declared) for leak in leaks]
    lines += [_describe_leak(leak, [leak.kind]) for leak in accepted]
    return lines or ["Leaks: none between the splits."]


def leak_stamps(leaks: Iterable[Leak], declared: Sequence[str]) -> list[str]:
    """Return the stamps for every result: the undeclared leaks.

    Args:
        leaks: Leaks that were found.
        declared: Kinds of leaks that are known and accepted.

    Raises:
        ConfigError: There is no such kind.
    """
    return [f"LEAK: {leak}" for leak in undeclared_leaks(leaks, declared)]


def undeclared_leaks(leaks: Iterable[Leak], declared: Sequence[str]) -> list[Leak]:
    """Select the leaks whose kind is not declared as known and accepted.

    Raises:
        ConfigError: There is no such kind.
    """
    _check_kinds(declared)
    return [leak for leak in leaks if leak.kind not in declared]


def _describe_leak(leak: Leak, declared: Sequence[str]) -> str:
    title = "Declared leak" if leak.kind in declared else "LEAK"
    listed = ", ".join([*leak.examples, *["..."] * (leak.shared > len(leak.examples))])
    return f"{title}: {leak}, in {leak.touched} of {leak.total} utterances of {leak.splits[1]}: {listed}"


def _check_kinds(declared: Sequence[str]) -> None:
    for kind in declared:
        if kind not in KINDS:
            raise ConfigError(f"data.declared_leaks: there is no leak '{kind}'. {did_you_mean(kind, KINDS)}")
