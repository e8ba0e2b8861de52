"""From waveforms to features, in plain torch: batched, on any device, the same alone and in a batch.

Every convention on which toolkits differ is an argument, so that a preset in conf/features says all of it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.errors import ConfigError, DataError
from ser.features import frames, mel

CHALLENGE: Mapping[str, Any] = MappingProxyType(
    {
        "frame_length_ms": 25.0,
        "frame_shift_ms": 20.0,
        "window": "rectangular",
        "align": "causal_padded",
        "preemphasis": 0.97,
        "scale": 32768.0,
        "divide_by_fft_length": True,
        "num_mel_bins": 26,
        "triangles": "bins",
        "floor": torch.finfo(torch.float64).eps,  # digital silence becomes -36.04
        "floor_by": "zero",
        "precision": "float64",
    }
)
"""Settings of LogMel for frames as the course challenge has them; conf/features/challenge.yaml says why."""

Log = Literal["natural", "log10", "decibel"]
_LOGS = {"natural": (torch.log, 1.0), "log10": (torch.log10, 1.0), "decibel": (torch.log10, 10.0)}


class Extractor(nn.Module, ABC):
    """Waveforms [B, samples, 1] in -1..1 to features [B, T, F].

    Args:
        sample_rate: of the waveforms, in Hz.
        feature_dim: F.
        frame_shift_s: seconds from one step to the next.
        min_samples: of a waveform, at least.
        silence: applied to waveforms first, such as ser.features.silence.Silence; None keeps them as they are.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        feature_dim: int,
        frame_shift_s: float,
        min_samples: int,
        silence: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.feature_dim = feature_dim
        self.frame_shift_s = frame_shift_s
        self.min_samples = min_samples
        self.silence = silence

    @abstractmethod
    def num_frames(self, samples: Tensor) -> Tensor:
        """T of waveforms with so many samples [B], silence not counted off."""

    @abstractmethod
    def extract(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, T, F]."""

    def forward(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, T, F].

        Raises:
            DataError: a waveform is shorter than `min_samples`.
        """
        if self.silence is not None:
            waveforms = self.silence(waveforms)
        shortest = int(waveforms.lengths.min())
        if shortest < self.min_samples:
            raise DataError(
                f"Waveform of {shortest} samples: features need {self.min_samples} samples or more at "
                f"{self.sample_rate} Hz. Leave it out, or choose shorter frames."
            )
        return self.extract(waveforms)


class Waveform(Extractor):
    """The waveform itself: one step a sample, one value a step.

    Args:
        sample_rate: in Hz.
        normalize: amplitude of each utterance: largest magnitude 1 (peak), root mean square 1 (rms), mean 0 and
            deviation 1 (zscore), smallest 0 and largest 1 (minmax), or as it is. Silence stays silence.
        silence: as in Extractor.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        normalize: Literal["none", "peak", "rms", "zscore", "minmax"] = "peak",
        silence: nn.Module | None = None,
    ) -> None:
        super().__init__(
            sample_rate=sample_rate,
            feature_dim=1,
            frame_shift_s=1 / sample_rate,
            min_samples=1,
            silence=silence,
        )
        self.normalize = normalize

    def num_frames(self, samples: Tensor) -> Tensor:
        """As many."""
        return samples

    def extract(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, samples, 1]."""
        if self.normalize == "none":
            return waveforms.zeroed()
        values, mask = waveforms.values, waveforms.mask.unsqueeze(-1)
        count = waveforms.lengths[:, None, None]
        if self.normalize == "peak":
            scale = (values * mask).abs().amax(1, keepdim=True)
        elif self.normalize == "minmax":
            low = values.masked_fill(~mask, math.inf).amin(1, keepdim=True)
            scale = values.masked_fill(~mask, -math.inf).amax(1, keepdim=True) - low
            values = values - low
        else:
            mean = (values * mask).double().sum(1, keepdim=True) / count
            values = values - mean.float() if self.normalize == "zscore" else values
            scale = ((values * mask).double().square().sum(1, keepdim=True) / count).sqrt().float()
        return waveforms.with_values(values / torch.where(scale > _SMALLEST_SCALE, scale, 1.0)).zeroed()


_SMALLEST_SCALE = 1e-7  # 20 dB below the last bit of 24: what is softer is silence, and would become noise


class LogMel(Extractor):
    """Log-mel filterbank energies.

    Args:
        sample_rate: in Hz.
        frame_length_ms: length of a frame and its window.
        frame_shift_ms: from one frame's start to the next's.
        fft_length: points of the FFT, at least a frame's samples; None = the next power of two.
        window: `hann` is periodic; `hann_symmetric`, `hamming` and `povey` are Kaldi's.
        align: `causal`: frame i covers samples i * shift to i * shift + length, a last one that is cut short is
            dropped; `causal_padded`: it is padded with zeros; `centered`: frame i is centred on sample i * shift,
            the waveform is mirrored at its ends; `centered_padded`: there are zeros beyond its ends.
        remove_mean: of each frame, as Kaldi does.
        preemphasis: 0..1, how much of the previous sample is taken from each.
        preemphasis_of: the whole waveform, or each frame after the mean is removed, as in Kaldi.
        scale: waveforms are multiplied by it; 32768 makes those of 16-bit integers.
        power: 2 for energies, 1 for magnitudes.
        divide_by_fft_length: energies are divided by it.
        num_mel_bins: F, number of filters.
        min_frequency: lower end of the first filter, in Hz.
        max_frequency: upper end of the last one, in Hz; None for half the sample rate.
        mel_scale: htk or slaney.
        triangles: straight over hertz, mel or FFT bins; see `mel_filterbank`.
        filter_norm: `slaney` gives all filters one area, `none` one height.
        log: natural, log10 or decibel.
        floor: smallest energy.
        floor_by: energies are raised to it (max), it is added to them (add), or it stands for 0 alone (zero).
        top_db: decibels below an utterance's own largest value to which everything is raised, which no stream can
            know; None for none.
        precision: of the computation. The quietest bands of 16-bit speech lose their last digits in float32.
        silence: as in Extractor.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        frame_length_ms: float = 25.0,
        frame_shift_ms: float = 10.0,
        fft_length: int | None = None,
        window: frames.Window = "hann",
        align: Literal["causal", "causal_padded", "centered", "centered_padded"] = "causal",
        remove_mean: bool = False,
        preemphasis: float = 0.0,
        preemphasis_of: Literal["waveform", "frame"] = "waveform",
        scale: float = 1.0,
        power: Literal[1, 2] = 2,
        divide_by_fft_length: bool = False,
        num_mel_bins: int = 64,
        min_frequency: float = 0.0,
        max_frequency: float | None = None,
        mel_scale: mel.MelScale = "htk",
        triangles: mel.Triangles = "hertz",
        filter_norm: mel.FilterNorm = "none",
        log: Log = "natural",
        floor: float = 1e-10,
        floor_by: Literal["max", "add", "zero"] = "max",
        top_db: float | None = None,
        precision: Literal["float32", "float64"] = "float32",
        silence: nn.Module | None = None,
    ) -> None:
        self.frame_length = round(sample_rate * frame_length_ms / 1000)
        self.frame_shift = round(sample_rate * frame_shift_ms / 1000)
        self.align = align
        super().__init__(
            sample_rate=sample_rate,
            feature_dim=num_mel_bins,
            frame_shift_s=self.frame_shift / sample_rate,
            min_samples=self._min_samples(),
            silence=silence,
        )
        self.fft_length = fft_length or 2 ** math.ceil(math.log2(self.frame_length))
        if self.fft_length < self.frame_length:
            raise ConfigError(
                f"fft_length={fft_length}: a frame of {frame_length_ms} ms has {self.frame_length} samples at "
                f"{sample_rate} Hz. Give as many points or more, or null for the next power of two."
            )
        self.remove_mean = remove_mean
        self.preemphasis = preemphasis
        self.preemphasis_of = preemphasis_of
        self.scale = scale
        self.power = power
        self.log = log
        self.floor = floor
        self.floor_by = floor_by
        self.top_db = top_db
        self.dtype = getattr(torch, precision)
        filters = mel.mel_filterbank(
            num_mel_bins,
            self.fft_length,
            sample_rate,
            min_frequency=min_frequency,
            max_frequency=max_frequency,
            scale=mel_scale,
            triangles=triangles,
            norm=filter_norm,
        )
        filters = filters / (self.fft_length if divide_by_fft_length else 1)
        self.register_buffer("filters", filters.T.to(self.dtype), persistent=False)
        taper = frames.make_window(window, self.frame_length)
        self.register_buffer("taper", taper.to(self.dtype), persistent=False)

    filters: Tensor
    taper: Tensor

    def num_frames(self, samples: Tensor) -> Tensor:
        """T of waveforms with so many samples [B]."""
        if self.align.startswith("centered"):
            return 1 + samples // self.frame_shift
        beyond = (samples - self.frame_length).clamp_min(0)
        if self.align == "causal_padded":
            beyond = beyond + self.frame_shift - 1
        return 1 + beyond // self.frame_shift

    def extract(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, T, num_mel_bins], float32, padding zero."""
        lengths = self.num_frames(waveforms.lengths)
        prepared = self._prepare(waveforms.with_values(waveforms.values.to(self.dtype) * self.scale))
        blocks = frames.frame_blocks(prepared, self.frame_length, self.frame_shift, int(lengths.max()))
        energies = torch.cat([self._energies(block) for block in blocks], dim=1)
        features = Padded(self._logarithm(energies), lengths)
        if self.top_db is not None:
            features = self._cut_below_peak(features, self.top_db)
        return features.with_values(self._transform(features.values).float()).zeroed()

    def _min_samples(self) -> int:
        """Mirroring needs half a frame and one; a causal frame that is not padded must be full."""
        shortest = {"causal": self.frame_length, "centered": self.frame_length // 2 + 1}
        return shortest.get(self.align, 1)

    def _prepare(self, waveforms: Padded) -> Padded:
        if self.preemphasis and self.preemphasis_of == "waveform":
            waveforms = frames.preemphasize(waveforms.zeroed(), self.preemphasis)
        if self.align == "centered":
            return frames.reflected(waveforms, self.frame_length // 2)
        if self.align == "centered_padded":
            return frames.silenced(waveforms, self.frame_length // 2)
        return waveforms

    def _energies(self, block: Tensor) -> Tensor:
        """Frames [B, n, samples] -> [B, n, num_mel_bins]."""
        if self.remove_mean:
            block = block - block.mean(-1, keepdim=True)
        if self.preemphasis and self.preemphasis_of == "frame":
            earlier = torch.cat([block[..., :1], block[..., :-1]], dim=-1)
            block = block - self.preemphasis * earlier
        energies: Tensor = frames.spectrum(block * self.taper, self.fft_length, self.power) @ self.filters
        return energies

    def _logarithm(self, energies: Tensor) -> Tensor:
        function, factor = _LOGS[self.log]
        if self.floor_by == "max":
            energies = energies.clamp_min(self.floor)
        elif self.floor_by == "add":
            energies = energies + self.floor
        else:
            energies = energies.where(energies > 0, self.floor)
        return factor * function(energies)

    def _cut_below_peak(self, features: Padded, top_db: float) -> Padded:
        """Raise what lies more than `top_db` below the utterance's largest value."""
        per_decibel = {"natural": math.log(10) / 10, "log10": 0.1, "decibel": 1.0}[self.log]
        real = features.values.masked_fill(~features.mask.unsqueeze(-1), -math.inf)
        return features.with_values(
            torch.maximum(features.values, real.amax((1, 2), keepdim=True) - top_db * per_decibel)
        )

    def _transform(self, features: Tensor) -> Tensor:
        """[B, T, num_mel_bins] -> [B, T, F]."""
        return features


class MFCC(LogMel):
    """Mel-frequency cepstral coefficients: the cosine transform of log-mel energies.

    Args:
        num_coefficients: F, 1..num_mel_bins.
        lifter: 22 weighs the coefficients as HTK and Kaldi do, 0 not at all.
        num_mel_bins: filters below.
        settings: of LogMel.
    """

    transform: Tensor

    def __init__(
        self, *, num_coefficients: int = 40, lifter: float = 0.0, num_mel_bins: int = 64, **settings: Any
    ) -> None:
        super().__init__(num_mel_bins=num_mel_bins, **settings)
        matrix = mel.cosine_transform(num_coefficients, num_mel_bins, lifter)
        self.register_buffer("transform", matrix.T.to(self.dtype), persistent=False)
        self.feature_dim = num_coefficients

    def _transform(self, features: Tensor) -> Tensor:
        """[B, T, num_mel_bins] -> [B, T, num_coefficients]."""
        return features @ self.transform
