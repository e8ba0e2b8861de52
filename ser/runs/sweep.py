"""Jobs of a sweep: the status each leaves in its folder, and which of them are skipped or resumed."""

import hashlib
import itertools
import json
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from ser.errors import SerError
from ser.files import write_atomic
from ser.runs.run_folder import RunFolder

STATUS_FILE = "status.json"
Status = Literal["running", "completed", "failed"]
Mode = Literal["max", "min"]

UNSEEN_WORST = 1e6
"""Stands for the value of a failed job while no other has finished. Metrics and losses stay far within it."""


def record_status(
    run_dir: str | Path,
    status: Status,
    *,
    overrides: Sequence[str] | None = None,
    settings: str | None = None,
    error: str | None = None,
    monitor: str | None = None,
    mode: Mode | None = None,
    value: float | None = None,
) -> None:
    """Write `status.json` into a run's folder, all or nothing; what is not given stays as it was.

    A process that is killed leaves `running`.

    Args:
        run_dir: the run's folder.
        status: `running` forgets what an earlier run in the folder left.
        overrides: settings given to this job.
        settings: hash of all settings of this job.
        error: what went wrong.
        monitor: name of the compared metric.
        mode: whether larger (`max`) or smaller (`min`) is better.
        value: the metric of the best checkpoint, finite.
    """
    target = Path(run_dir) / STATUS_FILE
    facts = {
        "status": status,
        "error": error,
        "monitor": monitor,
        "mode": mode,
        "value": finite(value),
        "overrides": None if overrides is None else [*overrides],
        "settings": settings,
    }
    before = {} if status == "running" else _read(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    merged = {key: before.get(key) if fact is None else fact for key, fact in facts.items()}
    write_atomic(target, json.dumps(merged, indent=2, allow_nan=False) + "\n")


def hash_settings(settings: Any) -> str:
    """Return a hash of a job's composed config, interpolations as they are written."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def find_folder(run_dir: Path, sweep_dir: Path, *, overrides: Sequence[str], settings: str) -> Path:
    """Return the folder where a job with these settings has run before, else one that no other job has used.

    A sweep that is repeated or extended in its folder counts its jobs anew, so their numbers may be those of others.

    Args:
        run_dir: folder that Hydra gives to the job.
        sweep_dir: folder of all jobs.
        overrides: settings given to this job.
        settings: hash of all settings of this job.
    """
    statuses = read_statuses(sweep_dir)
    same = [folder for folder, status in statuses.items() if _is_same(status, overrides, settings)]
    if same:
        return max(same, key=lambda folder: statuses[folder]["status"] == "completed")
    if run_dir not in statuses:
        return run_dir
    for number in itertools.count():
        folder = sweep_dir / str(number)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def _is_same(status: dict[str, Any], overrides: Sequence[str], settings: str) -> bool:
    if status.get("settings") is None:  # written before statuses had a hash
        return status.get("overrides") is not None and sorted(status["overrides"]) == sorted(overrides)
    return bool(status["settings"] == settings)


def attempt(
    run: Callable[[], float | None],
    run_dir: Path,
    *,
    sweep_dir: Path,
    log: Path,
    overrides: Sequence[str],
    settings: str,
    mode: Mode,
) -> float | None:
    """Run one job of a sweep and return its objective, so that a failure is recorded and stops no other job.

    A job that has finished in this folder is not run again.

    Args:
        run: the job.
        run_dir: its folder, which gets the status.
        sweep_dir: folder of all jobs.
        log: file that gets the traceback of a failure.
        overrides: settings given to this job.
        settings: hash of all settings of this job.
        mode: whether larger or smaller objectives are better.
    """
    words = " ".join(overrides)
    before = _read(run_dir / STATUS_FILE)
    if before.get("status") == "completed" and before.get("value") is not None:
        print(f"Skipped, as it finished before: {words} in {run_dir}")
        return float(before["value"])
    if RunFolder(run_dir).is_held():
        print(f"Failed: {words}\n{run_dir}: another process runs this job now. Wait for it.", file=sys.stderr)
        return failed_objective(sweep_dir, mode)
    record_status(run_dir, "running", overrides=overrides, settings=settings, mode=mode)
    try:
        value = finite(run())
    except Exception as error:
        message = str(error) if isinstance(error, SerError) else f"{type(error).__name__}: {error}"
        with log.open("a", encoding="utf-8") as file:
            file.write(traceback.format_exc())
        record_status(run_dir, "failed", error=message)
        print(f"Failed: {words}\n{message}\nThe traceback is in {log}.", file=sys.stderr)
        return failed_objective(sweep_dir, mode)
    except BaseException:
        record_status(run_dir, "failed", error="interrupted")
        raise
    record_status(run_dir, "completed", value=value)
    return value


def finite(value: float | None) -> float | None:
    """Return an objective that a sweeper can compare.

    Raises:
        SerError: it is NaN or infinite.
    """
    if value is not None and not math.isfinite(value):
        raise SerError(f"the run returned {value}: training diverged. Lower optimizer.lr or clip gradients.")
    return value


def failed_objective(sweep_dir: Path, mode: Mode) -> float:
    """Return what a sweeper is told of a failed job: the worst value that any job of the sweep has had.

    NaN would end an Optuna study, and a value far outside of the metric's range bends the models of most
    optimisers; the worst value seen says "not here" and nothing else.
    """
    values = [
        value for status in read_statuses(sweep_dir).values() if (value := status.get("value")) is not None
    ]
    worst = min if mode == "max" else max
    return float(worst(values, default=-UNSEEN_WORST if mode == "max" else UNSEEN_WORST))


def read_statuses(sweep_dir: Path) -> dict[Path, dict[str, Any]]:
    """Return the folder of each job of a sweep with its status."""
    found = {path.parent: _read(path) for path in sorted(sweep_dir.rglob(STATUS_FILE))}
    return {folder: status for folder, status in found.items() if status}


def _read(path: Path) -> dict[str, Any]:
    """The status in a file; empty where there is none, or where it is not one of ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and "status" in content else {}
