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
from typing import Any, Literal

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
    "file_accuracy": "accuracy of whole utterances",
    "file_uar": "UAR of whole utterances",
    "loss": "loss",
}
"""Metrics of a split in the order of every table -> what people call them."""
PICTURES = {
    "Training": {
        "loss_curve.png": "Loss against optimiser steps",
        "architecture.png": "The model, from input to logits",
    },
    "Data": {"waveforms.png": "Waveforms of some training recordings"},
    "Scores": {"pca.png": "Logits, by their first two principal components"},
}
"""Section -> pictures that callbacks leave in the run folder, where they are turned on -> what they show."""
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
        best_epoch: the one whose checkpoint was chosen, 1..epochs; None for an ensemble, whose members have their own.
        monitor: metric that chose it, such as `validation/accuracy`.
        mode: `max` where a larger value of it is better, else `min`.
        checkpoint: path of the chosen one.
        metrics: flat name such as `test/uar` -> value, of the chosen checkpoint.
        confusions: split -> counts [C, C], rows true, columns predicted.
        class_names: [C], by class index.
        unit: what is scored.
        splits: what the data holds.
        lengths: split -> [N] frames of each utterance.
        curves: metric -> epoch -> value, for the learning curves; empty for none.
        data_overrides: words of the command line that chose data and experiment, which the suggested sweep repeats.
        stamps: warnings to every reader, such as `generated speech: a demonstration, not a result`.
        leaks: what splits share, as `ser.data.leaks` tells it; None where nothing is known to look for.
    """

    title: str
    command: str
    seed: int
    duration_s: float
    num_parameters: int
    epochs: int
    best_epoch: int | None
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
    leaks: Sequence[Mapping[str, Any]] | None = None
    unit: Literal["utterance", "frame"] = "utterance"


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
        title = f"{split}: {counts.sum()} {report.unit}s"
        picture = plots.confusion_matrix(counts, report.class_names, title)
        plots.save(picture, run_dir / _confusion_name(split))
    headline = run_dir / _confusion_name(_headline_split(report))
    write_atomic(run_dir / "confusion.png", headline.read_bytes())
    plots.save(plots.length_histogram(report.lengths), run_dir / "lengths.png")
    plots.save(plots.class_shares(_labelled(report.splits)), run_dir / "classes.png")
    if report.curves and report.best_epoch is not None:
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
    blocks += _shown(run_dir, "Scores")
    blocks += ["## What these scores do not say", " ".join(_limits(report))]
    for split, counts in report.confusions.items():
        blocks += [f"## Classes of {split}", _markdown_classes(counts, report.class_names)]
        blocks += ["Rows are true, columns predicted:", _markdown_confusion(counts, report.class_names)]
        blocks.append(f"![Confusion matrix of {split}]({_confusion_name(split)})")
    blocks += ["## Data", summary.markdown(report.splits)]
    blocks += ["![Lengths of utterances](lengths.png)", "![Shares of the classes](classes.png)"]
    blocks += _shown(run_dir, "Data")
    blocks += ["## Training", _markdown_run(report)]
    if report.curves:
        blocks.append("![Learning curves](curves.png)")
    blocks += _shown(run_dir, "Training")
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
    has_own_model = any(word.startswith("experiment=") for word in data)
    answers = "pred.json" if report.leaks is None else "pred.csv"  # recordings are answered by a table
    live = ("Hear a recording live", [python, "predict.py", best, "input=FILE", "stream=true"])
    grid = ["optimizer.lr=1e-3,3e-4", "seed=0,1,2" if has_own_model else "model=cnn,lstm"]
    return [
        ("Predict a file", [python, "predict.py", best, "input=FILE", f"output={answers}"]),
        *[live] * (report.unit == "frame"),
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


def _headline_split(report: RunReport) -> str:
    return "test" if "test" in report.confusions else "validation"


def _confusion_name(split: str) -> str:
    return "confusion.png" if split == "test" else f"confusion_{split}.png"


def _shown(run_dir: Path, section: str) -> list[str]:
    """The pictures of a section that are there."""
    pictures = PICTURES[section].items()
    return [f"![{title}]({name})" for name, title in pictures if (run_dir / name).is_file()]


def _limits(report: RunReport) -> list[str]:
    """Sentences on what the headline score leaves open, from what is known about the data."""
    split = _headline_split(report)
    by_name = {summary.name: summary for summary in report.splits}
    return [
        *(f"The data is {stamp}." for stamp in report.stamps if stamp.startswith("generated speech")),
        *_certainty(report, by_name.get(split)),
        *["The epoch was chosen by this split, so its score is somewhat too good."] * (split == "validation"),
        _apart(report, by_name, split),
        *_imbalance(by_name.get("train")),
        "The scores are about the languages, speakers and recording conditions in this data; others were not tried.",
    ]


def _certainty(report: RunReport, scored: SplitSummary | None) -> list[str]:
    """How far chance may have moved the headline accuracy p: its standard error, sqrt(p (1 - p) / n) of n answers.

    Utterances of a speaker resemble each other. Were they all right or all wrong together, there would be as many
    independent answers as speakers: the truth lies between both numbers. Where all answers are right, or none is, the
    formula gives 0; then 3 / n bounds the share of the others with 95% certainty.
    """
    split = _headline_split(report)
    accuracy = report.metrics.get(f"{split}/accuracy")
    if scored is None or accuracy is None:
        return []
    scored_units = int(report.confusions[split].sum())  # a trial run leaves some out
    # Neighbouring frames sound alike: at best, there are as many independent answers as recordings.
    independent = scored_units if report.unit == "utterance" else scored.utterances

    is_mixed = 0 < accuracy < 1

    def margin(count: int) -> str:
        share = math.sqrt(accuracy * (1 - accuracy) / count) if is_mixed else min(3 / count, 1)
        return f"{100 * share:.1f} points"

    measure = "a standard error" if is_mixed else "a 95% margin of error"
    each = "each" if report.unit == "utterance" else "each utterance"
    told = f"The {split} accuracy of {accuracy:.1%} over {_many(scored_units, report.unit)} has {measure} of "
    told += f"{margin(independent)} if {each} is independent of the others"
    if scored.speakers is None:
        return [f"{told}, and a larger one if speakers have several of them."]
    return [
        f"{told}, and of up to {margin(scored.speakers)} if those of a speaker are right or wrong together "
        f"({_many(scored.speakers, 'speaker')})."
    ]


def _apart(report: RunReport, by_name: Mapping[str, SplitSummary], split: str) -> str:
    """Whether the scored split has speakers that training did not hear."""
    if any(name in by_name and by_name[name].speakers is None for name in ("train", split)):
        return (
            f"The speakers are not known, so {split} may hold voices that training heard; then the score is better "
            "than it would be for new speakers."
        )
    shared = [
        leak
        for leak in report.leaks or ()
        if leak["kind"] == "speaker" and {*leak["splits"]} == {"train", split}
    ]
    if shared:
        return (
            f"{_many(shared[0]['shared'], 'speaker')} of {split} also {'talks' if shared[0]['shared'] == 1 else 'talk'}"
            " in train, so the score is better than it would be for new speakers."
        )
    if report.leaks is None:
        return "It is not recorded whether the splits share speakers."
    return f"No speaker of {split} is in train, so the score is about new speakers."


def _imbalance(train: SplitSummary | None) -> list[str]:
    """How unequal the classes of training are."""
    if train is None or not train.class_counts:
        return []
    ordered = sorted(train.class_counts.items(), key=lambda item: item[1])
    (rare, few), (common, many) = ordered[0], ordered[-1]
    if few == many:
        return ["All classes have equally many training utterances."]
    return [
        f"In train {common} makes up {many / train.utterances:.1%} and {rare} {few / train.utterances:.1%}: accuracy "
        "counts frequent classes more, UAR counts all alike."
    ]


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _markdown_classes(counts: np.ndarray, class_names: Sequence[str]) -> str:
    """Recall, precision, F1 and support of each class; a dash where nothing can be divided by."""
    matrix = torch.as_tensor(counts)
    f1 = 2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))
    scores = torch.stack([recall(matrix), precision(matrix), f1], 1).tolist()
    rows = [
        [name, *("-" if math.isnan(score) else f"{score:.1%}" for score in triple), str(support)]
        for name, triple, support in zip(class_names, scores, counts.sum(1).tolist(), strict=True)
    ]
    return markdown_table(["class", "recall", "precision", "F1", "support"], rows)


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
    if report.best_epoch is None:
        return f"of each member, chosen by its {which} {report.monitor}"
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
