"""Distributions over classes: read from probabilities or votes, learnt, scored by the most likely class."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ser.errors import ConfigError
from ser.targets.classification import Classes
from ser.targets.labels import LabelError
from ser.targets.losses import CrossEntropy, Focal, Objective
from ser.targets.soft_labels import SoftClasses
from tests.targets.batches import batch_of

NAMES = ["anger", "joy", "sadness"]
RATERS = ["r1", "r2", "r3"]
NONE = torch.zeros(0)
SPEC = {"_target_": "ser.targets.SoftClasses", "class_names": None, "raters": RATERS}


@dataclass
class Table:
    labels: np.ndarray | None
    label_names: tuple[str, ...] = ("r1", "r2", "r3")
    ids: tuple[str, ...] = ("u0", "u1", "u2")


def test_votes_become_shares_and_empty_cells_are_no_votes():
    votes = np.array([["joy", "joy", "anger"], ["sadness", "", "n/a"], ["", "", ""]])
    found = SoftClasses(NAMES, RATERS).encode(votes)
    torch.testing.assert_close(found[:2], torch.tensor([[1 / 3, 2 / 3, 0], [0, 0, 1]]))
    assert SoftClasses(NAMES, RATERS).is_labelled(found).tolist() == [True, True, False]


def test_probabilities_are_read_and_scaled_to_one():
    target = SoftClasses(NAMES)
    assert target.label_names == ("p_anger", "p_joy", "p_sadness")
    found = target.encode(np.array([["0.33", "0.33", "0.33"], ["1", "", ""], ["", "", ""]]))
    torch.testing.assert_close(found[:2], torch.tensor([[1 / 3] * 3, [1.0, 0, 0]]))
    assert found[2].isnan().all()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["0.5", "0.2", "0.1"], "sum to 0.8, expected probabilities that sum to 1"),
        (["1.5", "-0.5", "0"], "hold -0.5"),
        (["0.5", "half", "0"], "p_joy is 'half', expected a number"),
        (["nan", "inf", "0"], "sum to inf"),
    ],
)
def test_a_soft_label_that_is_no_distribution_is_refused(row, words):
    with pytest.raises(LabelError, match=words) as caught:
        SoftClasses(NAMES).encode(np.array([["1", "0", "0"], row]))
    assert caught.value.row == 1


@pytest.mark.parametrize("criterion", [CrossEntropy, Focal])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_unanimous_raters_equal_hard_labels(criterion, smoothing, weights):
    names = np.array([["joy"], ["joy"], ["anger"], ["sadness"], ["joy"]])
    hard, soft = Classes(NAMES, "emotion"), SoftClasses(NAMES, RATERS)
    outputs = torch.randn(5, 3)
    losses = []
    for target, labels in ((hard, names), (soft, names.repeat(3, 1))):
        encoded = target.encode(labels)
        counts = target.counts(encoded, NONE, NONE)
        objective = Objective(target, criterion(label_smoothing=smoothing, class_weights=weights), counts)
        losses.append(objective(outputs, batch_of(encoded)))
    torch.testing.assert_close(*losses, atol=1e-7, rtol=1e-6)


def test_the_loss_is_the_cross_entropy_against_the_distribution():
    outputs, shares = torch.randn(4, 3), torch.rand(4, 3)
    shares = shares / shares.sum(-1, keepdim=True)
    target = SoftClasses(NAMES)
    found = Objective(target, CrossEntropy(), {})(outputs, batch_of(shares))
    torch.testing.assert_close(found, -(shares * outputs.log_softmax(-1)).sum(-1))


def test_class_weights_are_inverse_to_the_sum_of_shares():
    shares = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    target = SoftClasses(NAMES)
    objective = Objective(target, CrossEntropy(class_weights="balanced"), target.counts(shares, NONE, NONE))
    torch.testing.assert_close(objective.class_weights("soft"), torch.tensor([3 / 4.5, 3 / 1.5, 1.0]))


def test_scores_are_against_the_most_likely_class_the_first_of_a_tie():
    target = SoftClasses(NAMES)
    shares = torch.tensor([[0.2, 0.8, 0.0], [0.5, 0.0, 0.5]])
    answers, truth = target.metric_inputs(torch.tensor([[0.0, 9, 0], [9.0, 0, 0]]), batch_of(shares))
    assert truth.tolist() == [1, 0]
    metric = target.metrics()
    metric.update(answers, truth)
    assert metric.compute()["accuracy"].item() == 1.0


def test_ties_are_counted_and_named():
    shares = torch.tensor([[0.2, 0.8, 0.0], [0.5, 0.0, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    (remark,) = SoftClasses(NAMES).remarks(shares, ["u0", "u1", "u2"])
    assert (
        "2 of 3 utterances have no single most likely class, the first is 'u1' (anger and sadness)" in remark
    )
    assert SoftClasses(NAMES).remarks(shares[:1], ["u0"]) == []


def test_classes_are_those_that_the_raters_name():
    train = Table(np.array([["joy", "joy", "anger"], ["sadness", "", "joy"]]))
    assert SoftClasses.complete(SPEC, {"train": train})["class_names"] == NAMES


def test_votes_for_other_classes_are_counted_and_named(caplog):
    train = Table(np.array([["joy", "joy", "anger"], ["sadness", "", "joy"]]))
    spec = SoftClasses.complete({**SPEC, "class_names": ["anger", "joy"]}, {"train": train})
    assert spec["class_names"] == ["anger", "joy"]
    assert "1 votes are for none of anger, joy, and are left out: 1 'sadness'" in caplog.text


def test_a_class_without_a_share_in_train_is_refused():
    train = Table(np.array([["joy", "joy", "anger"]]))
    with pytest.raises(ConfigError, match="train has no label with a share of 'sadness'"):
        SoftClasses.complete({**SPEC, "class_names": NAMES}, {"train": train})


def test_neither_classes_nor_raters_are_refused():
    with pytest.raises(ConfigError, match=r"target.class_names=None: .*target.raters"):
        SoftClasses.example({**SPEC, "raters": None})


def test_a_prediction_has_one_label_and_all_probabilities():
    (row,) = SoftClasses(NAMES, RATERS).predictions(torch.tensor([[0.25, 0.5, 0.25]]))
    assert row == {"label": "joy", "p_anger": 0.25, "p_joy": 0.5, "p_sadness": 0.25}
    assert SoftClasses(NAMES, RATERS).describe([0.25, 0.5, 0.25]) == "joy 50.0%"
