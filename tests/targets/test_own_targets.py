"""Targets of a user's own: a constructor is enough for classes and for values."""

import math

import numpy as np
import torch
from torch import Tensor

from ser.targets import ClassTarget, ValueTarget
from ser.targets.losses import CrossEntropy, Objective, SquaredError
from ser.targets.metrics import numbers
from tests.targets.batches import batch_of


class Mood(ClassTarget):
    def __init__(self) -> None:
        super().__init__(["low", "high"], field="mood")


class Age(ValueTarget):
    def __init__(self) -> None:
        super().__init__(["age"])

    def encode(self, labels: np.ndarray) -> Tensor:
        return super().encode(labels) / 10


def test_a_class_target_needs_a_constructor_alone() -> None:
    target = Mood()
    targets = target.encode(np.array([["high"], ["low"], [""]]))
    assert target.is_labelled(targets).tolist() == [True, True, False]
    assert target.describe_label(targets[:1]) == "high"
    logits = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    losses = Objective(target, CrossEntropy(), {})(logits, batch_of(targets[:2]))
    torch.testing.assert_close(losses, torch.tensor([math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))]))
    metric = target.metrics()
    metric.update(target.scores(logits), target.truth(targets[:2]))
    assert numbers(metric.compute())["accuracy"] == 0.5
    assert target.predictions(target.scores(logits))[0]["label"] == "high"
    assert target.labels_of(target.scores(logits))[0] == {"mood": "high"}


def test_a_value_target_needs_a_constructor_alone() -> None:
    target = Age()
    targets = target.encode(np.array([["20"], ["41"], [""]]))
    assert target.is_labelled(targets).tolist() == [True, True, False]
    outputs = torch.tensor([[2.0], [4.0]])
    losses = Objective(target, SquaredError(), {})(outputs, batch_of(targets[:2]))
    torch.testing.assert_close(losses, torch.tensor([0.0, 0.01]))
    metric = target.metrics()
    metric.update(target.scores(outputs), target.truth(targets[:2]))
    assert abs(numbers(metric.compute())["mae"] - 0.05) < 1e-6
    assert target.predictions(target.scores(outputs)) == [{"age": 2.0}, {"age": 4.0}]
    assert target.describe([2.0]) == "age 2.00"
