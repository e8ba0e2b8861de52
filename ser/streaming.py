"""Live use: a model that hears speech as it comes, and says exactly what it says of the whole recording."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ser.checkpoint import Trained, find, load
from ser.errors import ConfigError, DataError
from ser.features.stream import FeatureState, FeatureStream, Frames
from ser.frame_targets import FrameClasses
from ser.inference import extractor_of
from ser.models.base import State


@dataclass(frozen=True)
class Decision:
    """What is said of one step of a stream.

    Args:
        time_s: when its frame begins; where a model joins frames to a step, the last of them.
        probabilities: [C], of this frame; where the model answers utterances, of all that was heard so far.
        is_speech: whether the frame counts in `so_far`.
        so_far: [C], the decision about everything heard so far; None while there was no speech.
    """

    time_s: float
    probabilities: tuple[float, ...]
    is_speech: bool
    so_far: tuple[float, ...] | None


@dataclass(frozen=True)
class _Step:
    """One step that the models have answered, and that waits to be known as speech or silence."""

    number: int
    scores: tuple[tuple[float, ...], ...]  # of each model
    heard: tuple[bool, ...]  # likewise: whether the model takes it for speech, where silence is a class


@dataclass(frozen=True)
class StreamState:
    """All that a stream remembers: keep it, copy it, or give it back to `Stream.state` at any time.

    Args:
        features: of the front end.
        models: one a model.
        unanswered: numbers of the frames that a model has taken in, but not joined to a step yet.
        waiting: steps that are not known to be speech or silence.
        flags: whether frames are speech, from frame `first_flag` on, as far as steps may still ask for them.
        first_flag: number of a frame.
        sums: [M][C], probabilities of frames of speech, added up for each model.
        counts: [M], how many these are.
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
    """Answers speech as it comes.

    >>> stream = Stream.from_checkpoint("RUN/checkpoints/best.ckpt")
    >>> for samples in microphone:
    ...     for decision in stream.push(samples): print(decision)
    >>> stream.finish()

    Any number of samples may be pushed at once, and none of it changes an answer. Decisions come in order, each once:
    where silence is to be left out, as late as the detector's `look_ahead_s` is.

    Args:
        models: one, or several whose probabilities are averaged.

    Raises:
        ConfigError: a model, or its features, needs more than has been heard.
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
            if trained.model.encoder.subsampling != self.subsampling:
                raise ConfigError(
                    f"ckpt: {trained.path} joins {trained.model.encoder.subsampling} frames to a step, and "
                    f"{self.models[0].path} {self.subsampling}. Stream models of one kind together, or one alone."
                )
        mode = getattr(self.models[0].target, "silence", None)
        self.answers_frames = isinstance(self.models[0].target, FrameClasses)
        self.waits = self.answers_frames and self.features.detector is not None and mode in ("keep", "mask")
        self.state = self.initial_state()

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> "Stream":
        """A stream from a checkpoint, or from the folder of a run.

        Raises:
            CheckpointError: the file cannot be used.
            ConfigError: as the constructor.
        """
        return cls([load(found) for found in find(path)])

    @property
    def look_ahead_s(self) -> float:
        """How long after the end of its frame a decision comes, at most, in seconds."""
        detector = self.features.detector
        if detector is None or not (self.waits or self.features.removes):
            return 0.0
        return detector.smoothing.look_ahead * detector.framing.shift / self.sample_rate

    @torch.inference_mode()
    def initial_state(self) -> StreamState:
        """Nothing heard."""
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
        """Forget everything: what is pushed next is another recording."""
        self.state = self.initial_state()

    def push(self, samples: Tensor | np.ndarray, sample_rate: int | None = None) -> list[Decision]:
        """The decisions that more samples allow.

        Args:
            samples: [n] in -1..1, any number, also none.
            sample_rate: of them, in Hz; None = as it has to be.

        Raises:
            DataError: they have another sample rate, or are not finite.
        """
        if sample_rate not in (None, self.sample_rate):
            raise DataError(
                f"stream: samples come at {sample_rate} Hz, but {self.models[0].path} was trained at "
                f"{self.sample_rate} Hz. Resample them, and never change the rate within a stream."
            )
        decisions, self.state = self.step(torch.as_tensor(samples, dtype=torch.float32), self.state)
        return decisions

    def finish(self) -> list[Decision]:
        """What was held back, now that nothing more comes; a frame that is not full is dropped."""
        decisions, self.state = self.end(self.state)
        return decisions

    @torch.inference_mode()
    def step(self, samples: Tensor, state: StreamState) -> tuple[list[Decision], StreamState]:
        """As `push`, with the state passed in and out.

        Args:
            samples: [n] float32.
            state: after the samples before; it is left as it was.

        Raises:
            DataError: the samples are not finite.
        """
        frames, features = self.features.push(samples, state.features)
        state = self._taken_in(frames, replace(state, features=features))
        return self._decided(state)

    @torch.inference_mode()
    def end(self, state: StreamState) -> tuple[list[Decision], StreamState]:
        """As `finish`, with the state passed in and out."""
        state = self._taken_in(self.features.finish(state.features), state)
        if state.unanswered:
            logits = [
                trained.model.finish(own) for trained, own in zip(self.models, state.models, strict=True)
            ]
            state = self._answered(logits, state)
        return self._decided(state)

    def _taken_in(self, frames: Frames, state: StreamState) -> StreamState:
        """Let the models hear frames."""
        if frames.speech:
            state = replace(state, flags=(*state.flags, *frames.speech))
        if not len(frames.numbers):
            return state
        state = replace(state, unanswered=(*state.unanswered, *frames.numbers))
        chunk = frames.values[None]
        stepped = [
            trained.model.step(chunk, own) for trained, own in zip(self.models, state.models, strict=True)
        ]
        state = replace(state, models=tuple(after for _, after in stepped))
        return self._answered([logits for logits, _ in stepped], state)

    def _answered(self, logits: Sequence[Tensor], state: StreamState) -> StreamState:
        """Note what the models say, [1, m, out_dim] each, of the oldest frames without an answer."""
        count = logits[0].shape[1]
        if not count:
            return state
        scores = [
            trained.target.scores(one[0]).tolist() for trained, one in zip(self.models, logits, strict=True)
        ]
        heard = [self._heard(trained, one[0]) for trained, one in zip(self.models, logits, strict=True)]
        ends = [min((step + 1) * self.subsampling, len(state.unanswered)) for step in range(count)]
        steps = (
            _Step(
                state.unanswered[end - 1],
                tuple(tuple(model[step]) for model in scores),
                tuple(model[step] for model in heard),
            )
            for step, end in enumerate(ends)
        )
        return replace(state, waiting=(*state.waiting, *steps), unanswered=state.unanswered[ends[-1] :])

    def _heard(self, trained: Trained, logits: Tensor) -> list[bool]:
        """Whether a model takes each of [m, out_dim] for speech, as far as it is asked."""
        target: Any = trained.target
        if not self.answers_frames or target.silence != "class":
            return [True] * len(logits)
        heard: list[bool] = target.heard(logits, torch.ones(len(logits), dtype=torch.bool)).tolist()
        return heard

    def _decided(self, state: StreamState) -> tuple[list[Decision], StreamState]:
        """The decisions about steps that are known to be speech or silence."""
        known = state.first_flag + len(state.flags)
        ready = [step for step in state.waiting if not self.waits or step.number < known]
        if not ready:
            return [], state
        sums, counts = [list(row) for row in state.sums], [*state.counts]
        decisions = [self._decision(step, state, sums, counts) for step in ready]
        passed = min(ready[-1].number + 1 - state.first_flag, len(state.flags))
        return decisions, replace(
            state,
            waiting=state.waiting[len(ready) :],
            flags=state.flags[passed:],
            first_flag=state.first_flag + passed,
            sums=tuple(map(tuple, sums)),
            counts=tuple(counts),
        )

    def _decision(
        self, step: _Step, state: StreamState, sums: list[list[float]], counts: list[int]
    ) -> Decision:
        """One decision; sums and counts are brought up to date."""
        speech = not self.waits or state.flags[step.number - state.first_flag]
        mean = _mean(step.scores)
        time_s = step.number * self.shift_s
        if not self.answers_frames:
            return Decision(time_s, mean, speech, mean)
        for model, (row, heard) in enumerate(zip(step.scores, step.heard, strict=True)):
            if speech and heard:
                counts[model] += 1
                sums[model] = [total + value for total, value in zip(sums[model], row, strict=True)]
        means = [[total / count for total in row] for row, count in zip(sums, counts, strict=True) if count]
        so_far = _mean(means) if len(means) == len(counts) else None
        return Decision(time_s, mean, speech and 2 * sum(step.heard) >= len(step.heard), so_far)


def _mean(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return (
        tuple(rows[0])
        if len(rows) == 1
        else tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
    )


def chunks_of(waveform: np.ndarray, samples: int) -> Iterator[np.ndarray]:
    """A waveform in pieces of so many samples, the last one shorter."""
    for start in range(0, len(waveform), samples):
        yield waveform[start : start + samples]
