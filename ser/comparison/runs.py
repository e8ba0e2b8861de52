"""Read what finished runs left in their folders: settings, predictions and costs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ser.errors import REPEAT_RUN, DataError
from ser.files import short
from ser.runs.environment import recorded_overrides
from ser.runs.predictions_file import predictions_path, read_predictions
from ser.runs.run_folder import FACTS_FILE, RunFolder
from ser.runs.sweep import read_statuses

_OTHER = {"test": "validation", "validation": "test"}

Item = tuple[str, int]
"""Id of an utterance, and the number of its step, from 0, where each step has a label."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: Folder of the run.
        settings: Value of each setting by its full key.
        overrides: Settings that were typed, by key.
        classes: Names of the C classes.
        labels: Class index of each item that was scored.
        correct: Whether each item was predicted correctly.
        speakers: Speaker of each item; None where they are unknown.
        parameters: Number of parameters; None if it is unknown.
        duration_s: Duration of the run in s; None if it is unknown, as for a run that was resumed.
        monitor: Name of the metric that chose the epoch.
        is_min: Whether smaller values of it are better.
        value: Its best value; None if it is undefined.
    """

    folder: Path
    settings: Mapping[str, Any]
    overrides: Mapping[str, str]
    classes: tuple[str, ...]
    labels: Mapping[Item, int]
    correct: Mapping[Item, bool]
    speakers: Mapping[Item, str | None]
    parameters: int | None = None
    duration_s: float | None = None
    monitor: str = ""
    is_min: bool = False
    value: float | None = None


@dataclass(frozen=True)
class Found:
    """Runs that were found, and those that are left out.

    Args:
        runs: Runs that finished.
        left_out: Why each other run is left out, by its folder.
    """

    runs: Sequence[Run]
    left_out: Mapping[Path, str] = field(default_factory=dict)


def find_runs(folders: Sequence[Path], split: str) -> Found:
    """Read the runs in folders of runs and of sweeps.

    Args:
        folders: Folders of runs, or of sweeps.
        split: Split whose predictions are read.

    Raises:
        DataError: A folder holds no run, no run in it finished, or a run has no predictions for the split.
    """
    statuses: dict[Path, dict[str, Any]] = {}
    for folder in folders:
        found = {path.resolve(): status for path, status in read_statuses(folder).items()}
        if not found:
            raise DataError(
                f"{folder}: holds no status.json, so it is no folder of a run or of a sweep. Give the folder that "
                "train.py printed as the run folder, or that of a whole sweep."
            )
        statuses |= found
    finished = {path: status for path, status in statuses.items() if status["status"] == "completed"}
    left_out = {path: _describe(status) for path, status in statuses.items() if path not in finished}
    if not finished:
        reasons = ", ".join(sorted({*left_out.values()}))
        raise DataError(
            f"{folders[0]}: no run has finished ({reasons}). Repeat its command, which continues it, and compare then."
        )
    return Found([read_run(path, split, status) for path, status in finished.items()], left_out)


def read_run(folder: Path, split: str, status: Mapping[str, Any]) -> Run:
    """Read a finished run.

    Raises:
        DataError: A file is missing or damaged.
    """
    settings = dict(_flatten(_read_config(folder)))
    facts = _read_facts(folder)
    path = predictions_path(folder, split)
    if not path.is_file():
        raise DataError(f"{short(folder)}: {_describe_missing(folder, split)}")
    read = read_predictions(path)
    items = [*_number(read.ids)]
    right = (read.predicted == read.labels).tolist()
    words = (word.lstrip("+").partition("=") for word in recorded_overrides(folder / "environment.json"))
    return Run(
        folder=folder,
        settings=settings,
        overrides={key: value for key, _, value in words},
        classes=read.classes,
        labels=dict(zip(items, read.labels.tolist(), strict=True)),
        correct=dict(zip(items, right, strict=True)),
        speakers=dict(zip(items, read.speakers, strict=True)),
        parameters=facts.get("parameters"),
        duration_s=facts.get("duration_s") if settings.get("resume") is None else None,
        monitor=status.get("monitor") or "",
        is_min=status.get("mode") == "min",
        value=status.get("value"),
    )


def is_numeric(value: Any) -> bool:
    """Return whether the value of a setting is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _number(ids: Sequence[str]) -> Iterator[Item]:
    """Yield each id with the number of times that it came before: the steps of an utterance share its id."""
    seen: dict[str, int] = {}
    for name in ids:
        seen[name] = seen.get(name, -1) + 1
        yield name, seen[name]


def _describe_missing(folder: Path, split: str) -> str:
    """Describe why a run has no predictions for a split, and what helps."""
    other = _OTHER[split]
    if predictions_path(folder, other).is_file():
        return f"has no predictions for {split}, because it was not scored. Compare on {other} with --split {other}."
    return (
        f"has no {predictions_path(folder, split).name}: runs of older versions wrote no predictions. To compare it, "
        f"{REPEAT_RUN}."
    )


def _describe(status: Mapping[str, Any]) -> str:
    return "unfinished" if status["status"] == "running" else str(status["status"])


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = RunFolder(folder).config
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read ({error}). To write it again, {REPEAT_RUN}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no settings. To write it again, {REPEAT_RUN}.")
    return content


def _read_facts(folder: Path) -> Mapping[str, Any]:
    """Read the costs of a run; none where the file is missing."""
    path = folder / FACTS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is damaged ({error}). Delete it to compare without costs.") from error
    return content if isinstance(content, dict) else {}


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the full key and the value of each setting; lists are values."""
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
