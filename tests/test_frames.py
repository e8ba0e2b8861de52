"""Log-mels against an independent numpy implementation: stored values, and real speech where there is some."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from ser.errors import ConfigError, DataError
from ser.features.frames import frame, hertz_to_mel, log_mel, mel_filterbank, mel_to_hertz, preemphasize

GOLDEN = Path(__file__).parent / "golden" / "log_mel_26.npy"


def chirp_with_noise() -> torch.Tensor:
    """A rising tone, noise from integer arithmetic, and a stretch of digital silence; 0.61 s at 16 kHz."""
    samples = np.arange(9_777)
    noise = (samples * samples * 7919 + samples * 104_729) % 65_537 / 65_537 - 0.5
    wave = 0.3 * np.sin(2e-5 * samples**2) + 0.02 * noise
    wave[4_000:5_500] = 0
    return torch.from_numpy(wave)


def test_log_mel_equals_the_golden_values_within_1e4():
    features = log_mel(chirp_with_noise(), sample_rate=16_000)
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features.numpy(), np.load(GOLDEN), atol=1e-4, rtol=0)


def test_golden_values_hold_both_speech_level_and_digital_silence():
    golden = np.load(GOLDEN)
    assert golden.shape == (31, 26)
    assert golden.min() == pytest.approx(np.log(np.finfo(float).eps))
    assert golden.max() > 15


@pytest.mark.shared
@pytest.mark.parametrize("row", [0, 300, 700, 1100, 1439])
def test_log_mel_equals_the_oracle_on_real_speech(row, shared):
    soundfile = pytest.importorskip("soundfile")
    oracle = shared / "tools" / "make_challenge.py"
    specification = importlib.util.spec_from_file_location("oracle", oracle)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    folder = shared / "data" / "ravdess"
    with (folder / "manifest.csv").open(newline="") as file:
        path = folder / list(csv.DictReader(file))[row]["path"]
    waveform, sample_rate = soundfile.read(path, dtype="float64")
    features = log_mel(torch.from_numpy(waveform), sample_rate=sample_rate)
    np.testing.assert_allclose(features.numpy(), module.logmel(waveform), atol=1e-4, rtol=0)


def test_float32_waveforms_give_the_same_as_float64():
    waveform = chirp_with_noise()
    close = log_mel(waveform.float(), sample_rate=16_000) - log_mel(waveform, sample_rate=16_000)
    assert close.abs().max() < 1e-2


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (400, 1), (401, 2), (720, 2), (721, 3), (16_000, 50)])
def test_every_sample_falls_into_a_frame(samples, steps):
    assert log_mel(torch.ones(samples), sample_rate=16_000).shape == (steps, 26)


def test_the_last_frame_is_padded_with_zeros():
    frames = frame(torch.arange(1.0, 8.0), 4, 2)
    assert frames.tolist() == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 0]]


def test_preemphasis_keeps_the_first_sample():
    assert preemphasize(torch.tensor([2.0, 3.0, 5.0]), 0.5).tolist() == [2.0, 2.0, 3.5]


def test_filters_peak_at_one_and_touch_their_neighbours():
    filters = mel_filterbank(26, 512, 16_000)
    assert filters.shape == (26, 257)
    assert (filters.amax(dim=1) == 1).all()
    inner = slice(int(filters[0].argmax()), int(filters[-1].argmax()) + 1)
    torch.testing.assert_close(filters[:, inner].sum(dim=0), torch.ones(inner.stop - inner.start).double())


def test_no_filter_reaches_beyond_the_maximal_frequency():
    filters = mel_filterbank(26, 1024, 22_050, max_frequency=8_000)
    frequencies = torch.arange(513) * 22_050 / 1024
    assert (filters[:, frequencies > 8_000] == 0).all()
    assert filters[-1, frequencies > 7_000].sum() > 0


def test_a_louder_waveform_is_louder_by_its_gain():
    waveform = chirp_with_noise()[:4_000]
    difference = log_mel(2 * waveform, sample_rate=16_000) - log_mel(waveform, sample_rate=16_000)
    torch.testing.assert_close(difference, torch.full_like(difference, 2 * np.log(2)), atol=1e-4, rtol=0)


def test_mel_scale_is_its_own_inverse():
    frequencies = [0.0, 440.0, 8_000.0]
    mels = torch.tensor([hertz_to_mel(frequency) for frequency in frequencies], dtype=torch.float64)
    assert mel_to_hertz(mels).tolist() == pytest.approx(frequencies)


@pytest.mark.parametrize("shape", [(0,), (2, 16_000)])
def test_a_waveform_must_be_mono_and_not_empty(shape):
    with pytest.raises(DataError, match=r"shape \[.*\]: expected \[samples\].*Mix the channels down"):
        log_mel(torch.zeros(shape), sample_rate=16_000)


def test_too_many_filters_for_the_fft_are_refused_with_their_number():
    with pytest.raises(
        ConfigError, match=r"num_mel_bins=128: 512 FFT points at 16000 Hz.*filter 0.*fewer filters"
    ):
        log_mel(torch.ones(400), sample_rate=16_000, num_mel_bins=128)
