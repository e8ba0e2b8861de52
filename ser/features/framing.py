"""Compute power spectra of waveforms: frames, windows and FFT, batched over waveforms of different lengths."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError

Align = Literal["causal", "causal_padded", "centered", "centered_padded"]
Window = Literal["hann", "hann_symmetric", "hamming", "povey", "rectangular"]

_FRAMES_AT_A_TIME = (
    96  # 0.2 MB at 512 points; allocators return blocks of twice that size to the system at once
)
_FRAMES_AT_A_TIME_ON_GPU = 32_768  # 70 MB each for frames and spectra; few kernel launches


@dataclass(frozen=True)
class Framing:
    """Position of the frames in a waveform.

    Args:
        length: Length of a frame, in samples.
        shift: Distance from the start of one frame to the start of the next, in samples.
        align: `causal`: frame i covers samples i * shift to i * shift + length, an incomplete last frame is dropped;
            `causal_padded`: the last frame is padded with zeros; `centered`: frame i is centred on sample i * shift,
            and the waveform is mirrored at its ends without repeating the end samples; `centered_padded`: there are
            zeros beyond the ends.

    Raises:
        ConfigError: The length or the shift is below one sample.
    """

    length: int
    shift: int
    align: Align = "causal"

    def __post_init__(self) -> None:
        if self.length < 1 or self.shift < 1:
            raise ConfigError(
                f"features.frame_length_ms, features.frame_shift_ms: {self.length} and {self.shift} samples at this "
                "sample rate, expected 1 or more of each. Set milliseconds, such as features.frame_length_ms=25."
            )

    @property
    def lead(self) -> int:
        """Return the number of samples of the first frame that lie before the waveform."""
        return (self.length + 1) // 2 if self.align.startswith("centered") else 0

    @property
    def centre(self) -> int:
        """Return the index of the middle sample of the first frame; the later one where two are in the middle."""
        return self.length // 2 - self.lead

    @property
    def min_samples(self) -> int:
        """Return the samples a waveform needs for one frame: a full causal frame, or enough to mirror."""
        return {"causal": self.length, "centered": self.lead + 1}.get(self.align, 1)

    def num_frames(self, samples: Tensor) -> Tensor:
        """Compute the number of frames of waveforms with `samples` [B] samples, `min_samples` or more."""
        if self.align.startswith("centered"):
            return 1 + samples // self.shift
        beyond = (samples - self.length).clamp_min(0)
        return 1 + (beyond + (self.shift - 1 if self.align == "causal_padded" else 0)) // self.shift

    def num_full_frames(self, samples: int) -> int:
        """Compute the number of complete causal frames in the first `samples` samples of a stream."""
        return 1 + (samples - self.length) // self.shift if samples >= self.length else 0

    def blocks(self, waveforms: Padded, preemphasis: float, dtype: torch.dtype) -> Iterator[Tensor]:
        """Yield frames [B, n, length] in order, some hundred at a time, so that memory does not grow with length.

        Frames beyond an utterance's own end are meaningless.

        Args:
            waveforms: Waveforms [B, samples, 1]; padding is ignored.
            preemphasis: Share of the previous sample that is subtracted from each sample; the first one is unchanged.
            dtype: Type of the frames.
        """
        steps = int(self.num_frames(waveforms.lengths).max())
        most = _FRAMES_AT_A_TIME if waveforms.values.device.type == "cpu" else _FRAMES_AT_A_TIME_ON_GPU
        size = max(1, most // len(waveforms.lengths))
        emphasized = _PreemphasisReader(waveforms, preemphasis, dtype)
        for first in range(0, steps, size):
            begin = first * self.shift - self.lead
            end = begin + (min(size, steps - first) - 1) * self.shift + self.length
            yield self._read(emphasized, begin, end).unfold(1, self.length, self.shift)

    def _read(self, emphasized: "_PreemphasisReader", begin: int, end: int) -> Tensor:
        """Read samples [B, end - begin], mirrored or zero beyond the ends as the alignment demands."""
        if self.align != "centered":
            return emphasized.read(begin, end)
        last = emphasized.lengths - 1
        places = torch.arange(begin, end, device=last.device).abs()
        places = torch.where(places > last, 2 * last - places, places)
        reach = self.length + 1  # mirrored samples lie within this distance of an end
        samples = emphasized.read(begin - reach, end + reach)
        return samples.gather(1, (places - begin + reach).clamp(0, samples.shape[1] - 1))


class _PreemphasisReader:
    """Waveforms that are pre-emphasised block by block as they are read, because they may last hours."""

    def __init__(self, waveforms: Padded, coefficient: float, dtype: torch.dtype) -> None:
        self.values = waveforms.values[..., 0]
        self.lengths = waveforms.lengths[:, None]
        self.coefficient = coefficient
        self.dtype = dtype

    def read(self, begin: int, end: int) -> Tensor:
        """Read samples [B, end - begin]; they are zero before and after the waveform."""
        known = self.values[:, max(begin - 1, 0) : end].to(self.dtype)
        before = max(1 - begin, 0)
        known = functional.pad(known, (before, end - begin + 1 - before - known.shape[1]))
        samples = known[:, 1:]
        if self.coefficient:
            samples = samples.sub(known[:, :-1], alpha=self.coefficient)
        return samples.where(torch.arange(begin, end, device=samples.device) < self.lengths, 0)


def make_window(name: Window, length: int) -> Tensor:
    """Return a window [length] float64: `hann` is periodic, as for spectrograms, the others symmetric, as in Kaldi.

    `povey` is Kaldi's default: the symmetric Hann window to the power of 0.85.
    """
    if name == "rectangular":
        return torch.ones(length, dtype=torch.float64)
    steps = torch.arange(length, dtype=torch.float64) / (length if name == "hann" else max(length - 1, 1))
    if name == "hamming":
        return 0.54 - 0.46 * torch.cos(2 * math.pi * steps)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * steps)
    return window**0.85 if name == "povey" else window


def subtract_mean(frames: Tensor) -> Tensor:
    """Subtract the mean of each frame [..., samples]."""
    return frames - frames.mean(-1, keepdim=True)


def apply_preemphasis(frames: Tensor, coefficient: float) -> Tensor:
    """Subtract `coefficient` times the previous sample within each frame; the first sample uses itself."""
    earlier = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    return frames.sub(earlier, alpha=coefficient)


def compute_spectrum(frames: Tensor, fft_length: int, power: int) -> Tensor:
    """Compute |FFT| to the power of 1 or 2 of frames [..., samples]: [..., fft_length // 2 + 1]."""
    transformed = torch.fft.rfft(frames, fft_length)
    # Real and imaginary parts apart: abs(), or a sum over pairs, takes five times as long, three times the FFT.
    energy: Tensor = transformed.real.square() + transformed.imag.square()
    return energy if power == 2 else energy.sqrt()
