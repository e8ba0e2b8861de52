"""Print and write the tables at the end of a sweep, with mean scores over seeds and folds."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser.errors import counted, shell_word
from ser.errors import program as path_of_program
from ser.files import write_atomic
from ser.runs.pooled_scores import Job, Pool, pool_folds, write_folds
from ser.runs.sweep import is_running, read_statuses
from ser.runs.tables import format_markdown, print_table, write_csv

REPEATS = (
    "seed",
    "data.split.fold",
    "data.split.seed",
    "data.split.speaker",
    "data.split.group",
    "data.seed",
)
"""Settings of repetitions of one experiment: scores are averaged over them, never ranked."""

_SCORES = (
    "accuracy",
    "uar",
    "macro_f1",
    "majority_floor",
    "file_accuracy",
    "file_uar",
)  # details follow them
_MOST_RECALLS = 6  # classes in the table on the console; scores.csv has all classes

Overrides = dict[str, str]
Statuses = Mapping[Path, Mapping[str, Any]]


@dataclass(frozen=True)
class Group:
    """Jobs whose settings are equal except for seeds and folds.

    Args:
        settings: Value of each setting, without REPEATS.
        jobs: Status of each job by its folder, in the order of the sweep.
    """

    settings: Overrides
    jobs: Statuses

    @property
    def values(self) -> list[float]:
        """Return the monitored values of the completed jobs."""
        return [job["value"] for job in self._completed.values() if job.get("value") is not None]

    @property
    def _completed(self) -> Statuses:
        return {folder: job for folder, job in self.jobs.items() if job["status"] == "completed"}

    @property
    def mean(self) -> float | None:
        """Return the mean of the monitored values."""
        return statistics.mean(self.values) if self.values else None

    def metrics(self) -> list[dict[str, float]]:
        """Read the metrics of each completed job that has written them."""
        files = [folder / "metrics.json" for folder in self._completed]
        return [json.loads(file.read_text()) for file in files if file.is_file()]

    def command(self, program: Sequence[str]) -> str:
        """Return the command that repeats all completed jobs, as typed in bash."""
        found: dict[str, dict[str, None]] = {}
        for job in self._completed.values():
            for key, value in overrides_of(job).items():
                found.setdefault(key, {})[value] = None
        words = _words({key: ",".join(values) for key, values in found.items()})
        sweep = ["-m"] if any(len(values) > 1 for values in found.values()) else []
        first = [path_of_program(word) for word in program[:1]]
        return " ".join([*first, *map(shell_word, [*program[1:], *sweep, *words])])


def summarize(sweep_dir: Path, program: Sequence[str]) -> int:
    """Print a sweep's jobs, the best setting first, mean scores, and the command that repeats the best setting.

    The tables are also written to sweep.csv, sweep.md and, with all scores, scores.csv.

    Args:
        sweep_dir: Folder of all jobs.
        program: Words that called the program, without overrides.

    Returns:
        Number of jobs that neither completed nor were pruned.
    """
    statuses = read_statuses(sweep_dir)
    groups = group_jobs(statuses)
    compared, others = rank_groups(groups)
    ranked = [*compared, *others]
    is_averaged = any(len(group.jobs) > 1 for group in groups)
    named = next((status for status in statuses.values() if status.get("monitor")), {})
    title = f"{named.get('monitor', 'objective')} ({named.get('mode') or 'max'})"
    head = ("rank", *["mean"] * is_averaged, title, "overrides", "folder", "status")
    rows = []
    for group in ranked:
        rank = str(compared.index(group) + 1) if group in compared else ""
        mean = [_number(group.mean)] * is_averaged
        rows += [(rank, *mean, *_row(folder, job, sweep_dir)) for folder, job in group.jobs.items()]
    write_csv(sweep_dir / "sweep.csv", head, rows)
    write_atomic(sweep_dir / "sweep.md", format_markdown(head, rows) + "\n")
    print_table(f"{len(rows)} jobs in {sweep_dir}", head, rows)
    if is_averaged:
        ranking = "ranked by" if len(groups) > 1 else "with"
        print(f"{_count(groups)}, {ranking} the mean over seeds and folds.")
    if scored := [group for group in groups if group.metrics()]:
        table = score_rows(scored)
        write_csv(sweep_dir / "scores.csv", [*table[0]], [[*row.values()] for row in table])
        _print_scores(scored)
    write_folds(sweep_dir, _pools(ranked))
    for line in dict.fromkeys(line for group in groups for line in _repeated_splits(group)):
        print(line)
    if compared:
        _print_best(compared, others, program)
    return sum(status["status"] not in ("completed", "pruned") for status in statuses.values())


def _pools(groups: Sequence[Group]) -> dict[str, list[Pool]]:
    """Pool the folds of each group, by the settings in which groups differ."""
    varied = _varied_settings(groups)
    found = {}
    for group in groups:
        jobs = []
        for folder, job in group.jobs.items():
            repeats = {key: value for key, value in overrides_of(job).items() if key in REPEATS}
            jobs.append(Job(folder, repeats, job["status"] == "completed"))
        words = _words({key: group.settings[key] for key in varied if key in group.settings})
        found[" ".join(words)] = pool_folds(jobs)
    return found


def _repeated_splits(group: Group) -> list[str]:
    """Describe which jobs of a group test the same speakers although the seeds of their splits differ."""
    found = {}
    for folder, job in group.jobs.items():
        drawn = {key: value for key, value in overrides_of(job).items() if key.startswith("data.split.")}
        repeated = {key: value for key, value in drawn.items() if key in REPEATS}
        file = folder / "splits.json"
        if "data.split.seed" in repeated and file.is_file():
            found[" ".join(_words(repeated))] = json.loads(file.read_text())
    return repeated_test_speakers(found)


def repeated_test_speakers(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Describe which jobs of a sweep test the same speakers although the seeds of their splits differ.

    Args:
        splits: Content of splits.json of each job, by a name such as `data.split.seed=1`.
    """
    jobs: dict[tuple[str, ...], list[str]] = {}
    for name, content in splits.items():
        speakers = (content.get("speakers") or {}).get("test")
        if speakers:
            jobs.setdefault((*speakers,), []).append(name)
    return [
        f"{', '.join(names[:-1])} and {names[-1]} test the same {counted(len(speakers), 'speaker')} "
        f"({', '.join(speakers[:5])}{', ...' * (len(speakers) > 5)}): they are not different splits."
        for speakers, names in jobs.items()
        if len(names) > 1
    ]


def group_jobs(statuses: Statuses) -> list[Group]:
    """Group jobs that differ only in seeds and folds, in the order of the sweep."""
    groups: dict[tuple[tuple[str, str], ...], dict[Path, Mapping[str, Any]]] = {}
    for folder, status in statuses.items():
        groups.setdefault(tuple(sorted(_settings(status).items())), {})[folder] = status
    return [Group(_settings(next(iter(jobs.values()))), jobs) for jobs in groups.values()]


def rank_groups(groups: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Return the groups that can be compared, best mean first, and the other groups.

    Only groups with the most completed jobs are compared: the mean of fewer folds may be that of easy folds.
    """
    most = max((len(group.values) for group in groups), default=0)
    compared = [group for group in groups if most and len(group.values) == most]
    is_min = any(job.get("mode") == "min" for group in groups for job in group.jobs.values())
    compared.sort(key=lambda group: group.mean or 0.0, reverse=not is_min)
    return compared, [group for group in groups if group not in compared]


def score_rows(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return a row for each group: a column for each setting in which groups differ, then scores.

    For each score, the mean is given and, for two or more jobs, the sample standard deviation.
    """
    varied = _varied_settings(groups)
    names = _score_names(groups)
    table = []
    for group in groups:
        jobs = group.metrics()
        row = {key: group.settings.get(key, "") for key in varied} | {"jobs": str(len(jobs))}
        for name in names:
            values = [job[name] for job in jobs if name in job]
            row[f"{name}_mean"] = _number(statistics.mean(values) if values else None)
            row[f"{name}_sd"] = _number(statistics.stdev(values) if len(values) > 1 else None)
        table.append(row)
    return table


def overrides_of(status: Mapping[str, Any]) -> Overrides:
    """Return the overrides of a job by key; the value of `~key` is empty."""
    parts = [word.partition("=") for word in status.get("overrides") or []]
    return {key: value for key, _, value in parts}


def _settings(status: Mapping[str, Any]) -> Overrides:
    return {key: value for key, value in overrides_of(status).items() if key not in REPEATS}


def _words(settings: Overrides) -> list[str]:
    return [key if key.startswith("~") and not value else f"{key}={value}" for key, value in settings.items()]


def _varied_settings(groups: Sequence[Group]) -> list[str]:
    """Return the keys of settings in which groups differ, in the order of the overrides."""
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    return [key for key in keys if len({group.settings.get(key) for group in groups}) > 1]


def _score_names(groups: Sequence[Group]) -> list[str]:
    found = {name for group in groups for job in group.metrics() for name in job}
    details = sorted(
        {name.partition("/")[2] for name in found if "/recall_" in name or "/ccc" in name} - {"ccc_mean"}
    )
    names = [f"{split}/{name}" for split in ("validation", "test") for name in (*_SCORES, *details)]
    return [name for name in names if name in found]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _spread(name: str, values: Sequence[float]) -> str:
    """Return the mean and the sample standard deviation, in percent where the score is a share."""
    is_share = "/ccc" not in name
    mean, factor = ("{:.1%}", 100) if is_share else ("{:.3f}", 1)
    if len(values) < 2:
        return "".join(mean.format(value) for value in values)
    deviation = factor * statistics.stdev(values)
    return f"{mean.format(statistics.mean(values))} +- {deviation:.{1 if is_share else 3}f}"


def describe_state(folder: Path, status: Mapping[str, Any]) -> str:
    """Describe the state of a job: completed, failed and why, killed."""
    state = str(status["status"])
    if state == "failed" and status.get("reason") in ("diverged", "out of memory"):
        state += f" ({status['reason']})"
    if state == "running" and not is_running(folder):
        state = "killed"
    if state == "pruned" and status.get("epochs"):
        state += f" after {status['epochs']} epochs"
    if status.get("changed"):
        state += f", before {' and '.join(status['changed'])} changed"
    lines = (status.get("error") or "").strip().splitlines()
    facts = (
        line for line in lines if ": " in line or not line.endswith(":")
    )  # not the mere heading of a list
    error = next(facts, "").strip().rstrip(":")
    return f"{state}: {error}" if error else state


def _row(folder: Path, status: Mapping[str, Any], sweep_dir: Path) -> tuple[str, ...]:
    return (
        _number(status.get("value")),
        " ".join(status.get("overrides") or []),
        str(folder.relative_to(sweep_dir)),
        describe_state(folder, status),
    )


def _print_best(compared: Sequence[Group], others: Sequence[Group], program: Sequence[str]) -> None:
    best, jobs = compared[0], len(compared[0].values)
    if others and jobs > 1:
        print(f"Not compared, as fewer than {jobs} jobs of each completed: {_count(others)}.")
    if len(compared) > 1 or jobs == 1:
        print(f"Best, to repeat it: {best.command(program)}")
    else:
        print(f"To repeat it: {best.command(program)}")


def _count(groups: Sequence[Group]) -> str:
    return counted(len(groups), "setting")


def _print_scores(groups: Sequence[Group]) -> None:
    """Print scores of validation, for model selection, and of test, with the recalls of at most six classes.

    Where values are predicted, it is their CCC, and that of each field.
    """
    names = _score_names(groups)
    last = "test" if any(name.startswith("test/") for name in names) else "validation"
    shown = [f"{split}/{name}" for split in ("validation", "test") for name in ("accuracy", "uar", "ccc")]
    shown += [f"{last}/majority_floor", f"{last}/file_accuracy"]
    shown += [name for name in names if name.startswith(f"{last}/ccc_")]
    recalls = [name for name in names if name.startswith(f"{last}/recall_")]
    shown += recalls if len(recalls) <= _MOST_RECALLS else []
    names = [name for name in shown if name in names]
    varied = _varied_settings(groups)
    rows = []
    for group in groups:
        jobs = group.metrics()
        settings = {key: group.settings[key] for key in varied if key in group.settings}
        cells = [_spread(name, [job[name] for job in jobs if name in job]) for name in names]
        rows.append(("\n".join(_words(settings)) or "all", str(len(jobs)), *cells))
    head = ("setting", "jobs", *(name.replace("/", " ").replace("_", " ") for name in names))
    print_table("Scores, mean +- standard deviation over jobs", head, rows)
