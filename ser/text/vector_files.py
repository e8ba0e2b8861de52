"""Read files of word vectors in the text format of word2vec and fastText, as a stream."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ser.errors import DataError
from ser.text.word_vectors import SYNONYMS, WordVectors, spellings

_log = logging.getLogger(__name__)

_AGAIN = "Copy or export the file again."


def read_word_vectors(
    path: str | Path,
    needed: Iterable[str] | None = None,
    *,
    synonyms: Mapping[str, Sequence[str]] = SYNONYMS,
) -> WordVectors:
    """Read the vectors of the needed words; memory is for these alone, whatever the size of the file.

    A word that the file has in another case only, such as a German noun, gets that vector; the exact one is preferred.

    Args:
        path: Text file whose first line holds the number of words and of values, then a line for each word.
        needed: Words to keep; None = all.
        synonyms: Tag or word -> words whose vector it may have.

    Raises:
        DataError: The file cannot be read, its first line is missing, a line has another number of values or
            something else than numbers, there are fewer or more words than announced, or none of the needed.
    """
    path = Path(path)
    asked = None if needed is None else [*dict.fromkeys(needed)]
    wanted = None if asked is None else {s for word in asked for s in spellings(word, synonyms)}
    exact: dict[str, np.ndarray] = {}
    folded: dict[str, np.ndarray] = {}
    repeated = 0
    for place, word, values in _lines(path):
        if wanted is None or word in wanted:
            repeated += word in exact
            exact.setdefault(word, _numbers(values, path, place))
        elif (lower := word.lower()) in wanted and lower not in folded:
            folded[lower] = _numbers(values, path, place)
    kept = folded | exact
    if not kept:
        raise DataError(
            f"{path}: has none of the {len(asked or ())} words that are needed, such as {(asked or ['?'])[0]!r}. "
            "Give vectors of the transcripts' language."
        )
    if repeated:
        _log.warning("%s: %d words occur twice, the first vector of each is used", path, repeated)
    return WordVectors([*kept], torch.from_numpy(np.stack([*kept.values()])), synonyms=synonyms)


def _lines(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Yield line number, word and the text of its values, after a check of their number."""
    try:
        with path.open("rb") as file:
            count, dim = _read_header(file.readline(), path)
            found = 0
            for place, line in enumerate(file, start=2):
                line = line.rstrip()
                if not line:
                    continue
                word, _, values = line.partition(b" ")
                if values.count(b" ") != dim - 1 or b"  " in values:
                    values = _check_width(line, dim, path, place)
                    word = line.split(None, 1)[0]
                found += 1
                yield place, word.decode("utf-8", "replace"), values
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. Give the path of a .vec file.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    if found != count:
        raise DataError(f"{path}: has {found} words, but line 1 announces {count}. {_AGAIN}")


def _read_header(line: bytes, path: Path) -> tuple[int, int]:
    try:
        count, dim = (int(part) for part in line.split())
        if count < 1 or dim < 1:
            raise ValueError
    except ValueError:
        found = line[:40].decode("utf-8", "replace").strip()
        raise DataError(
            f"{path}, line 1: is {found!r}, expected the number of words and of their values, such as '30582 300'. "
            "Write both in a line before the first word."
        ) from None
    return count, dim


def _check_width(line: bytes, dim: int, path: Path, place: int) -> bytes:
    """Return the text of the values, if there are as many as announced between blanks of any kind.

    Raises:
        DataError: There are fewer or more.
    """
    values = line.split()[1:]
    if len(values) != dim:
        raise DataError(f"{path}, line {place}: has {len(values)} values, expected {dim}. {_AGAIN}")
    return b" ".join(values)


def _numbers(values: bytes, path: Path, place: int) -> np.ndarray:
    try:
        vector = np.array(values.split(b" "), dtype=np.float32)
    except ValueError:
        bad = next(text for text in values.split(b" ") if not _is_number(text)).decode("utf-8", "replace")
        raise DataError(f"{path}, line {place}: {bad!r} is no number. {_AGAIN}") from None
    if not np.isfinite(vector).all():
        raise DataError(f"{path}, line {place}: holds a value that is not finite. {_AGAIN}")
    return vector


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
