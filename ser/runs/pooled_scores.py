"""Scores over the folds of a sweep: pooled, so that each utterance counts once, and of each fold and speaker.

A mean over folds weighs a fold with few utterances like one with many, and the UAR of a fold that lacks a class is that
of another problem. Pooled scores are those of all predictions together, one for each seed.
"""

import csv
import io
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ser.files import read_text, write_atomic
from ser.runs.predictions_file import class_columns, predictions_path
from ser.runs.tables import format_markdown, print_table, write_csv

FOLDS = ("data.split.fold", "data.split.speaker", "data.split.group")
"""Settings that choose the fold that is tested."""

Rows = Sequence[Mapping[str, str]]
"""Rows of predictions_test.csv."""


class Job(NamedTuple):
    """Job of a sweep: its folder, its settings that are repeated, and whether it completed."""

    folder: Path
    repeats: Mapping[str, str]
    is_completed: bool


@dataclass(frozen=True)
class Pool:
    """Folds that were tested with the same seeds.

    Args:
        name: Seeds, such as `seed=1`.
        folds: Predictions for the test split of each fold.
        missing: Folds without predictions.
    """

    name: str
    folds: Mapping[str, Rows]
    missing: Sequence[str] = ()

    @property
    def rows(self) -> Rows:
        """Return the predictions of all folds."""
        return [row for rows in self.folds.values() for row in rows]

    @property
    def by_speaker(self) -> dict[str, Rows]:
        """Return the predictions for each known speaker, in alphabetical order."""
        found: dict[str, list[Mapping[str, str]]] = {}
        for row in self.rows:
            if row.get("speaker"):
                found.setdefault(row["speaker"], []).append(row)
        return dict(sorted(found.items()))

    @property
    def repeated(self) -> int:
        """Return the number of utterances that several folds test."""
        tested = Counter(name for rows in self.folds.values() for name in {row["id"] for row in rows})
        return sum(count > 1 for count in tested.values())


def pool_folds(jobs: Sequence[Job]) -> list[Pool]:
    """Read the predictions of jobs that differ in folds and seeds, and pool the folds of each seed.

    Returns:
        One pool for each seed; none if the jobs have one fold.
    """
    folds = [_words(job.repeats, lambda key: key in FOLDS) for job in jobs]
    if len({*folds}) < 2:
        return []
    pools: dict[str, dict[str, Rows]] = {}
    for job, fold in zip(jobs, folds, strict=True):
        path = predictions_path(job.folder, "test")
        rows = _read(path) if job.is_completed and path.is_file() else []
        seeds = _words(job.repeats, lambda key: key not in FOLDS)
        pools.setdefault(seeds, {})[fold] = rows
    return [
        Pool(
            seeds,
            {fold: rows for fold, rows in found.items() if rows},
            [fold for fold, rows in found.items() if not rows],
        )
        for seeds, found in pools.items()
    ]


def _words(repeats: Mapping[str, str], is_meant: Callable[[str], bool]) -> str:
    return " ".join(f"{key}={value}" for key, value in repeats.items() if is_meant(key))


def _read(path: Path) -> Rows:
    return [*csv.DictReader(io.StringIO(read_text(path), newline=""))]


def score_rows(rows: Rows) -> dict[str, float]:
    """Compute the scores of predictions: accuracy, UAR and floor of classes, the CCC of each field with values."""
    columns = [*rows[0]] if rows else []
    scores: dict[str, float] = {}
    of_classes = class_columns(columns)
    for label in columns:
        field = label.removeprefix("label").removeprefix("_")
        predicted = f"prediction_{field}".removesuffix("_")
        if not label.startswith("label") or predicted not in columns:
            continue
        pairs = [(row[label], row[predicted]) for row in rows if row[label]]
        if not pairs:
            continue
        if field in of_classes:
            scores |= {f"{name}_{field}".removesuffix("_"): x for name, x in _score_classes(pairs).items()}
        else:
            scores[f"ccc_{field}"] = _concordance(pairs)
    return scores


def _score_classes(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Score pairs of label and prediction; an empty prediction is wrong."""
    support = Counter(label for label, _ in pairs)
    right = Counter(label for label, predicted in pairs if label == predicted)
    return {
        "accuracy": right.total() / len(pairs),
        "uar": statistics.mean(right[name] / count for name, count in support.items()),
        "majority_floor": max(support.values()) / len(pairs),
    }


def _concordance(pairs: Sequence[tuple[str, str]]) -> float:
    """Compute the CCC of pairs of label and prediction; 0 for constants."""
    labels, predicted = np.array([pair for pair in pairs if pair[1]], dtype=float).reshape(-1, 2).T
    if not len(labels):
        return 0.0
    covariance = np.cov(labels, predicted, bias=True)
    scale = covariance[0, 0] + covariance[1, 1] + (labels.mean() - predicted.mean()) ** 2
    return float(2 * covariance[0, 1] / scale) if scale else 0.0


def write_folds(sweep_dir: Path, settings: Mapping[str, Sequence[Pool]]) -> None:
    """Write folds.csv and folds.md, and print the table of folds.md, if any jobs are folds with predictions.

    Args:
        sweep_dir: Folder of the sweep.
        settings: Pools of each setting that is compared, by its words.
    """
    settings = {name: scored for name, pools in settings.items() if (scored := [p for p in pools if p.folds])}
    if not settings:
        return
    details = [row for name, pools in settings.items() for pool in pools for row in _details(name, pool)]
    scores = [*dict.fromkeys(key for *_, row in details for key in row)]
    head = ("setting", "repeat", "part", "name", "utterances", *scores)
    cells = [(*row[:-1], *(_number(row[-1].get(key)) for key in scores)) for row in details]
    write_csv(sweep_dir / "folds.csv", head, cells)
    shown, rows = _summary(settings, scores)
    remarks = [line for name, pools in settings.items() for pool in pools for line in _remarks(name, pool)]
    text = [format_markdown(shown, rows), *([""] if remarks else []), *(f"- {line}" for line in remarks)]
    write_atomic(sweep_dir / "folds.md", "\n".join(text) + "\n")
    print_table("Pooled over folds: each utterance is tested once", shown, rows)
    for line in remarks:
        print(line)
    print(f"Each fold and speaker: {sweep_dir / 'folds.csv'}")


def _details(name: str, pool: Pool) -> list[tuple[Any, ...]]:
    """Return a row for the pool, for each fold and for each speaker, with its scores as last cell."""
    parts = [("fold", fold, rows) for fold, rows in pool.folds.items()]
    parts += [("speaker", speaker, rows) for speaker, rows in pool.by_speaker.items()]
    if not pool.repeated:
        parts.insert(0, ("pooled", "all", pool.rows))
    return [
        (name, pool.name, part, what, str(len({row["id"] for row in rows})), score_rows(rows))
        for part, what, rows in parts
    ]


def _summary(
    settings: Mapping[str, Sequence[Pool]], scores: Sequence[str]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the head and the rows of the table: pooled scores over seeds, and the main score of folds and speakers."""
    main = scores[0] if scores else ""
    head = (
        "setting",
        "seeds",
        "folds",
        "utterances",
        *(f"pooled {name.replace('_', ' ')}" for name in scores),
    )
    rows = []
    for name, pools in settings.items():
        pooled = [score_rows(pool.rows) for pool in pools if not pool.repeated]
        cells = [_spread(key, [found[key] for found in pooled if key in found]) for key in scores]
        folds = [score_rows(rows).get(main, 0.0) for pool in pools for rows in pool.folds.values()]
        speakers = _mean_of_speakers(pools, main)
        each = [_spread(main, folds), _spread(main, speakers), _range(main, speakers)]
        tested = len({row["id"] for pool in pools for row in pool.rows})
        number = max(len(pool.folds) for pool in pools)
        rows.append((name or "all", str(len(pools)), str(number), str(tested), *cells, *each))
    title = main.replace("_", " ")
    return (*head, f"folds' {title}", f"speakers' {title}", "lowest, highest"), rows


def _mean_of_speakers(pools: Sequence[Pool], score: str) -> list[float]:
    """Return the score of each speaker, the mean over seeds."""
    found: dict[str, list[float]] = {}
    for pool in pools:
        for speaker, rows in pool.by_speaker.items():
            found.setdefault(speaker, []).append(score_rows(rows).get(score, 0.0))
    return [statistics.mean(values) for values in found.values()]


def _remarks(name: str, pool: Pool) -> list[str]:
    """Describe what a pool lacks, and why it may not be pooled."""
    place = " ".join(filter(None, (name, pool.name)))
    place = f"{place}: " if place else ""
    lines = []
    if pool.missing:
        count = len(pool.missing) + len(pool.folds)
        listed = ", ".join(pool.missing[:5]) + ", ..." * (len(pool.missing) > 5)
        lines.append(
            f"{place}{len(pool.missing)} of {count} folds have no predictions and are left out: {listed}."
        )
    if pool.repeated:
        lines.append(f"{place}{pool.repeated} utterances are tested by several folds, which are not pooled.")
    if pool.rows and not score_rows(pool.rows):
        lines.append(f"{place}the predictions cannot be pooled; scores.csv has the means over folds.")
    return lines


def _format(score: str) -> tuple[str, float, int]:
    return ("{:.3f}", 1, 3) if score.startswith("ccc") else ("{:.1%}", 100, 1)


def _spread(score: str, values: Sequence[float]) -> str:
    """Return the mean and, of two or more values, the sample standard deviation."""
    if not values:
        return ""
    text, factor, digits = _format(score)
    mean = text.format(statistics.mean(values))
    return f"{mean} +- {factor * statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _range(score: str, values: Sequence[float]) -> str:
    text = _format(score)[0]
    return f"{text.format(min(values))}, {text.format(max(values))}" if values else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
