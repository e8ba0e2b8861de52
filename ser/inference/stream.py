"""Predict a stream of speech, with the same results as for the whole recording."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ser.checkpoints.checkpoint import Trained, find, load
from ser.errors import ConfigError, DataError
from ser.features.streaming import FeatureState, FeatureStream, StreamFrames
from ser.inference.predict import extractor_of
from ser.models.base import State


class Decision(NamedTuple):
    """Decision on one step of a stream.

    Args:
        time_s: Begin of its frame in seconds; if the model subsamples, of the last frame of the step.
        probabilities: Probabilities [C] of this frame; if the model predicts utterances, of all frames so far.
        is_speech: Whether the frame counts in `so_far`.
        so_far: Probabilities of everything so far; None as long as there was no speech.
    """

    time_s: float
    probabilities: tuple[float, ...]
    is_speech: bool
    so_far: tuple[float, ...] | None


class _Step(NamedTuple):
    """Step that the models have processed, and that waits to be known as speech or silence."""

    number: int
    scores: tuple[tuple[float, ...], ...]  # probabilities of each model
    speech: tuple[bool, ...]  # whether each model detects speech, if silence is a class


class StreamState(NamedTuple):
    """State of a stream: it can be kept, copied, or assigned to `Stream.state` at any time.

    Args:
        features: State of the feature extraction.
        models: State of each model.
        unanswered: Indices of the frames that a model has received, but not yet joined to a step.
        waiting: Steps that are not yet known to be speech or silence.
        flags: Whether frames are speech, from frame `first_flag` on, for steps that still need them.
        first_flag: Index of a frame.
        sums: Sums of the probabilities of speech frames for each model [M][C].
        counts: Numbers of these frames [M].
    """

    features: FeatureState
    models: tuple[State, ...]
    unanswered: tuple[int, ...]
    waiting: tuple[_Step, ...]
    flags: tuple[bool, ...]
    first_flag: int
    sums: tuple[tuple[float, ...], ...]
    counts: tuple[int, ...]


class Stream:
    """Predict speech while it is recorded.

    >>> stream = Stream.from_checkpoint("RUN/checkpoints/best.ckpt")
    >>> for samples in microphone:
    ...     for decision in stream.push(samples): print(decision)
    >>> stream.finish()

    Any number of samples may be pushed at once, without an effect on the decisions. Each decision is returned once, in
    order; if silence is left out, at most the detector's `look_ahead_s` later.

    Args:
        models: One model, or several whose probabilities are averaged.

    Raises:
        ConfigError: A model or its features need future samples.
    """

    def __init__(self, models: Trained | Sequence[Trained]) -> None:
        self.models = [models] if isinstance(models, Trained) else [*models]
        extractor = extractor_of(self.models)
        self.features = FeatureStream(extractor.eval())
        self.sample_rate = extractor.sample_rate
        self.class_names = self.models[0].target.class_names
        self.shift_s = extractor.frame_shift_s
        self.subsampling = self.models[0].model.encoder.subsampling
        for trained in self.models:
            if not trained.target.class_names:
                raise ConfigError(
                    f"stream=true: {trained.path} does not predict classes alone, and a stream shows those. Predict "
                    "the whole recording, or stream a model of classes."
                )
            if _question(trained) != _question(self.models[0]):
                raise ConfigError(
                    f"ckpt: {trained.path} and {self.models[0].path} predict different things, or treat silence in "
                    "different ways. Stream models of one target only."
                )
            if trained.model.encoder.subsampling != self.subsampling:
                raise ConfigError(
                    f"ckpt: {trained.path} joins {trained.model.encoder.subsampling} frames to a step, and "
                    f"{self.models[0].path} {self.subsampling}. Stream models of one kind together, or one alone."
                )
        mode = self.models[0].target.silence
        self.answers_frames = self.models[0].target.resolution == "frame"
        self.waits = self.answers_frames and self.features.detector is not None and mode in ("keep", "mask")
        self.predicts_silence = self.answers_frames and mode == "class"
        self.state = self.initial_state()

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> "Stream":
        """Create a stream from a checkpoint, or from the folder of a run.

        Raises:
            CheckpointError: The file cannot be used.
            ConfigError: See the constructor.
        """
        return cls([load(found) for found in find(path)])

    @property
    def look_ahead_s(self) -> float:
        """Return the largest delay of a decision after the end of its frame, in seconds."""
        detector = self.features.detector
        if detector is None or not (self.waits or self.features.removes):
            return 0.0
        return detector.smoothing.look_ahead * detector.framing.shift / self.sample_rate

    @torch.inference_mode()
    def initial_state(self) -> StreamState:
        """Return the state before the first sample."""
        return StreamState(
            features=self.features.initial_state(),
            models=tuple(trained.model.initial_state(1) for trained in self.models),
            unanswered=(),
            waiting=(),
            flags=(),
            first_flag=0,
            sums=((0.0,) * len(self.class_names),) * len(self.models),
            counts=(0,) * len(self.models),
        )

    def reset(self) -> None:
        """Reset the state, to begin with another recording."""
        self.state = self.initial_state()

    def push(self, samples: Tensor | np.ndarray, sample_rate: int | None = None) -> list[Decision]:
        """Process the next samples, and return the new decisions.

        Args:
            samples: Samples [n] in -1..1; n may be 0.
            sample_rate: Their rate in Hz, which is checked; None for no check.

        Raises:
            DataError: They have another sample rate, or are not finite.
        """
        if sample_rate not in (None, self.sample_rate):
            raise DataError(
                f"stream: samples come at {sample_rate} Hz, but {self.models[0].path} was trained at "
                f"{self.sample_rate} Hz. Resample them, and never change the rate within a stream."
            )
        decisions, self.state = self.step(torch.as_tensor(samples, dtype=torch.float32), self.state)
        return decisions

    def finish(self) -> list[Decision]:
        """Return the decisions that were held back, at the end of a stream; an incomplete frame is dropped."""
        decisions, self.state = self.end(self.state)
        return decisions

    @torch.inference_mode()
    def step(self, samples: Tensor, state: StreamState) -> tuple[list[Decision], StreamState]:
        """Process samples like `push`, with the state passed in and out.

        Args:
            samples: Samples [n] float32.
            state: State after the samples before; it is not modified.

        Raises:
            DataError: The samples are not finite.
        """
        frames, features = self.features.push(samples, state.features)
        waiting, unanswered, models = self._process_frames(frames, state)
        return self._make_decisions(
            waiting, (*state.flags, *frames.speech), state, features, models, unanswered
        )

    @torch.inference_mode()
    def end(self, state: StreamState) -> tuple[list[Decision], StreamState]:
        """Finish like `finish`, with the state passed in and out."""
        frames = self.features.finish(state.features)
        waiting, unanswered, models = self._process_frames(frames, state)
        if unanswered:
            last = [own.model.finish(before) for own, before in zip(self.models, models, strict=True)]
            said, unanswered = self._apply_models(last, unanswered)
            waiting = (*waiting, *said)
        flags = (*state.flags, *frames.speech)
        return self._make_decisions(waiting, flags, state, state.features, models, unanswered)

    def _process_frames(
        self, frames: StreamFrames, state: StreamState
    ) -> tuple[tuple[_Step, ...], tuple[int, ...], tuple[State, ...]]:
        """Apply the models to new frames; return waiting steps, frames that are not yet joined, and states."""
        if not len(frames.numbers):
            return state.waiting, state.unanswered, state.models
        chunk = frames.values.unsqueeze(0)
        stepped = [
            trained.model.step(chunk, before)
            for trained, before in zip(self.models, state.models, strict=True)
        ]
        said, unanswered = self._apply_models(
            [logits for logits, _ in stepped], (*state.unanswered, *frames.numbers)
        )
        return (*state.waiting, *said), unanswered, tuple(after for _, after in stepped)

    def _apply_models(
        self, logits: Sequence[Tensor], numbers: tuple[int, ...]
    ) -> tuple[list[_Step], tuple[int, ...]]:
        """Turn logits into steps for the oldest frames, and return the frames that are left.

        Args:
            logits: Logits [1, m, out_dim] of each model.
            numbers: Indices of the frames.
        """
        scores, speech = [], []
        for trained, one in zip(self.models, logits, strict=True):
            scores.append([tuple(row) for row in trained.target.scores(one[0]).tolist()])
            speech.append(self._detect_speech(trained, trained.check(one[0])))
        ends = [min(end, len(numbers)) for end in self._step_ends(logits[0].shape[1])]
        steps = [
            _Step(numbers[end - 1], step_scores, step_speech)
            for end, step_scores, step_speech in zip(
                ends, zip(*scores, strict=True), zip(*speech, strict=True), strict=True
            )
        ]
        return steps, numbers[ends[-1] :] if ends else numbers

    def _step_ends(self, steps: int) -> range:
        """Return the number of frames that have been joined after each step."""
        return range(self.subsampling, steps * self.subsampling + 1, self.subsampling)

    def _detect_speech(self, trained: Trained, logits: Tensor) -> list[bool]:
        """Return whether a model detects speech in each of logits [m, out_dim], if silence is a class."""
        if not self.predicts_silence:
            return [True] * len(logits)
        target: Any = trained.target
        speech: list[bool] = target.is_speech(logits, torch.ones(len(logits), dtype=torch.bool)).tolist()
        return speech

    def _make_decisions(
        self,
        waiting: tuple[_Step, ...],
        flags: tuple[bool, ...],
        state: StreamState,
        features: FeatureState,
        models: tuple[State, ...],
        unanswered: tuple[int, ...],
    ) -> tuple[list[Decision], StreamState]:
        """Return the decisions on steps that are known to be speech or silence, and the new state."""
        first, sums, counts = state.first_flag, state.sums, state.counts
        decisions = []
        for step in waiting:
            if self.waits and step.number >= first + len(flags):
                break
            is_speech = not self.waits or flags[step.number - first]
            if self.answers_frames:
                sums, counts = _add_step(sums, counts, step, is_speech)
            decisions.append(self._decision(step, is_speech, sums, counts))
        passed = len(flags)
        if self.waits and decisions:
            passed = waiting[len(decisions) - 1].number + 1 - first
        elif self.waits:
            passed = 0
        left = StreamState(
            features=features,
            models=models,
            unanswered=unanswered,
            waiting=waiting[len(decisions) :],
            flags=flags[passed:],
            first_flag=first + passed,
            sums=sums,
            counts=counts,
        )
        return decisions, left

    def _decision(
        self,
        step: _Step,
        is_speech: bool,
        sums: tuple[tuple[float, ...], ...],
        counts: tuple[int, ...],
    ) -> Decision:
        mean = _mean(step.scores)
        time_s = step.number * self.shift_s
        if not self.answers_frames:
            return Decision(time_s, mean, is_speech, mean)
        so_far = None
        if all(counts):
            so_far = _mean([[total / n for total in row] for row, n in zip(sums, counts, strict=True)])
        return Decision(time_s, mean, is_speech and 2 * sum(step.speech) >= len(step.speech), so_far)


def _question(trained: Trained) -> tuple[Any, ...]:
    """Return what must be equal in two models, so that their probabilities can be averaged."""
    target = trained.target
    return target.resolution, target.class_names, target.label_names, target.silence


def _add_step(
    sums: tuple[tuple[float, ...], ...], counts: tuple[int, ...], step: _Step, is_speech: bool
) -> tuple[tuple[tuple[float, ...], ...], tuple[int, ...]]:
    """Add a step to the sums and counts of the models that detect speech in it."""
    if not is_speech:
        return sums, counts
    added = tuple(
        tuple(total + value for total, value in zip(row, scores, strict=True)) if speech else row
        for row, scores, speech in zip(sums, step.scores, step.speech, strict=True)
    )
    return added, tuple(count + speech for count, speech in zip(counts, step.speech, strict=True))


def _mean(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return (
        tuple(rows[0])
        if len(rows) == 1
        else tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
    )


def chunks_of(waveform: np.ndarray, samples: int) -> Iterator[np.ndarray]:
    """Yield a waveform in chunks of `samples` samples, the last one shorter."""
    for start in range(0, len(waveform), samples):
        yield waveform[start : start + samples]
