"""Suggest commands after a run, which can be copied as they are."""

from collections.abc import Sequence
from pathlib import Path

from ser.errors import program, setting, shell_word
from ser.files import short
from ser.report.facts import RunReport
from ser.runs.environment import program_words, typed_folder

_WIDTH = 76  # width of a line in the closing table: 80 columns without indent and backslash


def next_commands(report: RunReport) -> list[tuple[str, list[str]]]:
    """Return suggested commands, each with its purpose and its words, quoted for a shell and for Hydra."""
    best = [setting("ckpt", str(short(report.checkpoint))), *report.trust]
    keys = [word.partition("=")[0].lstrip("+~") for word in report.overrides]
    has_own_model = any(key in ("experiment", "model") or key.startswith("model.") for key in keys)
    are_recordings = any(split.minutes is not None for split in report.splits)
    answers = "pred.csv" if are_recordings else "pred.json"  # recordings are answered by a table
    is_over_time = report.labelled_at == "frame"
    words = ["words=FILE"] * (report.takes_words and is_over_time)
    live = ("Stream a recording", [*program_words("predict"), *best, "input=FILE", "stream=true"])
    grid = {"optimizer.lr": "1e-3,3e-4"} | ({"seed": "0,1,2"} if has_own_model else {"model": "cnn,lstm"})
    varied_keys = (
        {*grid} if report.monitor else {*grid, "data.validation"}
    )  # settings are chosen on validation
    kept = [
        shell_word(word) for key, word in zip(keys, report.overrides, strict=True) if key not in varied_keys
    ]
    unsplit = [
        shell_word(word)
        for key, word in zip(keys, report.overrides, strict=True)
        if key != "split" and not key.startswith(("data.split.", "hydra."))
    ]
    folds = [shell_word(word) for word in report.cross_validation]
    train = [*program_words("train"), *map(shell_word, typed_folder()), "-m"]
    varied = [f"{key}={values}" for key, values in grid.items()]
    return [
        ("Predict a file", [*program_words("predict"), *best, "input=FILE", *words, f"output={answers}"]),
        *[live] * (report.unit == "frame" and not is_over_time),
        *[("Watch the curves", [*command]) for command in report.watch],
        ("Try other settings", [*train, *kept, *varied]),
        *[("Cross-validate over speakers", [*train, *unsplit, *folds])] * report.has_few_speakers,
    ]


def tensorboard_command(run_dir: Path) -> list[str]:
    """Return the command that shows a run and all others in logs in TensorBoard, quoted for a shell."""
    in_logs = Path("logs").absolute() in run_dir.absolute().parents
    logs = "logs" if in_logs else shell_word(str(short(run_dir)))
    return [program("tensorboard"), "--logdir", logs]


def fold_command(words: Sequence[str]) -> str:
    """Wrap a command to the width of a terminal with backslashes, so that it can be copied."""
    lines = [" "]
    for word in words:
        if len(lines[-1]) + len(word) > _WIDTH:
            lines.append("     ")
        lines[-1] += f" {word}"
    return " \\\n".join(lines)
