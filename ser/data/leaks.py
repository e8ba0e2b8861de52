"""What two splits share that they should not: scores on such a test split are too good.

A leak is reported whatever the rule that split the data; one that a corpus has by design can be declared.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, did_you_mean

KINDS = {
    "speaker": "speakers",
    "group": "groups",
    "audio": "recordings with equal features",
    "overlap": "files of which both hold the same stretch",
    "text": "texts",
}
"""Kind of leak -> what is shared, in the plural."""
_EXAMPLES = 5


@dataclass(frozen=True)
class Leak:
    """Something that two splits share.

    Args:
        kind: of KINDS.
        splits: the two, the one that is learnt from first.
        shared: how many different speakers, texts, ... stand in both.
        touched: utterances of the second split that have one of them.
        total: utterances of the second split.
        examples: some of what is shared.
    """

    kind: str
    splits: tuple[str, str]
    shared: int
    touched: int
    total: int
    examples: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"splits": list(self.splits), "examples": list(self.examples)}

    def __str__(self) -> str:
        first, second = self.splits
        listed = ", ".join(self.examples) + (", ..." if self.shared > len(self.examples) else "")
        return (
            f"{first} and {second} share {self.shared} {KINDS[self.kind]} ({listed}): "
            f"{self.touched} of {self.total} utterances of {second}"
        )


def find_leaks(
    manifest: Manifest, assignment: Mapping[str, np.ndarray], digests: np.ndarray | None
) -> list[Leak]:
    """All leaks between any two splits.

    Args:
        manifest: N utterances.
        assignment: split -> indices into it.
        digests: [N, 16] uint8, equal where features are equal; None where they are not known.
    """
    keys = _keys(manifest, digests)
    found = []
    for first, second in combinations(assignment, 2):
        for kind, values in keys.items():
            leak = _compare(kind, (first, second), values, assignment)
            found += [leak] if leak else []
        found += _overlaps(manifest, (first, second), assignment)
    return found


def describe(leaks: Sequence[Leak], declared: Sequence[str]) -> list[str]:
    """A line on each leak, and whether it was declared; one line where there is none.

    Raises:
        ConfigError: a kind of leak that there is not was declared.
    """
    for kind in declared:
        if kind not in KINDS:
            raise ConfigError(f"data.declared_leaks: there is no leak '{kind}'. {did_you_mean(kind, KINDS)}")
    if not leaks:
        return ["Leaks: none between the splits."]
    return [f"{'Declared leak' if leak.kind in declared else 'LEAK'}: {leak}." for leak in leaks]


def stamps(leaks: Sequence[Leak], declared: Sequence[str]) -> list[str]:
    """What must stand on a result: the leaks that nobody declared, from what is learnt from to what is scored."""
    return [
        f"LEAK: {leak.splits[0]} and {leak.splits[1]} share {leak.shared} {KINDS[leak.kind]}"
        for leak in leaks
        if leak.kind not in declared
    ]


def _keys(manifest: Manifest, digests: np.ndarray | None) -> dict[str, list[Hashable | None]]:
    """Kind of leak -> for each utterance, what must not stand in two splits."""

    def column(read: Callable[[Utterance], str | None]) -> list[Hashable | None]:
        return [read(utterance) for utterance in manifest]

    keys = {
        "speaker": column(lambda utterance: utterance.speaker),
        "group": column(lambda utterance: utterance.group),
        "text": column(lambda u: None if u.text is None else " ".join(u.text.casefold().split())),
    }
    if digests is not None:
        keys["audio"] = [bytes(row).hex() for row in digests]
    return keys


def _compare(
    kind: str,
    splits: tuple[str, str],
    values: Sequence[Hashable | None],
    assignment: Mapping[str, np.ndarray],
) -> Leak | None:
    first, second = ([values[index] for index in assignment[name].tolist()] for name in splits)
    shared = (set(first) & set(second)) - {None}
    if not shared:
        return None
    examples = tuple(sorted(map(str, shared))[:_EXAMPLES])
    touched = sum(value in shared for value in second)
    return Leak(kind, splits, len(shared), touched, len(second), examples)


def _overlaps(
    manifest: Manifest, splits: tuple[str, str], assignment: Mapping[str, np.ndarray]
) -> Iterator[Leak]:
    """Segments of one file, in two splits, that have a stretch in common."""
    spans = defaultdict(list)
    for index in assignment[splits[0]].tolist():
        utterance = manifest.utterances[index]
        spans[utterance.path].append(utterance)
    touched = [
        utterance
        for utterance in (manifest.utterances[index] for index in assignment[splits[1]].tolist())
        if any(_overlap(utterance, other) for other in spans.get(utterance.path, ()))
    ]
    if touched:
        files = sorted({utterance.path.name for utterance in touched})
        total = len(assignment[splits[1]])
        yield Leak("overlap", splits, len(files), len(touched), total, tuple(files[:_EXAMPLES]))


def _overlap(one: Utterance, other: Utterance) -> bool:
    ends = [float("inf") if utterance.end is None else utterance.end for utterance in (one, other)]
    return one.start < ends[1] and other.start < ends[0]
