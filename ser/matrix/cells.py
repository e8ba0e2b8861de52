"""Scores of trainings on a corpus, from the predictions in their folders."""

import csv
import functools
import io
import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.comparison.intervals import difference_interval, standard_error
from ser.comparison.scored import Scored
from ser.comparison.scores import SCORES
from ser.files import read_text
from ser.runs.pooled_scores import score_rows
from ser.runs.predictions_file import NEW, TRAINING, predictions_path

Table = Sequence[Mapping[str, str]]
"""Rows of a file of predictions."""

TEST_SPLIT, WHOLE = "test split", "whole corpus"


@dataclass(frozen=True)
class Cell:
    """Scores of trainings on a corpus: the mean over seeds, pooled over folds.

    Args:
        part: Utterances that are scored: the test split, or the whole corpus where no training had any of it.
        scores: `uar` and `accuracy` with their floors and ends of intervals, such as `uar_low`; for values, `ccc`.
        utterances: Number of utterances.
        speakers: Number of speakers; None if some are unknown.
        jobs: Number of trainings.
    """

    part: str
    scores: Mapping[str, float]
    utterances: int
    speakers: int | None
    jobs: int

    @property
    def headline(self) -> str:
        """Return the name of the main score."""
        return "uar" if "uar" in self.scores else "ccc"


@functools.cache
def read_table(run_dir: Path, corpus: str, *, part: str) -> Table:
    """Read the predictions of a run for a corpus, with its own ids and speakers; empty if there are none.

    Utterances of a test set on which the run was trained, or its checkpoint chosen, are left out: see `count_seen`.

    Args:
        run_dir: Folder of the run.
        corpus: Name of the corpus.
        part: Whether the corpus is a part of the run's test split, or a test set.
    """
    rows = _read_rows(predictions_path(run_dir, "test" if part == TEST_SPLIT else corpus))
    if part == WHOLE:
        return [row for row in rows if row.get(TRAINING, NEW) == NEW]
    prefix = f"{corpus}/"
    return [
        {**row, "id": row["id"].removeprefix(prefix), "speaker": row["speaker"].removeprefix(prefix)}
        for row in rows
        if row["id"].startswith(prefix)
    ]


def count_seen(run_dir: Path, corpus: str) -> int:
    """Return the number of utterances of a test set on which a run was trained, or its checkpoint chosen."""
    rows = _read_rows(predictions_path(run_dir, corpus))
    return sum(row.get(TRAINING, NEW) != NEW for row in rows)


def count_shared_speakers(run_dir: Path, corpus: str) -> tuple[int, int]:
    """Return the numbers of speakers of a test set that are in a run's training, and that may be, by their names."""
    path = run_dir / "metrics.json"
    metrics = json.loads(read_text(path)) if path.is_file() else {}
    shared, same = (
        int(metrics.get(f"test_sets/{corpus}/{name}", 0)) for name in ("shared_speakers", "same_speakers")
    )
    return same, shared - same


def _read_rows(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(read_text(path), newline=""))] if path.is_file() else []


def select_ids(table: Table, ids: Collection[str]) -> Table:
    """Return the rows with one of some ids."""
    return [row for row in table if row["id"] in ids]


def score_tables(tables: Sequence[Table], part: str) -> Cell:
    """Score the predictions of one or more trainings for a corpus.

    Args:
        tables: Predictions of each training, none empty.
        part: See Cell.
    """
    speakers = {row["id"]: row.get("speaker") or "" for table in tables for row in table}
    known = None if "" in speakers.values() else len({*speakers.values()})
    score = _score_classes if "prediction" in tables[0][0] else _score_fields
    return Cell(part, score(tables, speakers), len(speakers), known, len(tables))


def _score_classes(tables: Sequence[Table], speakers: Mapping[str, str]) -> dict[str, float]:
    """Score classes, with intervals over speakers, or over utterances if speakers are unknown."""
    rights: dict[str, list[bool]] = {}
    labels: dict[str, str] = {}
    for row in (row for table in tables for row in table if row["label"]):
        rights.setdefault(row["id"], []).append(row["prediction"] == row["label"])
        labels[row["id"]] = row["label"]
    has_speakers = "" not in speakers.values()
    clusters = [speakers[name] if has_speakers else name for name in rights]
    scored = Scored(
        correct=np.array([[statistics.mean(own) for own in rights.values()]]),
        labels=np.unique([labels[name] for name in rights], return_inverse=True)[1],
        clusters=np.unique(clusters, return_inverse=True)[1],
        has_speakers=has_speakers,
    )
    counts = np.bincount(scored.labels)
    found = {name: float(score(scored.sums.sum(1))[0]) for name, score in SCORES.items()}
    found |= {"uar_floor": 1 / len(counts), "accuracy_floor": float(counts.max() / counts.sum())}
    if scored.size > 1:
        for name, (interval,) in scored.intervals().items():
            found |= (
                {f"{name}_low": interval.low, f"{name}_high": interval.high}
                if interval.low < interval.high
                else {}
            )
    return found


def _score_fields(tables: Sequence[Table], speakers: Mapping[str, str]) -> dict[str, float]:
    """Score the fields of values or of several tasks: the mean UAR of those with classes, else the mean CCC."""
    scores = [score_rows(table) for table in tables]
    name = "uar" if any(key.startswith("uar") for each in scores for key in each) else "ccc"
    value = _mean_score(tables, name)
    found = {name: value, **({} if name == "uar" else {"ccc_floor": 0.0})}
    names = {*speakers.values()}
    if "" in names or len(names) < 2:
        return found
    without = [
        _mean_score([[row for row in table if row["speaker"] != left] for table in tables], name)
        for left in sorted(names)
    ]
    interval = difference_interval(value, float(standard_error(np.array(without))), len(names))
    return found | {f"{name}_low": interval.low, f"{name}_high": interval.high}


def _mean_score(tables: Sequence[Table], name: str) -> float:
    """Compute the mean over trainings of the mean score of the fields."""
    means = []
    for table in tables:
        values = [value for key, value in score_rows(table).items() if key.startswith(f"{name}_")]
        means += [statistics.mean(values)] * bool(values)
    return statistics.mean(means) if means else 0.0
