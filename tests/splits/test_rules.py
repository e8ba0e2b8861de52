"""Rules that deal utterances out: nobody in two splits, and nothing depends on the order of rows."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ser.corpora.published import read_corpus
from ser.corpora.recordings import cut_into_windows
from ser.data.manifest import Manifest, Utterance
from ser.data.store_io import new_store
from ser.errors import ConfigError, DataError
from ser.splits.assignment import Assignment
from ser.splits.folds import LeaveOneGroupOut, LeaveOneSpeakerOut, SpeakerKFold
from ser.splits.leaks import find_leaks
from ser.splits.rules import (
    Default,
    GroupDisjoint,
    Predefined,
    RandomSplit,
    Rule,
    Serab,
    SpeakerDisjoint,
    WindowSplit,
)

EMOTIONS = ("anger", "joy", "sadness")
TEN = [f"{number:02d}" for number in range(10)]


def manifest_of(*speakers: str | None, each: int = 6, **known: Any) -> Manifest:
    """So many utterances of each speaker, emotions in turn."""
    utterances = [
        Utterance(
            f"{speaker}-{take}",
            Path(f"{speaker}-{take}.wav"),
            speaker=speaker,
            labels={"emotion": EMOTIONS[take % 3], "take": str(take)},
            **known,
        )
        for speaker in speakers
        for take in range(each)
    ]
    return Manifest(tuple(utterances), "table.csv")


def joined(*parts: Manifest) -> Manifest:
    return Manifest(tuple(utterance for part in parts for utterance in part), "table.csv")


def in_pairs(names: Sequence[str | None]) -> Manifest:
    """Two speakers after the other share a session."""
    return joined(*(manifest_of(name, group=f"session {n // 2}") for n, name in enumerate(names)))


def ids(manifest: Manifest, assignment: Assignment) -> dict[str, set[str]]:
    return {
        name: {manifest.utterances[index].id for index in indices.tolist()}
        for name, indices in assignment.items()
    }


def speakers_of(manifest: Manifest, rule: Rule) -> dict[str, list[str]]:
    """Split -> its speakers."""
    return {
        name: sorted({str(manifest.utterances[index].speaker) for index in indices.tolist()})
        for name, indices in rule.assign(manifest).items()
    }


BY_SPEAKER = [
    SpeakerDisjoint(),
    SpeakerDisjoint(seed=1, label="emotion"),
    SpeakerKFold(folds=4, fold=3),
    SpeakerKFold(folds=3, validation=0.3),
    LeaveOneSpeakerOut(),
    Serab(),
    Default(),
]


def name_of(rule: Rule) -> str:
    return type(rule).__name__


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Up to 50 utterances, some speakers in groups with others, some emotions rare."""
    speakers = st.integers(0, 12).map(lambda number: f"s{number}")
    groups = st.none() | st.none() | st.integers(0, 5).map(lambda number: f"g{number}")
    emotions = st.sampled_from(["anger", "anger", "joy", "joy", "sadness"])
    rows = draw(st.lists(st.tuples(speakers, groups, emotions), min_size=3, max_size=50))
    utterances = (
        Utterance(f"u{row}", Path(f"u{row}"), speaker=speaker, group=group, labels={"emotion": emotion})
        for row, (speaker, group, emotion) in enumerate(rows)
    )
    return Manifest(tuple(utterances), "table.csv")


def assigned(rule: Rule, manifest: Manifest) -> Assignment:
    """The assignment, or another example where there can be none."""
    try:
        return rule.assign(manifest)
    except DataError:
        assume(False)
        raise


@pytest.mark.parametrize("rule", [*BY_SPEAKER, RandomSplit(label="emotion")], ids=name_of)
@given(manifests(), st.randoms(use_true_random=False))
@settings(max_examples=8)
def test_splits_are_a_partition_that_the_order_of_rows_does_not_change(
    rule: Rule, manifest: Manifest, random: Any
) -> None:
    assignment = assigned(rule, manifest)
    assert {"train", "validation"} <= set(assignment) <= {"train", "validation", "test"}
    assert sorted(np.concatenate(list(assignment.values())).tolist()) == list(range(len(manifest)))
    assert all(len(indices) and (np.diff(indices) > 0).all() for indices in assignment.values())
    order = list(range(len(manifest)))
    random.shuffle(order)
    shuffled = manifest.select(order)
    assert ids(shuffled, rule.assign(shuffled)) == ids(manifest, assignment)


@pytest.mark.parametrize("rule", BY_SPEAKER, ids=name_of)
@given(manifests())
@settings(max_examples=8)
def test_no_speaker_is_in_two_splits(rule: Rule, manifest: Manifest) -> None:
    leaks = find_leaks(manifest, assigned(rule, manifest), None)
    assert "speaker" not in {leak.kind for leak in leaks}


@pytest.mark.parametrize("rule", [SpeakerDisjoint(), SpeakerKFold(folds=3), Default(test=0.0)], ids=name_of)
@given(manifests())
@settings(max_examples=8)
def test_no_group_is_in_two_splits(rule: Rule, manifest: Manifest) -> None:
    assert find_leaks(manifest, assigned(rule, manifest), None) == []


def test_speakers_who_are_linked_by_way_of_others_stay_together() -> None:
    chain = [("a", "x"), ("b", "x"), ("b", "y"), ("c", "y"), ("d", None), ("e", None), ("f", None)]
    manifest = joined(*(manifest_of(speaker, group=group) for speaker, group in chain))
    for split in speakers_of(manifest, SpeakerDisjoint()).values():
        assert len({"a", "b", "c"} & set(split)) in (0, 3)


def test_another_seed_deals_otherwise() -> None:
    manifest = manifest_of(*TEN)
    assert speakers_of(manifest, SpeakerDisjoint(seed=0)) != speakers_of(manifest, SpeakerDisjoint(seed=1))


def test_shares_are_kept_though_speakers_speak_unequally_much() -> None:
    manifest = joined(*(manifest_of(f"{n:02d}", each=3 * (1 + n % 7)) for n in range(30)))
    assignment = SpeakerDisjoint(validation=0.1, test=0.25).assign(manifest)
    shares = {name: len(indices) / len(manifest) for name, indices in assignment.items()}
    assert shares == pytest.approx({"train": 0.65, "validation": 0.1, "test": 0.25}, abs=0.02)


def shares_of_joy(manifest: Manifest, rule: Rule) -> list[float]:
    return [
        float(np.mean([manifest.utterances[index].labels["emotion"] == "joy" for index in indices.tolist()]))
        for indices in rule.assign(manifest).values()
    ]


@pytest.mark.parametrize("rule", [SpeakerDisjoint, SpeakerKFold, RandomSplit])
def test_classes_are_balanced_where_the_label_is_named(rule: Any) -> None:
    """Every other speaker is always joyful, the others never are."""
    manifest = Manifest(
        tuple(
            Utterance(
                f"{n}-{take}",
                Path("a"),
                speaker=f"{n:02d}",
                labels={"emotion": ("joy", "anger")[n % 2]},
            )
            for n in range(20)
            for take in range(4)
        ),
        "table.csv",
    )
    assert shares_of_joy(manifest, rule(label="emotion")) == pytest.approx([0.5] * 3, abs=0.01)


def test_a_class_of_few_speakers_is_learnt_before_it_is_scored() -> None:
    rare = Utterance("rare", Path("rare.wav"), speaker="03", labels={"emotion": "disgust"})
    manifest = joined(manifest_of(*TEN), Manifest((rare,), "table.csv"))
    for seed in range(5):
        assert "03" in speakers_of(manifest, SpeakerDisjoint(seed=seed, label="emotion"))["train"]
        assert "rare" in ids(manifest, RandomSplit(seed=seed, label="emotion").assign(manifest))["train"]


def test_without_a_test_share_there_is_no_test_split() -> None:
    for rule in (SpeakerDisjoint(test=0.0), RandomSplit(test=0.0)):
        assert list(rule.assign(manifest_of(*TEN))) == ["train", "validation"]


def test_three_speakers_are_enough() -> None:
    found = speakers_of(manifest_of("a", "b", "c"), SpeakerDisjoint())
    assert sorted(map(len, found.values())) == [1, 1, 1]


def predefined(*splits: str | None) -> Manifest:
    return joined(*(manifest_of(f"{n}", split=split) for n, split in enumerate(splits)))


def test_predefined_splits_are_taken_as_they_are() -> None:
    manifest = predefined("test", "train", "validation", "train")
    for rule in (Predefined(label="emotion"), Default()):
        found = speakers_of(manifest, rule)
        assert found == {"train": ["1", "3"], "validation": ["2"], "test": ["0"]}


def test_a_speaker_in_two_predefined_splits_is_left_to_the_leak_check() -> None:
    manifest = joined(manifest_of("a", "b", split="train"), manifest_of("a", split="validation"))
    assert "speaker" in {leak.kind for leak in find_leaks(manifest, Predefined().assign(manifest), None)}


@pytest.mark.parametrize("rule", [Predefined(label="emotion"), Default(label="emotion")])
def test_a_missing_validation_split_is_drawn_from_train_by_speaker(
    rule: Rule, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = joined(manifest_of(*TEN, split="train"), manifest_of("x", "y", split="test"))
    found = speakers_of(manifest, rule)
    assert found["test"] == ["x", "y"]
    assert len(found["validation"]) == 2
    assert sorted(found["train"] + found["validation"]) == TEN
    assert (
        "names no validation split: 12 of 60 utterances of train are drawn for it, by speaker; with "
        "data.validation=none, they stay in train" in caplog.text
    )


def test_the_seed_decides_which_validation_speakers_are_drawn() -> None:
    manifest = manifest_of(*TEN, split="train")
    assert len({tuple(speakers_of(manifest, Predefined(seed=seed))["validation"]) for seed in range(5)}) > 1


@pytest.mark.parametrize("speakers", [(None,), ("only",)])
def test_a_missing_validation_split_is_drawn_at_random_without_speakers(
    speakers: tuple[str | None, ...], caplog: pytest.LogCaptureFixture
) -> None:
    manifest = joined(manifest_of(*speakers, each=30, split="train"), manifest_of("x", split="test"))
    found = Predefined(label="emotion", validation=0.3).assign(manifest)
    assert {name: len(indices) for name, indices in found.items()} == {
        "train": 21,
        "validation": 9,
        "test": 6,
    }
    assert "at random, so that its scores come out too good" in caplog.text


def test_missing_speakers_are_named_as_the_corpus_advises() -> None:
    manifest = replace(manifest_of(None), speaker_remedy="Write utt2spk")
    for rule in (Default(), SpeakerDisjoint()):
        with pytest.raises(DataError, match=r"[.\n ]Write utt2spk, or"):
            rule.assign(manifest)


def test_at_most_ten_classes_that_train_lacks_are_listed() -> None:
    manifest = joined(manifest_of("a", each=1, split="train"), manifest_of("b", each=30, split="validation"))
    with pytest.raises(DataError, match=r"'18' \(1 in the other splits\), and 19 more"):
        Predefined(label="take").assign(manifest)


def test_splits_for_some_utterances_only_are_not_passed_over() -> None:
    with pytest.raises(DataError, match="6 of 12 utterances have no 'split'"):
        Default().assign(predefined("train", None))


VIDEOS = joined(*(manifest_of(None, group=f"video {n}") for n in range(9)))


@pytest.mark.parametrize(
    ("manifest", "rule", "words"),
    [
        (predefined("train", "validation"), Predefined(), "its column 'split' says"),
        (in_pairs(TEN), SpeakerDisjoint(), "split by speaker"),
        (VIDEOS, GroupDisjoint(), "split by group"),
    ],
)
def test_the_default_takes_the_most_honest_rule_there_is_and_says_so(
    manifest: Manifest, rule: Rule, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assignment = Default().assign(manifest)
    assert f"table.csv: {words}" in caplog.text
    assert ids(manifest, assignment) == ids(manifest, rule.assign(manifest))


def test_groups_keep_the_speakers_apart_who_are_known() -> None:
    parts = [manifest_of("ann", group=f"video {n}") for n in range(4)]
    manifest = joined(VIDEOS, *parts)
    assert not {leak.kind for leak in find_leaks(manifest, Default().assign(manifest), None)} & {
        "speaker",
        "group",
    }


def test_a_random_split_is_stratified_and_heeds_no_speaker() -> None:
    manifest = manifest_of(*TEN)
    rule = RandomSplit(label="emotion")
    for indices in rule.assign(manifest).values():
        emotions = Counter(manifest.utterances[index].labels["emotion"] for index in indices.tolist())
        assert len({emotions[emotion] for emotion in EMOTIONS}) == 1
    assert speakers_of(manifest, rule)["train"] == TEN


PUBLISHED = {
    "emodb": ("03 08 09 10 11 12 13 14 15 16", "08 09 11 13 15 16", "10 14", "03 12"),
    "emovo": ("f1 f2 f3 m1 m2 m3", "f2 f3 m3", "m1", "f1 m2"),
    "cafe": (" ".join(f"{n:02d}" for n in range(1, 13)), "02 03 05 07 09 11 12", "08 10", "01 04 06"),
    "ravdess": (
        " ".join(f"{n:02d}" for n in range(1, 25)),
        "02 03 05 07 09 11 12 14 15 17 18 21 23 24",
        "06 08 10 19 20",
        "01 04 13 16 22",
    ),
    "savee": ("DC JE JK KL", "JK KL", "JE", "DC"),
    "aesdd": ("1 2 3 4 5 6", "2 3 6", "4", "1 5"),
}


@pytest.mark.parametrize("corpus", PUBLISHED)
def test_serabs_rule_gives_the_published_speakers(corpus: str) -> None:
    everybody, *published = (names.split() for names in PUBLISHED[corpus])
    assert [*speakers_of(manifest_of(*everybody), Serab()).values()] == published


def test_serabs_rule_gives_the_published_speakers_of_crema_d() -> None:
    everybody = [str(1001 + n) for n in range(91)]
    found = speakers_of(manifest_of(*everybody, each=1), Serab(train=0.7, validation=0.1))
    test = "1010 1013 1022 1026 1037 1038 1040 1045 1047 1048 1059 1065 1066 1068 1071 1073 1084 1086 1088"
    assert found["validation"] == ["1015", "1020", "1021", "1030", "1050", "1070", "1079", "1089", "1090"]
    assert found["test"] == test.split()
    assert found["train"] == sorted({*everybody} - {*found["validation"], *found["test"]})


def test_serabs_rule_can_take_another_field_for_the_speaker_as_published_for_iemocap() -> None:
    """The wearer of the markers, though both of a session talk."""
    wearers = [f"0{session}{gender}" for session in range(1, 6) for gender in "FM"]
    utterances = tuple(
        Utterance(
            f"{wearer}{talker}", Path("a"), speaker=wearer[:2] + talker, labels={"serab_speaker": wearer}
        )
        for wearer in wearers
        for talker in "FM"
    )
    manifest = Manifest(utterances, "table.csv")
    assignment = Serab(key="serab_speaker").assign(manifest)
    found = [sorted({name[:3] for name in split}) for split in ids(manifest, assignment).values()]
    assert found == [["01M", "02F", "03F", "04F", "05F", "05M"], ["02M", "04M"], ["01F", "03M"]]
    assert "speaker" in {leak.kind for leak in find_leaks(manifest, assignment, None)}
    honest = speakers_of(manifest, Serab())
    assert [*honest.values()] == found


def test_serabs_rule_by_true_speaker_gives_the_honest_speakers_of_shemo() -> None:
    everybody = [*(f"F{n:02d}" for n in range(1, 32)), *(f"M{n:02d}" for n in range(1, 57))]
    found = speakers_of(manifest_of(*everybody, each=1), Serab())
    test = "F10 F13 F21 F22 F26 M06 M07 M09 M14 M16 M17 M28 M34 M35 M37 M40 M51 M53"
    assert found["test"] == test.split()
    assert (len(found["train"]), len(found["validation"])) == (52, 17)


@pytest.mark.shared
def test_serabs_rule_divides_ravdess_as_published(shared: Path) -> None:
    manifest = read_corpus("ravdess", shared / "data" / "ravdess")
    sizes = {name: len(indices) for name, indices in Serab(label="emotion").assign(manifest).items()}
    assert sizes == {"train": 840, "validation": 300, "test": 300}


@pytest.mark.parametrize(
    ("rule", "manifest", "words"),
    [
        (
            Predefined(),
            manifest_of(*TEN),
            r"60 of 60 utterances have no 'split':\n  00-0\n.*\n  \.\.\. and 50 more\nFill",
        ),
        (
            SpeakerDisjoint(),
            manifest_of("a", None),
            r"6 of 12 utterances have no 'speaker':\n  None-0\n.*split=random",
        ),
        (GroupDisjoint(), manifest_of(*TEN), r"60 of 60 utterances have no 'group'"),
        (Serab(), manifest_of(None), r"6 of 6 utterances have no 'speaker'"),
        (
            Default(),
            manifest_of("a", None),
            r"names neither splits nor all speakers.*'group' or 'split'.*split=random",
        ),
        (
            SpeakerDisjoint(),
            manifest_of("a", "b"),
            r"has 2 sets of utterances that share no speaker and no group, too few for 3 splits.*data\.split\.test=0",
        ),
        (SpeakerDisjoint(), manifest_of(*TEN, group="x"), r"table\.csv: has 1 set of utterances"),
        (
            SpeakerKFold(),
            manifest_of("a", "b", "c", "d"),
            r"4 sets .* too few for 5 splits or folds\. Make as many folds: data\.split\.folds=4\.",
        ),
        (LeaveOneSpeakerOut(), manifest_of("a"), r"0 sets .* too few for 2 splits"),
        (
            Serab(),
            manifest_of("a", "b"),
            r"the split 'validation' is empty.*use split=speaker data\.split\.test=0\.",
        ),
        (
            Predefined(),
            predefined("validation", "test"),
            r"the split 'train' is empty.*Name the 'split' of some utterances 'train'\.",
        ),
        (RandomSplit(), manifest_of("a", each=1), r"the split 'validation' is empty.*Add recordings"),
        (
            SpeakerKFold(),
            manifest_of("a", "b", "c"),
            r"Make as many folds: data\.split\.folds=3\. Use a random",
        ),
        (SpeakerKFold(), manifest_of("a", "b"), r"for 5 splits or folds\. Use a random .*: split=random\."),
        (
            Predefined(label="take"),
            joined(manifest_of("a", each=1, split="train"), manifest_of("b", each=3, split="validation")),
            r"train has no utterance of the take '1' \(1 in the other splits\), '2' \(1 in .*data\.split\.label=null",
        ),
    ],
)
def test_what_cannot_be_split_is_explained(rule: Rule, manifest: Manifest, words: str) -> None:
    with pytest.raises(DataError, match=f"(?s){words}"):
        rule.assign(manifest)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            LeaveOneSpeakerOut(speaker="7"),
            r"data\.split\.speaker=7: table\.csv has no such speaker\. Did you mean '07'\?",
        ),
        (LeaveOneGroupOut(group="session1"), r"data\.split\.group=session1: .* Did you mean 'session 1'\?"),
        (LeaveOneSpeakerOut(fold=10), r"data\.split\.fold=10: there are 10, the first is 0\. Give 0 to 9\."),
        (LeaveOneGroupOut(fold=-1), r"data\.split\.fold=-1: there are 5"),
        (
            Serab(key="emotoin"),
            r"data\.split\.key=emotoin: .* no such label field\. Did you mean 'emotion'\?",
        ),
        (
            RandomSplit(label="mood"),
            r"data\.split\.label=mood: .* no such label field\. Choose one of: emotion, take",
        ),
    ],
)
def test_a_name_that_the_manifest_does_not_know_is_answered(rule: Rule, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rule.assign(in_pairs(TEN))


def test_a_label_field_is_missed_where_there_are_no_labels() -> None:
    manifest = Manifest((Utterance("a", Path("a"), speaker="a"),), "table.csv")
    with pytest.raises(ConfigError, match="It has no labels at all"):
        RandomSplit(label="emotion").assign(manifest)


@pytest.mark.parametrize(
    ("rule", "settings", "words"),
    [
        (
            SpeakerDisjoint,
            {"validation": 0.6, "test": 0.4},
            r"data\.split\.validation=0\.6, data\.split\.test=0\.4: expected",
        ),
        (RandomSplit, {"validation": 0.0}, r"data\.split\.validation=0\.0, .*above 0 .*only test may be 0"),
        (Default, {"test": -0.1}, r"data\.split\.test=-0\.1: expected"),
        (Default, {"test": float("nan")}, r"data\.split\.test=nan: expected"),
        (
            Serab,
            {"train": 0.8, "validation": 0.3},
            r"data\.split\.train=0\.8, data\.split\.validation=0\.3: expected",
        ),
        (LeaveOneSpeakerOut, {"validation": 1.0}, r"data\.split\.validation=1\.0: expected"),
        (SpeakerKFold, {"validation": 1.5}, r"data\.split\.validation=1\.5: expected"),
        (SpeakerKFold, {"fold": 5}, r"data\.split\.fold=5: there are 5, the first is 0\. Give 0 to 4\."),
        (SpeakerKFold, {"folds": 2}, r"data\.split\.folds=2: leaves no fold to train on\. Give 3 or more\."),
        (SpeakerKFold, {"folds": 1, "validation": 0.2}, r"data\.split\.folds=1: .* Give 2 or more\."),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(rule: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rule(**settings)


def test_windows_share_recordings_with_train_but_test_speakers_do_not() -> None:
    manifest = manifest_of("a", "b", "c", "d", "e", each=30)
    rule = WindowSplit(label="emotion", seed=2)
    assignment = rule.assign(manifest)
    assert sorted(np.concatenate([*assignment.values()]).tolist()) == [*range(150)]
    speakers = {
        name: {manifest.utterances[index].speaker for index in indices}
        for name, indices in assignment.items()
    }
    apart = Default(label="emotion", seed=2).assign(manifest)
    assert speakers["test"] == {manifest.utterances[index].speaker for index in apart["test"]}
    assert not speakers["test"] & (speakers["train"] | speakers["validation"])
    assert speakers["train"] == speakers["validation"]
    kinds = {(leak.kind, leak.splits) for leak in find_leaks(manifest, assignment, None)}
    assert kinds == {("speaker", ("train", "validation"))}


def test_a_window_without_frames_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"data\.split\.window_frames=0: a window has frames\. Give 1 or more"
    ):
        WindowSplit(window_frames=0)


def test_windows_of_one_recording_are_a_leak_though_nobody_is_known(tmp_path: Path) -> None:
    with new_store(tmp_path) as writer:
        for _ in range(6):
            writer.append(np.zeros((230, 3), dtype=np.float32))
        store = writer.commit([*"abcdef"], None, label_names=(), layout="object")
    splits = {"a": "test", "b": "validation"}
    bare = tuple(
        Utterance(name, Path(f"{name}.wav"), split=splits.get(name, "train"), labels={"emotion": "joy"})
        for name in "abcdef"
    )
    manifest, cut = cut_into_windows(Manifest(bare, "x"), store, 50, 0.01)
    assert len(manifest) == len(cut) == 30
    assert manifest.utterances[4].start == pytest.approx(2.0)
    assert manifest.utterances[4].end == pytest.approx(2.3)
    assignment = WindowSplit(seed=1).assign(manifest)
    (leak,) = find_leaks(manifest, assignment, None)
    assert (leak.kind, leak.splits) == ("group", ("train", "validation"))
