"""Mel scales, filters and cosine transforms against stated values and independent sources."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser.errors import ConfigError
from ser.features import mel


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_a_mel_scale_is_the_inverse_of_its_inverse(scale: Any) -> None:
    hertz = torch.tensor([0.0, 440.0, 999.0, 1001.0, 7_999.0], dtype=torch.float64)
    torch.testing.assert_close(mel.mel_to_hertz(mel.hertz_to_mel(hertz, scale), scale), hertz)


def test_mel_scales_have_their_fixed_points() -> None:
    hertz = torch.tensor([200 / 3, 1_000.0, 6_400.0], dtype=torch.float64)
    assert mel.hertz_to_mel(hertz, "slaney").tolist() == pytest.approx([1, 15, 42])
    assert float(mel.hertz_to_mel(torch.tensor(1_000.0), "htk")) == pytest.approx(1_000, abs=0.1)


def test_filters_peak_at_one_and_touch_their_neighbours() -> None:
    filters = mel.mel_filterbank(26, 512, 16_000, triangles="bins")
    assert filters.shape == (26, 257)
    assert (filters.amax(dim=1) == 1).all()
    inner = slice(int(filters[0].argmax()), int(filters[-1].argmax()) + 1)
    torch.testing.assert_close(filters[:, inner].sum(dim=0), torch.ones(inner.stop - inner.start).double())


def test_no_filter_reaches_beyond_its_frequencies() -> None:
    filters = mel.mel_filterbank(26, 1024, 22_050, min_frequency=300, max_frequency=8_000)
    frequencies = torch.arange(513) * 22_050 / 1024
    assert (filters[:, (frequencies < 300) | (frequencies > 8_000)] == 0).all()
    assert filters[-1, frequencies > 7_000].sum() > 0


def test_normalised_filters_have_one_area() -> None:
    filters = mel.mel_filterbank(20, 4096, 16_000, norm="slaney")
    torch.testing.assert_close(filters.sum(1) * 16_000 / 4096, torch.ones(20).double(), rtol=2e-2, atol=0)


@pytest.mark.filterwarnings("ignore")  # librosa's own
@pytest.mark.parametrize(("scale", "norm"), [("slaney", "slaney"), ("htk", "none")])
def test_filters_equal_librosas(scale: Any, norm: Any) -> None:
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(
        sr=22_050, n_fft=1024, n_mels=64, htk=scale == "htk", norm=None if norm == "none" else norm
    )
    filters = mel.mel_filterbank(64, 1024, 22_050, scale=scale, norm=norm)
    np.testing.assert_allclose(filters.numpy(), expected, atol=1e-7)


@pytest.mark.shared
@pytest.mark.parametrize("count", [26, 40, 50])
def test_rounded_filters_equal_the_oracles_also_where_corners_coincide(count: int, shared: Path) -> None:
    path = shared / "tools" / "make_challenge.py"
    pytest.importorskip("soundfile")
    specification = importlib.util.spec_from_file_location("oracle", path)
    assert specification is not None
    assert specification.loader is not None
    oracle = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(oracle)
    filters = mel.mel_filterbank(count, 512, 16_000, triangles="bins")
    np.testing.assert_allclose(filters.numpy(), oracle.mel_filters(count), atol=1e-12)


def test_the_cosine_transform_is_orthonormal() -> None:
    matrix = mel.cosine_transform(23, 23)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(23, dtype=torch.float64))


def test_the_lifter_raises_high_coefficients_as_htk_does() -> None:
    gains = mel.cosine_transform(13, 23, 22.0)[:, 0] / mel.cosine_transform(13, 23)[:, 0]
    order = torch.arange(13, dtype=torch.float64)
    torch.testing.assert_close(gains, 1 + 11 * torch.sin(torch.pi * order / 22))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"num_mel_bins": 0},
            r"features\.num_mel_bins=0: expected 1 or more filters.*Set features\.num_mel_bins=64",
        ),
        (
            {"num_mel_bins": 128},
            r"num_mel_bins=128: 512 FFT points at 16000 Hz.*filter 0 covers no bin.*larger features\.fft_length",
        ),
        ({"max_frequency": 9_000.0}, r"features\.max_frequency=9000\.0: filters do not fit into 0\.\.8000"),
        (
            {"min_frequency": 5_000.0, "max_frequency": 4_000.0},
            r"features\.min_frequency=5000\.0, features\.max_frequency=4000\.0",
        ),
    ],
)
def test_filters_that_cannot_be_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        mel.mel_filterbank(**{"num_mel_bins": 40, "fft_length": 512, "sample_rate": 16_000} | arguments)


def test_there_are_no_more_cepstra_than_bands() -> None:
    with pytest.raises(ConfigError, match=r"num_coefficients=40: expected 1 to features\.num_mel_bins=26"):
        mel.cosine_transform(40, 26)
