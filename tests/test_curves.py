"""Curves of values: a planted delay is found, and what is done to predictions."""

import logging
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from ser.curves import (
    PostProcessing,
    compensate_delay,
    estimate_delay,
    fit_match,
    restore_delay,
    smooth,
)
from ser.errors import DataError
from ser.targets.value_metrics import ccc

NAN = float("nan")


def recordings(delay: int, *, count: int = 4, steps: int = 300) -> tuple[list[Tensor], list[Tensor]]:
    """Features, and labels that follow some of them `delay` steps later, smoothed over 9 steps and noisy."""
    inputs, labels = [], []
    for _ in range(count):
        features = torch.randn(steps + delay, 12)
        clean = torch.stack([features[:, 0] + features[:, 3], features[:, 7] - features[:, 1]], -1)
        late = smooth(clean, 0.9)[:steps] + 0.2 * torch.randn(steps, 2)
        inputs.append(features[delay:])
        labels.append(late)
    return inputs, labels


@pytest.mark.parametrize("delay", [0, 24, 51])
def test_a_planted_delay_is_found(delay: int, caplog: pytest.LogCaptureFixture) -> None:
    inputs, labels = recordings(delay)
    labels[1][40:80] = NAN
    with caplog.at_level(logging.INFO):
        found = estimate_delay(inputs, labels)
    assert found == pytest.approx(delay / 10, abs=0.2)
    assert "explains" in caplog.text


def test_a_delay_is_found_from_inputs_that_depend_on_each_other() -> None:
    inputs, labels = recordings(24)
    doubled = [torch.cat([own, own, torch.zeros(len(own), 1)], -1) for own in inputs]
    assert estimate_delay(doubled, labels) == pytest.approx(2.4, abs=0.2)


def test_recordings_that_are_too_short_are_refused() -> None:
    with pytest.raises(DataError, match="annotation delay: no recording of train has more than 60 steps"):
        estimate_delay([torch.randn(60, 3)], [torch.randn(60, 1)])


def test_compensation_moves_labels_back_and_predictions_forth() -> None:
    labels = torch.arange(10.0)[:, None]
    early = compensate_delay(labels, 0.3)
    expected = torch.tensor([*range(3, 10), NAN, NAN, NAN])[:, None]
    torch.testing.assert_close(early, expected.float(), equal_nan=True)
    late = restore_delay(early[:7], 0.3)
    torch.testing.assert_close(late[3:, 0], labels[3:7, 0])
    assert late[:3, 0].tolist() == [3, 3, 3]
    assert compensate_delay(labels, 5.0).isnan().all()
    assert len(restore_delay(labels, 5.0)) == 10


@pytest.mark.parametrize("window_s", [0.1, 0.5, 0.9, 9.0])
def test_smoothing_is_a_mean_over_a_window(window_s: float) -> None:
    values = torch.randn(20, 2)
    reach = round(10 * window_s) // 2
    expected = torch.stack([values[max(0, step - reach) : step + reach + 1].mean(0) for step in range(20)])
    torch.testing.assert_close(smooth(values, window_s), expected)


def test_matching_gives_predictions_the_moments_of_labels() -> None:
    labels = 2 * torch.randn(400, 2) + 3
    predicted = 0.1 * labels - 1
    labels[::3, 0] = NAN
    known = ~labels[:, 0].isnan()
    matched = PostProcessing(0.0, *fit_match(predicted, labels, "moments"))(predicted)
    torch.testing.assert_close(matched[known], labels[known], atol=1e-4, rtol=1e-4)
    assert float(ccc(labels[known, 0], predicted[known, 0])) < 0.2
    centred = PostProcessing(0.0, *fit_match(predicted, labels, "centre"))(predicted)
    torch.testing.assert_close(centred[known, 0].mean(), labels[known, 0].mean(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(centred[:, 1].mean(), labels[:, 1].mean(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(centred.std(0), predicted.std(0))
    assert fit_match(predicted, labels, "none") == ((), ())


def test_matching_leaves_constants_and_unlabelled_fields_finite() -> None:
    scale, offset = fit_match(torch.ones(5, 2), torch.tensor([[3.0, NAN]] * 5), "moments")
    assert (scale, offset) == ((1.0, 1.0), (2.0, 0.0))


def test_nothing_is_done_by_default_and_all_is_described() -> None:
    values = torch.randn(10, 2)
    assert PostProcessing()(values) is values
    assert str(PostProcessing()) == "unchanged"
    every = PostProcessing(0.5, (2.0, 1.0), (0.1, 0.0), 0.2)
    assert str(every) == "smoothed over 0.5 s; scaled by 2, 1; moved by 0.1, 0; delayed by 0.2 s"
    expected = restore_delay(smooth(values, 0.5) * torch.tensor([2.0, 1]) + torch.tensor([0.1, 0]), 0.2)
    torch.testing.assert_close(every(values), expected)
    torch.testing.assert_close(PostProcessing(**asdict(every))(values), expected)
