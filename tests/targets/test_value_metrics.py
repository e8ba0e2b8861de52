"""CCC, PCC, MSE and MAE against independent formulas, and where they are undefined."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error

from ser.targets.metrics import numbers
from ser.targets.value_metrics import ValueScores, ccc, measures, pcc

NAN = float("nan")


def lin(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Lin's formula with moments that divide by N, as in the paper's section on biased estimates."""
    covariance = np.cov(truth, predicted, bias=True)
    distance = (truth.mean() - predicted.mean()) ** 2
    return 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + distance)


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    truth = torch.randn(200, 3)
    return truth, 0.6 * truth + 0.3 * torch.randn(200, 3) + torch.tensor([0.5, 0.0, -2.0])


def test_measures_equal_independent_formulas(pairs):
    for truth, predicted in zip(*(part.T for part in pairs), strict=True):
        found = measures(truth, predicted)
        own, other = truth.double().numpy(), predicted.double().numpy()
        assert found["ccc"].item() == pytest.approx(lin(own, other), abs=1e-12)
        assert found["pcc"].item() == pytest.approx(np.corrcoef(own, other)[0, 1], abs=1e-12)
        assert found["mse"].item() == pytest.approx(mean_squared_error(own, other), abs=1e-12)
        assert found["mae"].item() == pytest.approx(mean_absolute_error(own, other), abs=1e-12)


@pytest.mark.parametrize("place", [0, 1])
def test_a_constant_has_ccc_and_pcc_of_zero(place):
    pair = [torch.randn(50), torch.randn(50)]
    pair[place] = torch.full((50,), 0.1)
    assert ccc(*pair).item() == pcc(*pair).item() == 0.0


def test_one_utterance_has_ccc_and_pcc_of_zero():
    found = measures(torch.tensor([0.3]), torch.tensor([0.3]))
    assert {name: value.item() for name, value in found.items()} == {"ccc": 0, "pcc": 0, "mse": 0, "mae": 0}


def test_equal_constants_have_a_ccc_of_zero():
    assert ccc(torch.ones(5), torch.ones(5)).item() == 0.0


def test_values_far_from_zero_keep_their_ccc(pairs):
    truth, predicted = (part[:, 0].double() for part in pairs)
    torch.testing.assert_close(ccc(truth + 1e4, predicted + 1e4), ccc(truth, predicted), atol=1e-9, rtol=0)


def test_gaps_are_left_out_field_by_field(pairs):
    truth, predicted = pairs
    truth[::2, 0], truth[::3, 1] = NAN, NAN
    metric = ValueScores(["a", "b", "c"])
    metric.update(predicted, truth)
    values = numbers(metric.compute())
    for place, name in enumerate("abc"):
        known = ~truth[:, place].isnan()
        own = truth[known, place].double().numpy(), predicted[known, place].double().numpy()
        assert values[f"ccc_{name}"] == pytest.approx(lin(*own), abs=1e-9)
        assert values[f"mse_{name}"] == pytest.approx(mean_squared_error(*own), abs=1e-9)
    assert values["ccc"] == pytest.approx(np.mean([values[f"ccc_{name}"] for name in "abc"]))


def test_a_field_without_labels_is_left_out_of_the_mean(pairs):
    truth, predicted = pairs
    truth[:, 1] = NAN
    metric = ValueScores(["a", "b", "c"])
    metric.update(predicted, truth)
    values = numbers(metric.compute())
    assert "ccc_b" not in values
    assert values["ccc"] == pytest.approx((values["ccc_a"] + values["ccc_c"]) / 2)


def test_scores_without_any_label_are_undefined():
    metric = ValueScores(["a"])
    metric.update(torch.zeros(2, 1), torch.full((2, 1), NAN))
    values = numbers(metric.compute())
    assert [*values] == ["ccc", "pcc", "mse", "mae"]
    assert all(math.isnan(value) for value in values.values())


def test_ccc_is_of_the_whole_split_and_no_mean_of_batches(pairs):
    truth, predicted = pairs
    metric = ValueScores(["a", "b", "c"])
    for start in (0, 7, 150):
        part = slice(start, {0: 7, 7: 150, 150: 200}[start])
        metric.update(predicted[part], truth[part])
    own = truth.double().T.numpy(), predicted.double().T.numpy()
    expected = [lin(*pair) for pair in zip(*own, strict=True)]
    assert numbers(metric.compute())["ccc"] == pytest.approx(np.mean(expected), abs=1e-9)


def test_ranks_merge_to_the_score_of_all_points(pairs):
    truth, predicted = pairs
    ranks = [ValueScores(["a", "b", "c"]) for _ in range(2)]
    for place, metric in enumerate(ranks):
        metric.update(predicted[place::2], truth[place::2])
    merged, whole = ValueScores(["a", "b", "c"]), ValueScores(["a", "b", "c"])
    whole.update(predicted, truth)
    merged.update(predicted[:1], truth[:1])
    merged.points = torch.cat([torch.cat(metric.points) for metric in ranks])  # as torchmetrics leaves it
    assert numbers(merged.compute()) == pytest.approx(numbers(whole.compute()), abs=1e-12)


def test_the_result_holds_truth_and_prediction_apart(pairs):
    truth, predicted = pairs
    metric = ValueScores(["a", "b", "c"])
    metric.update(predicted, truth)
    (result,) = metric.results(metric.compute())
    np.testing.assert_allclose(result.truth, truth.numpy(), atol=1e-6)
    np.testing.assert_allclose(result.predicted, predicted.numpy(), atol=1e-6)
    assert (result.count, result.fields) == (200, ("a", "b", "c"))
