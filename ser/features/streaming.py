"""Compute features of a stream chunk by chunk; they equal those of the whole recording."""

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

_SAMPLES_AT_A_TIME = 1 << 14  # 1 s at 16 kHz, so that memory does not grow with the length of a push


class StreamFrames(NamedTuple):
    """Features and speech decisions that a push to a stream returns.

    Args:
        values: Features [m, F] for a model.
        numbers: Indices of these m steps in the whole recording, from 0; times the extractor's `frame_shift_s` they
            are the seconds at which their frames begin.
        speech: Whether steps are speech, for the steps that were decided by this push. A decision may come later than
            the features of its step, but in order. Empty without silence detection.
        first: Index of the first step of `speech`.
    """

    values: Tensor
    numbers: Sequence[int]
    speech: Sequence[bool]
    first: int


class FeatureState(NamedTuple):
    """State of a feature stream; its size does not grow with the stream.

    Args:
        received: Number of samples received.
        samples: Last samples [n] float32 that future frames need, and the one before them.
        steps: Number of steps extracted.
        decided: Number of steps known to be speech or silence.
        detected: Decisions for the detector's frames that are still needed, the latest one last.
        smoothing: State of the detector's smoothing.
        held: Features [steps - decided, F] that wait for a decision if silence is removed, else [0, F].
    """

    received: int
    samples: Tensor
    steps: int
    decided: int
    detected: tuple[bool, ...]
    smoothing: SmoothingState
    held: Tensor


class FeatureStream:
    """Compute features from chunks of samples; the state is passed in and out.

    If silence is removed, the features of a step are returned when it is known to be speech, so `look_ahead` of the
    detector's `smoothing` later at most. A recording without any speech is kept whole offline; its stream returns
    nothing.

    Args:
        extractor: Feature extractor of a model.

    Raises:
        ConfigError: A setting of the extractor or of its silence needs future samples.
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
        """Return the state before the first sample.

        Args:
            device: Device of the samples and of the extractor.
        """
        return FeatureState(
            received=0,
            samples=torch.zeros(1, device=device),  # the sample before the first one is silence
            steps=0,
            decided=0,
            detected=(),
            smoothing=SmoothingState(),
            held=torch.empty(0, self.extractor.feature_dim, device=device),
        )

    def push(self, samples: Tensor, state: FeatureState) -> tuple[StreamFrames, FeatureState]:
        """Process the next samples and return the new frames and the new state.

        Args:
            samples: Samples [n] in -1..1; n may be 0.
            state: State after the samples before; it is not modified.

        Raises:
            DataError: The samples are not a vector of finite floating-point numbers.
        """
        self._check(samples, state.received)
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
        """Return the frames that were held back, at the end of a stream.

        As offline, an incomplete last frame is dropped, or padded with zeros if the alignment is padded.
        """
        framing, steps = self.extractor.framing, 0
        if state.received >= framing.min_samples:
            steps = int(framing.num_frames(torch.tensor(state.received)))
        values = self._extract(state.samples, state, steps)
        speech: list[bool] = []
        if self.detector is not None and steps:
            detected = [*state.detected, *self._finish_detection(self.detector, state)]
            first = int(self.detector.framing.num_frames(torch.tensor(state.received))) - len(detected)
            places = range(state.decided, steps)
            speech = [
                detected[min(self._detector_frame(self.detector, step) - first, len(detected) - 1)]
                for step in places
            ]
        return self._make_frames(values, speech, state)[0]

    def _push(self, samples: Tensor, state: FeatureState) -> tuple[StreamFrames, FeatureState]:
        received = state.received + samples.numel()
        samples = torch.cat([state.samples, samples.float()])
        steps = self.extractor.framing.num_full_frames(received)
        values = self._extract(samples, state, steps)
        needed = min(self.extractor.framing.shift * steps, received)
        speech: list[bool] = []
        detected, smoothing = state.detected, state.smoothing
        if self.detector is not None:
            speech, detected, smoothing = self._detect_speech(self.detector, samples, state, received, steps)
            needed = min(self.detector.framing.shift * smoothing.received, needed)
        frames, held = self._make_frames(values, speech, state)
        decided = state.decided + len(speech)
        left = samples[needed - 1 - received :]
        return frames, FeatureState(received, left, steps, decided, detected, smoothing, held)

    def _extract(self, samples: Tensor, state: FeatureState, steps: int) -> Tensor:
        """Extract features [m, F] of the steps from `state.steps` up to `steps`; missing samples are zeros."""
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
        self, detector: SilenceDetector, samples: Tensor, state: FeatureState, received: int, steps: int
    ) -> tuple[list[bool], tuple[bool, ...], SmoothingState]:
        """Decide the steps from `state.decided` on, as far as possible; also return the frames' decisions to keep."""
        framing = detector.framing
        sounds: list[bool] = []
        if count := framing.num_full_frames(received) - state.smoothing.received:
            begin = state.smoothing.received * framing.shift - _buffer_start(state)
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
        needed = max(min(cell, len(detected) - 1), 0)  # the last decision holds for all steps beyond the end
        return speech, detected[needed:], smoothing

    def _finish_detection(self, detector: SilenceDetector, state: FeatureState) -> list[bool]:
        """Decide the detector's frames from `state.smoothing.decided` to the last, which may be incomplete."""
        framing, received = detector.framing, state.smoothing.received
        sounds: list[bool] = []
        if received < int(framing.num_frames(torch.tensor(state.received))):
            count = state.received - received * framing.shift
            last = functional.pad(state.samples[-count:], (0, framing.length - count))
            sounds = detector.detect_sounds(last, count)
        answers, smoothing = detector.smoothing.step(sounds, state.smoothing)
        return [*answers, *detector.smoothing.finish(smoothing)]

    def _detector_frame(self, detector: SilenceDetector, step: int) -> int:
        """Return the index of the detector's frame that decides whether a step is speech."""
        framing = self.extractor.framing
        return max(detector.frame_at(framing.centre + step * framing.shift), 0)

    def _make_frames(
        self, values: Tensor, speech: list[bool], state: FeatureState
    ) -> tuple[StreamFrames, Tensor]:
        """Combine new features [m, F] and decisions into frames; also return the features that still wait."""
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

    def _check(self, samples: Tensor, received: int) -> None:
        if samples.dim() != 1 or not samples.is_floating_point():
            raise DataError(
                f"stream, after {received} samples: {samples.dtype} of shape {[*samples.shape]}, expected [n] "
                "floating-point amplitudes in -1..1. Push one channel, of 16-bit integers divided by 32768."
            )
        if math.isfinite(samples.dot(samples).item()):  # fast; may overflow, so that the exact check follows
            return
        if broken := (~samples.isfinite()).nonzero().flatten().tolist():
            number, value = received + broken[0], samples[broken[0]].item()
            raise DataError(
                f"stream, sample {number} ({number / self.extractor.sample_rate:.3f} s): is {value}, expected a finite "
                "amplitude in -1..1. Fix the source, or push 0.0 in its place."
            )


def _buffer_start(state: FeatureState) -> int:
    """Return the index in the recording of the first sample in the state; -1 at the beginning."""
    return state.received - state.samples.numel()


def _concatenate(parts: Sequence[StreamFrames], numbers: Sequence[int]) -> StreamFrames:
    """Concatenate the frames of several pushes."""
    values = torch.cat([part.values for part in parts])
    return StreamFrames(values, numbers, [*chain(*(part.speech for part in parts))], parts[0].first)
