"""Describe leaks between splits: lines for console and report, and stamps for every result."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from ser.data.manifest import Manifest
from ser.errors import ConfigError, did_you_mean
from ser.names import find_lookalikes
from ser.splits.leaks import KINDS, Leak, find_leaks

_EXAMPLES = 5


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
    unknown_remedy: str = "",
) -> LeakReport:
    """Find and describe the leaks between splits, and speakers who may be in two splits.

    Args:
        manifest: Manifest of N utterances.
        assignment: Indices [n] into the manifest for each split, in the order train, validation, test.
        digests: Digests of the features [N, 16] uint8; None if there are none.
        declared: Kinds of leaks that are known and accepted.
        unknown_remedy: How to add unknown speakers, as the end of a remark.

    Raises:
        ConfigError: There is no such kind of leak.
    """
    leaks = find_leaks(manifest, assignment, digests)
    doubts = [] if "speaker" in declared else describe_lookalike_speakers(manifest, assignment)
    unknown = sum(utterance.speaker is None for utterance in manifest)
    unchecked = [
        f"The speakers of {unknown} utterances are unknown, so it cannot be checked whether splits share them."
        f"{unknown_remedy}"
    ]
    return LeakReport(
        leaks,
        [*describe_leaks(leaks, declared), *doubts, *unchecked * bool(unknown)],
        [*leak_stamps(leaks, declared), *doubts],
    )


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


def describe_leaks(leaks: Iterable[Leak], declared: Sequence[str]) -> list[str]:
    """Describe each leak in one line for console and report; one line if there is none.

    Args:
        leaks: Leaks that were found.
        declared: Kinds of leaks that are known and accepted.

    Raises:
        ConfigError: There is no such kind.
    """
    _check_kinds(declared)
    return [_describe_leak(leak, declared) for leak in leaks] or ["Leaks: none between the splits."]


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
