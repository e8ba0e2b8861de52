"""What a run says at its end: metrics for programs, a report with pictures, a table for the console."""

import json
import math
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ser import plots
from ser.data import summary
from ser.data.summary import SplitSummary, markdown_table
from ser.errors import DataError
from ser.files import write_atomic
from ser.metrics import precision, recall

METRICS = {
    "accuracy": "accuracy",
    "majority_floor": "majority floor",
    "uar": "UAR",
    "macro_f1": "macro-F1",
    "valence_accuracy": "valence accuracy",
    "activation_accuracy": "activation accuracy",
    "loss": "loss",
}
"""Metrics of a split in the order of every table -> what people call them."""
_COMMAND_WIDTH = 76  # of a line in the closing table: 80 columns less the indent and a continuation


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """All that a report tells; the training script fills it in.

    Args:
        title: what was trained on what, such as `cnn on challenge`.
        command: the command line, quoted for a shell.
        seed: of the run.
        duration_s: of the whole run, in seconds.
        num_parameters: trainable ones.
        epochs: trained, so epochs count from 1.
        best_epoch: the one whose checkpoint was chosen, 1..epochs.
        monitor: metric that chose it, such as `validation/accuracy`.
        mode: `max` where a larger value of it is better, else `min`.
        checkpoint: path of the chosen one.
        metrics: flat name such as `test/uar` -> value, of the chosen checkpoint.
        confusions: split -> counts [C, C], rows true, columns predicted.
        class_names: [C], by class index.
        splits: what the data holds.
        lengths: split -> [N] frames of each utterance.
        curves: metric -> epoch -> value, for the learning curves; empty for none.
        data_overrides: words of the command line that chose the data, which the suggested sweep repeats.
        stamps: warnings to every reader, such as `generated speech: a demonstration, not a result`.
    """

    title: str
    command: str
    seed: int
    duration_s: float
    num_parameters: int
    epochs: int
    best_epoch: int
    monitor: str
    mode: str
    checkpoint: Path
    metrics: Mapping[str, float]
    confusions: Mapping[str, np.ndarray]
    class_names: Sequence[str]
    splits: Sequence[SplitSummary]
    lengths: Mapping[str, np.ndarray]
    curves: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    data_overrides: Sequence[str] = ()
    stamps: Sequence[str] = ()


def write_report(run_dir: Path, report: RunReport) -> None:
    """Write metrics.json, the pictures and, when all of them are there, report.md.

    Args:
        run_dir: folder of the run, which exists.
        report: what to tell.

    Raises:
        DataError: a metric is not finite, or a file cannot be written.
    """
    write_metrics(run_dir / "metrics.json", report.metrics)
    for split, counts in report.confusions.items():
        picture = plots.confusion_matrix(counts, report.class_names, f"{split}: {counts.sum()} utterances")
        plots.save(picture, run_dir / f"confusion_{split}.png")
    plots.save(plots.length_histogram(report.lengths), run_dir / "lengths.png")
    plots.save(plots.class_shares(_labelled(report.splits)), run_dir / "classes.png")
    if report.curves:
        curves = plots.learning_curves(report.curves, best_epoch=report.best_epoch)
        plots.save(curves, run_dir / "curves.png")
    write_atomic(run_dir / "report.md", markdown(run_dir, report))


def markdown(run_dir: Path, report: RunReport) -> str:
    """The text of report.md, which shows the pictures beside it."""
    blocks = [f"# {report.title}"]
    blocks += [f"> **Note:** {stamp}" for stamp in report.stamps]
    header, *rows = _score_cells(report)
    blocks += [*_headlines(report), "## Scores", markdown_table(header, rows)]
    if "train" in _scored_splits(report):
        blocks.append("The scores of train were taken while training, on augmented utterances.")
    for split, counts in report.confusions.items():
        blocks += [f"## Classes of {split}", _markdown_classes(counts, report.class_names)]
        blocks += ["Rows are true, columns predicted:", _markdown_confusion(counts, report.class_names)]
        blocks.append(f"![Confusion matrix of {split}](confusion_{split}.png)")
    blocks += ["## Data", summary.markdown(report.splits)]
    blocks += ["![Lengths of utterances](lengths.png)", "![Shares of the classes](classes.png)"]
    blocks += ["## Training", _markdown_run(report)]
    if report.curves:
        blocks.append("![Learning curves](curves.png)")
    blocks.append("## Next")
    for purpose, words in next_commands(run_dir, report):
        blocks.append(f"{purpose}:\n\n```sh\n{' '.join(words)}\n```")
    return "\n\n".join(blocks) + "\n"


def write_metrics(path: Path, metrics: Mapping[str, float]) -> None:
    """Write metrics as JSON: flat names in alphabetical order, plain floats.

    Raises:
        DataError: a value is NaN or infinite, or the file cannot be written.
    """
    values = {name: float(metrics[name]) for name in sorted(metrics)}
    for name, value in values.items():
        if not math.isfinite(value):
            raise DataError(
                f"{path}: {name} is {value}, which is no score, so nothing was written. Training has "
                "probably diverged: lower optimizer.lr or clip gradients with trainer.gradient_clip_val=1."
            )
    write_atomic(path, json.dumps(values, indent=2) + "\n")


def closing_table(run_dir: Path, report: RunReport) -> RenderableType:
    """The scores beside the floor, where everything lies, and three commands to go on with.

    Print it with `soft_wrap=True`: then a path longer than the terminal is wide can still be copied whole.
    """
    facts = Table.grid(padding=(0, 2, 0, 1), pad_edge=True)
    facts.add_row("best epoch", _choice(report))
    facts.add_row("duration", _duration(report.duration_s))
    facts.add_row("run folder", Text(str(_short(run_dir))))
    for stamp in report.stamps:
        facts.add_row("note", Text(stamp, style="yellow"))
    parts: list[RenderableType] = [_score_table(report), facts]
    for purpose, words in next_commands(run_dir, report):
        parts += [Text(f"\n {purpose}", style="bold"), Text(_fold(words))]
    return Group(*parts)


def next_commands(run_dir: Path, report: RunReport) -> list[tuple[str, list[str]]]:
    """What to type next, each as its purpose and its words, quoted for a shell and for Hydra."""
    python = _program("python")
    in_logs = Path("logs").absolute() in run_dir.absolute().parents
    logs = "logs" if in_logs else shlex.quote(str(_short(run_dir)))
    best = _override("ckpt", str(_short(report.checkpoint)))
    data = [shlex.quote(word) for word in report.data_overrides]
    grid = ["optimizer.lr=1e-3,3e-4", "model=cnn,lstm"]
    return [
        ("Predict a file", [python, "predict.py", best, "input=FILE", "output=pred.json"]),
        ("Watch the curves", [_program("tensorboard"), "--logdir", logs]),
        ("Try other settings", [python, "train.py", "-m", *data, *grid]),
    ]


def _headlines(report: RunReport) -> list[str]:
    """The accuracy of what was not trained on, the test split first."""
    lines = []
    for split in reversed([split for split in _scored_splits(report) if split != "train"]):
        bits = " (valence and activation both right)" * (f"{split}/valence_accuracy" in report.metrics)
        accuracy = _score(report, split, "accuracy")
        floor = _score(report, split, "majority_floor")
        lines.append(f"**{split.capitalize()} accuracy {accuracy}**{bits}, majority floor {floor}.")
    return lines


def _markdown_classes(counts: np.ndarray, class_names: Sequence[str]) -> str:
    """Recall, precision and support of each class; a dash where nothing can be divided by."""
    matrix = torch.as_tensor(counts)
    scores = torch.stack([recall(matrix), precision(matrix)], 1).tolist()
    rows = [
        [name, *("-" if math.isnan(score) else f"{score:.1%}" for score in pair), str(support)]
        for name, pair, support in zip(class_names, scores, counts.sum(1).tolist(), strict=True)
    ]
    return markdown_table(["class", "recall", "precision", "support"], rows)


def _markdown_confusion(counts: np.ndarray, class_names: Sequence[str]) -> str:
    rows = [[name, *map(str, row)] for name, row in zip(class_names, counts.tolist(), strict=True)]
    return markdown_table(["", *class_names], rows)


def _markdown_run(report: RunReport) -> str:
    facts = {
        "command": f"`{report.command}`",
        "seed": str(report.seed),
        "duration": _duration(report.duration_s),
        "best epoch": _choice(report),
        "parameters": f"{report.num_parameters:,}",
        "checkpoint": f"`{_short(report.checkpoint)}`",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _score_table(report: RunReport) -> Table:
    (corner, *splits), *rows = _score_cells(report)
    table = Table(corner, box=box.SIMPLE_HEAD)
    for split in splits:
        table.add_column(split, justify="right")
    for row in rows:
        table.add_row(*row, style="bold" if row[0] == METRICS["accuracy"] else None)
    return table


def _score_cells(report: RunReport) -> list[list[str]]:
    """One column a split, one row a metric that some split has."""
    splits = _scored_splits(report)
    rows = [["", *splits]]
    for name, title in METRICS.items():
        row = [_score(report, split, name) for split in splits]
        if set(row) != {"-"}:
            rows.append([title, *row])
    return rows


def _scored_splits(report: RunReport) -> list[str]:
    return [split for split in plots.SPLITS if f"{split}/accuracy" in report.metrics]


def _score(report: RunReport, split: str, name: str) -> str:
    value = report.metrics.get(f"{split}/{name}")
    if value is None:
        return "-"
    return f"{value:.3f}" if name == "loss" else f"{value:.1%}"


def _choice(report: RunReport) -> str:
    which = {"max": "highest", "min": "lowest"}[report.mode]
    return f"{report.best_epoch} of {report.epochs}, chosen by the {which} {report.monitor}"


def _labelled(splits: Sequence[SplitSummary]) -> dict[str, dict[str, int]]:
    return {split.name: split.class_counts for split in splits if split.class_counts is not None}


def _duration(seconds: float) -> str:
    """Such as `1 h 4 min`, `4 min 12 s` or `7 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _short(path: Path) -> Path:
    """Relative where it lies below the working folder, as one would type it."""
    path, here = path.absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _program(name: str) -> str:
    """`name` where the shell finds the one beside this interpreter by it, else its path.

    In a virtual environment that is not activated, a bare `python` would be another one.
    """
    ours = Path(sys.executable).with_name(name)
    if not ours.exists() or shutil.which(name) == str(ours):
        return name
    return shlex.quote(str(_short(ours)))


def _override(key: str, value: str) -> str:
    """`key=value` for Hydra, quoted where its grammar or the shell needs that."""
    if re.fullmatch(r"[\w./+-]+", value, re.ASCII):
        return f"{key}={value}"
    escaped = value.replace('"', r"\"")
    return shlex.quote(f'{key}="{escaped}"')


def _fold(words: Sequence[str]) -> str:
    """A command on lines of a terminal's width, each continued by a backslash so that it can be copied."""
    lines = [" "]
    for word in words:
        if len(lines[-1]) + len(word) > _COMMAND_WIDTH:
            lines.append("     ")
        lines[-1] += f" {word}"
    return " \\\n".join(lines)
