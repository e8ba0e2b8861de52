"""Tables as CSV and Markdown."""

import csv
import io

import pytest

from ser.runs.tables import format_csv, format_markdown


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_cells_with_marks_of_csv_come_back(line_end: str) -> None:
    rows = [["a,b", 'say "so"'], ["two\nlines", ""]]
    text = format_csv(["x", "y"], rows, line_end=line_end)
    assert text.startswith(f"x,y{line_end}")
    assert [*csv.reader(io.StringIO(text, newline=""))] == [["x", "y"], *rows]


def test_a_carriage_return_within_a_cell_comes_back() -> None:
    text = format_csv(["x"], [["one\rtwo"]], line_end="\r\n")
    assert [*csv.reader(io.StringIO(text, newline=""))] == [["x"], ["one\rtwo"]]


def test_none_is_an_empty_cell() -> None:
    assert format_csv(["x", "y"], [[None, 1]]) == "x,y\n,1\n"


def test_a_bar_within_a_cell_of_markdown_is_escaped() -> None:
    lines = format_markdown(["x", "y"], [["a|b", "1"]]).splitlines()
    assert lines == ["| x | y |", "| --- | ---: |", r"| a\|b | 1 |"]
