"""Normalise by speaker, as SERAB does: z-scores over all recordings of a speaker within a split.

It needs no labels, but it needs the other test recordings of a test speaker: it is transductive, and results are
stamped with that.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ser.data.manifest import Manifest, speaker_remedy
from ser.data.store import Store
from ser.errors import ConfigError, DataError
from ser.splits.base import Splits

STAMP = (
    "transductive: each speaker's features are normalised with all recordings of the speaker, also in test"
)


def uses_speaker_normalization(frontend: Mapping[str, Any]) -> bool:
    """Return whether a frontend's spec sets normalisation by speaker."""
    return frontend.get("normalize") == "speaker"


def normalize_splits(splits: Splits, frontend: Mapping[str, Any]) -> Splits:
    """Normalise all splits by speaker if a frontend's spec sets it, and stamp them.

    Raises:
        ConfigError: The corpus has no manifest, so speakers are unknown.
        DataError: The speakers of some utterances are unknown.
    """
    if not uses_speaker_normalization(frontend):
        return splits
    if not splits.manifests:
        raise ConfigError(
            "frontend.normalize=speaker: the speakers of these files are unknown. Use global, utterance or none."
        )
    for manifest in splits.manifests.values():
        remedy = speaker_remedy(manifest, "the column 'speaker'")
        _refuse_unknown(manifest, f"{remedy}, or use frontend.normalize=global")
    stores = {
        name: normalize_by_speaker(store, splits.manifests[name], frontend.get("floor"))
        for name, store in splits.stores.items()
    }
    facts = replace(splits.facts, stamps=[*splits.facts.stamps, STAMP])
    return replace(splits, stores=stores, facts=facts)


def normalize_by_speaker(store: Store, manifest: Manifest, floor: float | None) -> Store:
    """Normalise the features of each utterance by its speaker.

    Args:
        store: Store of N utterances.
        manifest: Manifest of the same N utterances, in that order.
        floor: Floor applied to values first; None for none.

    Raises:
        DataError: The speakers of some utterances are unknown.
    """
    _refuse_unknown(manifest, "Give a manifest with a column speaker")
    _, groups = np.unique([utterance.speaker for utterance in manifest], return_inverse=True)
    return store.with_zscores(groups, floor=floor)


def _refuse_unknown(manifest: Manifest, remedy: str) -> None:
    unknown = [utterance.id for utterance in manifest if utterance.speaker is None]
    if unknown:
        raise DataError(
            f"{manifest.source}: normalisation by speaker, but the speakers of {len(unknown)} utterances are unknown, "
            f"first {unknown[0]!r}. {remedy}."
        )
