"""Measure how much of the labels is known from something else, such as the speaker or the text."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ser.data.manifest import Manifest
from ser.splits.leaks import normalize_text

_SHUFFLES = 20
NOTABLE = 0.5
"""Share of groups with one label, or of the labels' entropy, from which labels count as confounded."""
_PLURALS = {"speaker": "speakers", "text": "texts"}
_CONSEQUENCES = {
    "speaker": (
        "a model can tell labels by the voice, scores of a split that shares speakers say nothing, and normalisation "
        "by speaker removes what is to be learnt."
    ),
    "text": "a model can tell labels by the words. Keep texts apart with split=speaker_and_text",
}


@dataclass(frozen=True)
class Association:
    """What groups, such as speakers, say about labels.

    Args:
        kind: What the groups are: speaker, text, corpus.
        groups: Number of groups with two utterances or more.
        one_label: Number of those whose utterances all have the same label.
        explained: Share of the labels' entropy that the group explains, 0..1, corrected for chance.
    """

    kind: str
    groups: int
    one_label: int
    explained: float

    @property
    def is_notable(self) -> bool:
        """Return whether most groups have one label, or the group says half of what there is to know."""
        return self.groups > 1 and max(self.one_label / self.groups, self.explained) >= NOTABLE

    def __str__(self) -> str:
        plural = _PLURALS[self.kind]
        shares = (
            f"{self.one_label} of {self.groups} {plural} have one label each, and {plural} explain "
            f"{self.explained:.0%} of the labels"
        )
        return (
            f"CONFOUNDED: {shares}: {_CONSEQUENCES[self.kind]}"
            if self.is_notable
            else f"Not confounded: {shares}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return asdict(self) | {"is_notable": self.is_notable}


def associate_all(manifest: Manifest, labels: Sequence[str | None]) -> list[Association]:
    """Compare the labels [N] of a manifest with its speakers and its texts, where there are several of each."""
    known = [(each, label) for each, label in zip(manifest, labels, strict=True) if label is not None]
    named = [label for _, label in known]
    found = (
        associate("speaker", named, [each.speaker for each, _ in known]),
        associate("text", named, [normalize_text(each.text) for each, _ in known]),
    )
    return [each for each in found if each is not None and each.groups > 0]


def associate(kind: str, labels: Sequence[Hashable], groups: Sequence[Hashable | None]) -> Association | None:
    """Compare labels [N] with groups [N], None where unknown; return None if there are no two of either.

    The entropy that groups explain is I(label; group) / H(label), both less the mean of I over shuffled labels, which
    is not 0 where groups are small: the adjusted mutual information of Vinh, Epps, Bailey, JMLR 2010, normalised by
    the entropy of the labels.
    """
    known = [(label, group) for label, group in zip(labels, groups, strict=True) if group is not None]
    if not known:
        return None
    label_codes, group_codes = (_codes(side) for side in zip(*known, strict=True))
    if label_codes.max() == 0 or group_codes.max() == 0:
        return None
    table = _contingency(label_codes, group_codes)
    sizes = table.sum(0)
    random = np.random.default_rng(0)
    shuffled = (_contingency(random.permutation(label_codes), group_codes) for _ in range(_SHUFFLES))
    chance = sum(map(_information, shuffled)) / _SHUFFLES
    entropy = _entropy(table.sum(1))
    explained = (_information(table) - chance) / max(entropy - chance, 1e-9)
    return Association(
        kind,
        groups=int((sizes > 1).sum()),
        one_label=int(((table.max(0) == sizes) & (sizes > 1)).sum()),
        explained=float(np.clip(explained, 0, 1)),
    )


def _codes(values: Sequence[Hashable]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values])


def _contingency(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    width = int(groups.max()) + 1
    counts = np.bincount(labels * width + groups, minlength=(int(labels.max()) + 1) * width)
    table: np.ndarray = counts.reshape(-1, width)
    return table


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _information(table: np.ndarray) -> float:
    return _entropy(table.sum(1)) + _entropy(table.sum(0)) - _entropy(table.ravel())
