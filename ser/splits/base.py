"""What a corpus returns: one store of utterances per split, with what is known about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ser.data.manifest import Manifest
from ser.data.store import Store
from ser.splits.leaks import compare_stores, describe_leaks, leak_stamps


@dataclass(frozen=True)
class Splits:
    """What a corpus gives.

    Args:
        stores: split -> features, ids and labels; `test` need not be there.
        stamps: what a reader of the results must know, such as a leak; they stand on every report.
        facts: plain values that a run keeps beside the table of splits.
        manifests: split -> what is known about its utterances, in the order of its store; none of bare features.
        hold_waveforms: whether the stores hold waveforms, of which features are made in every step.
    """

    stores: Mapping[str, Store]
    stamps: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    hold_waveforms: bool = False


def compare_splits(splits: Splits) -> Splits:
    """Look for utterances that stand in two splits, where the corpus has not: stamp them, and keep them as facts."""
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
