"""What a page shows of utterances beside their answers: recordings, spectrograms, features, lengths."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ser.audio.clip import RATES, encode_mp3
from ser.audio.reader import probe, read_audio
from ser.batch import Padded, UtteranceId
from ser.data.manifest import Utterance
from ser.data.store import Store
from ser.errors import SerError, first_line
from ser.features.extractors import LogMel
from ser.html_report.elements import Picture

LONGEST_S = 8.0
"""Most seconds of a recording that a page holds."""
_RATE = 16_000
_MEL_BINS = 64
_RANGE_DB = 70.0  # levels below the loudest one that are told apart
_MOST_COLUMNS = 400  # of a picture of features; a spectrogram of 8 s has half as many


@dataclass(frozen=True, kw_only=True)
class Material:
    """Utterances of the split that a page is about.

    Args:
        store: Their features or waveforms.
        step_s: Duration of a step of the store in s.
        is_waveform: Whether a step of the store is a sample.
        recordings: Where the recording of each utterance is; without those that have none.
        has_audio: Whether the page may hold recordings.
    """

    store: Store
    step_s: float
    is_waveform: bool = False
    recordings: Mapping[UtteranceId, Utterance] = field(default_factory=dict)
    has_audio: bool = True

    @cached_property
    def places(self) -> dict[str, int]:
        """Return the index of each utterance by its id, as it is written."""
        return {str(name): place for place, name in enumerate(self.store.ids)}

    def seconds(self, name: str) -> float:
        """Return the duration of an utterance in s."""
        return float(self.store.lengths[self.places[name]]) * self.step_s

    def waveform(self, name: str) -> tuple[np.ndarray, int] | None:
        """Return the first seconds of the waveform [samples] of an utterance, and its sample rate; None if it has none.

        Raises:
            SerError: Its recording cannot be read.
        """
        recording = self.recordings.get(self.store.ids[self.places[name]])
        if recording is not None:
            end = probe(recording.path).duration_s if recording.end is None else recording.end
            end = min(end, recording.start + LONGEST_S)
            return read_audio(recording.path, _RATE, start=recording.start, end=end), _RATE
        if not self.is_waveform:
            return None
        rate = round(1 / self.step_s)
        return self._steps(name, round(LONGEST_S * rate))[:, 0], rate

    def picture(self, name: str) -> Picture | None:
        """Return a picture of the features of an utterance, each scaled over time; None if it has one step."""
        steps = self._steps(name, int(self.store.lengths[self.places[name]]))
        if len(steps) < 2 or steps.shape[1] < 2:
            return None
        every = -(-len(steps) // _MOST_COLUMNS)
        scaled = (steps - steps.mean(0)) / np.maximum(
            steps.std(0), 1e-6
        )  # else loud bands would hide the others
        size = f"{len(steps):,} steps of {steps.shape[1]} values, each scaled over time"
        return Picture(draw(scaled[::every]), f"Features of {name}, from left to right over time: {size}.")

    def _steps(self, name: str, most: int) -> np.ndarray:
        """Return the first steps [T, F] of an utterance in the store."""
        place = self.places[name]
        length = min(int(self.store.lengths[place]), most)
        found: np.ndarray = self.store.gather(np.array([place]), np.zeros(1, int), np.array([length]))[
            0
        ].numpy()
        return found


@dataclass(frozen=True)
class Shown:
    """An utterance to look at, and to listen to if it has a recording.

    Args:
        picture: Its spectrogram or features.
        audio: MP3; None without a recording.
        note: What is cut off or missing.
    """

    picture: Picture | None
    audio: bytes | None
    note: str = ""


def show(material: Material, name: str) -> Shown:
    """Return picture and recording of an utterance; a recording that cannot be read is named in the note."""
    try:
        found = material.waveform(name)
        if found is None:
            return Shown(material.picture(name), None)
        waveform, rate = found
        # A rate that MP3 lacks is that of features, not of a recording.
        audio = encode_mp3(waveform, rate) if material.has_audio and rate in RATES else None
    except SerError as error:
        return Shown(material.picture(name), None, f"Its recording cannot be read: {first_line(error)}.")
    is_cut = len(waveform) / rate < material.seconds(name) - 0.5
    note = f"The first {LONGEST_S:g} s." if is_cut else ""
    return Shown(spectrogram(waveform, rate, name), audio, note)


@torch.inference_mode()
def spectrogram(waveform: np.ndarray, sample_rate: int, name: str) -> Picture | None:
    """Return the log-mel spectrogram of a waveform [samples]; None if it is shorter than a frame."""
    settings: dict[str, Any] = {"frame_shift_ms": 20.0, "num_mel_bins": _MEL_BINS, "log": "decibel"}
    extractor = LogMel(sample_rate=sample_rate, **settings)
    if len(waveform) < extractor.min_samples:
        return None
    samples = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)).reshape(1, -1, 1)
    frames = extractor(Padded(samples, torch.tensor([len(waveform)]))).values[0].numpy()
    alt = f"Spectrogram of {name}: {len(waveform) / sample_rate:.1f} s, 0 to {sample_rate / 2000:g} kHz on a mel scale."
    return Picture(draw(np.maximum(frames, frames.max() - _RANGE_DB)), alt)


def draw(frames: np.ndarray) -> bytes:
    """Draw features [T, F] as PNG, a pixel for each value, from 5% of the values in black to the largest in white."""
    from matplotlib.image import imsave

    low, high = np.percentile(frames, 5), frames.max()
    content = io.BytesIO()
    imsave(
        content, frames.T, vmin=low, vmax=max(high, low + 1e-6), cmap="magma", origin="lower", format="png"
    )
    return content.getvalue()
