"""Folds and seeds as one word each: what they become before Hydra, and what is refused."""

import csv
from pathlib import Path

import numpy as np
import pytest

from ser.config.command_line import App
from ser.config.repeats import Folds, expand_repeats
from ser.config.settings import Train
from ser.errors import ConfigError, SerError
from ser.scripts.train import count_folds
from ser.splits.folds import SpeakerKFold
from tests.conftest import REPOSITORY
from tests.splits.test_rules import TEN, manifest_of

APP = App(REPOSITORY / "conf", "train", schema=Train)


def never(_: object) -> Folds:
    raise AssertionError("no corpus is to be read")


def table_of(folder: Path, *speakers: str) -> str:
    """The setting for a table of two utterances of each speaker, whose audio is never read."""
    path = folder / f"{len(speakers)}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "speaker", "emotion"])
        writer.writerows([f"{name}{label}.wav", name, label] for name in speakers for label in "ab")
    for name in speakers:
        for label in "ab":
            (folder / f"{name}{label}.wav").touch()
    return f"data.path={path}"


def expanded(*words: str) -> list[str]:
    return expand_repeats([*words], APP, count_folds)


def test_a_command_without_the_words_is_unchanged() -> None:
    words = ["-m", "model=cnn,lstm", "data.split.folds=5", "seed=1"]
    assert expand_repeats(words, APP, never) == words


@pytest.mark.parametrize(
    ("word", "seeds"), [("seeds=3", "0,1,2"), ("+seeds=[3, 7]", "3,7"), ("seeds=1", "0")]
)
def test_seeds_become_values_of_seed(word: str, seeds: str) -> None:
    assert expand_repeats([word, "model=lstm"], APP, never) == ["model=lstm", "-m", f"seed={seeds}"]
    assert expand_repeats(["-m", word], APP, never) == ["-m", f"seed={seeds}"]


def test_a_number_of_folds_becomes_folds_over_speakers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["data=manifest", table_of(tmp_path, *"abcdefg"), "data.label=emotion"]
    words = ["-m", *data, "model=cnn,lstm"]
    rule = ["split=speaker_kfold", "data.split.folds=4", "data.split.fold=0,1,2,3"]
    assert expanded(*words, "folds=4", "seeds=2") == [*words, "seed=0,1", *rule]
    assert "folds=4: 4 folds: about 1.75 of 7 speakers" in capsys.readouterr().out


def test_loso_makes_as_many_folds_as_speakers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data=manifest", table_of(tmp_path, *"abcdefg"), "data.label=emotion"]
    found = expanded(*words, "folds=loso")
    assert found == [*words, "-m", "split=leave_one_speaker_out", "data.split.fold=0,1,2,3,4,5,6"]
    assert "7 folds: one of 7 speakers is the test split of each, as " in capsys.readouterr().out


def test_a_config_that_is_shown_is_of_the_first_fold_and_seed() -> None:
    words = expand_repeats(["folds=5", "seeds=3", "--cfg", "job"], APP, never)
    assert words[2:] == ["seed=0", "split=speaker_kfold", "data.split.folds=5", "data.split.fold=0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["folds=many"], "folds=many: is no number of folds"),
        (["folds=lso"], "Did you mean folds=loso"),
        (["folds=5", "split=speaker"], "split=speaker: folds=5 sets this, too"),
        (["folds=loso", "data.split.fold=1"], "leave out folds=loso"),
        (["folds=5", "hydra/sweeper=optuna"], "would search for the best of the folds"),
        (["seeds=3", "resume=logs"], "goes on with one run"),
        (["seeds=0"], "seeds=0: is no number of seeds"),
        (["seeds=3,7"], r"as in seeds=\[3,7\]"),
        (["seeds=[1,1]"], "names a seed twice"),
        (["seeds=2", "seed=1"], "seed=1: seeds=2 sets this, too"),
    ],
)
def test_a_wrong_word_is_refused_before_any_corpus_is_read(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand_repeats(words, APP, never)


def test_data_with_splits_of_their_own_have_no_folds() -> None:
    with pytest.raises(ConfigError, match="have splits of their own"):
        expand_repeats(["folds=5", "data=challenge", "data.root=."], APP, never)


@pytest.mark.parametrize(
    ("speakers", "word", "message"),
    [
        ("abcd", "folds=5", "folds=5: .*has only 4 speakers. Make as many folds: folds=4"),
        ("ab", "folds=3", "has 2 speakers that can be kept apart, too few"),
        ("a", "folds=loso", "has 1 speaker that can be kept apart, too few"),
    ],
)
def test_more_folds_than_speakers_are_refused(tmp_path: Path, speakers: str, word: str, message: str) -> None:
    with pytest.raises(SerError, match=message):
        expanded("data=manifest", table_of(tmp_path, *speakers), "data.label=emotion", word)


def test_corpora_with_different_numbers_of_folds_are_refused(tmp_path: Path) -> None:
    first, second = table_of(tmp_path, *"abcd"), table_of(tmp_path, *"abcde").partition("=")[2]
    with pytest.raises(ConfigError, match="the corpora of this sweep have 4 and 5 folds"):
        expanded("data=manifest", f"{first},{second}", "data.label=emotion", "folds=loso")


def test_a_mistake_elsewhere_is_left_to_the_command_line() -> None:
    words = ["data=emodb", "data.root=/nowhere", "modl=3", "folds=loso"]
    assert expand_repeats(words, APP, never)[-1] == "data.split.fold=0"


def test_folds_of_a_corpus_cover_every_speaker_once() -> None:
    manifest = manifest_of(*TEN)
    folds, _ = SpeakerKFold(folds=4).count_folds(manifest)
    tested = [SpeakerKFold(folds=4, fold=fold).assign(manifest)["test"] for fold in range(folds)]
    assert np.array_equal(np.sort(np.concatenate(tested)), np.arange(len(manifest)))
