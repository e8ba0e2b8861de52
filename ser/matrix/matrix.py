"""Trainings of a sweep as the rows of a matrix, with a column for each corpus that they are tested on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ser.errors import counted
from ser.matrix.cells import (
    TEST_SPLIT,
    WHOLE,
    Cell,
    Table,
    count_seen,
    count_shared_speakers,
    read_table,
    score_tables,
    select_ids,
)
from ser.runs.sweep import read_statuses
from ser.runs.sweep_tables import REPEATS, describe_state, overrides_of
from ser.splits.assignment import SPLITS

CORPORA = "data.corpora"
_PLACES = ("test_sets", "experiment_name", "data.folders")
"""Settings that say where corpora are, in which rows do not differ."""


@dataclass(frozen=True)
class Row:
    """Trainings on the same corpora that differ in seeds and folds only.

    Args:
        trained_on: Names of the corpora.
        settings: Further settings, by key.
        jobs: Status of each job, by its folder.
    """

    trained_on: tuple[str, ...]
    settings: Mapping[str, str]
    jobs: dict[Path, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def completed(self) -> list[Path]:
        """Return the folders of the trainings that finished."""
        return [folder for folder, status in self.jobs.items() if status["status"] == "completed"]


@dataclass(frozen=True)
class Matrix:
    """Scores of each row on each corpus.

    Args:
        rows: Rows, in the order of the sweep.
        columns: Names of the corpora.
    """

    rows: Sequence[Row]
    columns: Sequence[str]

    @cached_property
    def names(self) -> list[str]:
        """Return the name of each row: its corpora, and the settings in which rows differ."""
        keys = dict.fromkeys(key for row in self.rows for key in row.settings)
        varied = [key for key in keys if len({row.settings.get(key) for row in self.rows}) > 1]
        return [
            " ".join(
                ["+".join(row.trained_on), *(f"{k}={row.settings[k]}" for k in varied if k in row.settings)]
            )
            for row in self.rows
        ]

    @cached_property
    def cells(self) -> dict[tuple[int, str], Cell]:
        """Return the scores by number of the row and corpus; what has no predictions is missing."""
        return {
            (number, corpus): score_tables(tables, self.part(number, corpus))
            for number in range(len(self.rows))
            for corpus in self.columns
            if (tables := self.tables(number, corpus))
        }

    @cached_property
    def same_utterances(self) -> dict[tuple[int, str], Cell]:
        """Return the scores on the test split of each corpus, so that all cells of a column have the same utterances.

        Corpora that no finished training has learnt have none.
        """
        found = {}
        for corpus in self.columns:
            ids = self._tested_ids(corpus)
            for number in range(len(self.rows)):
                tables = [select_ids(table, ids) for table in self.tables(number, corpus)]
                if kept := [table for table in tables if table]:
                    found[number, corpus] = score_tables(kept, TEST_SPLIT)
        return found

    def part(self, number: int, corpus: str) -> str:
        """Return which utterances of a corpus a row is scored on."""
        return TEST_SPLIT if corpus in self.rows[number].trained_on else WHOLE

    def tables(self, number: int, corpus: str) -> list[Table]:
        """Read the predictions of each finished training of a row for a corpus, those that there are."""
        part = self.part(number, corpus)
        return [
            table
            for folder in self.rows[number].completed
            if (table := read_table(folder, corpus, part=part))
        ]

    def describe_seen(self) -> list[str]:
        """Describe what whole corpora share with trainings: utterances, which are left out, and names of speakers."""
        lines = []
        for number, (row, name) in enumerate(zip(self.rows, self.names, strict=True)):
            for corpus in self.columns:
                if self.part(number, corpus) != WHOLE:
                    continue
                if seen := max((count_seen(folder, corpus) for folder in row.completed), default=0):
                    lines.append(
                        f"{name} on {corpus}: left out are {counted(seen, 'utterance')} on which this training was "
                        "trained, or its checkpoint chosen: the corpora share recordings."
                    )
                shared = [count_shared_speakers(folder, corpus) for folder in row.completed]
                same, alike = (
                    max(counts, default=0) for counts in ([*zip(*shared, strict=True)] or [(), ()])
                )
                if same:
                    lines.append(
                        f"{name} on {corpus}: LEAK: {counted(same, 'speaker')} of the training data: the scores are "
                        "better than for new speakers."
                    )
                if alike:
                    lines.append(
                        f"{name} on {corpus}: {counted(alike, 'speaker')} with names of speakers of this training: a "
                        "LEAK if they are the same people."
                    )
        return lines

    def describe_missing(self) -> list[str]:
        """Describe the trainings that did not finish, and the cells that a finished one lacks."""
        lines = []
        for number, (row, name) in enumerate(zip(self.rows, self.names, strict=True)):
            lines += [
                f"{name}: {describe_state(folder, status)} ({folder.name})"
                for folder, status in row.jobs.items()
                if folder not in row.completed
            ]
            lines += [
                f"{name} on {corpus}: {lacking} of {len(row.completed)} finished trainings have no predictions; the "
                f"notes in {row.completed[0].name}/report.md name the reason"
                for corpus in self.columns
                if (lacking := len(row.completed) - len(self.tables(number, corpus)))
            ]
        return lines

    def describe_unstarted(self, planned: Mapping[tuple[str, ...], int]) -> list[str]:
        """Describe the trainings that never started.

        Args:
            planned: Number of trainings on each set of corpora that there should be.
        """
        started: Counter[tuple[str, ...]] = Counter()
        for row in self.rows:
            started[row.trained_on] += len(row.jobs)
        return [
            f"{'+'.join(corpora)}: {count - started[corpora]} of {count} trainings never started"
            for corpora, count in planned.items()
            if started[corpora] < count
        ]

    def _tested_ids(self, corpus: str) -> set[str]:
        numbers = [number for number, row in enumerate(self.rows) if corpus in row.trained_on]
        return {row["id"] for number in numbers for table in self.tables(number, corpus) for row in table}


def read_matrix(sweep_dir: Path) -> Matrix:
    """Read the trainings of a sweep over `data.corpora`."""
    rows: dict[tuple[Any, ...], Row] = {}
    for folder, status in read_statuses(sweep_dir).items():
        given = overrides_of(status)
        corpora = tuple(given.get(CORPORA, "").strip("[]").split(","))
        kept = {key: value for key, value in given.items() if not _is_same(key)}
        row = rows.setdefault((corpora, *kept.items()), Row(corpora, kept))
        row.jobs[folder] = status
    found = [*rows.values()]
    alone = sorted(found, key=lambda row: len(row.trained_on))
    columns = [*dict.fromkeys(name for row in alone for name in row.trained_on)]
    files = [path for row in found for folder in row.completed for path in folder.glob("predictions_*.csv")]
    others = {path.stem.removeprefix("predictions_") for path in files} - {*columns, *SPLITS}
    return Matrix(found, [*columns, *sorted(others)])


def _is_same(key: str) -> bool:
    """Return whether a setting is no difference between rows: repetitions, corpora, and where these are."""
    is_place = any(key == place or key.startswith(f"{place}.") for place in _PLACES)
    is_reader = key.startswith("data.settings.") and key.count(".") == 2
    return key in REPEATS or key == CORPORA or is_place or is_reader
