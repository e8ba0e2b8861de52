"""From a waveform to log-mel filterbank energies. Each convention that toolkits disagree on is an argument.

The defaults are the classical HTK front end at 26 bands: pre-emphasis over the whole waveform, rectangular
window, triangles on the HTK mel scale whose corners are rounded down to FFT bins, natural logarithm.
Source: Young et al., "The HTK Book", chapter 5.
"""

import math

import torch
from torch import Tensor

from ser.errors import ConfigError, DataError

INT16_SCALE = 32768.0  # waveforms are in -1..1; log-mels are by custom those of 16-bit integers
LOG_FLOOR = torch.finfo(torch.float64).eps  # stands for the energy of digital silence: ln of it is -36.04


def log_mel(
    waveform: Tensor,
    *,
    sample_rate: int,
    frame_length_ms: float = 25.0,
    frame_shift_ms: float = 20.0,
    num_mel_bins: int = 26,
    max_frequency: float | None = None,
    preemphasis: float = 0.97,
) -> Tensor:
    """The log-mel filterbank energies [T, num_mel_bins] of a waveform, float32, natural logarithm.

    Args:
        waveform: [samples] in -1..1. Computed in float64, or the quietest bands lose their last digits.
        sample_rate: of the waveform, in Hz.
        frame_length_ms: length of a frame; the FFT takes the next power of two of samples.
        frame_shift_ms: from one frame's start to the next's; the last frame is padded with zeros.
        num_mel_bins: number of triangular filters.
        max_frequency: upper end of the last filter, in Hz; None for half the sample rate.
        preemphasis: 0..1, how much of the previous sample is taken from each.

    Raises:
        ConfigError: more filters than the FFT can resolve.
        DataError: a waveform without samples or with several channels.
    """
    if waveform.ndim != 1 or len(waveform) == 0:
        raise DataError(
            f"Waveform of shape {list(waveform.shape)}: expected [samples] with at least one sample. "
            "Mix the channels down and drop empty recordings."
        )
    frame_length = round(sample_rate * frame_length_ms / 1000)
    frame_shift = round(sample_rate * frame_shift_ms / 1000)
    fft_length = 2 ** math.ceil(math.log2(frame_length))
    filters = mel_filterbank(num_mel_bins, fft_length, sample_rate, max_frequency=max_frequency)
    emphasized = preemphasize(waveform.double() * INT16_SCALE, preemphasis)
    power = power_spectrum(frame(emphasized, frame_length, frame_shift), fft_length)
    return log_energy(power @ filters.T).float()


def preemphasize(waveform: Tensor, coefficient: float) -> Tensor:
    """Each sample less `coefficient` times the one before it; the first sample stays."""
    return torch.cat([waveform[:1], waveform[1:] - coefficient * waveform[:-1]])


def frame(waveform: Tensor, length: int, shift: int) -> Tensor:
    """Overlapping frames [T, length] of a waveform [samples], the last one padded with zeros."""
    steps = 1 + max(0, math.ceil((len(waveform) - length) / shift))
    missing = (steps - 1) * shift + length - len(waveform)
    return torch.nn.functional.pad(waveform, (0, missing)).unfold(0, length, shift)


def power_spectrum(frames: Tensor, fft_length: int) -> Tensor:
    """|FFT|^2 / fft_length of frames [T, samples], as [T, fft_length // 2 + 1]."""
    magnitudes: Tensor = torch.fft.rfft(frames, fft_length).abs()
    return magnitudes.square() / fft_length


def mel_filterbank(
    num_mel_bins: int, fft_length: int, sample_rate: int, *, max_frequency: float | None = None
) -> Tensor:
    """Triangles of peak 1, [num_mel_bins, fft_length // 2 + 1], equally spaced in HTK mel from 0 Hz.

    Raises:
        ConfigError: filters so narrow that two corners fall into one FFT bin.
    """
    top = sample_rate / 2 if max_frequency is None else max_frequency
    mels = torch.linspace(0, hertz_to_mel(top), num_mel_bins + 2, dtype=torch.float64)
    corners = torch.floor((fft_length + 1) * mel_to_hertz(mels) / sample_rate)
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    empty = corners.diff() < 1
    if empty.any():
        raise ConfigError(
            f"num_mel_bins={num_mel_bins}: {fft_length} FFT points at {sample_rate} Hz are too coarse, "
            f"filter {int(empty.int().argmax())} covers no bin. Take fewer filters or longer frames."
        )
    bins = torch.arange(fft_length // 2 + 1)
    return torch.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)).clamp_min(0)


def hertz_to_mel(frequency: float) -> float:
    """HTK's mel scale."""
    return 2595 * math.log10(1 + frequency / 700)


def mel_to_hertz(mels: Tensor) -> Tensor:
    """The inverse of `hertz_to_mel`."""
    return 700 * (10 ** (mels / 2595) - 1)


def log_energy(energy: Tensor) -> Tensor:
    """Natural logarithm; exactly zero, digital silence, becomes -36.04 instead of minus infinity."""
    return energy.where(energy > 0, LOG_FLOOR).log()
