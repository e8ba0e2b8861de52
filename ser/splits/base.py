"""Splits: the result of a corpus, one store per split with what is known about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ser.data.manifest import Manifest
from ser.data.store import Store
from ser.splits.leaks import compare_stores, describe_leaks, leak_stamps


@dataclass(frozen=True)
class Splits:
    """Stores of the splits, with facts about the data.

    Args:
        stores: Features, ids and labels of each split; `test` is optional.
        stamps: Warnings that every report must show, such as a leak.
        facts: Facts that the run stores beside the summary of splits, as plain values.
        manifests: Manifest of each split, in the order of its store; empty if only features are known.
        hold_waveforms: whether the stores hold waveforms, of which features are made in every step.
    """

    stores: Mapping[str, Store]
    stamps: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    hold_waveforms: bool = False


def compare_splits(splits: Splits) -> Splits:
    """Find utterances that are in two splits, if the corpus did not; add the leaks to stamps and facts."""
    leaks = None if "leaks" in splits.facts else compare_stores(splits.stores)
    if leaks is None:
        return splits
    remarks = (
        describe_leaks(leaks, ())
        if leaks
        else ["Leaks: no two splits have equal audio; nothing more is known."]
    )
    facts = {
        **splits.facts,
        "leaks": [leak.to_dict() for leak in leaks],
        "remarks": [*splits.facts.get("remarks", ()), *remarks],
    }
    return replace(splits, stamps=[*splits.stamps, *leak_stamps(leaks, ())], facts=facts)
