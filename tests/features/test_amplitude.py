"""Waveforms made equally loud."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ser.batch import Padded
from ser.features import amplitude
from ser.features.amplitude import normalize_amplitude

MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "peak": lambda wave: wave.abs().max(),
    "rms": lambda wave: wave.square().mean().sqrt(),
    "zscore": lambda wave: wave.std(correction=0),
    "minmax": lambda wave: wave.max() - wave.min(),
}


def batch(*waveforms: Tensor) -> Padded:
    """Waveforms [n], with NaN for padding, which no one may hear."""
    padded = Padded.collate([waveform[:, None] for waveform in waveforms])
    return padded.with_values(padded.values.masked_fill(~padded.mask.unsqueeze(-1), float("nan")))


@pytest.mark.parametrize("at_a_time", [1 << 18, 1_000])
@pytest.mark.parametrize("normalize", MEASURES)
def test_waveforms_have_the_amplitude_that_was_asked_for(
    normalize: Any, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amplitude, "_SAMPLES_AT_A_TIME", at_a_time)
    waveforms = [0.001 * torch.randn(3_000) + 0.02, 0.1 * torch.randn(5_000), torch.randn(1_234) - 0.5]
    found = normalize_amplitude(batch(*waveforms), normalize)
    for values, waveform in zip(found.values[..., 0], waveforms, strict=True):
        assert float(MEASURES[normalize](values[: len(waveform)])) == pytest.approx(1, rel=1e-5)
        assert (values[len(waveform) :] == 0).all()


def test_a_zscore_has_no_mean_and_a_minmax_begins_at_zero() -> None:
    loud = batch(0.2 * torch.randn(5_000) + 0.3)
    assert float(normalize_amplitude(loud, "zscore").values.mean()) == pytest.approx(0, abs=1e-6)
    assert float(normalize_amplitude(loud, "minmax").values.min()) == 0


def test_waveforms_may_stay_as_they_are() -> None:
    waveform = torch.randn(500)
    torch.testing.assert_close(
        normalize_amplitude(batch(waveform), "none").values[0, :, 0], waveform, rtol=0, atol=0
    )


@pytest.mark.parametrize("normalize", MEASURES)
@pytest.mark.parametrize("level", [0.0, 0.7])
def test_what_does_not_change_is_not_made_loud(normalize: Any, level: float) -> None:
    found = normalize_amplitude(
        batch(torch.full((4_000,), level) + 1e-9 * torch.randn(4_000)), normalize
    ).values
    assert found.isfinite().all()
    assert float(found.abs().max()) <= 1.0001
    if normalize in ("zscore", "minmax") or level == 0:
        assert float(found.abs().max()) < 1e-6
