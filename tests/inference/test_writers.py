import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser.errors import DataError
from ser.inference.writers import check_output, write_predictions, write_scores, write_table
from ser.targets.classification import Classes

IDS = ["10", "9", "é", ""]
ANSWERS = [("9", {"valence": 0, "activation": 1}), ("", {"valence": 1, "activation": 1})]
ANSWERS += [("10", {"valence": 1, "activation": 0}), ("é", {"valence": 0, "activation": 0})]


def test_an_object_has_the_inputs_keys_in_their_order(tmp_path: Path) -> None:
    write_predictions(tmp_path / "pred.json", IDS, "object", ANSWERS)
    written = json.loads((tmp_path / "pred.json").read_text())
    assert list(written.items()) == [(key, dict(ANSWERS)[key]) for key in IDS]


@pytest.mark.parametrize("ids", [[7, 3, 2**70], ["7", "3", "x"]])
def test_records_keep_type_and_order_of_the_ids(tmp_path: Path, ids: list[Any]) -> None:
    answers = [(key, {"valence": 1, "activation": 0}) for key in reversed(ids)]
    write_predictions(tmp_path / "pred.json", ids, "records", answers)
    written = json.loads((tmp_path / "pred.json").read_text())
    assert written == [{"id": key, "valence": 1, "activation": 0} for key in ids]
    assert [list(record) for record in written] == [["id", "valence", "activation"]] * 3


@pytest.mark.parametrize("one", [1, np.int64(1), torch.tensor(1), True])
def test_integers_of_any_library_are_written_as_plain_ones(tmp_path: Path, one: Any) -> None:
    write_predictions(tmp_path / "pred.json", ["a"], "object", [("a", {"valence": one, "activation": one})])
    assert (tmp_path / "pred.json").read_text() == '{\n"a": {"valence": 1, "activation": 1}\n}\n'


def test_names_of_classes_are_answers_like_bits(tmp_path: Path) -> None:
    target = Classes(["anger", "joy"], "emotion")
    answers = zip(IDS, target.decode(torch.tensor([0, 1, 1, 0])), strict=True)
    write_predictions(tmp_path / "pred.json", IDS, "object", answers)
    written = json.loads((tmp_path / "pred.json").read_text())
    assert [answer["emotion"] for answer in written.values()] == ["anger", "joy", "joy", "anger"]


def test_values_are_written_as_numbers(tmp_path: Path) -> None:
    write_predictions(tmp_path / "pred.json", ["a"], "object", [("a", {"arousal": -0.25, "label": "joy"})])
    assert json.loads((tmp_path / "pred.json").read_text()) == {"a": {"arousal": -0.25, "label": "joy"}}


def test_a_value_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'arousal' is nan"):
        write_predictions(tmp_path / "pred.json", ["a"], "object", [("a", {"arousal": float("nan")})])


def test_scores_follow_the_same_layout(tmp_path: Path) -> None:
    rows = [(2, {"joy": np.float32(0.25), "anger": torch.tensor(0.75)}), (1, {"joy": 1.0, "anger": 0})]
    write_scores(tmp_path / "scores.json", [1, 2], "records", rows)
    assert json.loads((tmp_path / "scores.json").read_text()) == [
        {"id": 1, "scores": {"joy": 1.0, "anger": 0.0}},
        {"id": 2, "scores": {"joy": 0.25, "anger": 0.75}},
    ]
    write_scores(tmp_path / "scores.json", ["1"], "object", [("1", {"joy": 0.5})], overwrite=True)
    assert json.loads((tmp_path / "scores.json").read_text()) == {"1": {"scores": {"joy": 0.5}}}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (ANSWERS[:3], r"utterance 'é': has no answer"),
        ([*ANSWERS, ("x", ANSWERS[0][1])], r"utterance 'x': is not in the input"),
        ([*ANSWERS[:3], (9, ANSWERS[0][1])], r"utterance 9: is not in the input"),
        ([*ANSWERS, ANSWERS[0]], r"utterance '9': is answered twice"),
    ],
)
def test_ids_that_do_not_match_the_input_are_refused_before_writing(
    tmp_path: Path, answers: Any, words: str
) -> None:
    path = tmp_path / "pred.json"
    path.write_text("before")
    with pytest.raises(DataError, match=rf"pred\.json, {words}, so nothing was written"):
        write_predictions(path, IDS, "object", answers, overwrite=True)
    assert path.read_text() == "before"


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"utterance 'a': the score of 'joy' is nan.*loss stayed finite"):
        write_scores(tmp_path / "scores.json", ["a"], "object", [("a", {"joy": float("nan")})])
    assert not list(tmp_path.iterdir())


def test_an_existing_output_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "pred.json"
    path.write_text("before")
    with pytest.raises(DataError, match=r"pred\.json: exists already\. Set overwrite=true to replace it"):
        write_predictions(path, IDS, "object", ANSWERS)
    assert path.read_text() == "before"
    write_predictions(path, IDS, "object", ANSWERS, overwrite=True)
    assert json.loads(path.read_text())["9"] == {"valence": 0, "activation": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere/pred\.json: its folder is missing or cannot be written to"):
        check_output(tmp_path / "nowhere" / "pred.json", overwrite=False)
    with pytest.raises(DataError, match=r"its folder is missing"):
        write_predictions(tmp_path / "nowhere" / "pred.json", IDS, "object", ANSWERS)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    path = tmp_path / "pred.json"
    path.write_text("before")
    with pytest.raises(DataError, match=r"pred\.json: cannot be written \(no space left on device\)"):
        write_predictions(path, IDS, "object", ANSWERS, overwrite=True)
    assert (path.read_text(), list(tmp_path.iterdir())) == ("before", [path])


ROWS = [
    {"id": "a,b", "start_s": 0.5, "emotion": "joy", "joy": 0.75},
    {"id": "é", "start_s": 1.0, "emotion": "fear", "joy": 0.1},
]


def test_a_table_is_csv_or_json_by_its_name(tmp_path: Path) -> None:
    write_table(tmp_path / "pred.csv", ROWS)
    written = list(csv.DictReader((tmp_path / "pred.csv").read_text(encoding="utf-8").splitlines()))
    assert written == [{name: str(value) for name, value in row.items()} for row in ROWS]
    write_table(tmp_path / "pred.json", ROWS)
    assert json.loads((tmp_path / "pred.json").read_text()) == ROWS


def test_a_table_of_another_kind_or_with_broken_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pred\.txt: .*\.csv or \.json"):
        write_table(tmp_path / "pred.txt", ROWS)
    with pytest.raises(DataError, match=r"'a': the score of 'joy' is nan"):
        write_table(tmp_path / "pred.csv", [{"id": "a", "joy": float("nan")}])
    assert not list(tmp_path.iterdir())
