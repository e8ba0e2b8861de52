"""What two splits share and should not: scores on the second then come out too good.

Leaks are looked for whatever rule made the splits. Those that a corpus has by design can be declared.
"""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from ser.data.manifest import Manifest, Utterance
from ser.data.store import Store
from ser.errors import ConfigError, did_you_mean
from ser.names import find_lookalikes, normalize_name

KINDS = {
    "speaker": "speakers",
    "group": "groups",
    "audio": "equal audio",
    "text": "texts",
    "overlap": "stretches of files",
}
"""Kind of leak -> what is shared."""

_EXAMPLES = 5
_LONGEST_EXAMPLE = 40  # characters: a text may be a paragraph


@dataclass(frozen=True)
class Leak:
    """Something that two splits share.

    Args:
        kind: of KINDS.
        splits: the two, the one that is learnt from first.
        shared: how many different speakers, groups, recordings, texts or files stand in both.
        touched: utterances of the second split that have one of them.
        total: utterances of the second split.
        examples: up to five of what is shared.
    """

    kind: str
    splits: tuple[str, str]
    shared: int
    touched: int
    total: int
    examples: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the second split's utterances that are touched, 0..1."""
        return self.touched / self.total

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON, share included."""
        lists = {"splits": [*self.splits], "examples": [*self.examples]}
        return asdict(self) | lists | {"share": self.share}

    def __str__(self) -> str:
        first, second = self.splits
        return f"{first} and {second} share {KINDS[self.kind]} ({self.shared})"


def find_leaks(
    manifest: Manifest, assignment: Mapping[str, np.ndarray], digests: np.ndarray | None
) -> list[Leak]:
    """All leaks between any two splits; what the manifest does not tell, nobody can look for.

    Args:
        manifest: N utterances.
        assignment: split -> indices [n] into it, in the order train, validation, test.
        digests: [N, 16] uint8, equal where features are; None where there are none.
    """
    codes = _codes_by_kind(manifest, digests)
    touching = {kind: partial(_share_code, codes[kind]) for kind in KINDS}
    # Two cuts of one file are no leak unless they hold the same stretch of it.
    touching["overlap"] = partial(_overlap, _spans(manifest, codes["overlap"]))
    leaks = []
    for splits in combinations(assignment, 2):
        first, second = (assignment[name] for name in splits)
        for kind, touches in touching.items():
            touched = second[touches(first, second)]
            if len(touched):
                pairs = _first_pairs(codes[kind], first, touched)
                examples = tuple(_format_example(kind, manifest, *pair) for pair in pairs[:_EXAMPLES])
                leaks.append(Leak(kind, splits, len(pairs), len(touched), len(second), examples))
    return leaks


def compare_stores(stores: Mapping[str, Store]) -> list[Leak] | None:
    """Find equal utterances in two splits of which nothing is known but their features.

    Args:
        stores: split -> features, in the order train, validation, test.

    Returns:
        Leaks of equal audio; None where there are no digests to compare.
    """
    digests = [store.digests for store in stores.values() if store.digests is not None]
    if len(digests) < len(stores) or len({array.shape[1] for array in digests}) > 1:
        return None
    each = [np.unique(_as_values(array)) for array in digests]
    if len(np.unique(np.concatenate(each))) == sum(map(len, each)):
        return []  # 7,800 utterances in 5 ms; to look for examples takes longer
    ends = np.cumsum([len(store) for store in stores.values()])
    assignment = {
        name: np.arange(end - len(stores[name]), end) for name, end in zip(stores, ends.tolist(), strict=True)
    }
    utterances = (
        Utterance(f"{name}, {utterance_id}", Path(f"{name}/{number}"))
        for name, store in stores.items()
        for number, utterance_id in enumerate(store.ids)
    )
    return find_leaks(Manifest(tuple(utterances), "the splits"), assignment, np.concatenate(digests))


def describe_lookalike_speakers(manifest: Manifest, assignment: Mapping[str, np.ndarray]) -> list[str]:
    """Say which speakers of two splits may be one, as their names look alike.

    Args:
        manifest: N utterances.
        assignment: split -> indices [n] into it.
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
    """A line on every leak, for console and report; one line where there is none.

    Args:
        leaks: that were found.
        declared: kinds that are known and accepted.

    Raises:
        ConfigError: there is no such kind.
    """
    _check_kinds(declared)
    return [_describe_leak(leak, declared) for leak in leaks] or ["Leaks: none between the splits."]


def leak_stamps(leaks: Iterable[Leak], declared: Sequence[str]) -> list[str]:
    """What has to stand on every result: the leaks that nobody declared.

    Args:
        leaks: that were found.
        declared: kinds that are known and accepted.

    Raises:
        ConfigError: there is no such kind.
    """
    return [f"LEAK: {leak}" for leak in undeclared_leaks(leaks, declared)]


def undeclared_leaks(leaks: Iterable[Leak], declared: Sequence[str]) -> list[Leak]:
    """The leaks of other kinds than those that are known and accepted.

    Raises:
        ConfigError: there is no such kind.
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


def _codes_by_kind(manifest: Manifest, digests: np.ndarray | None) -> dict[str, np.ndarray]:
    """Kind -> [N] int64, equal where utterances share what it is about, -1 where that is not known."""
    audio: Sequence[bytes | None] = [None] * len(manifest)
    if digests is not None:
        audio = _as_values(digests).tolist()
    return {
        "speaker": _codes(utterance.speaker for utterance in manifest),
        "group": _codes(utterance.group for utterance in manifest),
        "audio": _codes(audio),
        "text": _codes(_normalize_text(utterance.text) for utterance in manifest),
        "overlap": _codes(_normalize_paths(manifest)),
    }


def _as_values(digests: np.ndarray) -> np.ndarray:
    """Digests [N, D] as N values that can be compared."""
    values: np.ndarray = np.ascontiguousarray(digests).view(f"V{digests.shape[1]}")[:, 0]
    return values


def _codes(values: Iterable[Hashable | None]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array(
        [-1 if value is None else numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64
    )


def _normalize_text(text: str | None) -> str | None:
    """Without regard to capitals, white space and what is invisible; None where nothing is left."""
    return normalize_name(text).casefold() or None if text else None


def _normalize_paths(manifest: Manifest) -> list[str]:
    """Paths of which two are equal if they lead to one file by other words, links apart."""
    here = os.getcwd()  # noqa: PTH109  as abspath does, which asks for it anew each time, 7 ms for 10,000 paths
    return [os.path.normpath(os.path.join(here, utterance.path)) for utterance in manifest]  # noqa: PTH118


def _share_code(codes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[n] whether each utterance of the second split has a code that also stands in the first."""
    present = np.zeros(codes.max(initial=-1) + 2, dtype=bool)
    present[codes[first]] = True
    present[-1] = False  # the place of what is not known
    recurs: np.ndarray = present[codes[second]]
    return recurs


def _spans(manifest: Manifest, files: np.ndarray) -> np.ndarray:
    """[2, N] where utterances begin and end, as places on one axis on which the files lie one after the other."""
    ends = [np.inf if utterance.end is None else utterance.end for utterance in manifest]
    times = np.array([[utterance.start for utterance in manifest], ends])
    ordered, places = np.unique(times, return_inverse=True)
    spans: np.ndarray = files * len(ordered) + places.reshape(2, -1)
    return spans


def _overlap(spans: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[n] whether each utterance of the second split overlaps one of the first: more of those begin before it ends
    than have ended when it begins.
    """
    begins, ends = np.sort(spans[:, first])
    begun = np.searchsorted(begins, spans[1, second])
    ended = np.searchsorted(ends, spans[0, second], side="right")
    overlaps: np.ndarray = begun > ended
    return overlaps


def _first_pairs(codes: np.ndarray, first: np.ndarray, touched: np.ndarray) -> list[tuple[int, int]]:
    """For every code that is shared, the first utterance of each split that has it, in the second split's order."""
    codes_of_first, place = np.unique(codes[first], return_index=True)
    shared, place_touched = np.unique(codes[touched], return_index=True)
    partners = first[place[np.searchsorted(codes_of_first, shared)]]
    order = place_touched.argsort()
    return [*zip(partners[order].tolist(), touched[place_touched[order]].tolist(), strict=True)]


def _format_example(kind: str, manifest: Manifest, first: int, second: int) -> str:
    one: Utterance = manifest.utterances[first]
    other: Utterance = manifest.utterances[second]
    shown = {
        "speaker": other.speaker,
        "group": other.group,
        "audio": f"{one.id} = {other.id}",
        "text": other.text,
        "overlap": other.path.name,
    }[kind]
    text = " ".join(str(shown).split())
    return text if len(text) <= _LONGEST_EXAMPLE else f"{text[: _LONGEST_EXAMPLE - 3]}..."
