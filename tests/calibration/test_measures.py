"""Measures of probabilities, temperature and weights, against slow references and known answers."""

import numpy as np
import pytest
from sklearn.metrics import log_loss as reference_log_loss

from ser.calibration.measures import (
    accuracy_at,
    accuracy_by_coverage,
    brier_score,
    calibration_error,
    log_loss,
)
from ser.calibration.temperature import HIGHEST, LOWEST, apply_temperature, fit_temperature
from ser.calibration.weights import average, fit_weights


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    scores: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return scores


def drawn(
    count: int, classes: int = 4, sharpness: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits times `sharpness`, and labels drawn from the softmax of the logits themselves."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.standard_normal((count, classes))
    cumulative = softmax(logits).cumsum(1)
    labels = (generator.random((count, 1)) > cumulative).sum(1).clip(max=classes - 1)
    return sharpness * logits, labels


def test_calibration_error_equals_a_loop_over_bins() -> None:
    logits, labels = drawn(500)
    scores = softmax(logits)
    confidence, right = scores.max(1), scores.argmax(1) == labels
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(scores, labels) == pytest.approx(expected, abs=1e-6)


def test_brier_score_of_certain_answers_is_zero_or_two() -> None:
    scores = np.eye(3)[[0, 1, 2, 0]]
    assert brier_score(scores, np.array([0, 1, 2, 0])) == 0
    assert brier_score(scores, np.array([1, 2, 0, 1])) == 2


def test_log_loss_equals_scikit_learn() -> None:
    logits, labels = drawn(200)
    expected = reference_log_loss(labels, softmax(logits), labels=range(4))
    assert log_loss(softmax(logits), labels) == pytest.approx(expected, rel=1e-9)


def test_accuracy_by_coverage_keeps_the_most_confident() -> None:
    scores = np.array([[0.6, 0.4], [0.9, 0.1], [0.3, 0.7], [0.45, 0.55]])
    labels = np.array([1, 0, 1, 0])  # right only where the model is surest
    np.testing.assert_allclose(accuracy_by_coverage(scores, labels), [1, 1, 2 / 3, 1 / 2])
    assert accuracy_at(0.5, scores, labels) == 1
    assert accuracy_at(0.0, scores, labels) == 1


def test_temperature_of_probabilities_is_that_of_logits() -> None:
    logits, _ = drawn(50)
    np.testing.assert_allclose(apply_temperature(softmax(logits), 2.5), softmax(logits / 2.5), atol=1e-9)


def test_temperature_keeps_missing_predictions() -> None:
    scores = np.array([[np.nan, np.nan], [0.5, 0.5]])
    assert np.isnan(apply_temperature(scores, 2.0)[0]).all()
    assert np.isfinite(apply_temperature(scores, 2.0)[1]).all()


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_temperature_recovers_how_overconfident_logits_are(sharpness: float) -> None:
    logits, labels = drawn(20_000, sharpness=sharpness)
    scores = softmax(logits)
    temperature = fit_temperature(scores, labels)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    assert calibration_error(apply_temperature(scores, temperature), labels) < 0.01


def test_temperature_of_a_split_without_errors_is_bounded() -> None:
    scores = np.array([[0.8, 0.2], [0.3, 0.7]])
    assert fit_temperature(scores, np.array([0, 1])) == pytest.approx(LOWEST, rel=1e-2)
    assert fit_temperature(scores, np.array([1, 0])) == pytest.approx(HIGHEST, rel=1e-2)


def test_weights_have_a_lower_loss_than_any_on_a_grid() -> None:
    logits, labels = drawn(300)
    noise = np.random.default_rng(1).standard_normal((2, *logits.shape))
    members = [softmax(logits + noise[0]), softmax(0.5 * logits + 2 * noise[1])]
    weights = fit_weights(members, labels)
    assert weights.sum() == pytest.approx(1)
    best = min(log_loss(average(members, np.array([w, 1 - w])), labels) for w in np.linspace(0, 1, 101))
    assert log_loss(average(members, weights), labels) <= best + 1e-6


def test_weights_ignore_a_member_that_knows_nothing() -> None:
    logits, labels = drawn(2000)
    useless = np.full((2000, 4), 0.25)
    weights = fit_weights([softmax(logits), useless], labels)
    assert weights[1] < 0.1
