"""Compute features from waveforms in plain torch: batched, on any device, the same alone and in a batch.

Every convention on which toolkits differ is an argument, so that a preset in conf/features is complete.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
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
"""Settings of LogMel for the frames of the course challenge; conf/features/challenge.yaml explains them."""


SERAB: Mapping[str, Any] = MappingProxyType(
    {
        "_target_": "ser.features.LogMel",
        "sample_rate": 16_000,
        "frame_length_ms": 25.0,
        "frame_shift_ms": 10.0,
        "fft_length": 1024,
        "window": "hann",
        "align": "centered",
        "num_mel_bins": 64,
        "min_frequency": 60.0,
        "max_frequency": 7800.0,
        "floor": 1.19e-7,
        "floor_by": "add",
    }
)
"""Spec of the 64 log-mels of the SERAB benchmark, the same as in conf/features/serab.yaml."""


class Extractor(nn.Module, ABC):
    """Base class that maps waveforms [B, samples, 1] in -1..1 to features [B, T, F].

    Args:
        sample_rate: Sample rate of the waveforms, in Hz.
        feature_dim: Number of values of a step, F.
        framing: Position of the steps in the waveform.
        silence: How to treat silence; None keeps it and does not detect it.
    """

    dtype = torch.float32
    """Type of the samples in a frame, from which features are computed."""
    is_waveform: ClassVar[bool] = False
    """Whether a step is a sample."""
    num_roles: ClassVar[int] = 1
    """Number of channels of the waveforms: 2 where the subject and others who speak are told apart."""
    waveform_preemphasis = 0.0
    """Share of the previous sample that is subtracted from each sample of the waveform, before framing."""
    num_states = 1
    """Number of hidden states of an encoder, side by side in a step."""
    pools_time = False
    """Whether an utterance has one step, whatever its length."""
    stores_half = False
    """Whether features are stored in half precision."""

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
        """Copy the extractor for training steps on any device: the copy computes in float32 throughout.

        Apple's MPS has no float64. The quietest bands lose their last digits, see `LogMel.precision`.
        """
        copied = copy.deepcopy(self)
        copied.precise = torch.float32
        if copied.silence is not None:
            copied.silence.detector.precise = torch.float32
        return copied.float()

    @property
    def batching_frame_s(self) -> float:
        """Return the seconds that `batching` counts as one frame."""
        return self.frame_shift_s

    @property
    def device(self) -> torch.device:
        """Return the device on which features are computed before training."""
        return torch.device("cpu")

    def portable(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a spec, beside that of the extractor, that names no file; it also determines the features."""
        return spec

    def frozen_weights(self) -> Mapping[str, Tensor]:
        """Return the weights that a portable spec names, which a checkpoint must hold; empty for none."""
        return {}

    def num_frames(self, samples: Tensor) -> Tensor:
        """Compute T for waveforms with `samples` [B] samples, before silence is removed."""
        return self.framing.num_frames(samples)

    @abstractmethod
    def extract(self, waveforms: Padded) -> Padded:
        """Compute features [B, T, F] from waveforms [B, samples, 1]."""

    @abstractmethod
    def extract_frames(self, block: Tensor) -> Tensor:
        """Compute features [..., F] from frames [..., samples], without steps that need the whole utterance."""

    @abstractmethod
    def check_streamable(self) -> None:
        """Refuse settings that need samples from the future.

        Raises:
            ConfigError: A setting cannot be streamed; the message names it.
        """

    def band_frequencies(self) -> list[float] | None:
        """Return the frequency of each feature in Hz; None if features are not bands of a spectrum."""
        return None

    @property
    def highest_frequency(self) -> float:
        """Return the highest frequency that features contain, in Hz."""
        return self.sample_rate / 2

    def limit_band(self, frequency: float) -> str | None:
        """Return the settings, as they are typed, with which features contain nothing above a frequency in Hz.

        None if no setting does that.
        """
        return f"features.sample_rate={math.floor(2 * frequency)}"

    def unit(self) -> str:
        """Return the unit of the features, for the axis of a plot, and for what may be done with them."""
        return "amplitude"

    @property
    def are_log_energies(self) -> bool:
        """Return whether features are natural logarithms of energies, of which a gain is a sum."""
        return self.unit() == "ln energy"

    def forward(self, waveforms: Padded) -> Padded:
        """Compute features [B, T, F] from waveforms [B, samples, 1], and treat silence.

        Raises:
            DataError: A waveform is shorter than `min_samples`.
        """
        return self.with_speech(waveforms)[0]

    def with_speech(self, waveforms: Padded) -> tuple[Padded, Tensor | None]:
        """Compute features [B, T, F] from waveforms [B, samples, 1], and whether each step is speech [B, T].

        The mask is bool and false on padding; it is None without silence detection.

        Raises:
            DataError: A waveform is shorter than `min_samples`.
        """
        shortest = int(waveforms.lengths.min())
        if shortest < self.min_samples:
            raise DataError(
                f"Waveform of {shortest} samples: features need {self.min_samples} samples or more at "
                f"{self.sample_rate} Hz. Leave it out, or choose shorter frames."
            )
        if self.silence is None:
            return self.extract(waveforms), None
        detected = self.silence.detector.frames(waveforms)
        features = self.extract(self.silence.mute_pauses(waveforms, detected))
        speech = self.silence.detector.speech_at_steps(detected, self.framing, features)
        return self.silence.remove_silence(features, speech)


class Waveform(Extractor):
    """Raw waveforms as features: one step per sample, one value per step.

    Args:
        sample_rate: Sample rate in Hz.
        normalize: Amplitude of each utterance: largest magnitude 1 (peak), root mean square 1 (rms), mean 0 and
            deviation 1 (zscore), smallest 0 and largest 1 (minmax), or unchanged (none). Silence stays silence.
        silence: See Extractor.
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
        """Count 10 ms as a frame, as a number of samples would depend on the sample rate."""
        return 0.01

    def extract(self, waveforms: Padded) -> Padded:
        """Normalise the amplitude of waveforms [B, samples, 1]."""
        return normalize_amplitude(waveforms, self.normalize, self.precise)

    def extract_frames(self, block: Tensor) -> Tensor:
        """Return frames [..., 1] unchanged."""
        return block

    def check_streamable(self) -> None:
        """Refuse an amplitude that is computed over the whole utterance."""
        if self.normalize != "none":
            raise ConfigError(
                f"features.normalize={self.normalize}: the amplitude of a whole recording is known at its end. "
                "Train with features.normalize=none."
            )


class LogMel(Extractor):
    """Log-mel filterbank energies.

    Args:
        sample_rate: Sample rate in Hz.
        frame_length_ms: Length of a frame and of its window.
        frame_shift_ms: Distance from the start of one frame to the start of the next.
        fft_length: Points of the FFT, at least the samples of a frame; None for the next power of two.
        window: `hann` is periodic; `hann_symmetric`, `hamming` and `povey` are those of Kaldi.
        align: `causal`, `causal_padded`, `centered` or `centered_padded`; see `Framing`.
        remove_mean: Whether to subtract the mean of each frame, as Kaldi does.
        preemphasis: Share of the previous sample that is subtracted from each sample, 0..1.
        preemphasis_of: `waveform`, or `frame` after the mean is removed as in Kaldi, where the first sample of a
            frame stands for the one before it.
        scale: Factor of the waveforms; 32768 gives the amplitudes of 16-bit integers.
        power: 2 for energies, 1 for magnitudes.
        divide_by_fft_length: Whether to divide energies by the length of the FFT.
        num_mel_bins: Number of filters, F.
        min_frequency: Lower end of the first filter, in Hz.
        max_frequency: Upper end of the last filter, in Hz; None for half the sample rate.
        mel_scale: `htk` or `slaney`.
        triangles: Axis on which filters are triangles: `hertz`, `mel` or `bins` of the FFT; see `mel_filterbank`.
        filter_norm: `slaney` gives all filters the same area, `none` the same height.
        log: `natural`, `log10` or `decibel`.
        floor: Smallest energy.
        floor_by: How the floor applies: energies below it are raised to it (max), it is added to all energies (add),
            or it replaces 0 only (zero).
        top_db: Raise values that are more than `top_db` dB below the utterance's maximum to that level, which a
            stream cannot do; None for no such limit.
        precision: Type of the computation. In float32 the quietest bands of 16-bit speech are off by up to 5e-4
            (natural logarithm), most by less than 1e-6; float64 takes 1.5 to 1.9 times as long. Features that are
            computed in every training step are float32, which every device supports.
        silence: See Extractor.
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
        self.filterbank = partial(
            mel.mel_filterbank,
            num_mel_bins,
            sample_rate=sample_rate,
            min_frequency=min_frequency,
            scale=mel_scale,
            triangles=triangles,
            norm=filter_norm,
        )
        filters = self.filterbank(self.fft_length, max_frequency=max_frequency)
        filters = filters / (self.fft_length if divide_by_fft_length else 1)
        self.register_buffer("filters", filters.T.to(self.dtype), persistent=False)
        taper = scale * make_window(window, framing.length)
        self.register_buffer("taper", taper.to(self.dtype), persistent=False)

    filters: Tensor
    taper: Tensor

    def extract(self, waveforms: Padded) -> Padded:
        """Compute log-mel energies [B, T, F] float32 from waveforms [B, samples, 1]; padding is 0."""
        lengths = self.num_frames(waveforms.lengths)
        frame_blocks = self.framing.blocks(waveforms, self.waveform_preemphasis, self.taper.dtype)
        blocks = self.logarithm.apply_top_db(
            (self.logarithm(self._energies(part)) for part in frame_blocks), lengths
        )
        values = torch.empty(len(lengths), int(lengths.max()), self.feature_dim, device=lengths.device)
        first = 0
        for block in blocks:
            values[:, first : first + block.shape[1]] = self.transform_logarithms(block)
            first += block.shape[1]
        features = Padded(values, lengths)
        return features.with_values(values.masked_fill_(~features.mask.unsqueeze(-1), 0))

    def extract_frames(self, block: Tensor) -> Tensor:
        """Compute log-mel energies [..., F] of frames [..., samples], without `top_db`."""
        return self.transform_logarithms(self.logarithm(self._energies(block)))

    def check_streamable(self) -> None:
        """Refuse frames that need future samples, and `top_db`, which needs the loudest frame."""
        if not self.framing.align.startswith("causal"):
            raise ConfigError(
                f"features.align={self.framing.align}: a frame needs future samples. "
                "Train with features.align=causal."
            )
        if self.logarithm.top_db is not None:
            raise ConfigError(
                f"features.top_db={self.logarithm.top_db}: depends on the loudest frame of the recording, which no "
                "stream knows. Train with features.top_db=null, and features.floor=1e-8 or so."
            )

    def band_frequencies(self) -> list[float] | None:
        """Return the peak frequency of each filter, in Hz."""
        hertz = self.filters.argmax(0) * (self.sample_rate / self.fft_length)
        return [float(frequency) for frequency in hertz]

    @property
    def highest_frequency(self) -> float:
        """Return the peak frequency of the last filter, in Hz."""
        return float(self.filters[:, -1].argmax()) * self.sample_rate / self.fft_length

    def limit_band(self, frequency: float) -> str | None:
        """Return the upper end of the filters as a setting, and a longer FFT where they would become too narrow."""
        for factor in (1, 2, 4, 8):
            with suppress(ConfigError):
                self.filterbank(self.fft_length * factor, max_frequency=frequency)
                longer = f" features.fft_length={self.fft_length * factor}" * (factor > 1)
                return f"features.max_frequency={frequency:.1f}{longer}"
        return None

    def unit(self) -> str:
        """Return the quantity and its logarithm."""
        quantity = "energy" if self.power == 2 else "magnitude"
        return {"natural": f"ln {quantity}", "log10": f"log10 {quantity}", "decibel": "dB"}[self.log]

    def spectrum(self, block: Tensor) -> Tensor:
        """Compute power or magnitude spectra [..., fft_length // 2 + 1] of frames [..., samples]."""
        if self.remove_mean:
            block = subtract_mean(block)
        if self.frame_preemphasis:
            block = apply_preemphasis(block, self.frame_preemphasis)
        return compute_spectrum(block * self.taper, self.fft_length, self.power)

    def _energies(self, block: Tensor) -> Tensor:
        """Compute mel energies [..., num_mel_bins] of frames [..., samples]."""
        energies: Tensor = self.spectrum(block) @ self.filters
        return energies

    def transform_logarithms(self, block: Tensor) -> Tensor:
        """Map logarithms [..., num_mel_bins] to features [..., F]."""
        return block


class MFCC(LogMel):
    """Mel-frequency cepstral coefficients: the discrete cosine transform of log-mel energies.

    Args:
        num_coefficients: Number of coefficients, F, 1..num_mel_bins.
        lifter: Liftering as in HTK and Kaldi with 22; 0 for none.
        num_mel_bins: Number of mel filters.
        settings: Further settings of LogMel.
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
        """Return None, as coefficients are not bands."""
        return None

    def unit(self) -> str:
        """Return "cepstral coefficient"."""
        return "cepstral coefficient"

    def _energies(self, block: Tensor) -> Tensor:
        """Compute energies in float64 where possible: rounding in float32 differs by 1e-4 dB between batches."""
        return super()._energies(block).to(self.precise)

    def transform_logarithms(self, block: Tensor) -> Tensor:
        """Transform logarithms [..., num_mel_bins] to coefficients [..., num_coefficients]."""
        return block @ self.transform
