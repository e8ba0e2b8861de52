"""The rule that splits each corpus of a mix by itself."""

from pathlib import Path

from ser.data.manifest import Manifest, Utterance
from ser.mix.rules import WithinCorpora
from ser.splits.assignment import use_validation
from ser.splits.folds import LeaveOneSpeakerOut
from ser.splits.published import Published

SESSIONS = [f"0{session}{talker}" for session in range(1, 6) for talker in "FM"]


def mixed(protocol: str) -> tuple[WithinCorpora, Manifest]:
    """A corpus split by a protocol, and one split by speaker."""
    rules = {
        "mine": LeaveOneSpeakerOut(),
        "iemocap": Published(corpus="iemocap", protocol=protocol, label="emotion"),
    }
    utterances = [
        Utterance(
            f"{corpus}/{speaker}{take}",
            Path(f"{corpus}{speaker}{take}"),
            corpus=corpus,
            speaker=f"{corpus}/{speaker}",
            labels={"emotion": "ab"[take % 2], "serab_speaker": f"{speaker[:2]}{'FM'[take % 2]}"},
        )
        for speaker in SESSIONS
        for corpus in rules
        for take in range(10)
    ]
    return WithinCorpora(rules, dict.fromkeys(rules, Manifest((), "table.csv"))), Manifest(
        tuple(utterances), "mix"
    )


def test_remarks_and_stamps_of_a_protocol_in_a_mix_name_its_corpus() -> None:
    rule, manifest = mixed("superb")
    assignment = rule.assign(manifest)
    remarks, stamps = rule.describe(manifest, assignment)
    assert remarks == ["iemocap: Protocol: fold 1 of 5, as published by SUPERB."]
    assert stamps == [
        "iemocap: SUPERB groups speakers wrongly: train and validation share some, as it draws validation from train "
        "at random"
    ]
    assert rule.describe(manifest, use_validation(assignment, "none"))[1] == []


def test_folds_of_a_mix_that_share_speakers_say_so_with_the_corpus() -> None:
    rule, manifest = mixed("serab")
    manifest = Manifest(tuple(each for each in manifest if each.corpus == "iemocap"), manifest.source)
    assert rule.count_folds(manifest) == (
        1,
        "each corpus is split by itself: iemocap, published (SERAB), SPEAKERS ARE IN TRAIN AND TEST of each",
    )
