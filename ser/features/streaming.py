"""Features of a stream: frame by frame as samples come, equal to those of the whole recording."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ser.errors import DataError
from ser.features.extractors import Extractor
from ser.features.vad import SilenceDetector
from ser.features.vad_smoothing import SmoothingState

_SAMPLES_AT_A_TIME = 1 << 14  # 1 s at 16 kHz: hours may be pushed at once, and need no more memory


class StreamFrames(NamedTuple):
    """What has come out of a stream.

    Args:
        values: [m, F], features for a model.
        numbers: m numbers, counted from 0, that these steps have in the whole recording; times the extractor's
            `frame_shift_s` they are the seconds at which their frames begin.
        speech: whether steps are speech, as far as it is decided now and was not before. A step's answer may come
            later than its features, but in order. Empty where nothing looks for silence.
        first: number of the step that `speech` begins with.
    """

    values: Tensor
    numbers: Sequence[int]
    speech: Sequence[bool]
    first: int


class FeatureState(NamedTuple):
    """What a stream remembers, however long it is.

    Args:
        heard: how many samples.
        samples: [n] float32, the last of them that frames to come need, with one before these.
        steps: how many steps have been extracted.
        decided: how many of these are known to be speech or silence.
        detected: what is known of the detector's frames and still needed, the last known one at the end.
        smoothing: of the detector.
        held: [steps - decided, F], features that wait until then, where silence is removed; else [0, F].
    """

    heard: int
    samples: Tensor
    steps: int
    decided: int
    detected: tuple[bool, ...]
    smoothing: SmoothingState
    held: Tensor


class FeatureStream:
    """Makes features of samples as they come; what it remembers is passed in and out.

    Where silence is removed, features come when their step is known to be speech, so as much later as `look_ahead`
    of the detector's `smoothing` says. Of a recording without any speech, which is then kept whole, a stream gives
    nothing.

    Args:
        extractor: of a model.

    Raises:
        ConfigError: a setting of the extractor or its silence needs more than has been heard.
    """

    def __init__(self, extractor: Extractor) -> None:
        extractor.check_streamable()
        self.extractor = extractor
        self.detector: SilenceDetector | None = None
        self.removes = False
        if extractor.silence is not None:
            extractor.silence.check_streamable()
            self.detector = extractor.silence.detector
            self.removes = extractor.silence.mode == "remove"

    def initial_state(self, device: torch.device | str = "cpu") -> FeatureState:
        """Nothing heard.

        Args:
            device: of the samples to come, and of the extractor.
        """
        return FeatureState(
            heard=0,
            samples=torch.zeros(1, device=device),  # before the first sample is silence
            steps=0,
            decided=0,
            detected=(),
            smoothing=SmoothingState(),
            held=torch.empty(0, self.extractor.feature_dim, device=device),
        )

    def push(self, samples: Tensor, state: FeatureState) -> tuple[StreamFrames, FeatureState]:
        """What comes out as more is heard, and the state from then on.

        Args:
            samples: [n] in -1..1, any number, also none.
            state: after the samples before; it is left as it was.

        Raises:
            DataError: the samples are no row of floating-point numbers, or one is not finite.
        """
        self._check(samples, state.heard)
        if samples.numel() <= _SAMPLES_AT_A_TIME:
            return self._push(samples, state)
        parts, first = [], state.steps
        for begin in range(0, samples.numel(), _SAMPLES_AT_A_TIME):
            part, state = self._push(samples[begin : begin + _SAMPLES_AT_A_TIME], state)
            parts.append(part)
        numbers = range(first, state.steps)
        return _concatenate(
            parts, [*chain(*(part.numbers for part in parts))] if self.removes else numbers
        ), state

    def finish(self, state: FeatureState) -> StreamFrames:
        """What was held back, once nothing more comes.

        A last causal frame that is not full is dropped, and one that is padded is padded with zeros, as ever.
        """
        framing, steps = self.extractor.framing, 0
        if state.heard >= framing.min_samples:
            steps = int(framing.num_frames(torch.tensor(state.heard)))
        values = self._extract(state.samples, state, steps)
        speech: list[bool] = []
        if self.detector is not None and steps:
            detected = [*state.detected, *self._finish_detection(self.detector, state)]
            first = int(self.detector.framing.num_frames(torch.tensor(state.heard))) - len(detected)
            places = range(state.decided, steps)
            speech = [
                detected[min(self._detector_frame(self.detector, step) - first, len(detected) - 1)]
                for step in places
            ]
        return self._make_frames(values, speech, state)[0]

    def _push(self, samples: Tensor, state: FeatureState) -> tuple[StreamFrames, FeatureState]:
        heard = state.heard + samples.numel()
        samples = torch.cat([state.samples, samples.float()])
        steps = self.extractor.framing.num_full_frames(heard)
        values = self._extract(samples, state, steps)
        needed = min(self.extractor.framing.shift * steps, heard)
        speech: list[bool] = []
        detected, smoothing = state.detected, state.smoothing
        if self.detector is not None:
            speech, detected, smoothing = self._detect_speech(self.detector, samples, state, heard, steps)
            needed = min(self.detector.framing.shift * smoothing.heard, needed)
        frames, held = self._make_frames(values, speech, state)
        decided = state.decided + len(speech)
        left = samples[needed - 1 - heard :]
        return frames, FeatureState(heard, left, steps, decided, detected, smoothing, held)

    def _extract(self, samples: Tensor, state: FeatureState, steps: int) -> Tensor:
        """Features [m, F] of the steps from `state.steps` to before `steps`; beyond the samples are zeros."""
        if steps == state.steps:
            return state.held[:0]
        framing, emphasis = self.extractor.framing, self.extractor.waveform_preemphasis
        begin = state.steps * framing.shift - _buffer_start(state)
        size = (steps - state.steps - 1) * framing.shift + framing.length
        block = samples[begin : begin + size].to(self.extractor.dtype)
        if emphasis:
            earlier = samples[begin - 1 : begin - 1 + block.numel()].to(block.dtype)
            block = block.sub(earlier, alpha=emphasis)
        if block.numel() < size:
            block = functional.pad(block, (0, size - block.numel()))
        return self.extractor.extract_frames(block.unfold(0, framing.length, framing.shift)).float()

    def _detect_speech(
        self, detector: SilenceDetector, samples: Tensor, state: FeatureState, heard: int, steps: int
    ) -> tuple[list[bool], tuple[bool, ...], SmoothingState]:
        """What is known now of the steps from `state.decided` on, and of the detector's frames from then on."""
        framing = detector.framing
        sounds: list[bool] = []
        if count := framing.num_full_frames(heard) - state.smoothing.heard:
            begin = state.smoothing.heard * framing.shift - _buffer_start(state)
            sounds = detector.detect_sounds(
                samples[begin : begin + (count - 1) * framing.shift + framing.length]
            )
        answers, smoothing = detector.smoothing.step(sounds, state.smoothing)
        detected = (*state.detected, *answers)
        first = smoothing.decided - len(detected)
        speech: list[bool] = []
        cell = self._detector_frame(detector, state.decided) - first
        while state.decided + len(speech) < steps and cell < len(detected):
            speech.append(detected[cell])
            cell = self._detector_frame(detector, state.decided + len(speech)) - first
        needed = max(min(cell, len(detected) - 1), 0)  # the last one answers for all beyond the end
        return speech, detected[needed:], smoothing

    def _finish_detection(self, detector: SilenceDetector, state: FeatureState) -> list[bool]:
        """For the detector's frames from `state.smoothing.decided` to the last, which may not be full."""
        framing, heard = detector.framing, state.smoothing.heard
        sounds: list[bool] = []
        if heard < int(framing.num_frames(torch.tensor(state.heard))):
            count = state.heard - heard * framing.shift
            last = functional.pad(state.samples[-count:], (0, framing.length - count))
            sounds = detector.detect_sounds(last, count)
        answers, smoothing = detector.smoothing.step(sounds, state.smoothing)
        return [*answers, *detector.smoothing.finish(smoothing)]

    def _detector_frame(self, detector: SilenceDetector, step: int) -> int:
        """The number of the detector's frame that says whether a step is speech."""
        framing = self.extractor.framing
        return max(detector.frame_at(framing.centre + step * framing.shift), 0)

    def _make_frames(
        self, values: Tensor, speech: list[bool], state: FeatureState
    ) -> tuple[StreamFrames, Tensor]:
        """What comes out, of new features [m, F] and answers; and the features that wait for theirs."""
        if not self.removes:
            numbers = range(state.steps, state.steps + values.shape[0])
            return StreamFrames(values, numbers, speech, state.decided), state.held
        waiting = torch.cat([state.held, values]) if state.held.shape[0] else values
        answered, waiting = waiting[: len(speech)], waiting[len(speech) :]
        kept = [place for place, is_speech in enumerate(speech) if is_speech]
        if len(kept) < len(speech):
            answered = answered[kept] if kept else answered[:0]
        return StreamFrames(
            answered, [state.decided + place for place in kept], speech, state.decided
        ), waiting

    def _check(self, samples: Tensor, heard: int) -> None:
        if samples.dim() != 1 or not samples.is_floating_point():
            raise DataError(
                f"stream, after {heard} samples: {samples.dtype} of shape {[*samples.shape]} came, expected [n] "
                "floating-point amplitudes in -1..1. Push one channel, of 16-bit integers divided by 32768."
            )
        if math.isfinite(samples.dot(samples).item()):  # fast; where it overflows, look closer
            return
        if broken := (~samples.isfinite()).nonzero().flatten().tolist():
            number, value = heard + broken[0], samples[broken[0]].item()
            raise DataError(
                f"stream, sample {number} ({number / self.extractor.sample_rate:.3f} s): is {value}, expected a finite "
                "amplitude in -1..1. Mend the source, or push 0.0 in its place."
            )


def _buffer_start(state: FeatureState) -> int:
    """Where in the recording the samples of a state begin; -1 at first."""
    return state.heard - state.samples.numel()


def _concatenate(parts: Sequence[StreamFrames], numbers: Sequence[int]) -> StreamFrames:
    """What has come out piece by piece, as if at once."""
    values = torch.cat([part.values for part in parts])
    return StreamFrames(values, numbers, [*chain(*(part.speech for part in parts))], parts[0].first)
