"""Normalise the amplitude of waveforms."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from ser.batch import Padded

Normalize = Literal["none", "peak", "rms", "zscore", "minmax"]

_SAMPLES_AT_A_TIME = 1 << 18  # 2 MB of float64, whatever the length of the audio
SMALLEST_SCALE = (
    1e-7  # 20 dB below the last bit of 24: a softer signal is silence, which scaling would amplify to noise
)


def normalize_amplitude(
    waveforms: Padded, normalize: Normalize, dtype: torch.dtype = torch.float64
) -> Padded:
    """Normalise each utterance's amplitude; silence stays as it is, and padding becomes 0.

    Args:
        waveforms: Waveforms [B, samples, 1] as recorded.
        normalize: Which statistic of each utterance becomes equal.
        dtype: Type of the computation; float32 on a device without float64.
    """
    origin, scale = _offset_and_scale(waveforms, normalize, dtype)
    scale = scale.where(scale > SMALLEST_SCALE, 1.0)
    values = torch.empty_like(waveforms.values)
    for place, block, real in _iterate_blocks(waveforms, dtype):
        values[:, place, 0] = ((block - origin) / scale).where(real, 0).to(values.dtype)
    return waveforms.with_values(values)


def _offset_and_scale(waveforms: Padded, normalize: Normalize, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Compute the offset to subtract from each utterance and the scale to divide it by, both [B, 1]."""
    nothing = torch.zeros(len(waveforms.lengths), 1, dtype=dtype, device=waveforms.values.device)
    if normalize == "none":
        return nothing, nothing + 1
    if normalize == "peak":
        return nothing, _reduce_max(waveforms, dtype, torch.abs)
    if normalize == "minmax":
        lowest = -_reduce_max(waveforms, dtype, torch.neg)
        return lowest, _reduce_max(waveforms, dtype, torch.positive) - lowest
    mean = _reduce_mean(waveforms, dtype, torch.positive) if normalize == "zscore" else nothing
    return mean, _reduce_mean(waveforms, dtype, lambda samples: (samples - mean).square()).sqrt()


def _reduce_max(waveforms: Padded, dtype: torch.dtype, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute the maximum of `measure(samples)` over each utterance, [B, 1]."""
    peaks = [
        measure(block).where(real, -math.inf).amax(1) for _, block, real in _iterate_blocks(waveforms, dtype)
    ]
    return torch.stack(peaks, dim=1).amax(1, keepdim=True)


def _reduce_mean(waveforms: Padded, dtype: torch.dtype, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute the mean of `measure(samples)` over each utterance, [B, 1]."""
    sums = [measure(block).where(real, 0).sum(1) for _, block, real in _iterate_blocks(waveforms, dtype)]
    return torch.stack(sums, dim=1).sum(1, keepdim=True) / waveforms.lengths[:, None]


def _iterate_blocks(waveforms: Padded, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield blocks of samples [B, n]: their place, their values, and a mask that is false on padding."""
    size = max(1, _SAMPLES_AT_A_TIME // len(waveforms.lengths))
    for begin in range(0, waveforms.values.shape[1], size):
        block = waveforms.values[:, begin : begin + size, 0].to(dtype)
        places = torch.arange(begin, begin + block.shape[1], device=block.device)
        yield slice(begin, begin + size), block, places < waveforms.lengths[:, None]
