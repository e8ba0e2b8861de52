"""Sweeps: the status each job leaves in its folder, and the table that ends them."""

import csv
import json
import math
import os
import shlex
import shutil
import statistics
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ser.errors import SerError

STATUS_FILE = "status.json"
Status = Literal["running", "completed", "failed"]
Mode = Literal["max", "min"]

UNSEEN_WORST = 1e6
"""Stands for the value of a failed job while no other has finished. Metrics and losses stay far within it."""

REPEATS = (
    "seed",
    "data.split.fold",
    "data.split.seed",
    "data.split.speaker",
    "data.split.group",
    "data.seed",
)
"""Settings in which repetitions of one experiment differ: scores are averaged over them."""

_SCORES = ("accuracy", "uar", "macro_f1", "majority_floor", "file_accuracy", "file_uar")
_MOST_RECALLS = 6  # classes, in the table on the console; scores.csv has all
_HEAD = ("rank", "value", "overrides", "folder", "status")


def record_status(
    run_dir: str | Path,
    status: Status,
    *,
    overrides: Sequence[str] | None = None,
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
    }
    before = {} if status == "running" else _read(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    merged = {key: before.get(key) if fact is None else fact for key, fact in facts.items()}
    temporary.write_text(json.dumps(merged, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(target)


def attempt(
    run: Callable[[], float | None],
    run_dir: Path,
    *,
    sweep_dir: Path,
    log: Path,
    overrides: Sequence[str],
    mode: Mode,
) -> float | None:
    """Run one job of a sweep and return its objective, so that a failure is recorded and stops no other job.

    Args:
        run: the job.
        run_dir: its folder, which gets the status.
        sweep_dir: folder of all jobs.
        log: file that gets the traceback of a failure.
        overrides: settings given to this job.
        mode: whether larger or smaller objectives are better.
    """
    record_status(run_dir, "running", overrides=overrides, mode=mode)
    try:
        value = finite(run())
    except Exception as error:
        message = str(error) if isinstance(error, SerError) else f"{type(error).__name__}: {error}"
        with log.open("a", encoding="utf-8") as file:
            file.write(traceback.format_exc())
        record_status(run_dir, "failed", error=message)
        print(f"Failed: {' '.join(overrides)}\n{message}\nThe traceback is in {log}.", file=sys.stderr)
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
    values = [value for status in _statuses(sweep_dir).values() if (value := status.get("value")) is not None]
    worst = min if mode == "max" else max
    return float(worst(values, default=-UNSEEN_WORST if mode == "max" else UNSEEN_WORST))


def summarize(sweep_dir: Path, command: Sequence[str]) -> int:
    """Print a sweep's jobs, best first, means over seeds and folds, and the command that repeats the best.

    The tables are also written: sweep.csv, sweep.md and, of all scores, scores.csv.

    Args:
        sweep_dir: folder of all jobs.
        command: how the program was called, without overrides.

    Returns:
        How many jobs did not complete.
    """
    statuses = _statuses(sweep_dir)
    order = sorted(statuses, key=lambda folder: (_rank(statuses[folder]), len(folder.name), folder))
    rows = [_row(rank, folder, statuses[folder], sweep_dir) for rank, folder in enumerate(order, 1)]
    named = next((status for status in statuses.values() if status.get("monitor")), {})
    title = f"{named.get('monitor', 'objective')} ({named.get('mode') or 'max'})"
    head = tuple(title if name == "value" else name for name in _HEAD)
    _write_csv(sweep_dir / "sweep.csv", head, rows)
    _write_markdown(sweep_dir / "sweep.md", head, rows)
    _print_table(f"{len(rows)} jobs in {sweep_dir}", head, rows)
    if scored := scores(statuses):
        _write_csv(sweep_dir / "scores.csv", tuple(scored[0]), [tuple(row.values()) for row in scored])
        _print_scores(scored)
    if order and statuses[order[0]]["status"] == "completed":
        best = shlex.join([*command, *(statuses[order[0]].get("overrides") or [])])
        print(f"Best, to repeat it: {best}")
    return sum(status["status"] != "completed" for status in statuses.values())


def scores(statuses: Mapping[Path, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Scores of completed jobs, averaged over those that differ in nothing but seeds and folds.

    Args:
        statuses: folder of a job -> its status; metrics.json is read from the folder.

    Returns:
        A row for what settings differ in, with a column for each score that some job has.
    """
    groups: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for folder, status in sorted(statuses.items(), key=lambda item: (len(item[0].name), item[0])):
        if status["status"] == "completed" and (folder / "metrics.json").is_file():
            kept = [word for word in status.get("overrides") or [] if word.partition("=")[0] not in REPEATS]
            groups.setdefault((*kept,), []).append(json.loads((folder / "metrics.json").read_text()))
    shared = set.intersection(*map(set, groups)) if groups else set()
    found = {name for jobs in groups.values() for job in jobs for name in job}
    recalls = sorted({name.partition("/")[2] for name in found if "/recall_" in name})
    names = [f"{split}/{name}" for split in ("validation", "test") for name in (*_SCORES, *recalls)]
    names = [name for name in names if name in found]
    return [
        {"setting": " ".join(word for word in words if word not in shared) or "all", "jobs": str(len(jobs))}
        | {name: _mean_and_deviation([job[name] for job in jobs if name in job]) for name in names}
        for words, jobs in groups.items()
    ]


def _mean_and_deviation(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "".join(f"{value:.1%}" for value in values)
    return f"{statistics.mean(values):.1%} +- {100 * statistics.stdev(values):.1f}"


def _read(path: Path) -> dict[str, Any]:
    """The status in a file; empty where there is none, or where it is not one of ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and "status" in content else {}


def _statuses(sweep_dir: Path) -> dict[Path, dict[str, Any]]:
    found = {path.parent: _read(path) for path in sorted(sweep_dir.rglob(STATUS_FILE))}
    return {folder: status for folder, status in found.items() if status}


def _rank(status: dict[str, Any]) -> tuple[bool, bool, float]:
    """Sort key: completed before others, with a value before those without, then the value."""
    value = status.get("value")
    sign = 1 if status.get("mode") == "min" else -1
    return status["status"] != "completed", value is None, 0.0 if value is None else sign * value


def _row(rank: int, folder: Path, status: dict[str, Any], sweep_dir: Path) -> tuple[str, ...]:
    value = status.get("value")
    state = "killed" if status["status"] == "running" else status["status"]
    lines = (status.get("error") or "").strip().splitlines()
    error = next((line.strip() for line in lines if not line.endswith(":")), "")  # not the head of a list
    return (
        str(rank) if state == "completed" else "",
        "" if value is None else f"{value:.6g}",
        " ".join(status.get("overrides") or []),
        str(folder.relative_to(sweep_dir)),
        f"{state}: {error}" if error else state,
    )


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def _write_markdown(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    cells = [[cell.replace("|", r"\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    path.write_text("".join(f"| {' | '.join(row)} |\n" for row in cells), encoding="utf-8")


def _print_scores(scored: Sequence[Mapping[str, str]]) -> None:
    """Those of validation, by which one chooses, and those of test, with the recall of each class, if they are few."""
    last = "test" if any(name.startswith("test/") for name in scored[0]) else "validation"
    shown = [f"{split}/{name}" for split in ("validation", "test") for name in ("accuracy", "uar")]
    shown += [f"{last}/majority_floor", f"{last}/file_accuracy"]
    recalls = [name for name in scored[0] if name.startswith(f"{last}/recall_")]
    shown += recalls if len(recalls) <= _MOST_RECALLS else []
    names = ["setting", "jobs", *(name for name in shown if name in scored[0])]
    head = tuple(name.replace("/", " ").replace("_", " ") for name in names)
    lines = [{**row, "setting": row["setting"].replace(" ", "\n")} for row in scored]
    _print_table("Scores", head, [tuple(row[name] for name in names) for row in lines])


def _print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # 0.1 s, and needed at the end of a sweep only
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title))
    for name in head:
        table.add_column(Text(name), overflow="fold", no_wrap=name == "setting")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=shutil.get_terminal_size((160, 24)).columns).print(table)
