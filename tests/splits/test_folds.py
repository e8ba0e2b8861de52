"""Rules of cross-validation: folds, and leaving one speaker or group out."""

from typing import Any

import pytest

from ser.splits.folds import LeaveOneGroupOut, LeaveOneSpeakerOut, SpeakerKFold, cross_validation
from ser.splits.leaks import find_leaks
from ser.splits.rules import Predefined, RandomSplit, Rule, SpeakerDisjoint
from tests.splits.test_rules import TEN, in_pairs, joined, manifest_of, speakers_of


@pytest.mark.parametrize("validation", [None, 0.25])
def test_over_all_folds_everybody_is_tested_once(validation: float | None) -> None:
    manifest = manifest_of(*TEN)
    tested = [
        speakers_of(manifest, SpeakerKFold(folds=4, fold=fold, validation=validation))["test"]
        for fold in range(4)
    ]
    assert sorted(speaker for fold in tested for speaker in fold) == TEN
    assert sorted(map(len, tested)) == [2, 2, 3, 3]


def test_the_fold_after_the_test_fold_is_validation_unless_a_share_is_given() -> None:
    manifest = manifest_of(*TEN)
    first, last = (speakers_of(manifest, SpeakerKFold(folds=5, fold=fold)) for fold in (0, 4))
    assert last["validation"] == first["test"]
    assert len(speakers_of(manifest, SpeakerKFold(folds=5, validation=0.5))["validation"]) == 4


@pytest.mark.parametrize("chosen", [{"speaker": "07"}, {"fold": 7}])
def test_the_speaker_who_is_left_out_is_alone_in_test(chosen: dict[str, Any]) -> None:
    found = speakers_of(manifest_of(*TEN), LeaveOneSpeakerOut(**chosen))
    assert found["test"] == ["07"]
    assert len(found["validation"]) == 2


def test_a_speaker_can_be_named_by_a_number() -> None:
    assert speakers_of(manifest_of("11", "12", "13"), LeaveOneSpeakerOut(speaker=12))["test"] == ["12"]


def test_leaving_a_speaker_out_draws_validation_from_whole_groups() -> None:
    found = speakers_of(in_pairs(TEN), LeaveOneSpeakerOut(speaker="03", validation=0.3))
    validation, train = found["validation"], found["train"]
    assert not {int(name) // 2 for name in validation} & {int(name) // 2 for name in train}


def test_the_group_that_is_left_out_is_alone_in_test() -> None:
    found = speakers_of(in_pairs(TEN), LeaveOneGroupOut(group="session 1"))
    assert found["test"] == speakers_of(in_pairs(TEN), LeaveOneGroupOut(fold=1))["test"] == ["02", "03"]
    assert len(found["validation"]) == 2


def test_groups_can_be_left_out_though_speakers_return() -> None:
    manifest = joined(*(manifest_of("a", "b", group=f"day {day}") for day in range(4)))
    leaks = find_leaks(manifest, LeaveOneGroupOut(group="day 2").assign(manifest), None)
    assert {"speaker"} <= {leak.kind for leak in leaks} <= {"speaker", "overlap"}


@pytest.mark.parametrize(
    ("speakers", "rule", "settings"),
    [
        (TEN, SpeakerDisjoint(), ["split=speaker_kfold", "data.split.fold=0,1,2,3,4"]),
        (
            ["a", "b", "c", "d"],
            Predefined(),
            ["split=speaker_kfold", "data.split.folds=4", "data.split.fold=0,1,2,3"],
        ),
        (["a", "b"], RandomSplit(), []),
        ([None, "a", "b", "c"], RandomSplit(), []),
        (TEN, SpeakerKFold(), []),
        (TEN, LeaveOneSpeakerOut(), []),
    ],
)
def test_cross_validation_is_offered_where_speakers_make_folds(
    speakers: list[str | None], rule: Rule, settings: list[str]
) -> None:
    assert cross_validation(manifest_of(*speakers), rule) == settings
