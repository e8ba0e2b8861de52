"""The setting `test_sets`, read and checked before a training."""

from pathlib import Path

import pytest

from ser.errors import ConfigError, DataError
from ser.evaluation.test_set_scores import check_test_sets
from ser.evaluation.test_sets import TestSet, distinct_names, read_test_sets
from ser.targets import Classes, Quadrant, StepRegression

FRONTEND = {"_target_": "ser.models.Frontend", "normalize": "global"}
EMOTIONS = Classes(["anger", "happiness", "neutral"], "emotion")


def test_test_sets_are_named_by_corpus_folder_and_table(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("path,mood\nx.wav,anger\n")
    given = [f"ravdess:{recordings}", f"folder:{recordings}", str(tmp_path / "own.csv")]
    found = read_test_sets(given, {"label": "mood", "cache_dir": "here"})
    assert [each.name for each in found] == ["ravdess", recordings.name, "own"]
    assert [each.data["label"] for each in found] == ["emotion", "label", "mood"]
    assert {each.data["cache_dir"] for each in found} == {"here"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["ravdess"], "'ravdess' is neither NAME:DIR nor a table"),
        (["ravdes:."], "there is no corpus 'ravdes'. Did you mean 'ravdess'?"),
        (["ravdess:gone"], "gone is not there"),
        (["gone.csv"], "gone.csv is not there"),
        (
            ["ravdess:.", "ravdess:../{here}"],
            "ravdess:. and ravdess:../{here} are the same corpus. Leave one",
        ),
    ],
)
def test_test_sets_that_are_not_there_are_refused(given: list[str], message: str) -> None:
    here = Path.cwd().name
    with pytest.raises(ConfigError) as caught:
        read_test_sets([text.format(here=here) for text in given], {})
    assert message.format(here=here) in str(caught.value)


def test_two_folders_of_one_corpus_are_named_by_both(tmp_path: Path) -> None:
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
    found = read_test_sets([f"ravdess:{tmp_path / 'A'}", f"ravdess:{tmp_path / 'B'}"], {})
    assert [each.name for each in found] == ["ravdess_A", "ravdess_B"]


def test_tables_named_like_splits_or_like_each_other_are_named_by_their_folders(tmp_path: Path) -> None:
    for name in ("A/test.csv", "B/test.csv", "C/Train.csv", "C/own words.csv", "test/speech/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir()
    found = read_test_sets(
        [
            *(
                f"{tmp_path}/{name}"
                for name in ("A/test.csv", "B/test.csv", "C/Train.csv", "C/own words.csv")
            ),
            f"folder:{tmp_path}/test",
        ],
        {},
    )
    names = ["A_test", "B_test", "C_Train", "own_words", f"{tmp_path.name}_test"]
    assert [each.name for each in found] == names


def test_a_corpus_of_a_mix_keeps_its_name_beside_another_of_that_name(tmp_path: Path) -> None:
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
    given = [f"ravdess:{tmp_path / 'A'}", f"ravdess:{tmp_path / 'B'}"]
    found = read_test_sets(given, {"folders": {"ravdess": str(tmp_path / "A")}})
    assert [each.name for each in found] == ["ravdess", "ravdess_B"]


def test_two_kinds_of_one_table_get_numbers() -> None:
    places = [Path("/A/x.csv"), Path("/A/x.jsonl")]
    assert distinct_names(["x", "x"], places, kept=[False, False]) == ["x_1", "x_2"]


def test_a_test_set_has_settings_of_its_own(recordings: Path, tmp_path: Path) -> None:
    for name in ("A/test.csv", "B/test.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    given = [f"{tmp_path}/A/test.csv", f"{tmp_path}/B/test.csv", f"mine:{recordings}"]
    own = {
        "test": {"label": "mood"},
        "B_test": {"label_map": {"yes": "anger"}},
        "mine": {"data": "folder", "speaker": "(.)"},
    }
    first, second, third = (each.data for each in read_test_sets(given, {"label": "emotion"}, own))
    assert (first["label"], first["label_map"]) == ("mood", None)
    assert (second["label"], second["label_map"]) == ("mood", {"yes": "anger"})
    assert (third["_target_"], third["speaker"]) == ("ser.corpora.FolderCorpus", "(.)")
    with pytest.raises(
        ConfigError, match=r"test_settings.mines: test_sets names no such corpus. Did you mean 'mine'"
    ):
        read_test_sets(given[2:], {}, {"mine": own["mine"], "mines": {}})
    with pytest.raises(ConfigError, match=r"test_settings.mine.speakr: unknown key. Did you mean 'speaker'"):
        read_test_sets(given[2:], {}, {"mine": {"data": "folder", "speakr": "(.)"}})


def test_the_label_map_of_a_test_set_comes_before_that_of_the_training(recordings: Path) -> None:
    target = Classes(["bad", "good"], "emotion")
    given, data = [f"folder:{recordings}"], {"label_map": {"ang": "bad", "hap": "good"}}
    name = recordings.name
    with pytest.raises(DataError, match=f"Translate them with test_settings.{name}.label_map=FILE"):
        check_test_sets(read_test_sets(given, data), target, FRONTEND, data)
    own = {name: {"label_map": {"anger": "ang", "happiness": "good", "sadness": None, "neutral": None}}}
    lines = check_test_sets(read_test_sets(given, data, own), target, FRONTEND, data)
    assert lines == [f"Test set {name}: 24 of 48 utterances can be scored."]


def test_corpora_of_the_training_are_no_test_sets(recordings: Path, tmp_path: Path) -> None:
    readers = {"ravdess": {"root": str(recordings)}, "emodb": {"root": str(tmp_path)}}
    given = [f"ravdess:{recordings}", f"emodb:{recordings}"]
    found = read_test_sets(given, {"readers": readers})
    assert [each.name for each in found] == ["emodb"]


def test_settings_of_a_corpus_of_a_mix_hold_for_the_test_set(recordings: Path) -> None:
    own = {"data": "folder", "label": "mood", "label_map": {"anger": "bad"}}
    (found,) = read_test_sets([f"mine:{recordings}"], {"settings": {"mine": own}})
    assert (found.name, found.data["root"]) == ("mine", str(recordings))
    assert (found.data["label"], found.data["label_map"]) == ("mood", {"anger": "bad"})


def test_a_test_set_is_read_without_the_protocol_of_its_split_in_a_mix(recordings: Path) -> None:
    data = {"settings": {"ravdess": {"protocol": "serab", "label_map": {"anger": "ang"}}}}
    (found,) = read_test_sets([f"ravdess:{recordings}"], data, {"ravdess": {"label": "emotion"}})
    assert "protocol" not in found.data
    assert (found.data["label"], found.data["label_map"]) == ("emotion", {"anger": "ang"})
    assert check_test_sets([found], Classes(["ang", "sadness"], "emotion"), FRONTEND, {}) == [
        "Test set ravdess: 24 of 48 utterances can be scored."
    ]
    with pytest.raises(ConfigError, match=r"test_settings\.ravdess\.protocol: unknown key"):
        read_test_sets([f"ravdess:{recordings}"], {}, {"ravdess": {"protocol": "serab"}})


def test_settings_of_a_test_set_leave_the_option_of_its_corpus_in_a_mix(recordings: Path) -> None:
    data = {"settings": {"mine": {"data": "folder", "label": "mood"}}}
    (found,) = read_test_sets([f"mine:{recordings}"], data, {"mine": {"label_map": {"anger": "bad"}}})
    assert found.data["_target_"] == "ser.corpora.FolderCorpus"
    assert (found.data["label"], found.data["label_map"]) == ("mood", {"anger": "bad"})


def test_labels_and_recordings_of_test_sets_are_counted(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("path,emotion\ngone.wav,anger\nhere.wav,happy\nhere2.wav,awe\n")
    (tmp_path / "here.wav").touch()
    sets = read_test_sets([f"ravdess:{recordings}", str(tmp_path / "own.csv")], {"label": "emotion"})
    assert check_test_sets(sets, Quadrant(), FRONTEND, {}) == [
        "Test set ravdess: 48 of 48 utterances can be scored.",
        "Test set own: 1 of 3 utterances can be scored.",
    ]


def test_speakers_that_a_test_set_may_share_with_the_training_are_named(
    recordings: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.csv").write_text("path,emotion,speaker\nx.wav,anger,01\ny.wav,anger,s9\n")
    (tmp_path / "x.wav").touch()
    sets = read_test_sets([f"ravdess:{recordings}", str(tmp_path / "own.csv")], {"label": "emotion"})
    for data, same in (({"corpus": "ravdess"}, True), ({"corpus": "emodb"}, False)):
        lines = check_test_sets(sets, Quadrant(), FRONTEND, data, speakers={"01", "02"})
        leak = "Test set ravdess: LEAK: 2 of the 6 speakers are in the training data, too (01, 02)"
        assert any(line.startswith(leak) for line in lines) is same
        assert lines[-1] == (
            "Test set own: 1 of the 2 speakers have the names of speakers of the training (01): a LEAK if they are the "
            "same people."
        )
        assert len(lines) == 3 + same


def test_test_sets_without_a_label_of_the_training_are_refused(recordings: Path) -> None:
    sets = read_test_sets([f"ravdess:{recordings}"], {})
    with pytest.raises(DataError, match="none of its labels 'emotion'"):
        check_test_sets(sets, Classes(["awe", "pain"], "emotion"), FRONTEND, {})


def test_the_label_map_of_the_training_may_be_a_file(recordings: Path, tmp_path: Path) -> None:
    lines = ("anger: bad", "sadness: bad", "happiness: good", "neutral: null")
    (tmp_path / "map.yaml").write_text("\n".join(lines))
    data = {"label_map": str(tmp_path / "map.yaml")}
    target = Classes(["bad", "good"], "emotion")
    found = check_test_sets(read_test_sets([f"ravdess:{recordings}"], data), target, FRONTEND, data)
    assert found == ["Test set ravdess: 36 of 48 utterances can be scored."]


def test_test_sets_of_unknown_speakers_cannot_be_normalised(recordings: Path) -> None:
    sets = read_test_sets([f"folder:{recordings}"], {})
    with pytest.raises(DataError, match=r"of unknown speakers, and frontend.normalize=speaker needs"):
        check_test_sets(sets, EMOTIONS, {**FRONTEND, "normalize": "speaker"}, {})
    own = rf"Set test_settings.{recordings.name}.speaker to a pattern .* or leave it out"
    with pytest.raises(
        DataError, match=rf"of unknown speakers, and head.normalize=speaker needs them. {own}"
    ):
        check_test_sets(sets, EMOTIONS, FRONTEND, {}, head={"normalize": "speaker"})


def test_targets_over_time_have_no_test_sets() -> None:
    with pytest.raises(ConfigError, match="this target has labels over time"):
        check_test_sets([TestSet("x", {})], StepRegression(["arousal"]), FRONTEND, {})
