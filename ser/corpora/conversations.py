"""Conversations: recordings with words, turns of a subject, and labels over time."""

import csv
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ser.audio.reader import OVERSHOOT_S, probe
from ser.errors import DataError
from ser.features.steps import STEP_S, Span, count_outside, count_steps
from ser.files import read_text
from ser.text.words import Word, check_order, read_time

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
        DataError: Labels run past the audio by more than 1 s, or cover less than half of it.
    """
    grid = np.full((num_steps, values.shape[1]), np.nan, np.float32)
    if not len(times):
        return grid
    period = float(np.median(np.diff(times))) if len(times) > 1 else STEP_S
    if times[-1] > duration_s + _PAST_END_S:
        raise DataError(
            f"{place}: has labels up to {times[-1]:g} s, but the audio is {duration_s:.2f} s long. "
            "Give the labels of this recording, or the whole audio."
        )
    steps = STEP_S * np.arange(num_steps)
    following = np.searchsorted(times, steps).clip(1, max(len(times) - 1, 1))
    pair = np.stack([following - 1, following.clip(max=len(times) - 1)])
    distances = np.abs(times[pair] - steps)
    nearest = pair[distances.argmin(0), np.arange(num_steps)]
    is_near = distances.min(0) <= period / 2 + _TOLERANCE_S
    if is_near.sum() < num_steps / 2:
        raise DataError(
            f"{place}: has labels for {STEP_S * is_near.sum():.1f} s of {duration_s:.2f} s of audio, less than half. "
            "Give the labels of this recording, with times in seconds."
        )
    grid[is_near] = values[nearest[is_near]]
    return grid


def read_numbers(place: str, cells: Sequence[str]) -> list[float]:
    """Convert cells of a table to numbers; an empty cell or `nan` is NaN, not labelled.

    Raises:
        DataError: A cell is no finite number.
    """
    numbers = []
    for cell in map(str.strip, cells):
        try:
            number = float(cell or "nan")
        except ValueError:
            number = math.inf
        if math.isinf(number):
            raise DataError(
                f"{place}: has {cell!r} instead of a number. Correct it, or leave the cell empty if it is not labelled."
            )
        numbers.append(number)
    return numbers


def read_table(path: Path, delimiter: str) -> list[tuple[int, list[str]]]:
    """Read the rows of a table without quotes, with their line numbers; empty lines are left out.

    Raises:
        DataError: The file is missing, unreadable or empty.
    """
    rows = enumerate(csv.reader(read_text(path).splitlines(), delimiter=delimiter, quoting=csv.QUOTE_NONE), 1)
    return [(number, row) for number, row in rows if any(cell.strip() for cell in row)]


def refuse_unsorted(path: Path, lines: Sequence[int], times: Sequence[float]) -> None:
    """Refuse label times that do not ascend.

    Args:
        path: File of the labels, for messages.
        lines: Line of each label.
        times: Times in s.

    Raises:
        DataError: A time is not after the one before.
    """
    for line, (before, time) in zip(lines[1:], pairwise(times), strict=True):
        if time <= before:
            raise DataError(
                f"{path}, line {line}: is at {time:g} s, not after {before:g} s in the line before. "
                "Sort the lines by time, with one line for each time."
            )


def read_turns(path: Path, duration_s: float, *, delimiter: str = ";") -> tuple[Span, ...]:
    """Read the turns of the subject: start and end in s.

    Raises:
        DataError: A line is malformed; turns are unsorted, overlap, or end more than 0.5 s after the audio.
    """
    turns = []
    for number, row in read_table(path, delimiter):
        place = f"{path}, line {number}"
        if len(row) != 2:
            raise DataError(
                f"{place}: has {len(row)} values, expected start{delimiter}end of a turn. Correct it."
            )
        turns.append((read_time(place, row[0]), read_time(place, row[1])))
        if turns[-1][1] > duration_s + OVERSHOOT_S:
            raise DataError(
                f"{place}: a turn ends at {turns[-1][1]:g} s, but the audio is {duration_s:.2f} s long. "
                "Correct the turn, or give the whole audio."
            )
    check_order(path, turns, "turn")
    return tuple(turns)


def words_inside(words: Sequence[Word], duration_s: float) -> tuple[Word, ...]:
    """Return the words that reach into the audio."""
    num_steps = count_steps(duration_s)
    return tuple(word for word in words if not count_outside([(word.start, word.end)], num_steps))


def duration_of(path: Path) -> float:
    """Return the duration of an audio file in s."""
    return probe(path).duration_s


def warn_about(what: str, names: Sequence[str]) -> None:
    """Log a warning with a count and the first names, if there are any.

    Args:
        what: What is wrong with them.
        names: Names of files or recordings.
    """
    if names:
        shown = ", ".join([*names[:_NAMED], *["..."] * (len(names) > _NAMED)])
        _log.warning("%d %s: %s", len(names), what, shown)
