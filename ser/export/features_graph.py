"""Features as one graph of tensor operations over whole recordings, which ONNX can hold.

The extractors of `ser.features` read block by block, so that hours need little memory. A graph has no such loop. Here
all frames of a batch are taken at once, and computed in float64: then only the rounding of the extractor itself is
left between both.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError
from ser.features.amplitude import SMALLEST_SCALE
from ser.features.extractors import Extractor, LogMel, Waveform
from ser.features.framing import Framing
from ser.features.vad import ROUNDING, SilenceDetector
from ser.frozen.features import PretrainedFeatures
from ser.frozen.weights import encoder_of

Features = tuple[Padded, Tensor | None]
"""Features [B, T, F], and whether each step is speech [B, T] bool; None without silence detection."""


class FeaturesGraph(nn.Module):
    """Compute features of waveforms [B, N, 1], and treat silence, as `Extractor.with_speech` does.

    Args:
        extractor: The extractor of the training.

    Raises:
        ConfigError: No graph is known for such an extractor.
    """

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.extract = graph_of(extractor)
        self.framing = extractor.framing
        self.silence = extractor.silence

    def forward(self, waveforms: Padded) -> Features:
        """Compute features."""
        if self.silence is None:
            return self.extract(waveforms), None
        detector = self.silence.detector
        frames = _speech_frames(detector, waveforms)
        if self.silence.mode == "mute":
            heard = _speech_at(detector, frames, Framing(1, 1), waveforms)
            waveforms = waveforms.with_values(waveforms.values.where(heard.unsqueeze(-1), 0))
        features: Padded = self.extract(waveforms)
        speech = _speech_at(detector, frames, self.framing, features)
        return _without_silence(features, speech) if self.silence.mode == "remove" else (features, speech)


def graph_of(extractor: Extractor) -> nn.Module:
    """Return a module from waveforms to features that can be exported.

    Raises:
        ConfigError: No graph is known for such an extractor.
    """
    if isinstance(extractor, LogMel):
        return _LogMelGraph(extractor)
    if isinstance(extractor, Waveform):
        return _WaveformGraph(extractor)
    if isinstance(extractor, PretrainedFeatures):
        return _StatesGraph(extractor)
    raise ConfigError(
        f"features: {type(extractor).__name__} has no form as ONNX, so that the exported model cannot read waveforms. "
        "Set takes=frames, and compute the features outside."
    )


class _LogMelGraph(nn.Module):
    """Log-mel energies, or cepstral coefficients of them."""

    def __init__(self, extractor: LogMel) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, waveforms: Padded) -> Padded:
        own = self.extractor
        lengths = own.num_frames(waveforms.lengths)
        samples = waveforms.zeroed().values[..., 0].double()
        if own.waveform_preemphasis:
            earlier = functional.pad(samples, (1, 0))[:, :-1]
            samples = (samples - own.waveform_preemphasis * earlier) * waveforms.mask
        frames = _frames(samples, waveforms.lengths, own.framing)
        # Energies are not negative, so that float32 is exact enough for their sums, and its filters are half as large.
        energies = (own.spectrum(frames).to(own.filters.dtype) @ own.filters).to(own.precise)
        (logarithms,) = own.logarithm.apply_top_db([own.logarithm(energies)], lengths)
        features = Padded(own.transform_logarithms(logarithms).float(), lengths)
        return features.zeroed()


def _frames(samples: Tensor, lengths: Tensor, framing: Framing) -> Tensor:
    """Cut samples [B, N], which are zero beyond the lengths [B], into frames [B, T, length]."""
    if framing.align == "causal":
        count, last = 1 + (samples.shape[1] - framing.length) // framing.shift, framing.shift
    else:
        count, last = (
            1 + (samples.shape[1] + framing.shift - 1) // framing.shift,
            framing.length + framing.shift,
        )
    lead = framing.lead
    if framing.align == "centered":
        ends = lengths[:, None] - 1
        places = (torch.arange(samples.shape[1] + lead + last, device=samples.device) - lead).abs()
        places = torch.where(places > ends, 2 * ends - places, places).clamp_min(0)
        samples = functional.pad(samples, (0, lead + last)).gather(1, places)
    else:
        samples = functional.pad(samples, (lead, last))
    starts = torch.arange(count, device=samples.device) * framing.shift
    places = starts[:, None] + torch.arange(framing.length, device=samples.device)
    return samples[:, places.flatten()].reshape(samples.shape[0], count, framing.length)


class _WaveformGraph(nn.Module):
    """Waveforms of normalised amplitude."""

    def __init__(self, extractor: Waveform) -> None:
        super().__init__()
        self.normalize = extractor.normalize

    def forward(self, waveforms: Padded) -> Padded:
        if self.normalize == "none":
            return waveforms.zeroed()
        samples, real = waveforms.values.double(), waveforms.mask.unsqueeze(-1)
        count = waveforms.lengths[:, None, None]
        largest = samples.where(real, -torch.inf).amax(1, keepdim=True)
        lowest = samples.where(real, torch.inf).amin(1, keepdim=True)
        if self.normalize == "peak":
            origin, scale = torch.zeros_like(largest), torch.maximum(largest, -lowest)
        elif self.normalize == "minmax":
            origin, scale = lowest, largest - lowest
        else:
            mean = samples.where(real, 0).sum(1, keepdim=True) / count
            origin = mean if self.normalize == "zscore" else torch.zeros_like(mean)
            scale = ((samples - origin).square().where(real, 0).sum(1, keepdim=True) / count).sqrt()
        scale = scale.where(scale > SMALLEST_SCALE, 1.0)
        return waveforms.with_values(((samples - origin) / scale).where(real, 0).float())


class _StatesGraph(nn.Module):
    """Hidden states of a frozen encoder, rounded as they are stored."""

    def __init__(self, extractor: PretrainedFeatures) -> None:
        super().__init__()
        with encoder_of(extractor.weights, extractor.architecture, extractor.num_layers) as encoder:
            self.encoder = copy.deepcopy(encoder)
        replace_extractors(self.encoder)
        self.takes_all, self.pool = extractor.layer == "all", extractor.pool
        self.stores_half = extractor.stores_half

    def forward(self, waveforms: Padded) -> Padded:
        states, lengths = self.encoder.hidden_states(waveforms)
        chosen = states if self.takes_all else states[-1:]
        if self.pool is not None:
            pooled = torch.cat([self.pool(Padded(state, lengths)) for state in chosen], -1)
            return Padded(pooled[:, None], torch.ones_like(lengths))
        values = torch.cat(chosen, -1)
        return Padded(values.half().float() if self.stores_half else values, lengths).zeroed()


def _speech_frames(detector: SilenceDetector, waveforms: Padded) -> Padded:
    """Detect speech in waveforms [B, N, 1]: frames [B, n, 1] bool."""
    framing = detector.framing
    lengths = framing.num_frames(waveforms.lengths)
    samples = _frames(waveforms.zeroed().values[..., 0].double(), waveforms.lengths, framing)
    starts = torch.arange(samples.shape[1], device=samples.device) * framing.shift
    count = (waveforms.lengths[:, None] - starts).clamp(1, framing.length)
    power, mean = samples.square().sum(-1) / count, samples.sum(-1) / count
    energies = power - mean.square()
    real = torch.arange(samples.shape[1], device=samples.device) < lengths[:, None]
    energies = energies.where((energies > ROUNDING * power) & real, 0)
    sound = detector.exceeds_thresholds(energies)
    return Padded(detector.smoothing(sound, real).unsqueeze(-1), lengths)


def _speech_at(detector: SilenceDetector, frames: Padded, framing: Framing, steps: Padded) -> Tensor:
    """Return whether each step of a framing is speech, [B, T] bool."""
    numbers = torch.arange(steps.values.shape[1], device=steps.values.device)
    cells = detector.frame_at(framing.centre + numbers * framing.shift).clamp_min(0)
    cells = torch.minimum(cells, frames.lengths[:, None] - 1)
    return frames.values[..., 0].gather(1, cells) & steps.mask


def _without_silence(features: Padded, speech: Tensor) -> Features:
    """Move the steps of speech to the front, and shorten the lengths to them; without any speech, all steps stay."""
    spoken = speech.any(1)
    kept = torch.where(spoken[:, None], speech, features.mask)
    lengths = kept.sum(1)
    numbers = torch.arange(kept.shape[1], device=kept.device)
    order = (numbers + kept.shape[1] * (~kept).long()).argsort(1)
    values = features.values.gather(1, order.unsqueeze(-1).expand_as(features.values))
    left = Padded(values, lengths).zeroed()
    return left, left.mask & spoken[:, None]


def replace_extractors(model: Any) -> None:
    """Replace the extractors within a model by graphs; a network of log-mels has one."""
    for module in [*model.modules()]:
        for name, child in [*module.named_children()]:
            if isinstance(child, Extractor):
                setattr(module, name, graph_of(child))
