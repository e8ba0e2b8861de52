"""Faults of recordings: planted ones are found, clean recordings have none."""

import numpy as np
import pytest

from ser.audit.measures import count_clipped, measure
from tests.audit.faults import FAULTS
from tests.audit.speech import RATE, speech


def test_clean_waveforms_have_no_flags() -> None:
    assert [measure(speech(seed), RATE)[0].flags() for seed in range(20)] == [[]] * 20


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_found(name: str) -> None:
    random = np.random.default_rng(0)
    found = [measure(FAULTS[name](speech(seed), RATE, random), RATE)[0].flags() for seed in range(20)]
    assert sum(name in flags for flags in found) >= 19


def test_level_offset_and_length_are_those_of_a_sine() -> None:
    sine = (0.1 + 0.5 * np.sin(2 * np.pi * 437 * np.arange(3 * RATE) / RATE)).astype(np.float32)
    found = measure(sine, RATE)[0]
    assert found.level_db == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.05)
    assert found.peak_db == pytest.approx(20 * np.log10(0.6), abs=0.01)
    assert found.dc_offset == pytest.approx(0.1, abs=1e-3)
    assert found.seconds == 3


def test_a_sine_is_not_clipped_and_a_square_wave_is() -> None:
    sine = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32)
    assert count_clipped(sine) == (0, 0.0)
    peaks, share = count_clipped(np.clip(2 * sine, -1, 1))
    assert peaks == 400
    assert share == pytest.approx(2 / 3, abs=0.02)  # |sin| > 1/2 for two thirds of a period


@pytest.mark.parametrize("snr_db", [5, 20])
def test_the_estimated_snr_is_that_of_the_mixture(snr_db: float) -> None:
    clean = speech(3, seconds=6)
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    noise *= np.sqrt((clean**2).mean() / (noise**2).mean()) * 10 ** (-snr_db / 20)
    assert measure(clean + noise, RATE)[0].snr_db == pytest.approx(snr_db, abs=3)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_bandwidth_is_that_of_the_filtered_noise(rate: int) -> None:
    noise = np.random.default_rng(0).standard_normal(2 * rate)
    spectrum = np.fft.rfft(noise)
    assert measure((0.1 * noise).astype(np.float32), rate)[0].bandwidth_hz == rate / 2
    spectrum[np.fft.rfftfreq(len(noise), 1 / rate) > 2500] = 0
    found = measure((0.1 * np.fft.irfft(spectrum)).astype(np.float32), rate)[0]
    assert found.bandwidth_hz == pytest.approx(2500, abs=350)


def test_digital_silence_and_one_sample_are_measured() -> None:
    assert measure(np.zeros(RATE, dtype=np.float32), RATE)[0].flags() == ["digital_silence", "mostly_silent"]
    assert measure(np.full(1, 0.5, dtype=np.float32), RATE)[0].seconds == 1 / RATE


def test_long_recordings_are_measured_in_blocks_with_the_same_result() -> None:
    once = speech(0, seconds=40)
    found, repeated = (measure(np.tile(once, times), RATE)[0] for times in (1, 4))
    assert repeated.snr_db == pytest.approx(found.snr_db, abs=0.5)
    assert repeated.level_db == pytest.approx(found.level_db, abs=0.1)
    assert repeated.silent == pytest.approx(found.silent, abs=0.02)
