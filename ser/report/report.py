"""Write the results of a run: metrics for programs, a report with plots, a table for the console."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ser.data import summary
from ser.data.summary import SplitSummary
from ser.errors import DataError
from ser.files import short, write_atomic
from ser.mix.scores import score_cells
from ser.report import figures, plots
from ser.report.caveats import describe_caveats
from ser.report.facts import RunReport
from ser.report.next_commands import fold_command, next_commands
from ser.report.score_table import (
    describe_choice,
    format_duration,
    headline_metric,
    metric_title,
    metrics_of,
    scored_splits,
    show_score,
    tabulate_fields,
    tabulate_scores,
)
from ser.report.sections import Section, section_of
from ser.runs.run_folder import FACTS_FILE
from ser.runs.tables import format_markdown

PICTURES = {
    "Training": {
        "loss_curve.png": "Loss against optimiser steps",
        "architecture.png": "The model, from input to logits",
    },
    "Data": {"waveforms.png": "Waveforms of some training recordings"},
    "Scores": {
        "pca.png": "Logits, by their first two principal components",
        "values_0.png": "Labels and predictions of a recording over time",
    },
    "Calibration": {"calibration.png": "Reliability, and accuracy against coverage"},
}
"""Titles of optional plots that callbacks write to the run folder, by section and file."""


def write_report(run_dir: Path, report: RunReport) -> None:
    """Write metrics.json, facts.json, the plots and, last, report.md.

    Args:
        run_dir: Folder of the run, which exists.
        report: Content of the report.

    Raises:
        DataError: A metric is not finite, or a file cannot be written.
    """
    write_metrics(run_dir / "metrics.json", report.metrics)
    write_facts(run_dir / FACTS_FILE, report)
    for split, results in report.results.items():
        for result in results:
            section = section_of(result)
            title = f"{report.title}\n{split}: {result.count:,} {report.unit}s"
            figures.save(section.picture(title), run_dir / _picture_name(section, split))
    for result in report.headline_results:
        section = section_of(result)
        headline = run_dir / _picture_name(section, report.headline_split)
        write_atomic(run_dir / _picture_name(section, "test"), headline.read_bytes())
    figures.save(plots.length_histogram(report.lengths), run_dir / "lengths.png")
    if counts := _labelled(report.splits):
        figures.save(plots.class_shares(counts), run_dir / "classes.png")
    if report.curves and report.best_epoch is not None:
        metric = headline_metric(report)
        curves = plots.learning_curves(
            report.curves, best_epoch=report.best_epoch, metric=metric, title=metric_title(metric)
        )
        figures.save(curves, run_dir / "curves.png")
    write_atomic(run_dir / "report.md", markdown(run_dir, report))


def markdown(run_dir: Path, report: RunReport) -> str:
    """Return the text of report.md, which refers to the plots beside it."""
    blocks = [f"# {report.title}"]
    blocks += [f"> **Note:** {stamp}" for stamp in report.stamps]
    header, *rows = tabulate_scores(report)
    blocks += [*_headlines(report), "## Scores", format_markdown(header, rows)]
    if "train" in scored_splits(report):
        blocks.append("The scores of train were computed during the training, on augmented utterances.")
    for split, corpora in report.corpora.items():
        header, *rows = score_cells(corpora)
        blocks += [f"## Corpora of {split}", format_markdown(header, rows)]
    if report.test_sets:
        blocks += ["## Test sets", format_markdown(report.test_sets[0], report.test_sets[1:])]
    blocks += _pictures(run_dir, "Scores")
    blocks += ["## What these scores do not show", " ".join(describe_caveats(report))]
    for split, results in report.results.items():
        for result in results:
            section = section_of(result)
            blocks += section.blocks(split, _picture_name(section, split), metrics_of(report, split, result))
    if report.calibration:
        blocks += ["## Calibration", *report.calibration, *_pictures(run_dir, "Calibration")]
    blocks += ["## Data", summary.markdown(report.splits)]
    blocks.append("![Lengths of utterances](lengths.png)")
    if _labelled(report.splits):
        blocks.append("![Shares of the classes](classes.png)")
    blocks += _pictures(run_dir, "Data")
    blocks += ["## Training", _markdown_run(report)]
    if report.curves:
        blocks.append("![Learning curves](curves.png)")
    blocks += _pictures(run_dir, "Training")
    blocks.append("## Next")
    for purpose, words in next_commands(report):
        blocks.append(f"{purpose}:\n\n```sh\n{' '.join(words)}\n```")
    return "\n\n".join(blocks) + "\n"


def write_metrics(path: Path, metrics: Mapping[str, float]) -> None:
    """Write metrics as JSON: flat names in alphabetical order, plain floats.

    Raises:
        DataError: A value is NaN or infinite, or the file cannot be written.
    """
    values = {name: float(metrics[name]) for name in sorted(metrics)}
    for name, value in values.items():
        if not math.isfinite(value):
            raise DataError(
                f"{path}: {name} is {value}, which is not a score, so nothing was written. Training has "
                "probably diverged: lower optimizer.lr or clip gradients with trainer.gradient_clip_val=1."
            )
    write_atomic(path, json.dumps(values, indent=2) + "\n")


def write_facts(path: Path, report: RunReport) -> None:
    """Write what a run cost, as JSON, for programs that compare runs.

    Raises:
        DataError: The file cannot be written.
    """
    facts = {
        "parameters": report.num_parameters,
        "duration_s": round(report.duration_s, 3),
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "chosen_by": report.monitor,
    }
    write_atomic(path, json.dumps(facts, indent=2) + "\n")


def closing_table(run_dir: Path, report: RunReport) -> RenderableType:
    """Return the scores beside the floor, the paths, and commands to continue with.

    Print it with `soft_wrap=True`, so that a path longer than the terminal's width can be copied.
    """
    facts = Table.grid(padding=(0, 2, 0, 1), pad_edge=True)
    facts.add_row("best epoch", describe_choice(report))
    facts.add_row("duration", format_duration(report.duration_s))
    facts.add_row("run folder", Text(str(short(run_dir))))
    for name in ("report.md", "report.html"):
        if (run_dir / name).is_file():
            facts.add_row("report", Text(str(short(run_dir / name))))
    for stamp in report.stamps:
        facts.add_row("note", Text(stamp, style="yellow"))
    parts: list[RenderableType] = [_score_table(report), *_corpus_tables(report), facts]
    for purpose, words in next_commands(report):
        parts += [Text(f"\n {purpose}", style="bold"), Text(fold_command(words))]
    return Group(*parts)


def _corpus_tables(report: RunReport) -> list[Table]:
    """Return tables of the scores of each corpus in the headline split, if there are several, and of test sets."""
    split = report.headline_split
    tables = {f"Corpora of {split}": score_cells(report.corpora[split])} if split in report.corpora else {}
    if report.test_sets:
        tables["Test sets"] = [[*row] for row in report.test_sets]
    return [_table(title, header, rows) for title, (header, *rows) in tables.items()]


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _headlines(report: RunReport) -> list[str]:
    """Return the headlines of the splits other than train, the test split first."""
    unscored = "**Nothing was scored**: there is neither validation nor a labelled test split."
    lines = [unscored] * (not report.results)
    for split in reversed([split for split in scored_splits(report) if split != "train"]):
        bits = " (valence and activation both right)" * (f"{split}/valence_accuracy" in report.metrics)
        for result in report.results.get(split, ()):
            metrics, task = metrics_of(report, split, result), f"{result.name} " * bool(result.name)
            if result.headline not in metrics:
                lines.append(f"**{split.capitalize()} {task}{result.title} undefined**.")
                continue
            value, floor = (
                show_score(metrics.get(name, 0.0), name) for name in (result.headline, result.floor)
            )
            lines.append(
                f"**{split.capitalize()} {task}{result.title} {value}**{bits}, {result.floor_title} {floor}."
            )
    return lines


def _picture_name(section: Section, split: str) -> str:
    return f"{section.stem}.png" if split == "test" else f"{section.stem}_{split}.png"


def _pictures(run_dir: Path, section: str) -> list[str]:
    """Return the existing plots of a section."""
    pictures = PICTURES[section].items()
    return [f"![{title}]({name})" for name, title in pictures if (run_dir / name).is_file()]


def _markdown_run(report: RunReport) -> str:
    facts = {
        "command": f"`{report.command}`",
        "seed": str(report.seed),
        "duration": format_duration(report.duration_s),
        "best epoch": describe_choice(report),
        "parameters": f"{report.num_parameters:,}",
        "checkpoint": f"`{short(report.checkpoint)}`",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _score_table(report: RunReport) -> Table:
    (corner, *splits), *rows = tabulate_scores(report)
    table = Table(corner, box=box.SIMPLE_HEAD)
    for split in splits:
        table.add_column(split, justify="right")
    for row in [*rows, *tabulate_fields(report)]:
        table.add_row(*row, style="bold" if row[0] == metric_title(headline_metric(report)) else None)
    return table


def _labelled(splits: Sequence[SplitSummary]) -> dict[str, dict[str, int]]:
    return {split.name: split.class_counts for split in splits if split.class_counts is not None}
