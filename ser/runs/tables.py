"""Format tables as CSV and as Markdown, and print them."""

import csv
import io
import shutil
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


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that is as wide as the terminal; long cells are folded, those of the column `setting` are not."""
    from rich.console import Console  # the import takes 0.1 s, and is not every command prints a table
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title))
    for name in head:
        table.add_column(Text(name), overflow="fold", no_wrap=name == "setting")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=shutil.get_terminal_size((160, 24)).columns).print(table)
