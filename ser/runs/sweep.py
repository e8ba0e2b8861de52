"""Jobs of a sweep: write their status, and find which of them to skip or resume."""

import gc
import hashlib
import itertools
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from ser.errors import DivergedError, SerError
from ser.files import write_atomic
from ser.runs.changes import find_changes
from ser.runs.run_folder import RunFolder

STATUS_FILE = "status.json"
SET_ASIDE = "replaced"
"""Folder, in that of a sweep, for the results of jobs that ran again."""
Status = Literal["running", "completed", "failed", "pruned"]
Reason = Literal["diverged", "out of memory", "error", "interrupted", "killed"]
Mode = Literal["max", "min"]
TRIAL = "SER_TRIAL"
"""Environment variable that holds the trial of a job, in a search."""
_LOCK = ".job.lock"
_NO_IDENTITY = ("resume", "experiment_name", "trust", "sweep", "report", "logger")
"""Settings that change no result of a job."""


class JobError(SerError):
    """The failure of a job that ran as a command of its own, with its kind."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason


UNSEEN_WORST = 1e6
"""Value of a failed job as long as no other job has finished; far larger than any metric or loss."""


def record_status(
    run_dir: str | Path,
    status: Status,
    *,
    overrides: Sequence[str] | None = None,
    settings: str | None = None,
    number: int | None = None,
    depends: Mapping[str, str] | None = None,
    error: str | None = None,
    reason: Reason | None = None,
    monitor: str | None = None,
    mode: Mode | None = None,
    value: float | None = None,
    epochs: int | None = None,
) -> None:
    """Write `status.json` into a run's folder in one step; arguments that are None leave a value unchanged.

    The status of a killed process stays `running`.

    Args:
        run_dir: Folder of the run.
        status: Status of the job; `running` discards the status of an earlier run in the folder.
        overrides: Settings given to this job.
        settings: Hash of all settings of this job.
        number: Place of the job in the order of the sweep.
        depends: Hashes of code, packages and data; see `ser.runs.changes`.
        error: Message of the error.
        reason: Kind of the failure.
        monitor: Name of the metric by which jobs are compared.
        mode: Whether larger (`max`) or smaller (`min`) is better.
        value: Metric of the best checkpoint, finite.
        epochs: Number of epochs that were trained.
    """
    facts = {
        "status": status,
        "error": error,
        "reason": reason,
        "monitor": monitor,
        "mode": mode,
        "value": finite_objective(value),
        "epochs": epochs,
        "overrides": None if overrides is None else [*overrides],
        "settings": settings,
        "number": number,
        "depends": None if depends is None else dict(depends),
    }
    before = {} if status == "running" else read_status(Path(run_dir))
    merged = {key: before.get(key) if fact is None else fact for key, fact in facts.items()}
    Path(run_dir).mkdir(parents=True, exist_ok=True)
    _write(Path(run_dir), merged)


def _write(folder: Path, status: Mapping[str, Any]) -> None:
    write_atomic(folder / STATUS_FILE, json.dumps(status, indent=2, allow_nan=False) + "\n")


def hash_settings(settings: Mapping[str, Any]) -> str:
    """Compute the name of a job: a hash of its resolved config, without what changes no result."""
    kept = {key: value for key, value in settings.items() if key not in _NO_IDENTITY}
    content = json.dumps(_without_caches(kept), sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:10]


def _without_caches(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without_caches(value) for key, value in node.items() if key != "cache_dir"}
    return [_without_caches(item) for item in node] if isinstance(node, list) else node


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of a sweep, before it runs.

    Args:
        folder: Folder of the job, in which its status is written.
        sweep_dir: Folder of all jobs.
        log: File for the traceback of a failure.
        overrides: Settings given to this job.
        settings: Hash of all settings of this job.
        mode: Whether larger or smaller objectives are better.
        number: Place of the job in the order of the sweep, from 0.
        fingerprint: Computes hashes of what the job depends on besides its settings.
        skip_done: Whether a finished job is skipped.
        reruns_changed: Whether a job with other code or data than now runs again.
    """

    folder: Path
    sweep_dir: Path
    log: Path
    overrides: Sequence[str]
    settings: str
    mode: Mode
    number: int = 0
    fingerprint: Callable[[], Mapping[str, str]] = dict
    skip_done: bool = True
    reruns_changed: bool = False


def find_folder(given: Path, sweep_dir: Path, settings: str) -> Path:
    """Return the folder that Hydra assigns to a job, unless another job was there, as with a subdir of one's own."""
    before = read_status(given)
    return given if not before or before.get("settings") == settings else sweep_dir / settings


def run_job(run: Callable[[Path | None], float | None], job: Job) -> float | None:
    """Run one job of a sweep and return its objective; a failure is recorded and does not stop other jobs.

    A job that has finished in this folder is skipped, one that was killed goes on where it was, and one that another
    process runs now is left to it.

    Args:
        run: Function that runs the job, or resumes it from the folder that it is given.
        job: The job.
    """
    words = " ".join(job.overrides)
    with hold_job(job.folder) as is_held_here:
        if not is_held_here:
            print(f"Left out: {words}\n{job.folder}: another process runs this job now.", file=sys.stderr)
            return failed_objective(job.sweep_dir, job.mode)
        before, now = read_status(job.folder), job.fingerprint()
        changes = find_changes(before.get("depends"), now)
        done = ("completed", "pruned") if current_trial() else ("completed",)
        is_done = before.get("status") in done and before.get("value") is not None
        is_kept = not (changes and job.reruns_changed)
        if is_done and is_kept and job.skip_done:
            why = f", with other {' and '.join(changes)} than now" if changes else ""
            print(f"Skipped, as it finished before{why}: {words} in {job.folder}")
            if changes != (before.get("changed") or []):
                _write(job.folder, before | {"changed": changes})
            return float(before["value"])
        if is_done or not is_kept:
            moved = _set_aside(job)
            print(f"Runs again: {words}; its earlier results are in {moved}")
        return _run_and_record(run, job, now)


def _run_and_record(
    run: Callable[[Path | None], float | None], job: Job, depends: Mapping[str, str]
) -> float | None:
    record_status(
        job.folder,
        "running",
        overrides=job.overrides,
        settings=job.settings,
        mode=job.mode,
        number=job.number,
        depends=depends,
    )
    try:
        folder = RunFolder(job.folder)
        if not folder.has_checkpoint():
            folder.config.unlink(missing_ok=True)  # of a job that was killed in its first epoch
        value = finite_objective(run(job.folder if folder.has_checkpoint() else None))
    except Exception as error:
        message = message_of(error)
        with job.log.open("a", encoding="utf-8") as file:
            file.write(traceback.format_exc())
        record_status(job.folder, "failed", error=message, reason=reason_of(error))
        print(
            f"Failed: {' '.join(job.overrides)}\n{message}\nThe traceback is in {job.log}.", file=sys.stderr
        )
    except BaseException:
        record_status(job.folder, "failed", error="interrupted", reason="interrupted")
        raise
    else:
        status: Status = "pruned" if read_status(job.folder)["status"] == "pruned" else "completed"
        depends = job.fingerprint()  # anew, as it may have made its data
        record_status(job.folder, status, value=value, depends=depends)
        return value
    _free_memory()
    return failed_objective(job.sweep_dir, job.mode)


def current_trial() -> dict[str, Any]:
    """Return the trial that this process's job belongs to, see `ser.search.trial`; empty outside of a search."""
    trial: dict[str, Any] = json.loads(os.environ.get(TRIAL) or "{}")
    return trial


def _set_aside(job: Job) -> Path:
    """Move the results of an earlier run of a job away, but for its lock and the log that is open now."""
    base = job.sweep_dir / SET_ASIDE / job.folder.name
    place = next(path for number in itertools.count(1) if not (path := Path(f"{base}_{number}")).exists())
    place.mkdir(parents=True)
    for path in job.folder.iterdir():
        if path != job.log and not path.name.endswith(".lock"):
            path.rename(place / path.name)
    return place


@contextmanager
def hold_job(folder: Path) -> Iterator[bool]:
    """Hold a job as long as it runs, and return whether no other process holds it; the lock ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=0.5)  # `is_running` holds it for a moment
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield not RunFolder(folder).is_held()  # by a child of a sweep that was killed
    finally:
        lock.release()


def is_running(folder: Path) -> bool:
    """Return whether a process runs the job of a folder now."""
    if not (folder / _LOCK).is_file():
        return RunFolder(folder).is_held()
    with hold_job(folder) as is_held_here:
        return not is_held_here


def reason_of(error: BaseException) -> Reason:
    """Return what kind of failure an error is."""
    if isinstance(error, JobError):
        return error.reason
    torch: Any = sys.modules.get("torch")  # not imported only to ask
    full = (MemoryError, *([torch.OutOfMemoryError] if torch else []))
    if isinstance(error, full) or "DefaultCPUAllocator" in str(error):
        return "out of memory"
    return "diverged" if isinstance(error, DivergedError) else "error"


def _free_memory() -> None:
    """Free what a failed job held, so that the next one finds the device empty."""
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def message_of(error: Exception) -> str:
    """Return the text of an error for status.json, with its type unless the message is ours."""
    return str(error) if isinstance(error, SerError) else f"{type(error).__name__}: {error}"


def finite_objective(value: float | None) -> float | None:
    """Return the objective, after checking that a sweeper can compare it.

    Raises:
        DivergedError: It is NaN or infinite.
    """
    if value is not None and not math.isfinite(value):
        raise DivergedError(
            f"the run returned {value}: training diverged. Lower optimizer.lr or clip gradients."
        )
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
    """Read the status of each job of a sweep, by its folder, in the order of the sweep."""
    folders = [path.parent for path in sorted(sweep_dir.rglob(STATUS_FILE))]
    kept = [folder for folder in folders if SET_ASIDE not in folder.relative_to(sweep_dir).parts]
    found = {folder: status for folder in kept if (status := read_status(folder))}
    return dict(sorted(found.items(), key=lambda item: _place(*item)))


def _place(folder: Path, status: Mapping[str, Any]) -> tuple[float, int, Path]:
    number = status.get("number")
    return math.inf if number is None else number, len(folder.name), folder


def read_status(folder: Path) -> dict[str, Any]:
    """Read the status of a job; empty if it is missing or not a status of ours."""
    try:
        content = json.loads((folder / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and "status" in content else {}
