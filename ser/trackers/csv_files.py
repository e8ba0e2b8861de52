"""Write the curves and scores of a run as CSV files."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from ser.files import write_atomic
from ser.runs.tables import format_csv, write_csv
from ser.trackers.base import Tracker

Row = dict[str, str]


class CSV(Tracker, CSVLogger):
    """Write RUN/csv/metrics.csv, a row for each step or epoch that is logged, and RUN/csv/scores.csv.

    Lightning's CSVLogger deletes the rows of a run that is resumed; this one keeps them. Settings are in config.yaml.

    Args:
        save_dir: Folder of the run.
        name: Name of the folder in it.
        version: Name of a folder below that; empty for none.
        flush_logs_every_n_steps: Number of steps between two writes; the end of an epoch is always written.
    """

    def __init__(
        self,
        save_dir: str | Path,
        name: str = "csv",
        version: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(save_dir, name, version, flush_logs_every_n_steps=flush_logs_every_n_steps)
        self._file = Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE
        self._earlier = _read_rows(self._file)

    @property
    def experiment(self) -> Any:
        """Return the writer of metrics.csv, created at the first call."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir)
        return self._experiment

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # type: ignore[override]
        """Add a row; the first one after a resume replaces rows of steps that are trained again."""
        if self._earlier and not self.is_trained:
            kept = [row for row in self._earlier if not _is_repeated(row, metrics, step or 0)]
            names = [*self._earlier[0]]
            content = format_csv(names, ([row[name] for name in names] for row in kept), line_end="\r\n")
            write_atomic(self._file, content)
            self.experiment.metrics_keys = names
            self._earlier = []
        super().log_metrics(metrics, step)

    def log_scores(self, scores: Mapping[str, float], typed: Mapping[str, str | float], *, step: int) -> None:
        """Write scores.csv: name and value of each score."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        rows = [(name, repr(float(value))) for name, value in scores.items()]
        write_csv(self._file.with_name("scores.csv"), ("name", "value"), rows)


class _Writer(ExperimentWriter):
    """Lightning's writer, which appends to metrics.csv."""

    def _check_log_dir_exists(self) -> None:
        """Keep the file, which Lightning's writer would delete."""


def _read_rows(file: Path) -> list[Row]:
    """Return the rows of an earlier part of the run; a line that a killed run did not finish is left out."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = csv.DictReader(line for line in lines if line.endswith("\n"))
    return [row for row in rows if None not in row.values() and row.get("step", "").isdigit()]


def _is_repeated(row: Row, metrics: Mapping[str, float], step: int) -> bool:
    """Return whether a row is of a later step than the first one after a resume, or is that row."""
    names = {name for name, value in row.items() if value and name != "step"}
    return int(row["step"]) > step or (int(row["step"]) == step and names == {*metrics})
