"""Losses of values: gaps count nothing, constants do no harm."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import distributed

from ser.errors import ConfigError
from ser.targets.losses import AbsoluteError, ConcordanceLoss, CrossEntropy, SquaredError
from ser.targets.quadrants import Quadrant
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
    with pytest.raises(ConfigError, match=r"loss=ccc: measures values.*predicts classes. Use loss=cross_"):
        Quadrant().check_loss(ConcordanceLoss())


def test_a_loss_of_classes_is_refused_for_values():
    with pytest.raises(
        ConfigError, match=r"loss=cross_entropy: measures classes.*predicts values. Use loss=ccc;"
    ):
        Regression(["arousal"]).check_loss(CrossEntropy())


def test_mixup_is_refused_for_a_loss_of_the_whole_batch():
    with pytest.raises(ConfigError, match=r"augment.mixup: .*whole batch.*Set augment.mixup=0"):
        Regression(["arousal"]).check_loss(ConcordanceLoss(), mixup=True)
    Regression(["arousal"]).check_loss(SquaredError(), mixup=True)


def _train_on_a_part(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    outputs, labels = a_batch()
    mine = slice(0, 5) if rank == 0 else slice(5, None)
    outputs = outputs[mine].requires_grad_()
    losses = ConcordanceLoss()(outputs, labels[mine])
    (losses.sum() / 4).backward()  # 4 utterances in the mean, as Task divides
    with torch.no_grad():
        evaluated = ConcordanceLoss()(outputs, labels[mine])
    torch.save([losses.detach(), outputs.grad, evaluated], folder / f"{rank}.pt")
    distributed.destroy_process_group()


def a_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(2, 8, 2, generator=generator)
    labels[6:, 1] = torch.nan  # one labelled value of the second field on the second process
    return outputs, labels


def test_ccc_of_two_processes_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_train_on_a_part, args=(rank, tmp_path)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    outputs, labels = a_batch()
    outputs.requires_grad_()
    whole = ConcordanceLoss()(outputs, labels)
    whole.mean().backward()
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(torch.cat([losses for losses, _, _ in parts]), whole.detach())
    gradients = torch.cat([gradient for _, gradient, _ in parts])
    torch.testing.assert_close(gradients / 2, outputs.grad)  # ddp averages over processes
    alone = ConcordanceLoss()(outputs[:5], labels[:5]).detach()
    torch.testing.assert_close(parts[0][2], alone)  # in evaluation, no process waits for another
