"""Format tables as CSV and as Markdown."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ser.files import write_atomic


def format_csv(header: Sequence[str], rows: Iterable[Sequence[Any]], *, line_end: str = "\n") -> str:
    r"""Format a table as CSV.

    Args:
        header: Names of the columns.
        rows: Cells of each row; None is an empty cell.
        line_end: End of each line; with `\r\n`, a carriage return within a cell is quoted, which Python 3.11
            leaves out with `\n` alone.
    """
    content = io.StringIO(newline="")
    csv.writer(content, lineterminator=line_end).writerows([header, *rows])
    return content.getvalue()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table to a CSV file.

    Raises:
        DataError: The file cannot be written.
    """
    write_atomic(path, format_csv(header, rows))


def format_markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table in Markdown; the first column is left-aligned, the others, numbers, right-aligned."""
    rule = ["---", *("---:" for _ in header[1:])]
    cells = [header, *rows]
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in (escaped[0], rule, *escaped[1:]))
