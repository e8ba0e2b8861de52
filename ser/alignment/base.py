"""What every way to align has in common: a waveform and its words in, the times of the words out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from ser.features.vad import FRAME_SHIFT_S
from ser.features.vad_smoothing import Smoothing

SAMPLE_RATE = 16_000
"""Sample rate of all waveforms that are aligned, in Hz."""

_LOWEST_DB = -100.0  # digital silence is below
_SMOOTHING = Smoothing(3, 5, 1)  # frames: shortest speech, shortest silence, hang-over

Span = tuple[float, float]
"""Start and end of a word in seconds, from the start of its row."""


class CannotAlignError(Exception):
    """A row that a method cannot align; the message is the reason, in a few words."""


class Aligner(ABC):
    """Base class of the methods."""

    name: ClassVar[str]
    """Name of the method in settings and reports."""
    hears_tags: ClassVar[bool] = True
    """Whether tags such as <laughter> get a time of their own, rather than what is between the words around them."""

    def prepare(self, texts: Sequence[Sequence[str]]) -> None:  # noqa: B027
        """Prepare to align the texts of a recording, together where this is faster."""

    def describe_unknown_words(self) -> str | None:
        """Return which words the method does not know, and how often they occurred; None if there are none."""
        return None

    @abstractmethod
    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> list[Span]:
        """Return the times of words, in order and without overlap.

        Args:
            waveform: Waveform [samples], float32, at `SAMPLE_RATE`.
            tokens: Words with punctuation, one at least.

        Raises:
            CannotAlignError: The method cannot align this row.
        """


def find_speech(waveform: np.ndarray) -> np.ndarray:
    """Return which frames of 20 ms, each centred at a multiple of 10 ms, are speech [n] bool.

    A frame is loud where its level exceeds both the loudest frame's by -40 dB, and the noise's by 0.3 of what lies
    between noise and loudest frame; the noise is the 10th percentile of the levels. With a threshold relative to the
    loudest frame alone, noise at -35 dB counted as speech, and the first words of a tenth of the recordings began with
    the recording.
    """
    levels = _levels(waveform)
    peak, noise = levels.max(), np.percentile(levels, 10)
    is_loud = torch.from_numpy(levels > max(peak - 40, noise + 0.3 * (peak - noise), _LOWEST_DB))[None]
    found: np.ndarray = _SMOOTHING(is_loud, torch.ones_like(is_loud))[0].numpy()
    return found


def _levels(waveform: np.ndarray) -> np.ndarray:
    """Compute the mean square of frames in dB [n], as many as `Framing` has with `centered_padded`."""
    hop = round(SAMPLE_RATE * FRAME_SHIFT_S)
    count = 1 + len(waveform) // hop
    padded = np.zeros((count + 1, hop), np.float32)
    padded.reshape(-1)[hop : hop + len(waveform)] = waveform
    power = np.einsum("ij,ij->i", padded, padded)
    mean = float(waveform.mean()) if len(waveform) else 0.0  # a constant offset is no sound
    squares = (power[:-1] + power[1:]) / (2 * hop) - mean * mean
    levels: np.ndarray = 10 * np.log10(squares.clip(1e-12))
    return levels


def speech_places(waveform: np.ndarray) -> np.ndarray:
    """Return the indices of the frames that are speech.

    Raises:
        CannotAlignError: There is no speech.
    """
    places = np.flatnonzero(find_speech(waveform))
    if not len(places):
        raise CannotAlignError("no speech")
    return places
