"""Files of predictions: writing, reading, damage."""

from pathlib import Path

import numpy as np
import pytest

from ser.errors import DataError
from ser.runs.predictions_file import class_columns, predictions_path, read_predictions, write_predictions

ROWS = [
    {"id": 7, "speaker": "ann", "label": "joy", "prediction": "anger", "p_anger": 0.75, "p_joy": 0.25},
    {"id": "a,b", "speaker": None, "label": "anger", "prediction": None, "p_anger": None, "p_joy": None},
]


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_predictions(tmp_path, "test", ROWS)
    found = read_predictions(predictions_path(tmp_path, "test"))
    assert found.ids == ["7", "a,b"]
    assert found.speakers == ["ann", None]
    assert found.classes == ("anger", "joy")
    assert found.labels.tolist() == [1, 0]
    assert found.predicted.tolist() == [0, -1]
    np.testing.assert_allclose(found.probabilities, [[0.75, 0.25], [np.nan, np.nan]])


def test_predictions_of_values_are_refused_as_classes(tmp_path: Path) -> None:
    write_predictions(tmp_path, "test", [{"id": 1, "speaker": None, "label_arousal": 0.5}])
    with pytest.raises(DataError, match=r"has no column 'label', so it holds no predictions of classes"):
        read_predictions(predictions_path(tmp_path, "test"))


@pytest.mark.parametrize("line", ["7,ann,joy,anger", "7,ann,grief,anger,0.5,0.5", "7,ann,joy,anger,x,0.5"])
def test_a_damaged_row_of_predictions_is_refused(tmp_path: Path, line: str) -> None:
    path = predictions_path(tmp_path, "test")
    path.write_text(f"id,speaker,label,prediction,p_anger,p_joy\n{line}\n")
    with pytest.raises(
        DataError, match=r"predictions_test.csv: is damaged .* repeat the command of that run"
    ):
        read_predictions(path)


def test_a_column_belongs_to_the_task_with_the_longest_name() -> None:
    columns = [
        "id",
        "label_a",
        "prediction_a",
        "p_a_x",
        "p_a_b",
        "prediction_a_b",
        "p_a_b_x",
        "p_a_b_y",
        "prediction_z",
    ]
    found = class_columns(columns)
    assert found == {"a": {"x": "p_a_x", "b": "p_a_b"}, "a_b": {"x": "p_a_b_x", "y": "p_a_b_y"}}
    assert class_columns(["label", "prediction", "p_a_x"]) == {"": {"a_x": "p_a_x"}}
