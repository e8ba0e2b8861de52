"""From waveforms to features, in plain torch: batched, on any device, the same alone and in a batch.

Every convention on which toolkits differ is an argument, so that a preset in conf/features says all of it.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.errors import ConfigError, DataError
from ser.features import mel
from ser.features.amplitude import Normalize, normalize_amplitude
from ser.features.framing import (
    Align,
    Framing,
    Window,
    apply_preemphasis,
    compute_spectrum,
    make_window,
    subtract_mean,
)
from ser.features.log_compression import FloorBy, Log, Logarithm
from ser.features.vad import Silence

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


class Extractor(nn.Module, ABC):
    """Waveforms [B, samples, 1] in -1..1 to features [B, T, F].

    Args:
        sample_rate: of the waveforms, in Hz.
        feature_dim: F.
        framing: where the steps lie.
        silence: what becomes of silence; None leaves it and does not look for it.
    """

    dtype = torch.float32
    """Of the frames that features are made of."""
    is_waveform: ClassVar[bool] = False
    """Whether a step is a sample."""
    waveform_preemphasis = 0.0
    """How much of the sample before it is taken from each, before frames are made."""

    def __init__(
        self, *, sample_rate: int, feature_dim: int, framing: Framing, silence: Silence | None = None
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.feature_dim = feature_dim
        self.framing = framing
        self.frame_shift_s = framing.shift / sample_rate
        self.min_samples = framing.min_samples
        self.silence = silence
        self.precise = torch.float64

    def to_float32(self) -> "Extractor":
        """A copy that computes in float32 throughout: for steps of a training, on whatever device.

        Apple's MPS has no float64. What it costs is the last digits of the quietest bands, see `LogMel.precision`.
        """
        copied = copy.deepcopy(self)
        copied.precise = torch.float32
        if copied.silence is not None:
            copied.silence.detector.precise = torch.float32
        return copied.float()

    @property
    def batching_frame_s(self) -> float:
        """Seconds that a frame counts in the lengths of `batching`."""
        return self.frame_shift_s

    def num_frames(self, samples: Tensor) -> Tensor:
        """T of waveforms with so many samples [B], silence not counted off."""
        return self.framing.num_frames(samples)

    @abstractmethod
    def extract(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, T, F]."""

    @abstractmethod
    def extract_frames(self, block: Tensor) -> Tensor:
        """Frames [..., samples] -> features [..., F], without what needs to know the whole utterance."""

    @abstractmethod
    def check_streamable(self) -> None:
        """Refuse settings under which features need more than has been heard.

        Raises:
            ConfigError: with the option that does.
        """

    def band_frequencies(self) -> list[float] | None:
        """Frequency of each feature in Hz; None where features are no bands of a spectrum."""
        return None

    def unit(self) -> str:
        """What the features are, for the axis of a picture."""
        return "amplitude"

    def forward(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, T, F].

        Raises:
            DataError: a waveform is shorter than `min_samples`.
        """
        return self.with_speech(waveforms)[0]

    def with_speech(self, waveforms: Padded) -> tuple[Padded, Tensor | None]:
        """[B, samples, 1] -> features [B, T, F] and which steps are speech.

        The latter are [B, T] bool, false on padding, and None where nothing looks for silence.

        Raises:
            DataError: a waveform is shorter than `min_samples`.
        """
        shortest = int(waveforms.lengths.min())
        if shortest < self.min_samples:
            raise DataError(
                f"Waveform of {shortest} samples: features need {self.min_samples} samples or more at "
                f"{self.sample_rate} Hz. Leave it out, or choose shorter frames."
            )
        if self.silence is None:
            return self.extract(waveforms), None
        heard = self.silence.detector.frames(waveforms)
        features = self.extract(self.silence.mute_pauses(waveforms, heard))
        speech = self.silence.detector.speech_at_steps(heard, self.framing, features)
        return self.silence.remove_silence(features, speech)


class Waveform(Extractor):
    """The waveform itself: one step a sample, one value a step.

    Args:
        sample_rate: in Hz.
        normalize: amplitude of each utterance: largest magnitude 1 (peak), root mean square 1 (rms), mean 0 and
            deviation 1 (zscore), smallest 0 and largest 1 (minmax), or as it is. Silence stays silence.
        silence: as in Extractor.
    """

    is_waveform: ClassVar[bool] = True

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        normalize: Normalize = "peak",
        silence: Silence | None = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, feature_dim=1, framing=Framing(1, 1), silence=silence)
        self.normalize = normalize

    @property
    def batching_frame_s(self) -> float:
        """Count 10 ms as a frame: a length in samples would depend on the sample rate."""
        return 0.01

    def extract(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, samples, 1]."""
        return normalize_amplitude(waveforms, self.normalize, self.precise)

    def extract_frames(self, block: Tensor) -> Tensor:
        """[..., 1] as it is."""
        return block

    def check_streamable(self) -> None:
        """Refuse an amplitude of the whole utterance."""
        if self.normalize != "none":
            raise ConfigError(
                f"features.normalize={self.normalize}: the amplitude of a whole recording is known at its end. "
                "Train with features.normalize=none."
            )


class LogMel(Extractor):
    """Log-mel filterbank energies.

    Args:
        sample_rate: in Hz.
        frame_length_ms: length of a frame and its window.
        frame_shift_ms: from one frame's start to the next's.
        fft_length: points of the FFT, at least a frame's samples; None = the next power of two.
        window: `hann` is periodic; `hann_symmetric`, `hamming` and `povey` are Kaldi's.
        align: `causal`, `causal_padded`, `centered` or `centered_padded`; see `Framing`.
        remove_mean: of each frame, as Kaldi does.
        preemphasis: 0..1, how much of the previous sample is taken from each.
        preemphasis_of: the whole waveform, or each frame after the mean is removed, as in Kaldi, whose first
            sample is then taken for the one before it.
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
        precision: of the computation. In float32 the quietest bands of 16-bit speech are off by up to 5e-4 (natural
            logarithm), most by less than 1e-6; float64 takes 1.5 to 1.9 times as long. Features that are made in every
            step of a training are computed in float32, which every device has.
        silence: as in Extractor.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        frame_length_ms: float = 25.0,
        frame_shift_ms: float = 10.0,
        fft_length: int | None = None,
        window: Window = "hann",
        align: Align = "causal",
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
        floor_by: FloorBy = "max",
        top_db: float | None = None,
        precision: Literal["float32", "float64"] = "float32",
        silence: Silence | None = None,
    ) -> None:
        framing = Framing(
            round(sample_rate * frame_length_ms / 1000), round(sample_rate * frame_shift_ms / 1000), align
        )
        super().__init__(
            sample_rate=sample_rate,
            feature_dim=num_mel_bins,
            framing=framing,
            silence=silence,
        )
        self.fft_length = fft_length or 1 << (framing.length - 1).bit_length()
        if self.fft_length < framing.length:
            raise ConfigError(
                f"features.fft_length={fft_length}: a frame of {frame_length_ms} ms has {framing.length} samples at "
                f"{sample_rate} Hz. Give as many points or more, or null for the next power of two."
            )
        self.remove_mean = remove_mean
        if not 0 <= preemphasis <= 1:
            raise ConfigError(
                f"features.preemphasis={preemphasis}: expected 0 to 1. Set features.preemphasis=0.97, or 0.0 for none."
            )
        self.waveform_preemphasis = preemphasis if preemphasis_of == "waveform" else 0.0
        self.frame_preemphasis = preemphasis if preemphasis_of == "frame" else 0.0
        self.power = power
        self.log = log
        self.logarithm = Logarithm(log, floor, floor_by, top_db, power)
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
        taper = scale * make_window(window, framing.length)
        self.register_buffer("taper", taper.to(self.dtype), persistent=False)

    filters: Tensor
    taper: Tensor

    def extract(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, T, F], float32, padding zero."""
        lengths = self.num_frames(waveforms.lengths)
        frame_blocks = self.framing.blocks(waveforms, self.waveform_preemphasis, self.taper.dtype)
        blocks = self.logarithm.apply_top_db(
            (self.logarithm(self._energies(part)) for part in frame_blocks), lengths
        )
        values = torch.empty(len(lengths), int(lengths.max()), self.feature_dim, device=lengths.device)
        first = 0
        for block in blocks:
            values[:, first : first + block.shape[1]] = self._transform(block)
            first += block.shape[1]
        features = Padded(values, lengths)
        return features.with_values(values.masked_fill_(~features.mask.unsqueeze(-1), 0))

    def extract_frames(self, block: Tensor) -> Tensor:
        """Frames [..., samples] -> [..., F], without `top_db`."""
        return self._transform(self.logarithm(self._energies(block)))

    def check_streamable(self) -> None:
        """Refuse frames that reach ahead, and a level that the loudest frame sets."""
        if not self.framing.align.startswith("causal"):
            raise ConfigError(
                f"features.align={self.framing.align}: a frame needs samples that are still to come. "
                "Train with features.align=causal."
            )
        if self.logarithm.top_db is not None:
            raise ConfigError(
                f"features.top_db={self.logarithm.top_db}: depends on the loudest frame of the recording, which no "
                "stream knows. Train with features.top_db=null, and features.floor=1e-8 or so."
            )

    def band_frequencies(self) -> list[float] | None:
        """Where each filter is highest, in Hz."""
        hertz = self.filters.argmax(0) * (self.sample_rate / self.fft_length)
        return [float(frequency) for frequency in hertz]

    def unit(self) -> str:
        """Name the quantity and its logarithm."""
        quantity = "energy" if self.power == 2 else "magnitude"
        return {"natural": f"ln {quantity}", "log10": f"log10 {quantity}", "decibel": "dB"}[self.log]

    def _energies(self, block: Tensor) -> Tensor:
        """Frames [..., samples] -> [..., num_mel_bins]."""
        if self.remove_mean:
            block = subtract_mean(block)
        if self.frame_preemphasis:
            block = apply_preemphasis(block, self.frame_preemphasis)
        energies: Tensor = compute_spectrum(block * self.taper, self.fft_length, self.power) @ self.filters
        return energies

    def _transform(self, block: Tensor) -> Tensor:
        """Logarithms [..., num_mel_bins] -> [..., F]."""
        return block


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
        self.register_buffer("transform", matrix.T, persistent=False)
        self.feature_dim = num_coefficients

    def band_frequencies(self) -> list[float] | None:
        """Coefficients are no bands."""
        return None

    def unit(self) -> str:
        """Name the coefficients."""
        return "cepstral coefficient"

    def _energies(self, block: Tensor) -> Tensor:
        """In float64 where it can be, or what cancels in the transform would differ by 1e-4 dB from batch to batch."""
        return super()._energies(block).to(self.precise)

    def _transform(self, block: Tensor) -> Tensor:
        """Logarithms [..., num_mel_bins] -> [..., num_coefficients]."""
        return block @ self.transform
