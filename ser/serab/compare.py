"""Merge several runs of the benchmark into one table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ser.config.old_names import with_current_names
from ser.errors import ConfigError, DataError
from ser.files import write_atomic
from ser.report import figures
from ser.runs.tables import write_csv
from ser.serab import reports, tables
from ser.serab.heat_map import plot_extractors
from ser.serab.reports import Report
from ser.serab.results import in_order
from ser.serab.tables import BY, Rows

FILES = ("comparison.csv", "comparison.md", "comparison.png")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: Folder of the run.
        report: Report of the run.
        extractor: Node `extractor` of its config.
    """

    folder: Path
    report: Report
    extractor: Mapping[str, Any]


def find_runs(folder: Path) -> list[Run]:
    """Find the run in a folder, or the runs in the folders below it.

    Raises:
        DataError: There is no run, or it is damaged.
    """
    folders = [folder] if (folder / reports.RESULTS).is_file() else [*_runs_below(folder)]
    if not folders:
        raise DataError(
            f"{folder}: holds no {reports.RESULTS}, nor does a folder in it. Give the hydra.run.dir of a finished "
            "ser serab, or the folder of a sweep."
        )
    return [_read(one) for one in folders]


def merge_runs(runs: Sequence[Run]) -> list[Report]:
    """Merge runs to one report per extractor; differing settings become a part of its name.

    Raises:
        ConfigError: Runs were scored in different ways, or two runs have the same extractor and corpus.
    """
    joined: dict[str, Report] = {}
    for run in runs:
        other = next((told for told in run.report.method if told not in runs[0].report.method), None)
        if other is not None:
            raise ConfigError(
                f"{run.folder}: was scored otherwise than {runs[0].folder}: {other} Compare runs of the same split, "
                "normalize, classifiers and grid."
            )
        name = _name(run, runs)
        joined[name] = _merge(joined[name], run) if name in joined else replace(run.report, extractor=name)
    return [*joined.values()]


def write(folder: Path, several: Sequence[Report]) -> str:
    """Write comparison.csv, comparison.png and comparison.md, and return the text of comparison.md.

    Raises:
        DataError: The folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made ({error.strerror}). Choose another with --output."
        ) from error
    head, *rows = _with_notes(several)
    write_csv(folder / FILES[0], head, rows)
    figures.save(plot_extractors(several), folder / FILES[2])
    text = markdown(several)
    write_atomic(folder / FILES[1], text)
    return text


def markdown(several: Sequence[Report]) -> str:
    """Return the text of comparison.md, which refers to the image beside it."""
    notes = dict.fromkeys(stamp for report in several for stamp in report.stamps)
    blocks = ["# SERAB: extractors compared", *(f"> **Note:** {note}" for note in notes)]
    for select in in_order(several[0].select):
        rows: Rows = []
        for report in several:
            head, *own = tables.headline(report, select)
            rows += [[report.extractor, *row] for row in own]
        blocks += [f"## {BY[select].capitalize()}", tables.table([["extractor", *head], *rows])]
    blocks += [
        "## Beside the published table",
        *tables.describe_comparison(several),
        f"![Accuracies]({FILES[2]})",
    ]
    return "\n\n".join([*blocks, "## How", *several[0].method]) + "\n"


def _runs_below(folder: Path) -> Iterable[Path]:
    found = (path.parent for path in folder.glob(f"*/{reports.RESULTS}"))
    return sorted(found, key=lambda path: (len(path.name), path.name))  # jobs of a sweep: 2 before 10


def _read(folder: Path) -> Run:
    path = folder / "config.yaml"
    try:
        extractor = with_current_names(yaml.safe_load(path.read_text(encoding="utf-8"))["extractor"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: does not name the extractor ({error}). Run it again.") from error
    return Run(folder, reports.read(folder), extractor)


def _name(run: Run, runs: Sequence[Run]) -> str:
    """Return the name of its extractor, with the settings in which runs of this extractor differ."""
    others = [other.extractor for other in runs if other.report.extractor == run.report.extractor]
    told = [
        f"{key}={value}"
        for key, value in run.extractor.items()
        if any(other.get(key) != value for other in others)
    ]
    return " ".join([run.report.extractor, *told])


def _merge(report: Report, run: Run) -> Report:
    """Merge a report with a run of the same extractor on other corpora."""
    twice = {one.name for one in report.results} & {one.name for one in run.report.results}
    if twice:
        raise ConfigError(
            f"{run.folder}: another of the runs has {report.extractor} on {', '.join(sorted(twice))}, too, with the "
            "same settings. Leave one of them out."
        )
    return replace(
        report,
        results=[*report.results, *run.report.results],
        stamps=[*dict.fromkeys([*report.stamps, *run.report.stamps])],
        remarks=[*report.remarks, *run.report.remarks],
    )


def _with_notes(several: Sequence[Report]) -> Rows:
    """Add a last column with the stamps to the comparison; it is empty in the published rows."""
    head, *rows = tables.comparison(several)
    notes = ["; ".join(report.stamps) for report in several for _ in BY]
    notes = [*[""] * (len(rows) - len(notes)), *notes]
    return [[*head, "notes"], *([*row, note] for row, note in zip(rows, notes, strict=True))]
