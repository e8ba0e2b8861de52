"""Jobs of a sweep: write their status, and find which of them to skip or resume."""

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
"""Value of a failed job as long as no other job has finished; far larger than any metric or loss."""


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
    """Write `status.json` into a run's folder in one step; arguments that are None leave a value unchanged.

    The status of a killed process stays `running`.

    Args:
        run_dir: Folder of the run.
        status: Status of the job; `running` discards the status of an earlier run in the folder.
        overrides: Settings given to this job.
        settings: Hash of all settings of this job.
        error: Message of the error.
        monitor: Name of the metric by which jobs are compared.
        mode: Whether larger (`max`) or smaller (`min`) is better.
        value: Metric of the best checkpoint, finite.
    """
    target = Path(run_dir) / STATUS_FILE
    facts = {
        "status": status,
        "error": error,
        "monitor": monitor,
        "mode": mode,
        "value": finite_objective(value),
        "overrides": None if overrides is None else [*overrides],
        "settings": settings,
    }
    before = {} if status == "running" else _read(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    merged = {key: before.get(key) if fact is None else fact for key, fact in facts.items()}
    write_atomic(target, json.dumps(merged, indent=2, allow_nan=False) + "\n")


def hash_settings(settings: Any) -> str:
    """Compute a hash of a job's composed config, with unresolved interpolations."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def find_folder(run_dir: Path, sweep_dir: Path, *, overrides: Sequence[str], settings: str) -> Path:
    """Return the folder in which a job with these settings ran before, else an unused one.

    A sweep that is repeated or extended in its folder numbers its jobs from 0, so that a number may belong to another
    job.

    Args:
        run_dir: Folder that Hydra assigns to the job.
        sweep_dir: Folder of all jobs.
        overrides: Settings given to this job.
        settings: Hash of all settings of this job.
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


def run_job(
    run: Callable[[Path | None], float | None],
    run_dir: Path,
    *,
    sweep_dir: Path,
    log: Path,
    overrides: Sequence[str],
    settings: str,
    mode: Mode,
) -> float | None:
    """Run one job of a sweep and return its objective; a failure is recorded and does not stop other jobs.

    A job that has already finished in this folder is skipped.

    Args:
        run: Function that runs the job, or resumes it from the folder that it is given.
        run_dir: Folder of the job, in which its status is written.
        sweep_dir: Folder of all jobs.
        log: File for the traceback of a failure.
        overrides: Settings given to this job.
        settings: Hash of all settings of this job.
        mode: Whether larger or smaller objectives are better.
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
        folder = RunFolder(run_dir)
        if not folder.has_checkpoint():
            folder.config.unlink(missing_ok=True)  # of a job that was killed in its first epoch
        value = finite_objective(run(run_dir if folder.has_checkpoint() else None))
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


def finite_objective(value: float | None) -> float | None:
    """Return the objective, after checking that a sweeper can compare it.

    Raises:
        SerError: It is NaN or infinite.
    """
    if value is not None and not math.isfinite(value):
        raise SerError(f"the run returned {value}: training diverged. Lower optimizer.lr or clip gradients.")
    return value


def failed_objective(sweep_dir: Path, mode: Mode) -> float:
    """Return the objective of a failed job for the sweeper: the worst value of any job of the sweep so far.

    NaN would end an Optuna study, and a value far outside of the metric's range distorts the models of most
    optimisers; the worst value so far only marks the settings as bad.
    """
    values = [
        value for status in read_statuses(sweep_dir).values() if (value := status.get("value")) is not None
    ]
    worst = min if mode == "max" else max
    return float(worst(values, default=-UNSEEN_WORST if mode == "max" else UNSEEN_WORST))


def read_statuses(sweep_dir: Path) -> dict[Path, dict[str, Any]]:
    """Read the status of each job of a sweep, by its folder."""
    found = {path.parent: _read(path) for path in sorted(sweep_dir.rglob(STATUS_FILE))}
    return {folder: status for folder, status in found.items() if status}


def _read(path: Path) -> dict[str, Any]:
    """Read the status in a file; empty if it is missing or not a status of ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and "status" in content else {}


def remove_unused(folder: Path) -> None:
    """Remove a folder in which there is nothing but the empty log that Hydra has made for a job."""
    files = [*folder.iterdir()]
    if all(file.suffix == ".log" and file.stat().st_size == 0 for file in files):
        for file in files:
            file.unlink()
        folder.rmdir()
