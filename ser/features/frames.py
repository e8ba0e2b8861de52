"""From waveforms to power spectra: frames, windows, FFT, batched over waveforms of different lengths."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from ser.batch import Padded

Window = Literal["hann", "hann_symmetric", "hamming", "povey", "rectangular"]

_FRAMES_AT_A_TIME = 2048  # 512 FFT points each: 4 MB of float32, so that hours of audio need no more


def make_window(name: Window, length: int) -> Tensor:
    """[length] float64. `hann` is periodic, as for spectrograms; the others are symmetric, as in Kaldi.

    `povey` is Kaldi's default, the symmetric Hann window to the power 0.85.
    """
    if name == "rectangular":
        return torch.ones(length, dtype=torch.float64)
    steps = torch.arange(length, dtype=torch.float64) / (length if name == "hann" else max(length - 1, 1))
    if name == "hamming":
        return 0.54 - 0.46 * torch.cos(2 * math.pi * steps)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * steps)
    return window**0.85 if name == "povey" else window


def preemphasize(waveforms: Padded, coefficient: float) -> Padded:
    """Each sample less `coefficient` times the one before it; the first sample stays, padding is zero."""
    values = waveforms.values
    earlier = torch.nn.functional.pad(values[:, :-1], (0, 0, 1, 0))
    return waveforms.with_values(values - coefficient * earlier).zeroed()


def reflected(waveforms: Padded, count: int) -> Padded:
    """Each waveform with `count` samples mirrored at both of its own ends, which are not repeated.

    Waveforms [B, samples, 1] of more than `count` samples each.
    """
    length = waveforms.lengths[:, None]
    places = torch.arange(-count, waveforms.values.shape[1] + count, device=waveforms.values.device).abs()
    places = torch.where(places < length, places, 2 * (length - 1) - places).clamp_min(0)
    values = waveforms.values.gather(1, places.unsqueeze(-1))
    return Padded(values, waveforms.lengths + 2 * count).zeroed()


def silenced(waveforms: Padded, count: int) -> Padded:
    """Each waveform [B, samples, 1] with `count` zeros before it, and as many after it."""
    values = torch.nn.functional.pad(waveforms.zeroed().values, (0, 0, count, count))
    return Padded(values, waveforms.lengths + 2 * count)


def frame_blocks(waveforms: Padded, length: int, shift: int, steps: int) -> Iterator[Tensor]:
    """Overlapping frames [B, n, length] of waveforms [B, samples, 1], some thousand at a time.

    Args:
        waveforms: what lies beyond their end is taken for zeros.
        length: of a frame, in samples.
        shift: from the start of one to the start of the next, in samples.
        steps: T, frames of the longest.
    """
    values = waveforms.zeroed().values[..., 0]
    missing = (steps - 1) * shift + length - values.shape[1]
    if missing > 0:
        values = torch.nn.functional.pad(values, (0, missing))
    frames = values.unfold(1, length, shift)
    block = max(1, _FRAMES_AT_A_TIME // len(values))
    for start in range(0, steps, block):
        yield frames[:, start : min(start + block, steps)]


def spectrum(frames: Tensor, fft_length: int, power: int) -> Tensor:
    """|FFT| to the power of 1 or 2, of frames [..., samples], as [..., fft_length // 2 + 1]."""
    transformed = torch.view_as_real(torch.fft.rfft(frames, fft_length))
    energy = transformed.square().sum(-1)
    return energy if power == 2 else energy.sqrt()
