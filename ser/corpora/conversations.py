"""Conversations: recordings with words, turns of a subject, and labels over time."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.errors import DataError
from ser.features.steps import STEP_S, Span, count_outside, count_steps
from ser.text.words import Word

_PAST_END_S = 1.0  # that labels may run past the audio: the last ones of a file often do
_TOLERANCE_S = 1e-6  # of distances between times, which are sums of rounded numbers
_NAMED = 5  # that a message lists

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Conversation:
    """A recording with its words, turns and labels over time.

    Args:
        id: Name of the recording.
        path: Path of the audio file.
        split: train, validation or test; None if the corpus has no splits.
        speaker: Name of the subject; None if it is unknown.
        words: Words, sorted by time; empty if there are none.
        turns: Start and end of each turn of the subject in s, sorted; None if the subject alone speaks.
        times: Times of the labels in s [L], ascending.
        values: Labels [L, K] float32; NaN = not labelled.
    """

    id: str
    path: Path
    split: str | None
    speaker: str | None
    words: tuple[Word, ...]
    turns: tuple[Span, ...] | None
    times: np.ndarray
    values: np.ndarray


def labels_on_grid(
    times: np.ndarray, values: np.ndarray, num_steps: int, duration_s: float, *, place: str = "labels"
) -> np.ndarray:
    """Return the label at each step of 0.1 s [T, K] float32: the nearest one within half a label period, else NaN.

    Args:
        times: Times of the labels in s [L], ascending; none if nothing is labelled.
        values: Labels [L, K].
        num_steps: Number of steps, T; step i is at i * 0.1 s.
        duration_s: Duration of the audio in s.
        place: File of the labels, for messages.

    Raises:
        DataError: As `check_label_times`.
    """
    check_label_times(times, duration_s, place=place)
    grid = np.full((num_steps, values.shape[1]), np.nan, np.float32)
    nearest, is_near = _find_nearest(times, num_steps)
    grid[is_near] = values[nearest[is_near]]
    return grid


def check_label_times(times: np.ndarray, duration_s: float, *, place: str) -> None:
    """Refuse labels that are not those of the audio.

    Args:
        times: Times of the labels in s [L], ascending; none if nothing is labelled.
        duration_s: Duration of the audio in s.
        place: File of the labels, for messages.

    Raises:
        DataError: Labels run past the audio by more than 1 s, or cover less than half of it.
    """
    if not len(times):
        return
    if times[-1] > duration_s + _PAST_END_S:
        raise DataError(
            f"{place}: has labels up to {times[-1]:g} s, but the audio is {duration_s:.2f} s long. "
            "Give the labels of this recording, or the whole audio."
        )
    _, is_near = _find_nearest(times, count_steps(duration_s))
    if 2 * is_near.sum() < len(is_near):
        raise DataError(
            f"{place}: has labels for {STEP_S * is_near.sum():.1f} s of {duration_s:.2f} s of audio, less than half. "
            "Give the labels of this recording, with times in seconds."
        )


def _find_nearest(times: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of the label nearest to each step [T], and whether it is within half a label period [T] bool."""
    if not len(times):
        return np.zeros(num_steps, int), np.zeros(num_steps, bool)
    period = float(np.median(np.diff(times))) if len(times) > 1 else STEP_S
    steps = STEP_S * np.arange(num_steps)
    following = np.searchsorted(times, steps).clip(max=len(times) - 1)
    pair = np.stack([(following - 1).clip(0), following])
    distances = np.abs(times[pair] - steps)
    nearest = pair[distances.argmin(0), np.arange(num_steps)]
    return nearest, distances.min(0) <= period / 2 + _TOLERANCE_S


def keep_words(
    words: Sequence[Word], duration_s: float, late: list[str], *, name: str, place: str
) -> tuple[Word, ...]:
    """Return the words that reach into the audio, and note the others.

    Args:
        words: Words of a recording, sorted.
        duration_s: Duration of the audio in s.
        late: Words that lie beyond the audio, to which those of this recording are appended.
        name: Name of the recording.
        place: Name of the words, for messages.

    Raises:
        DataError: There are words, and none reaches into the audio: they are of another recording.
    """
    num_steps = count_steps(duration_s)
    inside = len(words) - count_outside([(word.start, word.end) for word in words], num_steps)
    if words and not inside:
        raise DataError(
            f"{place}: has words from {words[0].start:g} s on, but {name} is {duration_s:.2f} s long. Give the words "
            "of this recording, with times in seconds."
        )
    late += [f"{word.text!r} of {name} at {word.start:g} s" for word in words[inside:]]
    return tuple(words[:inside])


def warn_about(what: str, names: Sequence[str]) -> None:
    """Log a warning with a count and the first names, if there are any.

    Args:
        what: What is wrong with them.
        names: Names of files, recordings or words.
    """
    if names:
        shown = ", ".join([*names[:_NAMED], *["..."] * (len(names) > _NAMED)])
        _log.warning("%d %s: %s", len(names), what, shown)
