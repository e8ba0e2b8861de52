"""Read tables in CSV or JSON lines as rows of cells.

The only meaning that is known here is the spelling of columns: if 'Speaker ' became a label field, speaker leaks
would go unnoticed.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ser.data.json_fields import shorten_json, unique_fields
from ser.errors import DataError
from ser.files import read_text
from ser.names import normalize_name

COLUMNS = ("id", "path", "start", "end", "speaker", "group", "split", "text", "language", "corpus")
"""Columns with a fixed meaning, in any case; every other column of a manifest is a label field."""

TIMES = ("start", "end")
"""Columns that hold numbers."""

Cells = dict[str, Any]
"""Column -> text without surrounding white space, or None for an empty cell. `path` is always present.

From JSON, labels may have any type, because unused columns are not checked. A whole number is an integer, NaN is
None, and times may be numbers.
"""


def read_rows(path: Path) -> Iterator[tuple[int, Cells]]:
    """Yield the rows of a `.csv` or `.jsonl` file, each with its line number.

    Raises:
        DataError: The file cannot be read or has another format, or a row has no path.
    """
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if path.suffix.lower() not in readers:
        raise DataError(
            f"{path}: a manifest is a .csv file, or a .jsonl file with one JSON object per line. "
            "Convert or rename the file; a folder of audio is read with data=folder."
        )
    for line, cells in readers[path.suffix.lower()](read_text(path), path.name):
        if cells.get("path") is None:
            raise _no_path(f"{path.name}, line {line}", cells)
        yield line, cells


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, Cells]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = _header(next(reader), f"{name}, line 1")
        for row in reader:
            if len(row) > len(header):
                raise DataError(
                    f"{name}, line {reader.line_num}: has {len(row)} cells, but the header has {len(header)}. "
                    "Put a cell that contains a comma in double quotes."
                )
            cells: Cells = {column: _text(cell) for column, cell in zip(header, row, strict=False)}
            if any(cells.values()):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"{name}, line {reader.line_num}: is not valid CSV ({error}). "
            "Check the double quotes, there and above."
        ) from error


def _header(row: list[str], where: str) -> list[str]:
    columns = [_column(cell) for cell in row]
    if "path" not in columns:
        raise _no_path(where, columns)
    for number, column in enumerate(columns, start=1):
        if not column:
            raise DataError(f"{where}: column {number} has no name. Name or remove it.")
        if columns.count(column) > 1:
            raise DataError(f"{where}: column {column!r} occurs twice. Rename or remove one of them.")
    return columns


def _column(name: str) -> str:
    name = normalize_name(name)
    return name.lower() if name.lower() in COLUMNS else name


def _text(cell: str) -> str | None:
    """Strip surrounding white space; return None if no visible character is left."""
    return cell.strip() if normalize_name(cell) else None


def _no_path(where: str, columns: Iterable[str]) -> DataError:
    names = list(columns)
    if "path" in names:
        return DataError(f"{where}: the path is empty. Give the audio file's path, or remove the row.")
    nearest = get_close_matches("path", names, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]!r}? " if nearest else ""
    return DataError(
        f"{where}: has no column 'path', only {', '.join(map(repr, names)) or 'an empty line'}. {hint}"
        "Name the column with the audio files 'path', and separate columns by commas."
    )


def _json_rows(text: str, name: str) -> Iterator[tuple[int, Cells]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield line, _json_cells(content, f"{name}, line {line}")


def _json_cells(content: str, where: str) -> Cells:
    try:
        fields = json.loads(content, object_pairs_hook=unique_fields)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}). Write one object per line.") from error
    if not isinstance(fields, dict):
        raise DataError(
            f'{where}: is {shorten_json(fields)}, expected an object such as {{"path": "a.wav"}}.'
        )
    columns = {_column(name): value for name, value in fields.items()}
    if len(columns) < len(fields):  # 'Speaker' and 'speaker' are one column
        names = [_column(name) for name in fields]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: column {twice!r} occurs twice. Rename or remove one of them.")
    return {column: _json_cell(column, value, where) for column, value in columns.items()}


def _json_cell(column: str, value: Any, where: str) -> Any:
    if isinstance(value, str):
        return _text(value)
    if value is None or value != value:  # NaN, which pandas writes for an empty cell
        return None
    if column in TIMES and type(value) in (int, float):
        return value
    if (
        type(value) is float and value.is_integer()
    ):  # pandas turns integers of a column with empty cells into floats
        value = int(value)
    if column not in COLUMNS:
        return value
    if type(value) is int:
        return str(value)
    raise DataError(f"{where}: {column!r} is {shorten_json(value)}, expected text or an integer. Correct it.")
