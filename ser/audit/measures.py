"""Measure the sound of a recording: level, clipping, offset, noise, bandwidth, silence.

Each measure has a threshold from which a recording is flagged. They lie between what clean recordings of RAVDESS and
EmoDB have and what planted faults cause: docs/data_check.md has both.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ser.audit.duplicates import BANDS, DEPTH_DB, STEP_S, Fingerprint
from ser.features.mel import mel_filterbank

_FRAME_S = 0.032  # of a frame; the next one begins after half of it
_BLOCK_FRAMES = 4096  # 65 s, so that hours take no more memory than minutes
_POWER_FLOOR = 1e-13  # 130 dB below full scale: lower than 16 bits can hold
_PLATEAU, _SHOULDER = 0.998, 0.98  # of the largest sample
_NOISE_SHARE = 0.05  # of the frames, in each band: the quietest ones are noise
_NOISE_BAND_HZ = 250.0
_SILENT_DB = 40.0  # below the loud frames
_LOUD_SHARE, _LOUDEST_SHARE = 0.05, 0.03  # of the frames
_CLIFF_DB, _CLIFF_HZ, _LOWEST_CLIFF_HZ = 24.0, 600.0, 1000.0
_FINGERPRINT_HZ = (100.0, 3600.0)  # copies that lost what lies above are still alike

CLIPPED_PEAKS = 8
DC_OFFSET = 0.008
NOISY_DB = 14.5
NARROW_SHARE = 0.8
MOSTLY_SILENT = 0.75


@dataclass(frozen=True)
class Measures:
    """What was measured of a recording.

    Args:
        seconds: Length in s.
        sample_rate: Sample rate of the file in Hz.
        level_db: Root mean square in dB below full scale, without the offset.
        peak_db: Largest sample in dB below full scale.
        clipped_peaks: Number of peaks that are cut off: two samples or more at the largest value.
        clipped: Share of the samples in such peaks, 0..1.
        dc_offset: Mean of the samples; full scale is 1.
        snr_db: Signal-to-noise ratio in dB; in each band, the quietest frames count as noise.
        bandwidth_hz: Frequency in Hz above which nothing is left; half the sample rate if there is no such edge.
        silent: Share of the frames that are 40 dB below the loud ones, 0..1.
    """

    seconds: float
    sample_rate: int
    level_db: float
    peak_db: float
    clipped_peaks: int
    clipped: float
    dc_offset: float
    snr_db: float
    bandwidth_hz: float
    silent: float

    def flags(self) -> list[str]:
        """Return the names of the faults."""
        found = {
            "digital_silence": np.isneginf(self.peak_db),
            "clipped": self.clipped_peaks >= CLIPPED_PEAKS,
            "dc_offset": abs(self.dc_offset) >= DC_OFFSET,
            "noisy": self.snr_db < NOISY_DB,
            "narrow_band": self.bandwidth_hz < NARROW_SHARE * min(8000.0, self.sample_rate / 2),
            "mostly_silent": self.silent >= MOSTLY_SILENT,
        }
        return [name for name, is_found in found.items() if is_found]


def measure(waveform: np.ndarray, sample_rate: int) -> tuple[Measures, Fingerprint]:
    """Measure a waveform [samples] float32, mono, and compute its fingerprint.

    Args:
        waveform: Waveform at the rate of its file, one sample or more.
        sample_rate: Its rate in Hz.
    """
    seconds = len(waveform) / sample_rate
    digest = hashlib.blake2b(waveform.tobytes(), digest_size=16).digest()
    offset = float(waveform.mean(dtype=np.float64))
    peak = float(np.abs(waveform).max())
    if peak == 0:
        silent = np.zeros((1, BANDS), dtype=np.uint8)
        nothing = Measures(
            seconds, sample_rate, -np.inf, -np.inf, 0, 0.0, 0.0, np.inf, sample_rate / 2, silent=1.0
        )
        return nothing, Fingerprint(digest, silent, seconds)
    peaks, clipped = count_clipped(waveform)
    levels, noise_bands, fingerprint_bands, loudest = _spectra(waveform - np.float32(offset), sample_rate)
    measures = Measures(
        seconds=seconds,
        sample_rate=sample_rate,
        level_db=_decibels(float(levels.mean())),
        peak_db=20 * float(np.log10(peak)),
        clipped_peaks=peaks,
        clipped=clipped,
        dc_offset=offset,
        snr_db=estimate_snr(noise_bands),
        bandwidth_hz=find_bandwidth(loudest, sample_rate),
        silent=silent_share(levels),
    )
    return measures, Fingerprint(digest, _pattern(fingerprint_bands), seconds)


def count_clipped(waveform: np.ndarray) -> tuple[int, float]:
    """Return the number of peaks that are cut off, and the share of the samples in them.

    Samples side by side at the largest value are no proof, as a sine has them, too: there must be more of them than
    samples that are slightly lower.
    """
    peaks = clipped = shoulder = 0
    for largest, is_top in (
        (float(waveform.max()), np.greater_equal),
        (float(waveform.min()), np.less_equal),
    ):
        high = np.flatnonzero(is_top(waveform, np.float32(_SHOULDER * largest)))
        places = high[is_top(waveform[high], np.float32(_PLATEAU * largest))]
        shoulder += len(high) - len(places)
        runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
        lengths = np.array([len(run) for run in runs])
        peaks += int((lengths > 1).sum())
        clipped += int(lengths[lengths > 1].sum())
    return (peaks, clipped / len(waveform)) if clipped > shoulder else (0, 0.0)


def estimate_snr(bands: Tensor) -> float:
    """Return the signal-to-noise ratio in dB of the power in bands [T, B].

    The noise of a band is that of its quietest frames, each averaged with two on both sides: speech, even without a
    pause, leaves most bands for moments.
    """
    smooth = functional.avg_pool1d(bands.T[None], 5, 1, 2, count_include_pad=False)[0]
    noise = smooth.kthvalue(1 + int(_NOISE_SHARE * (smooth.shape[1] - 1)), dim=1).values.sum()
    return _decibels(float((bands.mean(0).sum() - noise).clamp_min(0))) - _decibels(float(noise))


def silent_share(levels: Tensor) -> float:
    """Return the share of frames whose power [T] is 40 dB below the loud ones."""
    loud = levels.kthvalue(len(levels) - int(_LOUD_SHARE * (len(levels) - 1))).values
    return float((levels < loud * 10 ** (-_SILENT_DB / 10)).float().mean())


def find_bandwidth(loudest: Tensor, sample_rate: int) -> float:
    """Return the frequency in Hz above which nothing is left, from the power of the loudest frames by bin [K].

    There, the spectrum falls by 24 dB within 600 Hz and never rises again. Speech by itself falls more slowly.
    """
    hertz = sample_rate / 2 / (len(loudest) - 1)
    width = max(1, round(200 / hertz))
    level = functional.avg_pool1d(10 * loudest.clamp_min(_POWER_FLOOR).log10()[None, None], width, 1)[0, 0]
    highest_above = level.flip(0).cummax(0).values.flip(0)
    reach, lowest = int(_CLIFF_HZ / hertz), int(_LOWEST_CLIFF_HZ / hertz)
    drop = (level[:-reach] - highest_above[reach:])[lowest:]
    if not len(drop) or float(drop.max()) < _CLIFF_DB:
        return sample_rate / 2
    return (int(drop.argmax()) + lowest + width / 2) * hertz + _CLIFF_HZ / 2


@torch.inference_mode()
def _spectra(waveform: np.ndarray, sample_rate: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the power of frames [T], of bands for noise [T, B] and for fingerprints [T, BANDS], and of loud bins [K].

    A frame of noise with a mean square of 1 has the power 1.
    """
    length = max(16, int(_FRAME_S * sample_rate) // 16 * 16)  # a length of small factors
    window, filters, per_band = _analysis(length, sample_rate)
    samples = torch.from_numpy(waveform)
    samples = functional.pad(samples, (0, max(0, length - len(samples))))
    frames = samples.unfold(0, length, length // 2)
    levels, noise, prints, loudest, weights = [], [], [], [], []
    for block in torch.split(frames, _BLOCK_FRAMES):
        power = torch.view_as_real(torch.fft.rfft(block * window)).square().sum(2)
        levels.append(power.sum(1))
        noise.append(
            power[:, : power.shape[1] // per_band * per_band].reshape(len(power), -1, per_band).sum(2)
        )
        prints.append(power @ filters)
        loudest.append(power.kthvalue(len(power) - int(_LOUDEST_SHARE * (len(power) - 1)), dim=0).values)
        weights.append(len(power))
    share = torch.tensor(weights) / sum(weights)
    return (
        torch.cat(levels),
        torch.cat(noise),
        torch.cat(prints),
        (torch.stack(loudest) * share[:, None]).sum(0),
    )


@lru_cache(maxsize=16)
def _analysis(length: int, sample_rate: int) -> tuple[Tensor, Tensor, int]:
    """Return the window [length], filters of the fingerprint [K, BANDS], and bins of a band for noise."""
    window = torch.hann_window(length)
    scaled = (
        window * (2 / (length * window.square().sum())).sqrt()
    )  # one side of the spectrum has half the power
    lowest, highest = _FINGERPRINT_HZ
    top = min(highest, sample_rate / 2)
    filters = mel_filterbank(
        BANDS, length, sample_rate, min_frequency=min(lowest, top / 4), max_frequency=top
    )
    return scaled, filters.float().T.contiguous(), max(1, round(_NOISE_BAND_HZ * length / sample_rate))


def _pattern(bands: Tensor) -> np.ndarray:
    """Return levels of bands below the loudest [T', BANDS] uint8, in fifths of a dB, from their power [T, BANDS]."""
    step = functional.avg_pool1d(bands.T[None], 2, ceil_mode=True)[0].T
    level = 10 * (step / step.max()).clamp_min(10 ** (-DEPTH_DB / 10)).log10() + DEPTH_DB
    pattern: np.ndarray = (5 * level).round().to(torch.uint8).numpy()
    return pattern


def _decibels(power: float) -> float:
    return 10 * float(np.log10(max(power, _POWER_FLOOR)))


assert STEP_S == _FRAME_S  # two hops of half a frame
