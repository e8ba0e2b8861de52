"""Several runs of the benchmark in one table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ser.config.old_names import with_current_names
from ser.errors import ConfigError, DataError
from ser.files import write_atomic
from ser.report import plots
from ser.serab import reports, tables
from ser.serab.heat_map import of_extractors
from ser.serab.reports import Report
from ser.serab.results import in_order
from ser.serab.tables import BY, Rows

FILES = ("comparison.csv", "comparison.md", "comparison.png")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: of it.
        report: what it told.
        extractor: the node of its config.
    """

    folder: Path
    report: Report
    extractor: Mapping[str, Any]


def find_runs(folder: Path) -> list[Run]:
    """The run in a folder, or those in the folders below it.

    Raises:
        DataError: there is none, or it is damaged.
    """
    folders = [folder] if (folder / reports.RESULTS).is_file() else [*_below(folder)]
    if not folders:
        raise DataError(
            f"{folder}: holds no {reports.RESULTS}, nor does a folder in it. Give the hydra.run.dir of a finished "
            "ser serab, or the folder of a sweep."
        )
    return [_read(one) for one in folders]


def join(runs: Sequence[Run]) -> list[Report]:
    """A report for each extractor: its runs on different corpora become one, its settings part of its name.

    Raises:
        ConfigError: runs were scored in different ways, or two are the same extractor on the same corpus.
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
        joined[name] = _together(joined[name], run) if name in joined else replace(run.report, extractor=name)
    return [*joined.values()]


def write(folder: Path, several: Sequence[Report]) -> str:
    """Write comparison.csv, comparison.png and comparison.md, and return the text of the last one.

    Raises:
        DataError: the folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made ({error.strerror}). Choose another with --output."
        ) from error
    tables.write_csv(folder / FILES[0], _with_notes(several))
    plots.save(of_extractors(several), folder / FILES[2])
    text = markdown(several)
    write_atomic(folder / FILES[1], text)
    return text


def markdown(several: Sequence[Report]) -> str:
    """The text of comparison.md, which shows the picture beside it."""
    notes = dict.fromkeys(stamp for report in several for stamp in report.stamps)
    blocks = ["# SERAB: extractors compared", *(f"> **Note:** {note}" for note in notes)]
    for select in in_order(several[0].select):
        rows: Rows = []
        for report in several:
            head, *own = tables.headline(report, select)
            rows += [[report.extractor, *row] for row in own]
        blocks += [f"## {BY[select].capitalize()}", tables.table([["extractor", *head], *rows])]
    blocks += ["## Beside the published table", *tables.compared(several), f"![Accuracies]({FILES[2]})"]
    return "\n\n".join([*blocks, "## How", *several[0].method]) + "\n"


def _below(folder: Path) -> Iterable[Path]:
    found = (path.parent for path in folder.glob(f"*/{reports.RESULTS}"))
    return sorted(found, key=lambda path: (len(path.name), path.name))  # jobs of a sweep: 2 before 10


def _read(folder: Path) -> Run:
    path = folder / "config.yaml"
    try:
        extractor = with_current_names(yaml.safe_load(path.read_text(encoding="utf-8"))["extractor"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: does not tell the extractor ({error}). Run it again.") from error
    return Run(folder, reports.read(folder), extractor)


def _name(run: Run, runs: Sequence[Run]) -> str:
    """Its extractor with those settings in which runs of that extractor differ."""
    others = [other.extractor for other in runs if other.report.extractor == run.report.extractor]
    told = [
        f"{key}={value}"
        for key, value in run.extractor.items()
        if any(other.get(key) != value for other in others)
    ]
    return " ".join([run.report.extractor, *told])


def _together(report: Report, run: Run) -> Report:
    """A report and a run of the same extractor on other corpora."""
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
    """The comparison with a last column of stamps; the published rows have none."""
    head, *rows = tables.comparison(several)
    notes = ["; ".join(report.stamps) for report in several for _ in BY]
    notes = [*[""] * (len(rows) - len(notes)), *notes]
    return [[*head, "notes"], *([*row, note] for row, note in zip(rows, notes, strict=True))]
