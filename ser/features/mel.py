"""Compute mel scales, mel filterbanks and cosine transforms, once and in float64."""

import math
from typing import Literal

import torch
from torch import Tensor

from ser.errors import ConfigError

MelScale = Literal["htk", "slaney"]
Triangles = Literal["hertz", "mel", "bins"]
FilterNorm = Literal["none", "slaney"]

_LINEAR_TO_HZ, _HZ_PER_MEL = 1000.0, 200 / 3  # Slaney's scale is linear up to here, and logarithmic above
_LOG_STEP = math.log(6.4) / 27


def mel_filterbank(
    num_mel_bins: int,
    fft_length: int,
    sample_rate: int,
    *,
    min_frequency: float = 0.0,
    max_frequency: float | None = None,
    scale: MelScale = "htk",
    triangles: Triangles = "hertz",
    norm: FilterNorm = "none",
) -> Tensor:
    """Compute triangular filters [num_mel_bins, fft_length // 2 + 1], equally spaced in mel.

    The peak of a filter is 1, unless filters are normalised.

    Args:
        num_mel_bins: Number of filters.
        fft_length: Points of the FFT.
        sample_rate: Sample rate in Hz.
        min_frequency: Lower end of the first filter, in Hz.
        max_frequency: Upper end of the last filter, in Hz; None for half the sample rate.
        scale: `htk`, which is logarithmic, or `slaney`, which is linear below 1 kHz.
        triangles: Axis on which filters are triangles: `hertz`, `mel` as in Kaldi, or `bins` of the FFT, to which
            corners are rounded down as in much code that follows HTK.
        norm: `slaney` gives every filter the same area.

    Raises:
        ConfigError: The frequencies are out of order, or a filter is so narrow that it covers no FFT bin.
    """
    if num_mel_bins < 1:
        raise ConfigError(
            f"features.num_mel_bins={num_mel_bins}: expected 1 or more filters. Set features.num_mel_bins=64."
        )
    top = sample_rate / 2 if max_frequency is None else max_frequency
    if not 0 <= min_frequency < top <= sample_rate / 2:
        raise ConfigError(
            f"features.min_frequency={min_frequency}, features.max_frequency={top}: filters do not fit into "
            f"0..{sample_rate / 2:g} Hz, half of features.sample_rate={sample_rate}. Correct one of them."
        )
    ends = hertz_to_mel(torch.tensor([min_frequency, top], dtype=torch.float64), scale).tolist()
    mels = torch.linspace(ends[0], ends[1], num_mel_bins + 2, dtype=torch.float64)
    hertz = mel_to_hertz(mels, scale)
    bins = torch.arange(fft_length // 2 + 1, dtype=torch.float64)
    if triangles == "bins":
        corners, places = torch.floor((fft_length + 1) * hertz / sample_rate), bins
    elif triangles == "mel":
        corners, places = mels, hertz_to_mel(bins * sample_rate / fft_length, scale)
    else:
        corners, places = hertz, bins * sample_rate / fft_length
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    # Rounded corners may coincide, and 0 / 0 is NaN: such a filter has its peak at this bin, and is 0 elsewhere.
    rising = ((places - low) / (peak - low)).nan_to_num(1.0)
    falling = ((high - places) / (high - peak)).nan_to_num(0.0)
    filters = torch.minimum(rising, falling).clamp_min(0)
    empty = filters.amax(1) <= 0
    if empty.any():
        raise ConfigError(
            f"features.num_mel_bins={num_mel_bins}: {fft_length} FFT points at {sample_rate} Hz are too coarse, "
            f"filter {int(empty.int().argmax())} covers no bin. Set fewer filters, or a larger features.fft_length."
        )
    if norm == "slaney":
        filters = filters * (2 / (hertz[2:] - hertz[:-2]))[:, None]
    return filters


def hertz_to_mel(frequency: Tensor, scale: MelScale) -> Tensor:
    """Convert frequencies in Hz to a mel scale."""
    if scale == "htk":
        return 2595 * torch.log10(1 + frequency / 700)
    above = _LINEAR_TO_HZ / _HZ_PER_MEL + torch.log(frequency.clamp_min(1e-9) / _LINEAR_TO_HZ) / _LOG_STEP
    return torch.where(frequency < _LINEAR_TO_HZ, frequency / _HZ_PER_MEL, above)


def mel_to_hertz(mels: Tensor, scale: MelScale) -> Tensor:
    """Convert values of a mel scale to frequencies in Hz."""
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    above = _LINEAR_TO_HZ * torch.exp(_LOG_STEP * (mels - _LINEAR_TO_HZ / _HZ_PER_MEL))
    return torch.where(mels < _LINEAR_TO_HZ / _HZ_PER_MEL, mels * _HZ_PER_MEL, above)


def cosine_transform(num_coefficients: int, num_mel_bins: int, lifter: float = 0.0) -> Tensor:
    """Compute the first rows of the orthonormal DCT-II, [num_coefficients, num_mel_bins].

    Args:
        num_coefficients: Number of coefficients, 1..num_mel_bins.
        num_mel_bins: Number of mel filters.
        lifter: L scales coefficient n by 1 + L / 2 * sin(pi * n / L), as HTK and Kaldi do with 22; 0 for no
            liftering.

    Raises:
        ConfigError: There would be more coefficients than filters.
    """
    if not 1 <= num_coefficients <= num_mel_bins:
        raise ConfigError(
            f"features.num_coefficients={num_coefficients}: expected 1 to features.num_mel_bins={num_mel_bins}. "
            "Change one of them."
        )
    order = torch.arange(num_coefficients, dtype=torch.float64)[:, None]
    bands = torch.arange(num_mel_bins, dtype=torch.float64)
    matrix = math.sqrt(2 / num_mel_bins) * torch.cos(math.pi / num_mel_bins * (bands + 0.5) * order)
    matrix[0] /= math.sqrt(2)
    return matrix * (1 + lifter / 2 * torch.sin(math.pi * order / lifter)) if lifter else matrix
