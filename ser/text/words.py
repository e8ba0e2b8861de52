"""Read and write the words of a recording with their times.

Two layouts: `words`, a CSV with the header start,end,word; and `segmentation`, that of AVEC 2017 without a header,
`s{sentence}w{word};start;end;word`. Times are seconds. `read_wdseg` reads what the aligner Sphinx writes.
"""

import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ser.errors import DataError
from ser.files import read_text, write_atomic
from ser.runs.tables import format_csv
from ser.text.word_vectors import clean_word

Layout = Literal["words", "segmentation"]
HEADER = ("start", "end", "word")
ROUNDING_S = 0.02  # neighbours may overlap by this: times are often rounded to 10 ms
_DIGITS = 4
_ID = re.compile(r"s(\d+)w\d+")
_FRAME_S = 0.01  # of Sphinx
_PRONUNCIATION = re.compile(r"\(\d+\)$")
_SOUNDS = {
    "++LAUGHTER++": "<laughter>",
    "++BREATHING++": "<breathing>",
    "++LIPSMACK++": "<smacking>",
    "++GARBAGE++": "<noise>",
}


@dataclass(frozen=True)
class Word:
    """A word and when it is spoken.

    Args:
        text: The word, in lower case and without punctuation; a sound such as laughter is <laughter>.
        start: Start in seconds.
        end: End in seconds.
        sentence: Index of the row of the transcript.
    """

    text: str
    start: float
    end: float
    sentence: int = 0


def read_words(path: Path) -> list[Word]:
    """Read words in either layout, in the order of their times.

    Raises:
        DataError: The file is missing or in neither layout; or words have no times, are unsorted or overlap.
    """
    lines = read_text(path).splitlines()
    parse = _parse_words if lines[0].count(";") < len(HEADER) else _parse_segmentation
    words = parse(path, lines)
    if not words:
        raise DataError(f"{path}: has no words. Export it again.")
    for number, word in enumerate(words, 1):
        if not word.text:
            raise DataError(f"{path}, word {number}: has times and no text. Correct it, or leave it out.")
    check_order(path, [(word.start, word.end) for word in words], "word")
    return words


def read_wdseg(path: Path) -> list[Word]:
    """Read words in the layout of Sphinx: SFrm EFrm SegAScr Word, in frames of 10 ms, both of which the word covers.

    WHAT(2), a pronunciation of WHAT, is read as what; silences are left out, and sounds become tags such as <laughter>.

    Raises:
        DataError: A line is not SFrm EFrm SegAScr Word, or words are unsorted or overlap.
    """
    words = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        cells = line.split()
        if number == 1 or not cells or cells[0] == "Total":
            continue
        if len(cells) != 4 or not (cells[0] + cells[1]).isdecimal():
            raise DataError(f"{path}, line {number}: is not SFrm EFrm SegAScr Word. Copy the file again.")
        token = cells[3]
        text = _SOUNDS.get(token) or (
            "" if token.startswith("<") else clean_word(_PRONUNCIATION.sub("", token))
        )
        if text:
            words.append(Word(text, int(cells[0]) * _FRAME_S, (int(cells[1]) + 1) * _FRAME_S))
    check_order(path, [(word.start, word.end) for word in words], "word")
    return words


def write_words(path: Path, words: Iterable[Word], layout: Layout = "words") -> None:
    """Write words to a CSV file, with times of 4 digits.

    Raises:
        DataError: The file cannot be written.
    """
    times = [(f"{word.start:.{_DIGITS}f}", f"{word.end:.{_DIGITS}f}", word) for word in words]
    if layout == "words":
        write_atomic(path, format_csv(HEADER, [(start, end, word.text) for start, end, word in times]))
        return
    lines, counts = [], dict[int, int]()
    for start, end, word in times:
        number = counts[word.sentence] = counts.get(word.sentence, -1) + 1
        lines.append(f"s{word.sentence}w{number};{start};{end};{word.text}\n")
    write_atomic(path, "".join(lines))


def read_time(place: str, text: str) -> float:
    """Convert a text to seconds.

    Raises:
        DataError: It is no number of seconds, 0 or more.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(f"{place}: has the time {text!r}, expected seconds, 0 or more. Correct it.")
    return seconds


def check_order(path: Path, times: Sequence[tuple[float, float]], what: str) -> None:
    """Check that each start lies before its end, and that starts are sorted and nothing overlaps.

    Args:
        path: File of the times, for messages.
        times: Starts and ends in seconds.
        what: Name of what has the times, for messages.

    Raises:
        DataError: Times are out of order; the message has the numbers of the first pair.
    """
    for number, (start, end) in enumerate(times, 1):
        if end < start:
            raise DataError(
                f"{path}, {what} {number}: ends at {end:g} s, before its start at {start:g} s. Correct it."
            )
    for number, ((start, end), (following, _)) in enumerate(pairwise(times), 1):
        if following < start:
            raise DataError(
                f"{path}, {what} {number + 1}: starts at {following:g} s, before {what} {number} at {start:g} s. "
                f"Sort the {what}s by their start."
            )
        if following < end - ROUNDING_S:
            raise DataError(
                f"{path}, {what} {number + 1}: starts at {following:g} s, before {what} {number} ends at {end:g} s. "
                f"Correct the times, or put another speaker's {what}s into a file of their own."
            )


def _parse_words(path: Path, lines: Sequence[str]) -> list[Word]:
    rows = csv.reader(lines)
    header = [name.strip().lower() for name in next(rows)]
    if missing := [name for name in HEADER if name not in header]:
        raise DataError(
            f"{path}: has no column {missing[0]!r}. Name the columns {','.join(HEADER)} in the first line."
        )
    start, end, text = (header.index(name) for name in HEADER)
    words = []
    for number, row in enumerate(rows, 2):
        place = f"{path}, line {number}"
        if not any(row):
            continue
        if len(row) != len(header):
            raise DataError(f"{place}: has {len(row)} values, expected {len(header)}. Correct it.")
        words.append(Word(row[text].strip(), read_time(place, row[start]), read_time(place, row[end])))
    return words


def _parse_segmentation(path: Path, lines: Sequence[str]) -> list[Word]:
    words = []
    for number, line in enumerate(lines, 1):
        place = f"{path}, line {number}"
        name, *rest = line.split(";", 3)
        if not line.strip():
            continue
        if len(rest) != len(HEADER) or not (found := _ID.fullmatch(name.strip())):
            raise DataError(f"{place}: is not s0w0;start;end;word. Correct it.")
        start, end = (read_time(place, text) for text in rest[:2])
        words.append(Word(rest[2].strip(), start, end, int(found[1])))
    return words
