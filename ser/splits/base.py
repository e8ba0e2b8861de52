"""Splits: the result of a corpus, one store per split with what is known about them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from ser.data.label_map import LabelCount
from ser.data.manifest import Manifest
from ser.data.store import Store
from ser.splits.leak_report import describe_leaks, leak_stamps
from ser.splits.leaks import Leak, compare_stores


@dataclass(frozen=True)
class SpeechSize:
    """Amount of speech in a split.

    Args:
        speakers: Number of speakers; None if some are unknown.
        minutes: Minutes of speech; None if they are unknown.
    """

    speakers: int | None = None
    minutes: float | None = None


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """Facts about the data, which a run prints, reports and writes to splits.json.

    Args:
        labels: Result of mapping each raw label.
        leaks: Leaks between the splits; None if they could not be searched for.
        skipped: Id and reason of each utterance that could not be read.
        left_out: Id of each utterance that the rule puts in no split.
        speakers: Names of the speakers of each split; None for a split where some are unknown.
        cross_validation: Settings of a sweep that tests every speaker once; empty if there is none.
        remarks: Lines about leaks and doubts, for the console.
        speech: Amount of speech in each split, if it is known.
        silence_detector: Scores of the silence detector, if the pauses are known.
        stamps: Warnings that every report must show, such as a leak.
        target: Spec of the target, with the classes of the data; None before they are read.
        words: State of the table of word vectors, for the checkpoint; None if no words are used.
    """

    labels: Sequence[LabelCount] = ()
    leaks: Sequence[Leak] | None = None
    skipped: Sequence[tuple[str, str]] = ()
    left_out: Sequence[str] = ()
    speakers: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    cross_validation: Sequence[str] = ()
    remarks: Sequence[str] = ()
    speech: Mapping[str, SpeechSize] = field(default_factory=dict)
    silence_detector: Mapping[str, Mapping[str, float]] | None = None
    stamps: Sequence[str] = ()
    target: Mapping[str, Any] | None = None
    words: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON, without what is unknown, and without word vectors."""
        plain = asdict(replace(self, words=None))
        plain["leaks"] = None if self.leaks is None else [leak.to_dict() for leak in self.leaks]
        plain["labels"] = [label.to_dict() for label in self.labels]
        plain["skipped"] = [{"id": name, "reason": reason} for name, reason in self.skipped]
        return {name: value for name, value in plain.items() if value is not None}


@runtime_checkable
class Corpus(Protocol):
    """Interface of corpora."""

    def splits(self, features: Mapping[str, Any]) -> "Splits":
        """Read the corpus and split it.

        Args:
            features: Spec of an extractor.

        Raises:
            SerError: Files, labels, rule or settings do not fit together.
        """
        ...


@dataclass(frozen=True)
class Splits:
    """Stores of the splits, with facts about the data.

    Args:
        stores: Features, ids and labels of each split; `test` is optional.
        facts: Facts that the run stores beside the summary of splits.
        manifests: Manifest of each split, in the order of its store; empty if only features are known.
        hold_waveforms: Whether the stores hold waveforms, from which features are computed in every step.
    """

    stores: Mapping[str, Store]
    facts: SplitFacts = field(default_factory=SplitFacts)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    hold_waveforms: bool = False


def compare_splits(splits: Splits) -> Splits:
    """Find utterances that are in two splits, if the corpus did not; add the leaks to the facts."""
    facts = splits.facts
    leaks = compare_stores(splits.stores) if facts.leaks is None else None
    if leaks is None:
        return splits
    remarks = (
        describe_leaks(leaks, ())
        if leaks
        else ["Leaks: no two splits have equal audio; nothing more is known."]
    )
    return replace(
        splits,
        facts=replace(
            facts,
            leaks=leaks,
            remarks=[*facts.remarks, *remarks],
            stamps=[*facts.stamps, *leak_stamps(leaks, ())],
        ),
    )
