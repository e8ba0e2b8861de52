"""Losses of values: gaps count nothing, constants do no harm."""

import pytest
import torch

from ser.errors import ConfigError
from ser.targets.classification import Quadrant
from ser.targets.losses import AbsoluteError, ConcordanceLoss, CrossEntropy, SquaredError
from ser.targets.regression import Regression
from ser.targets.value_metrics import ccc

NAN = float("nan")
LOSSES = [AbsoluteError(), ConcordanceLoss(), SquaredError()]


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randn(64, 2)
    labels[::3, 0] = NAN
    return (0.5 * torch.randn(64, 2)).requires_grad_(), labels


def test_the_concordance_loss_is_one_minus_the_ccc_of_the_batch(pairs):
    outputs, labels = pairs
    known = ~labels[:, 0].isnan()
    expected = 1 - (ccc(labels[known, 0], outputs[known, 0]) + ccc(labels[:, 1], outputs[:, 1])) / 2
    losses = ConcordanceLoss()(outputs, labels)
    assert losses.shape == (64,)
    torch.testing.assert_close(losses.mean().double(), expected, atol=1e-6, rtol=0)


def test_squared_and_absolute_errors_count_each_labelled_value_alike(pairs):
    outputs, labels = pairs
    errors = (outputs - labels)[~labels.isnan()]
    torch.testing.assert_close(SquaredError()(outputs, labels).sum(), errors.square().sum() / 2)
    torch.testing.assert_close(AbsoluteError()(outputs, labels).sum(), errors.abs().sum() / 2)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_gap_has_no_gradient_and_no_nan(loss, pairs):
    outputs, labels = pairs
    loss(outputs, labels).mean().backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert (outputs.grad[labels.isnan()] == 0).all()
    assert (outputs.grad[~labels.isnan()] != 0).any()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("labels", [[[NAN], [NAN]], [[0.5], [NAN]], [[0.5], [0.5]]])
def test_batches_of_one_label_or_of_constants_have_finite_gradients(loss, labels):
    outputs = torch.zeros(2, 1, requires_grad=True)
    found = loss(outputs, torch.tensor(labels))
    found.mean().backward()
    assert found.isfinite().all()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_a_loss_of_values_is_refused_for_classes():
    with pytest.raises(
        ConfigError, match=r"loss=ConcordanceLoss: measures values.*predicts classes. Use loss=cross_"
    ):
        Quadrant().check_loss(ConcordanceLoss())


def test_a_loss_of_classes_is_refused_for_values():
    with pytest.raises(
        ConfigError, match=r"loss=CrossEntropy: measures classes.*predicts values. Use loss=ccc;"
    ):
        Regression(["arousal"]).check_loss(CrossEntropy())


def test_mixup_is_refused_for_a_loss_of_the_whole_batch():
    with pytest.raises(ConfigError, match=r"augment.mixup: .*whole batch.*Set augment.mixup=0"):
        Regression(["arousal"]).check_loss(ConcordanceLoss(), mixup=True)
    Regression(["arousal"]).check_loss(SquaredError(), mixup=True)
