"""Streams of one model: samples in, answers out; each stream has a state of its own."""

from typing import Any, Protocol

import numpy as np
import torch

from ser.audio.resampler import Resampler
from ser.errors import DataError
from ser.inference.stream import Decision, Stream
from ser.server.answers import ServedModel, rounded


class Answers(Protocol):
    """How a model answers a stream."""

    def push(self, samples: np.ndarray) -> dict[str, Any]:
        """Process the next samples [n] at the model's rate, and describe the new answers."""

    def finish(self) -> dict[str, Any]:
        """Describe the answers that were held back."""


class Session:
    """One stream of a client.

    Args:
        model: The served model, which is shared.
        sample_rate: Rate of the client's samples in Hz.
        spectrogram: Whether to send columns of the spectrogram.
    """

    def __init__(self, model: ServedModel, sample_rate: int, *, spectrogram: bool) -> None:
        self.model = model
        self.sample_rate = sample_rate
        self.received = 0
        self._resampler = Resampler(sample_rate, model.sample_rate)
        self._answers: Answers = (
            WindowAnswers(model) if model.stream is None else FrameAnswers(model, model.stream)
        )
        self._picture = model.spectrogram.initial_state() if spectrogram else None

    @property
    def received_s(self) -> float:
        """Return the seconds of sound that were received."""
        return self.received / self.sample_rate

    def push(self, samples: np.ndarray) -> dict[str, Any]:
        """Process samples [n] float32, and return a message about the new answers.

        Raises:
            DataError: A sample is not finite.
        """
        if not np.isfinite(samples).all():
            raise DataError(
                f"the stream, after {self.received_s:.2f} s: a sample is NaN or infinite. Send numbers in -1..1."
            )
        self.received += len(samples)
        return self._process(self._resampler.push(samples))

    def finish(self) -> dict[str, Any]:
        """Return the last message of the stream.

        Raises:
            DataError: The stream is too short for an answer.
        """
        rest = self._resampler.push(np.empty(0, dtype=np.float32), last=True)
        message = self._process(rest)
        last = self._answers.finish()
        for key in ("times_s", "values", "speech", "positions"):
            message[key] += last[key]
        return {
            **last,
            **{key: value for key, value in message.items() if key not in _SUMMARY},
            "type": "end",
        }

    def _process(self, samples: np.ndarray) -> dict[str, Any]:
        message = {"type": "answers", "samples": self.received, **self._answers.push(samples)}
        if self._picture is not None:
            message["spectrogram"], self._picture = self.model.spectrogram.push(samples, self._picture)
        return message


_SUMMARY = ("label", "so_far", "position")


class FrameAnswers:
    """A decision for each frame, of a model that can stream.

    Args:
        model: The served model.
        stream: Its stream, whose own state is not used.
    """

    def __init__(self, model: ServedModel, stream: Stream) -> None:
        self.model = model
        self.stream = stream
        self.state = stream.initial_state()
        self.so_far: tuple[float, ...] | None = None

    def push(self, samples: np.ndarray) -> dict[str, Any]:
        """See `Answers`."""
        decisions, self.state = self.stream.step(torch.from_numpy(samples), self.state)
        return self._describe(decisions)

    def finish(self) -> dict[str, Any]:
        """See `Answers`."""
        decisions, self.state = self.stream.end(self.state)
        return self._describe(decisions)

    def _describe(self, decisions: list[Decision]) -> dict[str, Any]:
        if decisions:
            self.so_far = decisions[-1].so_far
        plane = self.model.plane
        return {
            "times_s": rounded([own.time_s for own in decisions]),
            "values": [rounded(own.probabilities) for own in decisions],
            "speech": [own.is_speech for own in decisions],
            "positions": [None if plane is None else plane.locate(own.probabilities) for own in decisions],
            **self.model.summarize(self.so_far),
        }


class WindowAnswers:
    """An answer to each window, of a model of whole utterances; the decision so far is their mean.

    The windows are those of a recording: of `window_s`, every `hop_s`. What is shorter is one window.

    Args:
        model: The served model.
    """

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.size = round(model.window_s * model.sample_rate)
        self.hop = round(model.hop_s * model.sample_rate)
        self.kept = np.empty(0, dtype=np.float32)
        self.start = 0  # of the samples that are kept
        self.sum = np.zeros(len(model.names))
        self.count = 0

    def push(self, samples: np.ndarray) -> dict[str, Any]:
        """See `Answers`."""
        self.kept = np.concatenate([self.kept, samples])
        windows = [self.kept[first : first + self.size] for first in self._starts()]
        begin, used = self.start, self.hop * len(windows)
        self.kept, self.start = self.kept[used:], self.start + used
        return self._describe(windows, begin)

    def finish(self) -> dict[str, Any]:
        """See `Answers`.

        Raises:
            DataError: The stream is shorter than one frame.
        """
        windows = [self.kept] if not self.start and len(self.kept) else []
        try:
            return self._describe(windows, 0)
        except DataError as error:
            raise DataError(str(error).replace("item 0:", "the stream:", 1)) from error

    def _starts(self) -> range:
        """Return the first samples of the windows that are complete."""
        return range(0, len(self.kept) - self.size + 1, self.hop)

    def _describe(self, windows: list[np.ndarray], begin: int) -> dict[str, Any]:
        values = self.model.predict_windows(windows) if windows else []
        finite = [row for row in values if np.isfinite(row).all()]
        self.sum += np.sum(finite, axis=0) if finite else 0
        self.count += len(finite)
        plane = self.model.plane
        middles = [begin + place * self.hop + len(window) / 2 for place, window in enumerate(windows)]
        return {
            "times_s": rounded([middle / self.model.sample_rate for middle in middles]),
            "values": [rounded(row) for row in values],
            "speech": [bool(np.isfinite(row).all()) for row in values],
            "positions": [None if plane is None else plane.locate(row) for row in values],
            **self.model.summarize((self.sum / self.count).tolist() if self.count else None),
        }
