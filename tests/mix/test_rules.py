"""The rule that splits each corpus of a mix by itself."""

from pathlib import Path

import pytest

from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError
from ser.mix.rules import WithinCorpora, suggest_same
from ser.splits.assignment import use_validation
from ser.splits.folds import LeaveOneSpeakerOut, SpeakerKFold
from ser.splits.published import Published
from ser.splits.rules import Rule, SpeakerDisjoint

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


def corpora_of(rule: Rule, **speakers: int) -> tuple[WithinCorpora, Manifest]:
    """Corpora with so many speakers, of whom each says two things."""
    utterances = [
        Utterance(f"{name}/{one}{take}", Path(f"{name}{one}{take}"), corpus=name, speaker=f"{name}/{one}")
        for name, number in speakers.items()
        for one in range(number)
        for take in "ab"
    ]
    rules = WithinCorpora(
        dict.fromkeys(speakers, rule), {name: Manifest((), f"{name}.csv") for name in speakers}
    )
    return rules, Manifest(tuple(utterances), "mix")


@pytest.mark.parametrize(
    ("speakers", "remedy"),
    [
        ({"emovo": 6, "savee": 4}, r"\(emovo 6, savee 4\)\. Use folds=4\.$"),
        ({"emovo": 6, "ravdess": 24}, r"\. Use folds=5\.$"),
    ],
)
def test_folds_that_all_corpora_have_are_named(speakers: dict[str, int], remedy: str) -> None:
    rule, manifest = corpora_of(LeaveOneSpeakerOut(), **speakers)
    with pytest.raises(ConfigError, match=remedy) as caught:
        rule.count_folds(manifest)
    named = int(str(caught.value).rpartition("folds=")[2].rstrip("."))
    again, _ = corpora_of(SpeakerKFold(folds=named), **speakers)
    assert again.count_folds(manifest)[0] == named


def test_too_many_folds_name_the_smallest_corpus() -> None:
    rule, manifest = corpora_of(SpeakerKFold(folds=5), one=6, two=4, three=3)
    with pytest.raises(ConfigError, match=r"three.csv has only 3 speakers\. Make as many folds: folds=3\.$"):
        rule.count_folds(manifest)


def test_corpora_without_folds_over_speakers_are_left_out() -> None:
    _, manifest = corpora_of(LeaveOneSpeakerOut(), emns=1, ravdess=24)
    parts = {"emns": manifest.select([0, 1]), "ravdess": manifest.select(range(2, 50))}
    assert suggest_same(parts) == (
        "Too few speakers are known of emns: leave emns out with 'data.corpora=[ravdess]'."
    )
    assert suggest_same({"emns": parts["emns"]}).endswith("of emns: give other corpora.")


def test_the_suggested_sweep_suits_the_smallest_corpus() -> None:
    rule, manifest = corpora_of(SpeakerDisjoint(), emovo=6, savee=4)
    assert rule.suggest_folds(manifest) == [
        "split=speaker_kfold",
        "data.split.folds=4",
        "data.split.fold=0,1,2,3",
    ]
    rule, manifest = corpora_of(SpeakerDisjoint(), emovo=6, two=2)
    assert rule.suggest_folds(manifest) == []
