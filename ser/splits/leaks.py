"""Find what two splits share and should not: shared speakers or audio make scores too good.

Leaks are searched for whatever rule made the splits. Leaks that a corpus has by design can be declared.
"""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ser.data.manifest import Manifest, Utterance
from ser.data.store import Store
from ser.names import normalize_name

KINDS = {
    "speaker": "speakers",
    "group": "groups",
    "audio": "equal audio",
    "text": "texts",
    "overlap": "stretches of files",
}
"""Kind of leak -> its plural noun for messages."""

_EXAMPLES = 5
_LONGEST_EXAMPLE = 40  # characters: a text may be a paragraph


@dataclass(frozen=True)
class Leak:
    """Leak between two splits.

    Args:
        kind: Kind of leak, of KINDS.
        splits: Names of the two splits; the first one is used earlier, for training or selection.
        shared: Number of different speakers, groups, recordings, texts or files that are in both.
        touched: Number of utterances of the second split that have one of them.
        total: Number of utterances of the second split.
        examples: Up to five shared items.
    """

    kind: str
    splits: tuple[str, str]
    shared: int
    touched: int
    total: int
    examples: tuple[str, ...]

    @property
    def share(self) -> float:
        """Return the share of the second split's utterances that are affected, 0..1."""
        return self.touched / self.total

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON, including the share."""
        lists = {"splits": [*self.splits], "examples": [*self.examples]}
        return asdict(self) | lists | {"share": self.share}

    def __str__(self) -> str:
        first, second = self.splits
        return f"{first} and {second} share {KINDS[self.kind]} ({self.shared})"


def find_leaks(
    manifest: Manifest, assignment: Mapping[str, np.ndarray], digests: np.ndarray | None
) -> list[Leak]:
    """Find all leaks between any two splits, as far as the manifest and the digests show them.

    Args:
        manifest: Manifest of N utterances.
        assignment: Indices [n] into the manifest for each split, in the order train, validation, test.
        digests: Digests of the features [N, 16] uint8, equal for equal features; None if there are none.
    """
    codes = _codes_by_kind(manifest, digests)
    touching = {kind: partial(_share_code, codes[kind]) for kind in KINDS}
    # Two segments of one file are a leak only if they overlap.
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
    """Find equal utterances in two splits of which only features are known.

    Args:
        stores: Stores of the splits, in the order train, validation, test.

    Returns:
        Leaks of equal audio; None if there are no digests to compare.
    """
    digests = [store.digests for store in stores.values() if store.digests is not None]
    if len(digests) < len(stores) or len({array.shape[1] for array in digests}) > 1:
        return None
    each = [np.unique(_as_values(array)) for array in digests]
    if len(np.unique(np.concatenate(each))) == sum(map(len, each)):
        return []  # 5 ms for 7,800 utterances; finding examples takes longer
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


def _codes_by_kind(manifest: Manifest, digests: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return for each kind codes [N] int64 that are equal if utterances share the item, and -1 if it is unknown."""
    audio: Sequence[bytes | None] = [None] * len(manifest)
    if digests is not None:
        audio = _as_values(digests).tolist()
    return {
        "speaker": _codes(utterance.speaker for utterance in manifest),
        "group": _codes(utterance.group for utterance in manifest),
        "audio": _codes(audio),
        "text": _codes(normalize_text(utterance.text) for utterance in manifest),
        "overlap": _codes(_normalize_paths(manifest)),
    }


def _as_values(digests: np.ndarray) -> np.ndarray:
    """View digests [N, D] as N comparable values."""
    values: np.ndarray = np.ascontiguousarray(digests).view(f"V{digests.shape[1]}")[:, 0]
    return values


def _codes(values: Iterable[Hashable | None]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array(
        [-1 if value is None else numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64
    )


def normalize_text(text: str | None) -> str | None:
    """Normalise a text for comparison: case, white space and invisible characters; None if nothing is left."""
    return normalize_name(text).casefold() or None if text else None


def _normalize_paths(manifest: Manifest) -> list[str]:
    """Normalise paths, so that equal paths lead to the same file; links are not resolved."""
    here = os.getcwd()  # noqa: PTH109  once, because abspath gets it for each path, 7 ms for 10,000 paths
    return [os.path.normpath(os.path.join(here, utterance.path)) for utterance in manifest]  # noqa: PTH118


def _share_code(codes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return whether each utterance of the second split has a code that is also in the first split, [n] bool."""
    present = np.zeros(codes.max(initial=-1) + 2, dtype=bool)
    present[codes[first]] = True
    present[-1] = False  # the code -1 means unknown
    recurs: np.ndarray = present[codes[second]]
    return recurs


def _spans(manifest: Manifest, files: np.ndarray) -> np.ndarray:
    """Return the begin and end of each utterance, [2, N], on one axis on which the files follow one another."""
    ends = [np.inf if utterance.end is None else utterance.end for utterance in manifest]
    times = np.array([[utterance.start for utterance in manifest], ends])
    ordered, places = np.unique(times, return_inverse=True)
    spans: np.ndarray = files * len(ordered) + places.reshape(2, -1)
    return spans


def _overlap(spans: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return whether each utterance of the second split overlaps one of the first, [n] bool.

    It does if more utterances of the first begin before its end than have ended before its begin.
    """
    begins, ends = np.sort(spans[:, first])
    begun = np.searchsorted(begins, spans[1, second])
    ended = np.searchsorted(ends, spans[0, second], side="right")
    overlaps: np.ndarray = begun > ended
    return overlaps


def _first_pairs(codes: np.ndarray, first: np.ndarray, touched: np.ndarray) -> list[tuple[int, int]]:
    """Return for every shared code the first utterance of each split that has it, in the order of the second split."""
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
