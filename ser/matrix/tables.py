"""Write a matrix of corpora as tables and as a picture."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ser.errors import setting
from ser.files import short, write_atomic
from ser.matrix.cells import TEST_SPLIT, WHOLE, Cell
from ser.matrix.matrix import Matrix, read_matrix
from ser.report import figures
from ser.runs.tables import format_markdown, print_table, write_csv

_TITLES = {"uar": "UAR", "accuracy": "accuracy", "ccc": "CCC"}
_FLOORS = {"uar": "floor", "accuracy": "majority floor", "ccc": "floor"}
_OTHERS = "mean of others"

Cells = Mapping[tuple[int, str], Cell]


def summarize(sweep_dir: Path, planned: Mapping[tuple[str, ...], int]) -> int:
    """Write matrix.csv, matrix.md and matrix.png into the folder of a sweep, and print the main table.

    Args:
        sweep_dir: Folder of all jobs.
        planned: Number of trainings on each set of corpora that there should be.

    Returns:
        Number of cells and trainings that failed.
    """
    matrix = read_matrix(sweep_dir)
    missing = [*matrix.describe_missing(), *matrix.describe_unstarted(planned)]
    write_csv(sweep_dir / "matrix.csv", *_details(matrix))
    write_atomic(sweep_dir / "matrix.md", markdown(matrix, missing))
    if matrix.cells:
        _plot(matrix, sweep_dir / "matrix.png")
        score = main_score(matrix)
        head, rows = score_table(matrix, matrix.cells, score)
        print_table(f"{_TITLES[score]} (95% over speakers): trained on rows, tested on columns", head, rows)
        print(*describe_parts(matrix), sep="\n")
    for line in missing:
        print(f"Missing: {line}.")
    if missing:
        again = setting("hydra.sweep.dir", str(short(sweep_dir)))
        print(
            f"Repeat the command with {again}, which runs what failed or never started, and keeps the rest."
        )
    print(f"Matrix: {short(sweep_dir / 'matrix.md')}, matrix.csv" + ", matrix.png" * bool(matrix.cells))
    return len(missing)


def main_score(matrix: Matrix) -> str:
    """Return the name of the score that the picture shows."""
    return next(iter(matrix.cells.values())).headline


def score_table(matrix: Matrix, cells: Cells, score: str) -> tuple[list[str], list[list[str]]]:
    """Return a row for each row of the matrix, and one of floors: scores with intervals.

    Args:
        matrix: The matrix.
        cells: Its cells, or those of the same utterances.
        score: Name of the score.
    """
    head = ["trained on", *matrix.columns, _OTHERS]
    kind = WHOLE if any(cell.part == WHOLE for cell in cells.values()) else TEST_SPLIT
    rows = []
    for number, name in enumerate(matrix.names):
        own = {corpus: cells[number, corpus] for corpus in matrix.columns if (number, corpus) in cells}
        others = [
            cell.scores[score]
            for corpus, cell in own.items()
            if corpus not in matrix.rows[number].trained_on and score in cell.scores
        ]
        stars = {corpus: "*" * (cell.part != kind) for corpus, cell in own.items()}
        texts = [
            _show(own[corpus], score, stars[corpus]) if corpus in own else "-" for corpus in matrix.columns
        ]
        rows.append([name, *texts, _number(statistics.mean(others), score) if others else "-"])
    floors = [_floor(matrix, cells, corpus, score) for corpus in matrix.columns]
    rows.append([_FLOORS[score], *("-" if math.isnan(each) else _number(each, score) for each in floors), ""])
    return head, rows


def _floor(matrix: Matrix, cells: Cells, corpus: str, score: str) -> float:
    """Return the largest floor of a column; NaN if it has no cell."""
    found = [cells[number, corpus] for number in range(len(matrix.rows)) if (number, corpus) in cells]
    return max((cell.scores.get(f"{score}_floor", math.nan) for cell in found), default=math.nan)


def _show(cell: Cell, score: str, star: str) -> str:
    """Format a score with its interval and the star of test splits."""
    if score not in cell.scores:
        return "-"
    low, high = (cell.scores.get(f"{score}_{end}") for end in ("low", "high"))
    interval = "" if low is None or high is None else f" ({_number(low, score)} to {_number(high, score)})"
    return f"{_number(cell.scores[score], score)}{star}{interval}"


def _number(value: float, score: str) -> str:
    return f"{value:.3f}" if score == "ccc" else f"{100 * value:.1f}"


def describe_parts(matrix: Matrix) -> list[str]:
    """Describe which utterances the cells are of, and what their intervals take as independent."""
    lines = [
        "* = the test split of a corpus that is in the training; other cells are whole corpora, of which the training "
        "had nothing.",
    ]
    unknown = dict.fromkeys(corpus for (_, corpus), cell in matrix.cells.items() if cell.speakers is None)
    if unknown:
        lines.append(
            f"{', '.join(unknown)}: the speakers are unknown, so intervals take utterances as independent and are too "
            "narrow, and test splits may share speakers with training."
        )
    return [*lines, *matrix.describe_seen()]


def markdown(matrix: Matrix, missing: Sequence[str]) -> str:
    """Return the text of matrix.md, which refers to the picture beside it."""
    blocks = ["# Trained on rows, tested on columns"]
    if missing:
        blocks += ["**Not complete:**", "\n".join(f"- {line}" for line in missing)]
    if not matrix.cells:
        return "\n\n".join([*blocks, "No training has finished."]) + "\n"
    score = main_score(matrix)
    blocks += ["![matrix](matrix.png)", *describe_parts(matrix)]
    for name in (score, *(["accuracy"] if score == "uar" else [])):
        head, rows = score_table(matrix, matrix.cells, name)
        unit = "" if name == "ccc" else ", percent"
        blocks += [f"## {_TITLES[name]}{unit}, with 95% intervals over speakers", format_markdown(head, rows)]
    same = matrix.same_utterances
    if len(same) > len(matrix.rows):
        blocks += [
            f"## {_TITLES[score]} on the test splits alone",
            "All cells of a column are of the same utterances here, so that they can be compared.",
            format_markdown(*score_table(matrix, same, score)),
        ]
    return "\n\n".join([*blocks, "## Trainings", _list_jobs(matrix)]) + "\n"


def _list_jobs(matrix: Matrix) -> str:
    return "\n".join(
        f"- {name}: {', '.join(f'[{folder.name}]({folder.name}/report.md)' for folder in row.jobs)}"
        for name, row in zip(matrix.names, matrix.rows, strict=True)
    )


def _details(matrix: Matrix) -> tuple[list[str], list[list[object]]]:
    """Return the table of matrix.csv: a row for each cell."""
    names = [*dict.fromkeys(name for cell in matrix.cells.values() for name in cell.scores)]
    score = main_score(matrix) if matrix.cells else "uar"
    head = [
        "trained_on",
        "tested_on",
        "part",
        "jobs",
        "utterances",
        "speakers",
        *names,
        f"{score}_on_test_split",
    ]
    rows: list[list[object]] = []
    for (number, corpus), cell in matrix.cells.items():
        same = matrix.same_utterances.get((number, corpus))
        values = [cell.scores.get(name) for name in names] + [same.scores.get(score) if same else None]
        cells = [None if value is None else f"{value:.6g}" for value in values]
        rows.append(
            [matrix.names[number], corpus, cell.part, cell.jobs, cell.utterances, cell.speakers, *cells]
        )
    return head, rows


def _plot(matrix: Matrix, path: Path) -> None:
    score = main_score(matrix)
    shares = np.full((len(matrix.rows) + 1, len(matrix.columns)), np.nan)
    framed = np.zeros_like(shares, dtype=bool)
    for column, corpus in enumerate(matrix.columns):
        for number in range(len(matrix.rows)):
            if cell := matrix.cells.get((number, corpus)):
                shares[number, column] = cell.scores.get(score, np.nan)
                framed[number, column] = cell.part == TEST_SPLIT
        shares[-1, column] = _floor(matrix, matrix.cells, corpus, score)
    title = f"{_TITLES[score]} in percent" if score == "uar" else f"{_TITLES[score]} x 100"
    figure = figures.heat_map(
        {"trained on rows, tested on columns; framed: test split": shares},
        [*matrix.names, _FLOORS[score]],
        matrix.columns,
        title=title,
        framed=framed,
    )
    figures.save(figure, path)
