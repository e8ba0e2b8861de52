"""Values at every step: masked losses and scores against numpy on unpadded data."""

import logging
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from ser.batch import Batch, Padded
from ser.errors import ConfigError
from ser.models.classifier import Head
from ser.targets.frames import StepRegression
from ser.targets.losses import ConcordanceLoss, Objective, SquaredError
from ser.targets.metrics import numbers

FIELDS = ["arousal", "valence", "liking"]
LENGTHS = [50, 7, 31, 1]


@dataclass
class Table:
    labels: np.ndarray | None
    label_names: tuple[str, ...] = tuple(FIELDS)
    ids: tuple[str, ...] = ()


def numpy_ccc(truth: np.ndarray, predicted: np.ndarray) -> float:
    covariance = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
    return 2 * covariance / (truth.var() + predicted.var() + (truth.mean() - predicted.mean()) ** 2)


def batch_of_steps(sequences: list[Tensor]) -> Batch:
    targets = Padded.collate(sequences)
    targets = targets.with_values(targets.values.where(targets.mask[..., None], 99.0))  # padding is garbage
    audio = Padded(torch.zeros(*targets.values.shape[:2], 1), targets.lengths)
    return Batch([*range(len(sequences))], audio, targets, torch.zeros(len(sequences), dtype=torch.int64))


@pytest.fixture
def sequences() -> list[Tensor]:
    """Labels of four sequences; a fifth of them are gaps."""
    labels = [0.5 * torch.randn(length, 3) + 0.2 for length in LENGTHS]
    return [own.where(torch.rand_like(own) > 0.2, torch.nan) for own in labels]


@pytest.fixture
def outputs() -> Tensor:
    return 0.3 * torch.randn(sum(LENGTHS), 3)


def expected_losses(outputs: Tensor, labels: Tensor) -> np.ndarray:
    """1 - CCC of each field, in float64 and without a gap."""
    pairs = zip(outputs.double().numpy().T, labels.double().numpy().T, strict=True)
    return np.array([1 - numpy_ccc(truth[k], own[k]) for own, truth in pairs for k in [~np.isnan(truth)]])


@pytest.mark.parametrize(("weights", "factors"), [("mean", [1 / 3] * 3), ("upstream", [1, 1 / 2, 1 / 3])])
def test_masked_loss_is_that_of_numpy_without_padding(
    sequences: list[Tensor], outputs: Tensor, weights: str, factors: list[float]
) -> None:
    objective = Objective(StepRegression(FIELDS), ConcordanceLoss(weights), {})
    losses = objective(outputs, batch_of_steps(sequences))
    assert losses.shape == (sum(LENGTHS),)
    expected = expected_losses(outputs, torch.cat(sequences)) @ factors
    assert float(losses.mean()) == pytest.approx(expected, abs=1e-6)


def test_units_of_the_labels_do_not_change_the_loss(sequences: list[Tensor], outputs: Tensor) -> None:
    target = StepRegression(FIELDS, mean=[0.2, -1.0, 0.0], std=[0.5, 2.0, 1.0])
    found = Objective(target, ConcordanceLoss(), {})(outputs, batch_of_steps(sequences))
    expected = expected_losses(target.scores(outputs), torch.cat(sequences)).mean()
    assert float(found.mean()) == pytest.approx(expected, abs=1e-6)


def test_a_loss_per_sequence_takes_each_alone(sequences: list[Tensor], outputs: Tensor) -> None:
    objective = Objective(StepRegression(FIELDS, per="sequence"), ConcordanceLoss("upstream"), {})
    losses = objective(outputs, batch_of_steps(sequences))
    expected = [
        expected_losses(own, labels) @ [1, 1 / 2, 1 / 3]
        for own, labels in zip(outputs.split(LENGTHS), sequences, strict=True)
        if len(own) > 1  # a single step has no CCC
    ]
    np.testing.assert_allclose(losses.numpy(), expected, atol=1e-6)


def test_errors_per_sequence_are_means_over_their_steps(sequences: list[Tensor], outputs: Tensor) -> None:
    objective = Objective(StepRegression(FIELDS, per="sequence"), SquaredError(), {})
    losses = objective(outputs, batch_of_steps(sequences))
    pairs = list(zip(outputs.split(LENGTHS), sequences, strict=True))[:3]
    expected = [float((own - labels).square().nan_to_num().mean()) for own, labels in pairs]
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("per", ["batch", "sequence"])
def test_gaps_and_padding_get_no_gradient(sequences: list[Tensor], outputs: Tensor, per: str) -> None:
    outputs.requires_grad_()
    objective = Objective(StepRegression(FIELDS, per=per), ConcordanceLoss(), {})
    objective(outputs, batch_of_steps(sequences)).mean().backward()
    gaps = torch.cat(sequences).isnan()
    assert not outputs.grad[gaps].any()
    used = ~gaps[:-1] if per == "sequence" else ~gaps  # the last sequence is a single step
    assert (outputs.grad[: len(used)][used] != 0).all()


@pytest.mark.parametrize("per", ["batch", "sequence"])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_labels_give_the_published_constant(outputs: Tensor, per: str, value: float) -> None:
    sequences = [torch.full((length, 3), value) for length in LENGTHS]
    outputs.requires_grad_()
    losses = Objective(StepRegression(FIELDS, per=per), ConcordanceLoss("upstream"), {})(
        outputs, batch_of_steps(sequences)
    )
    assert losses.mean().item() == pytest.approx(1.8333, abs=1e-4)
    losses.mean().backward()
    assert outputs.grad.isfinite().all()


def test_a_constant_field_is_named_and_has_a_deviation_of_one(caplog: pytest.LogCaptureFixture) -> None:
    rows = np.array([[0.0, 0.5, 1.0], [0.5, 0.5, np.nan], [1.0, 0.5, 3.0]])
    spec = {"_target_": "ser.targets.StepRegression", "fields": FIELDS, "mean": None, "std": None}
    with caplog.at_level(logging.WARNING):
        found = StepRegression.complete(spec, {"train": Table(rows)})
    assert found["mean"] == pytest.approx([0.5, 0.5, 2.0])
    assert found["std"] == pytest.approx([np.sqrt(1 / 6), 1.0, 1.0])
    assert [record.getMessage() for record in caplog.records] == [
        "target.fields: 'valence' has the value 0.5 alone in train, so its CCC is 0 and nothing is learnt of it"
    ]
    rows[:, 1] = np.nan
    with pytest.raises(
        ConfigError,
        match=r"'valence' has no value in train.*Leave it out with 'target\.fields=\[arousal,liking\]'",
    ):
        StepRegression.complete(spec, {"train": Table(rows)})


def test_scores_are_over_all_labelled_steps_of_a_split(sequences: list[Tensor], outputs: Tensor) -> None:
    target = StepRegression(FIELDS)
    metric = target.metrics()
    for place, (own, labels) in enumerate(zip(outputs.split(LENGTHS), sequences, strict=True)):
        if place < 2:
            metric.update(*target.metric_inputs(own, batch_of_steps([labels])))
    rest = torch.cat(outputs.split(LENGTHS)[2:])
    metric.update(*target.metric_inputs(rest, batch_of_steps(sequences[2:])))
    found = numbers(metric.compute())
    expected = 1 - expected_losses(outputs, torch.cat(sequences))
    for field, value in zip(FIELDS, expected, strict=True):
        assert found[f"ccc_{field}"] == pytest.approx(value, abs=1e-6)
    assert found["ccc_mean"] == found["ccc"] == pytest.approx(expected.mean(), abs=1e-6)
    assert {*metric.names} >= {"ccc_mean", "pcc_liking", "mse_valence"}


def test_an_utterance_is_answered_by_the_mean_over_its_steps(
    sequences: list[Tensor], outputs: Tensor
) -> None:
    target = StepRegression(FIELDS, mean=[1.0] * 3, std=[2.0] * 3)
    expected = torch.stack([2 * own.mean(0) + 1 for own in outputs.split(LENGTHS)])
    torch.testing.assert_close(target.answers(outputs, batch_of_steps(sequences)), expected)
    assert target.resolution == "frame"
    labels = torch.tensor([[[1.0, 2.0, torch.nan], [3.0, torch.nan, torch.nan]]])
    assert target.describe_label(labels) == "arousal 2, valence 2"


@pytest.mark.parametrize("normalize", ["batch", "none"])
def test_a_head_may_end_in_tanh(normalize: str) -> None:
    head = Head(5, 3, normalize=normalize, activation="tanh").eval()
    steps = 20 * torch.randn(2, 4, 5)
    plain = head.layers(steps.flatten(0, 1))
    assert plain.abs().max() > 1
    torch.testing.assert_close(head(steps.flatten(0, 1)), plain.tanh())
    torch.testing.assert_close(head.step(steps), plain.tanh().view(2, 4, 3))


def test_predictions_are_smoothed_matched_and_delayed_by_sequence() -> None:
    target = StepRegression(
        FIELDS, delay_s=0.5, smoothing_s=0.3, match="moments", scale=[2.0, 1.0, 0.5], offset=[0.1, 0.0, -0.1]
    )
    outputs = torch.randn(sum(LENGTHS), 3)
    curves = target.curves(outputs, torch.tensor(LENGTHS))
    assert [len(curve) for curve in curves] == LENGTHS
    own = outputs[:50].double().numpy()
    smooth = np.stack([own[max(step - 1, 0) : step + 2].mean(0) for step in range(50)])
    expected = smooth * [2.0, 1.0, 0.5] + [0.1, 0.0, -0.1]
    np.testing.assert_allclose(curves[0][5:], expected[:-5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(curves[0][:5], np.broadcast_to(expected[0], (5, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("setting", ["delay_s", "smoothing_s"])
def test_a_negative_time_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"target\.{setting}=-1.*Set target\.{setting}=0"):
        StepRegression(FIELDS, **{setting: -1})
