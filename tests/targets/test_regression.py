"""Values as labels: what is read, what is learnt, what is written."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ser.errors import ConfigError
from ser.targets.labels import LabelError
from ser.targets.losses import Objective, SquaredError
from ser.targets.regression import Regression
from tests.targets.batches import batch_of

NAN = float("nan")
SPEC = {"_target_": "ser.targets.Regression", "fields": ["arousal", "valence"], "mean": None, "std": None}


@dataclass
class Table:
    labels: np.ndarray | None
    label_names: tuple[str, ...] = ("valence", "arousal")
    ids: tuple[str, ...] = ("u0", "u1", "u2")


def test_numbers_are_read_and_empty_cells_are_gaps():
    values = Regression(["arousal", "valence"]).encode(np.array([["0.5", "-1e0"], ["", "n/a"], ["3", "nan"]]))
    expected = torch.tensor([[0.5, -1.0], [NAN, NAN], [3.0, NAN]])
    torch.testing.assert_close(values, expected, equal_nan=True)
    assert Regression(["a", "b"]).is_labelled(values).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("high", "valence is 'high', expected a number"),
        ("inf", "is 'inf'"),
        ("0,5", "Write 0.5, with a point"),
    ],
)
def test_a_text_is_refused_with_its_row_and_field(cell, words):
    with pytest.raises(LabelError, match=words) as caught:
        Regression(["arousal", "valence"]).encode(np.array([["0", "1"], ["0", cell]]))
    assert caught.value.row == 1


def test_mean_and_deviation_are_those_of_the_labelled_training_values():
    train = Table(np.array([["1", "4"], ["3", ""], ["", "8"]]))
    other = Table(np.array([["100", "100"]]))
    spec = Regression.complete(SPEC, {"train": train, "validation": other})
    assert spec == {**SPEC, "mean": [6.0, 2.0], "std": [2.0, 1.0]}


@pytest.mark.parametrize(("cells", "words"), [(["", ""], "no value"), (["2", "2"], "the value 2 alone")])
def test_a_field_without_different_values_in_train_is_refused(cells, words):
    train = Table(np.array([[cells[0], "1"], [cells[1], "2"]]))
    with pytest.raises(ConfigError, match=rf"target.fields: 'valence' has {words} in train"):
        Regression.complete(SPEC, {"train": train})


def test_a_field_that_the_data_lacks_is_named():
    with pytest.raises(ConfigError, match="needs the labels dominance, but the data has valence, arousal"):
        Regression.complete({**SPEC, "fields": ["dominance"]}, {"train": Table(np.array([["1", "2"]]))})


@pytest.mark.parametrize("fields", [[], ["a", "a"]])
def test_no_field_or_one_twice_is_refused(fields):
    with pytest.raises(ConfigError, match=r"target.fields=.*expected one field or more, each once"):
        Regression(fields)


def test_the_loss_is_in_units_of_the_deviation():
    target = Regression(["arousal"], mean=[5.0], std=[2.0])
    objective = Objective(target, SquaredError(), {})
    losses = objective(torch.tensor([[1.0], [0.0]]), batch_of(torch.tensor([[7.0], [9.0]])))
    torch.testing.assert_close(losses, torch.tensor([0.0, 4.0]))
    torch.testing.assert_close(target.scores(torch.tensor([[1.0]])), torch.tensor([[7.0]]))


def test_predictions_are_the_values_by_field():
    target = Regression(["arousal", "valence"])
    rows = target.predictions(torch.tensor([[0.5, -0.25], [NAN, NAN]]))
    assert rows == [{"arousal": 0.5, "valence": -0.25}, {"arousal": None, "valence": None}]
    assert target.describe([0.5, -0.25]) == "arousal 0.50, valence -0.25"


def test_the_floor_is_the_mean_of_the_training_split():
    train = torch.tensor([[1.0, NAN], [3.0, 10.0]])
    found = Regression(["a", "b"]).floors(train, torch.tensor([[4.0, 10.0], [0.0, NAN]]))
    assert found == {
        "mse_floor": 2.0,
        "mse_floor_a": 4.0,
        "mse_floor_b": 0.0,
        "mae_floor": 1.0,
        "mae_floor_a": 2.0,
        "mae_floor_b": 0.0,
    }


def test_the_table_of_splits_counts_what_is_labelled():
    rows = Regression(["a", "b"]).summary(torch.tensor([[1.0, NAN], [3.0, 5.0], [2.0, NAN]]))
    assert rows == {"a": "2.00 +- 0.82", "b": "5.00 +- 0.00 (1)"}


def test_a_value_that_nobody_labelled_never_reaches_a_file():
    found = Regression(["a"]).floors(torch.tensor([[1.0]]), torch.tensor([[NAN]]))
    assert not any(math.isnan(value) for value in found.values())
