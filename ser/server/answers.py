"""The model that is served: answers to recordings, as plain values for JSON, with the numbers of `ser predict`."""

import io
import math
import os
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ser.audio.reader import probe, read_audio
from ser.errors import ConfigError, DataError, SerError
from ser.inference import curves
from ser.inference.api import Prediction, Predictor
from ser.inference.head_statistics import refuse_groups
from ser.inference.stream import Decision, Stream
from ser.server.limits import Limits, RequestError
from ser.server.plane import plane_of, tasks_of
from ser.server.spectrogram import Spectrogram

_COLUMNS = 1200  # points of a curve and columns of a picture: a page of 1600 pixels shows no more
_MOST_WINDOWS = 240  # of a recording; of a longer one they lie further apart
_WINDOWS_AT_ONCE = 16

Window = tuple[float, list[float]]
"""Middle of a window in s, and the answer [A] to it."""


class ServedModel:
    """One model for all requests and streams.

    Args:
        predictor: Trained model.
        limits: Limits of a recording.
        window_s: Length of the windows, in which a model of utterances is asked over time, in s.
        hop_s: Seconds from one window to the next.

    Raises:
        SerError: The model cannot predict a waveform, or needs others beside it.
    """

    def __init__(self, predictor: Predictor, limits: Limits, *, window_s: float, hop_s: float) -> None:
        for trained in predictor.models:
            refuse_groups(trained, "a server hears one at a time")
        self.predictor = predictor
        self.limits = limits
        self.window_s = window_s
        self.hop_s = hop_s
        self.sample_rate = predictor.sample_rate
        self.spectrogram = Spectrogram(self.sample_rate)
        self.has_curves = curves.predicts_curves(predictor.models)
        self.stream: Stream | None = None
        self.no_stream = ""
        try:
            self.stream = predictor.stream()
        except ConfigError as error:
            self.no_stream = str(error)
        first = self._predict_content(_a_second_of_noise(self.sample_rate))
        bits = {
            name
            for part in tasks_of(predictor.models[0].target)
            if part.class_names
            for name in part.label_names
        }
        self.names = [*first.probabilities, *(name for name in _numbers(first) if name not in bits)]
        self.num_probabilities = len(first.probabilities)
        self.plane = plane_of(predictor.models[0].target, self.names)

    @property
    def mode(self) -> str:
        """Return how the model answers over time: `frames` of a stream, `windows`, or `curves` of recordings alone."""
        if self.stream is not None:
            return "frames"
        return "curves" if self.has_curves else "windows"

    def describe(self) -> dict[str, Any]:
        """Describe the model for the page."""
        return {
            "model": ", ".join(dict.fromkeys(_name_of(model.path) for model in self.predictor.models)),
            "names": self.names,
            "num_probabilities": self.num_probabilities,
            "sample_rate": self.sample_rate,
            "mode": self.mode,
            "window_s": self.window_s,
            "hop_s": self.hop_s,
            "plane": None if self.plane is None else self.plane.source,
            "limits": {
                "max_mb": self.limits.max_mb,
                "max_duration_s": self.limits.max_duration_s,
                "max_stream_s": self.limits.max_stream_s,
            },
        }

    def answer(
        self, content: bytes, name: str, *, detail: bool, check_time: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Predict the content of an audio file.

        Args:
            content: Bytes of the file.
            name: Its name, for messages.
            detail: Whether to add the answers over time and the spectrogram.
            check_time: Raises where the computation may not go on.

        Raises:
            RequestError: The content is not audio, or too long, or cannot be predicted.
        """
        with _as_file(content) as path:
            try:
                duration_s = self._check_audio(path, name)
                prediction = self.predictor.predict(path)
                check_time()
                answer = {**plain(prediction), "duration_s": round(duration_s, 4)}
                if self.plane is not None:
                    answer["position"] = self.plane.locate(self.vector(prediction))
                if detail:
                    waveform = read_audio(path, self.sample_rate)
                    answer["over_time"] = self._over_time(waveform, prediction, check_time)
                    answer["spectrogram"] = self.spectrogram.whole(waveform, _COLUMNS)
            except SerError as error:
                raise RequestError(422, _rename(error, path, name)) from error
        return answer

    def vector(self, prediction: Prediction) -> list[float]:
        """Return the numbers [A] of an answer in the order of `names`; NaN where it has none."""
        found = {**prediction.values, **prediction.probabilities}
        return [
            math.nan if found.get(name) is None or np.ndim(found[name]) else float(found[name])
            for name in self.names
        ]

    def predict_windows(self, windows: Sequence[np.ndarray]) -> list[list[float]]:
        """Return the answers [A] to windows [samples] at the model's rate."""
        return [self.vector(found) for found in self.predictor.predict([*windows], self.sample_rate)]

    def summarize(self, so_far: Sequence[float] | None) -> dict[str, Any]:
        """Describe the mean answer [A] of everything so far, as JSON."""
        if so_far is None or not all(map(math.isfinite, so_far)):
            return {"label": None, "so_far": None, "position": None}
        labels, first = [], 0
        for part in tasks_of(self.predictor.models[0].target):
            if part.class_names:
                labels.append(part.class_names[int(np.argmax(so_far[first : first + len(part.class_names)]))])
                first += len(part.class_names)
        label = ", ".join(labels) or None
        position = None if self.plane is None else self.plane.locate(so_far)
        return {"label": label, "so_far": rounded(so_far), "position": position}

    def _check_audio(self, path: Path, name: str) -> float:
        """Return the duration of a file in s, if it is audio and short enough."""
        try:
            duration_s = probe(path, most_s=self.limits.max_duration_s + 1).duration_s
        except DataError as error:
            raise RequestError(415, _rename(error, path, name)) from error
        if duration_s > self.limits.max_duration_s:
            raise RequestError(
                413,
                f"{name}: lasts {duration_s:.0f} s or more, and this server takes {self.limits.max_duration_s:g} s "
                "at most. Cut it into shorter files.",
            )
        return duration_s

    def _predict_content(self, content: bytes) -> Prediction:
        with _as_file(content) as path:
            return self.predictor.predict(path)

    def _over_time(
        self, waveform: np.ndarray, prediction: Prediction, check_time: Callable[[], None]
    ) -> dict[str, Any]:
        """Return the answers over time, and the place of each on the plane."""
        times: list[float]
        if self.stream is not None:
            times, values, speech = self._frames(self.stream, waveform, check_time)
        elif prediction.times is not None:
            columns = [prediction.values[name] for name in self.names]
            times, values, speech = _thin(prediction.times, np.stack(columns, axis=1), None)
        else:
            times, values, speech = self._windows(waveform, check_time)
        positions = None if self.plane is None else [self.plane.locate(row) for row in values]
        return {
            "times_s": rounded(times),
            "values": [rounded(row) for row in values],
            "speech": speech,
            "positions": positions,
        }

    def _frames(self, stream: Stream, waveform: np.ndarray, check_time: Callable[[], None]) -> Any:
        """Return times, probabilities and speech of the decisions of a stream."""
        state, decisions = stream.initial_state(), list[Decision]()
        for start in range(0, len(waveform), self.sample_rate):
            chunk = torch.from_numpy(waveform[start : start + self.sample_rate])
            found, state = stream.step(chunk, state)
            decisions += found
            check_time()
        decisions += stream.end(state)[0]
        values = np.array([own.probabilities for own in decisions]).reshape(len(decisions), len(self.names))
        return _thin(
            np.array([own.time_s for own in decisions]),
            values,
            np.array([own.is_speech for own in decisions], dtype=bool),
        )

    def _windows(self, waveform: np.ndarray, check_time: Callable[[], None]) -> Any:
        """Return the middles of windows and the answers to them; one window, if the recording is shorter."""
        size = round(self.window_s * self.sample_rate)
        hop_s = max(self.hop_s, len(waveform) / self.sample_rate / _MOST_WINDOWS)
        starts = [*range(0, max(1, len(waveform) - size + 1), round(hop_s * self.sample_rate))]
        values: list[list[float]] = []
        for first in range(0, len(starts), _WINDOWS_AT_ONCE):
            some = starts[first : first + _WINDOWS_AT_ONCE]
            values += self.predict_windows([waveform[start : start + size] for start in some])
            check_time()
        length = min(size, len(waveform))
        return [(start + length / 2) / self.sample_rate for start in starts], values, None


def plain(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as plain values; None where a number is not finite."""
    answer: dict[str, Any] = {
        "label": prediction.label,
        "probabilities": {name: _finite(value) for name, value in prediction.probabilities.items()},
        "values": {name: _plain_value(value) for name, value in prediction.values.items()},
    }
    if prediction.times is not None:
        answer["times_s"] = rounded(prediction.times)
    return answer


def rounded(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Round numbers to 6 digits after the point; None for those that are not finite."""
    return [round(float(value), 6) if math.isfinite(value) else None for value in values]


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return rounded(value)
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _numbers(prediction: Prediction) -> list[str]:
    """Return the names of the values that are numbers, or numbers over time."""
    return [
        name for name, value in prediction.values.items() if np.ndim(value) or isinstance(value, float | int)
    ]


def _thin(times: np.ndarray, values: np.ndarray, speech: np.ndarray | None) -> Any:
    """Average neighbouring points of curves, so that at most `_COLUMNS` are left."""
    joined = -(-len(times) // _COLUMNS)
    flags = None if speech is None else speech.tolist()
    if joined <= 1:
        return times.tolist(), values.tolist(), flags
    starts = np.arange(0, len(times), joined)
    counts = np.diff([*starts, len(times)])
    means = [np.add.reduceat(own, starts, axis=0) for own in (times, values)]
    if speech is not None:
        flags = (2 * np.add.reduceat(speech.astype(int), starts) >= counts).tolist()
    return (means[0] / counts).tolist(), (means[1] / counts[:, None]).tolist(), flags


def _name_of(path: Path) -> str:
    """Return the name of the run that a checkpoint belongs to."""
    return path.parents[1].name if path.parent.name == "checkpoints" else path.stem


def _rename(error: SerError, path: Path, name: str) -> str:
    """Return the message of an error with the name that the client knows."""
    return str(error).replace(str(path), name)


def _a_second_of_noise(sample_rate: int) -> bytes:
    """Return a WAV, which shows before the first request whether recordings can be predicted."""
    noise = np.random.default_rng(0).normal(scale=0.05, size=sample_rate).clip(-1, 1)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((noise * 32767).astype("<i2").tobytes())
    return content.getvalue()


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """Yield the path of a file with this content: on Linux in memory alone, else deleted at the end."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("upload"), "wb") as file:
            file.write(content)
            file.flush()
            yield Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "upload"
            path.write_bytes(content)
            yield path
