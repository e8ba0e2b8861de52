"""Write a comparison to a folder: tables as Markdown, CSV and HTML, and plots."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ser.comparison import importance, plots, tables
from ser.comparison.compare import Comparison
from ser.comparison.runs import Found
from ser.comparison.tables import Table
from ser.comparison.wording import TITLES, describe_notes, describe_pair
from ser.errors import DataError
from ser.files import write_atomic
from ser.report import figures
from ser.runs.tables import format_markdown, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "comparison.html"
PICTURES = {
    "intervals.png": "Scores with 95% intervals",
    "jobs.png": "Each job as a line across its settings",
    "importance.png": "Variance that each setting explains",
}
_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 75em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; } th, td { padding: .3em .8em; border-bottom: 1px solid #d9d9d9; }
td { text-align: right; font-variant-numeric: tabular-nums; } td:nth-child(-n+2) { text-align: left; }
img { max-width: 100%; } li { margin: .2em 0; }
"""


def write_comparison(folder: Path, comparison: Comparison, found: Found) -> list[str]:
    """Write comparison.md, comparison.html, comparison.csv, pairs.csv and plots; return the names of the files.

    Args:
        folder: Folder, which is created; files of an earlier comparison are replaced.
        comparison: Comparison of rows.
        found: Runs, for the plots of their settings.

    Raises:
        DataError: The folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made ({error.strerror}). Choose another with --output."
        ) from error
    for name in PICTURES:
        (folder / name).unlink(missing_ok=True)
    write_csv(folder / "comparison.csv", *tables.entry_cells(comparison))
    write_csv(folder / "pairs.csv", *tables.pair_cells(comparison))
    pictures = _draw(folder, comparison, found)
    write_atomic(folder / "comparison.md", format_page(comparison, found, pictures))
    write_atomic(folder / PAGE, format_html(folder, comparison, found, pictures))
    return ["comparison.md", PAGE, "comparison.csv", "pairs.csv", *pictures]


def format_page(comparison: Comparison, found: Found, pictures: Sequence[str]) -> str:
    """Return the text of comparison.md, which refers to the pictures beside it."""
    blocks = [f"# {_title(comparison)}", format_markdown(*tables.entry_table(comparison))]
    blocks += ["\n".join(f"- {sentence}" for sentence in _sentences(comparison))] * bool(comparison.pairs)
    blocks += [f"![{PICTURES[name]}]({name})" for name in pictures]
    if comparison.pairs:
        blocks += ["## Pairs", format_markdown(*tables.pair_table(comparison))]
    blocks += [
        "## How to read this",
        "\n".join(f"- {note}" for note in describe_notes(comparison, found.left_out)),
    ]
    return "\n\n".join(blocks) + "\n"


def format_html(folder: Path, comparison: Comparison, found: Found, pictures: Sequence[str]) -> str:
    """Return the same as a page that holds its pictures, so that it can be sent as one file."""
    title = html.escape(_title(comparison))
    parts = [
        f"<h1>{title}</h1>",
        _html_table(tables.entry_table(comparison)),
        _html_list(_sentences(comparison)),
    ]
    for name in pictures:
        content = base64.b64encode((folder / name).read_bytes()).decode()
        parts.append(_tag("img", alt=PICTURES[name], src=f"data:image/png;base64,{content}"))
    if comparison.pairs:
        parts += ["<h2>Pairs</h2>", _html_table(tables.pair_table(comparison))]
    parts += ["<h2>How to read this</h2>", _html_list([*describe_notes(comparison, found.left_out)])]
    head = f"<head>{_tag('meta', charset='utf-8')}<title>{title}</title><style>{_STYLE}</style></head>"
    body = "\n".join(parts)
    return f"<!doctype html>\n{_tag('html', lang='en')}\n{head}\n<body>\n{body}\n</body>\n</html>\n"


def _draw(folder: Path, comparison: Comparison, found: Found) -> list[str]:
    """Draw the plots; those of settings only if there are enough jobs that differ."""
    drawn: dict[str, Figure] = {"intervals.png": plots.plot_intervals(comparison)}
    jobs = importance.collect_jobs(found.runs)
    if jobs is not None:
        drawn["jobs.png"] = plots.plot_jobs(jobs)
        drawn["importance.png"] = plots.plot_importance(importance.explain_variance(jobs), jobs.monitor)
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
    return [*drawn]


def _title(comparison: Comparison) -> str:
    return f"{len(comparison.entries)} rows compared by {TITLES[comparison.metric]} on {comparison.split}"


def _sentences(comparison: Comparison) -> list[str]:
    return [describe_pair(pair, comparison) for pair in comparison.pairs]


def _tag(name: str, **attributes: str) -> str:
    """Return an opening tag with its attributes, escaped."""
    words = [name, *(f'{key}="{html.escape(value)}"' for key, value in attributes.items())]
    return f"<{' '.join(words)}>"


def _html_table(table: Table) -> str:
    head, rows = table
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>\n{''.join(f'<tr>{line}</tr>{chr(10)}' for line in lines)}</table>"


def _html_list(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(sentence)}</li>' for sentence in sentences)}</ul>" * bool(
        sentences
    )
