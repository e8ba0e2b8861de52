"""Normalise by group: z-scores over all recordings of a speaker, or of a corpus, within a split.

By speaker is what SERAB does. It needs no labels, but it needs the other test recordings of a test speaker or corpus:
it is transductive, and results are stamped with that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ser.data.manifest import Manifest, speaker_remedy
from ser.data.store import Store
from ser.errors import ConfigError, DataError, counted
from ser.names import is_missing
from ser.splits.base import Splits

Group = Literal["speaker", "corpus"]
"""Column of a manifest whose recordings are normalised together."""

GIVE_SPEAKERS = "Give a manifest with a column speaker"
STAMP = (
    "transductive: each speaker's features are normalised with all recordings of the speaker, also in test"
)
STAMPS: Mapping[Group, str] = {
    "speaker": STAMP,
    "corpus": "transductive: each corpus's features are normalised with all its recordings in a split, also in test",
}


def group_of(frontend: Mapping[str, Any]) -> Group | None:
    """Return the group by which a frontend's spec normalises; None if it is another kind of normalisation."""
    normalize: Group = frontend.get("normalize", "global")
    return normalize if normalize in STAMPS else None


def uses_speaker_normalization(frontend: Mapping[str, Any]) -> bool:
    """Return whether a frontend's spec sets normalisation by speaker or corpus, which needs several recordings."""
    return group_of(frontend) is not None


def normalize_splits(splits: Splits, frontend: Mapping[str, Any]) -> Splits:
    """Normalise all splits by speaker or corpus if a frontend's spec sets it, and stamp them.

    A warning is added where most speakers have one label each.

    Raises:
        ConfigError: The corpus has no manifest, so speakers are unknown.
        DataError: The speakers of some utterances are unknown.
    """
    group = group_of(frontend)
    if group is None:
        return splits
    if not splits.manifests and group == "speaker":
        raise ConfigError(
            "frontend.normalize=speaker: the speakers of these files are unknown. Use global, utterance or none."
        )
    stores = {}
    for name, store in splits.stores.items():
        manifest = splits.manifests.get(name)
        if group == "speaker" and manifest is not None:
            remedy = speaker_remedy(manifest, "the column 'speaker'")
            _refuse_unknown(manifest, f"{remedy}, or use frontend.normalize=global")
        stores[name] = normalize_by_group(store, manifest, frontend)
    warnings = _describe_lone_labels(splits, group, "use frontend.normalize=global")
    facts = replace(splits.facts, stamps=[*splits.facts.stamps, STAMPS[group], *warnings])
    return replace(splits, stores=stores, facts=facts)


def normalize_by_group(store: Store, manifest: Manifest | None, frontend: Mapping[str, Any]) -> Store:
    """Normalise the features of each utterance by its speaker or corpus.

    Args:
        store: Store of N utterances.
        manifest: Manifest of the same N utterances, in that order; None if they are of one corpus.
        frontend: Spec of a frontend that normalises by group.

    Raises:
        DataError: The speakers of some utterances are unknown.
    """
    group = group_of(frontend)
    assert group is not None
    if group == "speaker":
        assert manifest is not None
        return normalize_by_speaker(store, manifest, frontend.get("floor"))
    return store.with_zscores(corpora_of(manifest, len(store)), floor=frontend.get("floor"))


_PLURALS = {"speaker": "speakers", "corpus": "corpora"}
HEAD_STAMPS: Mapping[Group, str] = {
    group: f"transductive: pooled vectors are normalised with all recordings of a {group}, also in test"
    for group in STAMPS
}


def group_splits(splits: Splits, head: Mapping[str, Any]) -> Splits:
    """Add the speaker or corpus of each utterance if a head's spec normalises by it, and stamp the splits.

    Groups of two splits are different ones. Where most speakers have one label each, a warning is added: their
    statistics then remove what is to be learnt.

    Raises:
        ConfigError: The corpus has no manifest, so speakers are unknown.
        DataError: The speakers of some utterances are unknown.
    """
    group: Any = head.get("normalize")
    if group not in STAMPS:
        return splits
    if not splits.manifests:
        raise ConfigError(
            f"head.normalize={group}: these files name no speakers and no corpora. Set head.normalize=batch"
        )
    stores, first = {}, 0
    for name, store in splits.stores.items():
        manifest = splits.manifests[name]
        remedy = f"{speaker_remedy(manifest, 'the column speaker')}, or use head.normalize=batch"
        own = groups_in(manifest, group, remedy)
        stores[name] = store.with_groups(own + first)
        first += int(own.max()) + 1
    stamps = [HEAD_STAMPS[group], *_describe_lone_labels(splits, group, "use head.normalize=batch")]
    facts = replace(splits.facts, stamps=[*splits.facts.stamps, *stamps])
    return replace(splits, stores=stores, facts=facts)


def groups_in(manifest: Manifest, group: Group, remedy: str) -> np.ndarray:
    """Return the index of the speaker or corpus of each utterance [N].

    Raises:
        DataError: The speakers of some utterances are unknown.
    """
    if group == "corpus":
        return corpora_of(manifest, len(manifest))
    _refuse_unknown(manifest, remedy)
    indices: np.ndarray = np.unique([u.speaker for u in manifest], return_inverse=True)[1]
    return indices


def _describe_lone_labels(splits: Splits, group: Group, remedy: str) -> list[str]:
    """Return a warning if most speakers or corpora of the splits have one label each."""
    parts = [
        (splits.manifests[name], store.labels)
        for name, store in splits.stores.items()
        if store.labels is not None and name in splits.manifests
    ]
    found = count_lone_labels(parts, group)
    return [f"{fact}, so normalisation by {group} removes what is to be learnt: {remedy}" for fact in found]


def count_lone_labels(parts: Iterable[tuple[Manifest, Any]], group: Group) -> list[str]:
    """Return how many groups have one label each if most have, as then normalisation by group removes the labels.

    Measured on a corpus whose speakers speak one emotion each: UAR fell from 70 to 11. Each label field counts by
    itself, without missing labels; fields of numbers that are not whole, such as arousal, are no classes.

    Args:
        parts: Manifests with the labels [N, K] of their N utterances.
        group: What is normalised together.
    """
    fields: dict[int, dict[str | None, set[str]]] = {}
    for manifest, rows in parts:
        for utterance, row in zip(manifest, rows.tolist(), strict=True):
            for field, label in enumerate(map(str, row)):
                if not is_missing(label):
                    groups = fields.setdefault(field, {})
                    groups.setdefault(getattr(utterance, group), set()).add(label)
    for groups in fields.values():
        lone = sum(len(labels) == 1 for labels in groups.values())
        if 2 * lone > len(groups) and not any(map(_is_fraction, set[str]().union(*groups.values()))):
            return [f"{lone} of {len(groups)} {_PLURALS[group]} have one label each"]
    return []


def _is_fraction(label: str) -> bool:
    try:
        return not float(label).is_integer()
    except ValueError:
        return False


def corpora_of(manifest: Manifest | None, utterances: int) -> np.ndarray:
    """Return the index of the corpus of each utterance [N]; those without a name are one corpus."""
    if manifest is None:
        return np.zeros(utterances, dtype=np.int64)
    names = [utterance.corpus or "" for utterance in manifest]
    indices: np.ndarray = np.unique(names, return_inverse=True)[1]
    return indices


def normalize_by_speaker(store: Store, manifest: Manifest, floor: float | None) -> Store:
    """Normalise the features of each utterance by its speaker.

    Args:
        store: Store of N utterances.
        manifest: Manifest of the same N utterances, in that order.
        floor: Floor applied to values first; None for none.

    Raises:
        DataError: The speakers of some utterances are unknown.
    """
    _refuse_unknown(manifest, manifest.speaker_remedy or GIVE_SPEAKERS)
    _, groups = np.unique([utterance.speaker for utterance in manifest], return_inverse=True)
    return store.with_zscores(groups, floor=floor)


def _refuse_unknown(manifest: Manifest, remedy: str) -> None:
    unknown = [utterance.id for utterance in manifest if utterance.speaker is None]
    if unknown:
        raise DataError(
            f"{manifest.source}: normalisation by speaker, but the speakers of {counted(len(unknown), 'utterance')} "
            f"are unknown, first {unknown[0]!r}. {remedy}."
        )
