"""Read what annotators made of a recording: turns of a speaker, and labels over time."""

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from ser.audio.reader import OVERSHOOT_S
from ser.errors import DataError
from ser.features.steps import Span
from ser.files import read_text
from ser.text.words import check_order, read_time


def read_rows(path: Path, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the place, for messages, and the cells of each line of a table without quotes; empty lines are left out.

    Raises:
        DataError: The file is missing, unreadable or empty.
    """
    lines = read_text(path).splitlines()
    for number, row in enumerate(csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE), 1):
        if any(cell.strip() for cell in row):
            yield f"{path}, line {number}", [cell.strip() for cell in row]


def read_columns(path: Path, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the place, for messages, and the cells of some columns of each line of a CSV file with a header.

    Args:
        path: CSV file; it may have further columns.
        names: Names of the columns.

    Raises:
        DataError: The file is missing, unreadable or empty, lacks a column, or has a line of another width.
    """
    rows = csv.reader(read_text(path).splitlines())
    header = [name.strip() for name in next(rows)]
    if missing := [name for name in names if name not in header]:
        raise DataError(
            f"{path}: has no column {missing[0]!r}, but {','.join(header)}. "
            f"Name the columns {','.join(names)} in the first line."
        )
    for number, row in enumerate(rows, 2):
        place = f"{path}, line {number}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise DataError(f"{place}: has {len(row)} values, expected {len(header)}. Correct it.")
        yield place, [row[header.index(name)].strip() for name in names]


def read_numbers(place: str, cells: Sequence[str]) -> list[float]:
    """Convert cells to numbers; an empty cell or `nan` is NaN, not labelled.

    Raises:
        DataError: A cell is no finite number.
    """
    numbers = []
    for cell in cells:
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


def refuse_unsorted(places: Sequence[str], times: Sequence[float]) -> None:
    """Refuse labels whose times do not ascend.

    Args:
        places: File and line of each label, for messages.
        times: Times in s.

    Raises:
        DataError: A label is not after the one before.
    """
    for place, (before, time) in zip(places[1:], pairwise(times), strict=True):
        if time <= before:
            raise DataError(
                f"{place}: is at {time:g} s, not after {before:g} s in the line before. "
                "Sort the lines by time, with one line for each time."
            )


def read_turns(path: Path, duration_s: float) -> tuple[Span, ...]:
    """Read the turns of a speaker: lines of start;end in s, sorted, without overlap.

    Raises:
        DataError: A line is malformed; turns are unsorted, overlap, or end more than 0.5 s after the audio.
    """
    turns = []
    for place, row in read_rows(path, ";"):
        if len(row) != 2:
            raise DataError(f"{place}: has {len(row)} values, expected start;end of a turn. Correct it.")
        start, end = (read_time(place, cell) for cell in row)
        if end > duration_s + OVERSHOOT_S:
            raise DataError(
                f"{place}: a turn ends at {end:g} s, but the audio is {duration_s:.2f} s long. "
                "Correct the turn, or give the whole audio."
            )
        turns.append((start, end))
    check_order(path, turns, "turn")
    return tuple(turns)
