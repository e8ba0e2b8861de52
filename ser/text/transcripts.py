"""Read transcripts: what is said in a recording, whole or in rows with times."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ser.errors import DataError
from ser.files import read_text
from ser.text.word_vectors import clean_word
from ser.text.words import check_order, read_time

SUFFIXES = (".txt", ".csv")
_HEADER = ["start", "end", "text"]
_FILLER = "<filler>"


@dataclass(frozen=True)
class Row:
    """What is said between two times.

    Args:
        start: Start in seconds.
        end: End in seconds; None for the end of the recording.
        tokens: Its words as they are written, with punctuation; each has letters, or is a tag such as <laughter>.
    """

    start: float
    end: float | None
    tokens: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """Return the words in lower case and without punctuation."""
        return [clean_word(token) for token in self.tokens]


@dataclass(frozen=True)
class Transcript:
    """Rows of a transcript, sorted, without overlap.

    Args:
        path: File of the transcript.
        rows: Rows with one word or more.
        dropped: Number of rows without words, or of a filler alone.
    """

    path: Path
    rows: tuple[Row, ...]
    dropped: int = 0


def read_transcript(path: Path) -> Transcript:
    """Read a transcript: a .txt file is one row over the whole recording, a .csv file has rows with times.

    The rows are start;end;'text' as in AVEC 2017, with | as quotes, or start,end,text below a header of these names.

    Raises:
        DataError: The file is missing, empty, of another kind, or damaged; or rows are unsorted or overlap.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: is no transcript. Give a file of plain text named .txt, or of rows named .csv."
        )
    text = read_text(path)
    if path.suffix.lower() == ".txt":
        rows = [Row(0.0, None, _tokens(text))]
    else:
        rows = _read_rows(path, text.splitlines())
        check_order(path, [(row.start, row.end or row.start) for row in rows], "row")
    kept = tuple(row for row in rows if row.tokens and row.tokens != (_FILLER,))
    if not kept:
        raise DataError(f"{path}: has no words. Export it again.")
    return Transcript(path, kept, len(rows) - len(kept))


def is_tag(token: str) -> bool:
    """Return whether a word stands for a sound, such as <laughter>."""
    word = clean_word(token)
    return word.startswith("<") and word.endswith(">")


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(token for token in text.split() if clean_word(token).strip("<>"))


def _read_rows(path: Path, lines: Sequence[str]) -> list[Row]:
    header = [name.strip().lower() for name in lines[0].replace(";", ",").split(",")]
    first = 2 if header == _HEADER else 1
    delimiter, quote = (";", "|") if ";" in lines[0] else (",", '"')
    if delimiter == "," and first == 1:
        raise DataError(
            f"{path}, line 1: is not start;end;'text'. Write rows like that, or {','.join(_HEADER)} in the first line."
        )
    rows = []
    for number, row in enumerate(csv.reader(lines[first - 1 :], delimiter=delimiter, quotechar=quote), first):
        place = f"{path}, line {number}"
        if not any(row):
            continue
        if len(row) != len(_HEADER):
            raise DataError(f"{place}: has {len(row)} values, expected start, end and text. Correct it.")
        start, end = (read_time(place, time) for time in row[:2])
        if start == end:
            raise DataError(f"{place}: starts and ends at {start:g} s. Correct the times.")
        text = row[2].strip()
        rows.append(Row(start, end, _tokens(text[1:-1] if text[:1] == text[-1:] == "'" else text)))
    return rows
