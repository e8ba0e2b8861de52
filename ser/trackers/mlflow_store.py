"""Write a run to MLflow: a file beside the run by default, or a server."""

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from lightning.pytorch.loggers import MLFlowLogger

from ser.errors import ConfigError, DataError, first_line, program, setting, shell_word
from ser.files import short
from ser.jobs.installed import check_tracker
from ser.runs.run_folder import RunFolder
from ser.trackers.base import IDS_FILE, Tracker, read_id, write_id

_LONGEST = 6000  # characters of a parameter that MLflow stores
_BATCH = 100  # parameters that MLflow takes at once


class MLflow(Tracker, MLFlowLogger):
    """Write curves, plots, all settings and scores to MLflow.

    The newest value of a metric, which MLflow's table of runs shows, is that of metrics.json. A store that fails
    during the training ends the curves there, not the training.

    Args:
        save_dir: Folder of the run.
        experiment_name: Name of MLflow's experiment.
        run_name: Name of the run; None for that of its folder.
        tracking_uri: Address of a server or store; None for the variable MLFLOW_TRACKING_URI, else mlflow.db beside
            the run's folder.
        tags: Tags of the run.

    Raises:
        MissingPackageError: mlflow is not installed.
    """

    shows_images = True

    def __init__(
        self,
        save_dir: str | Path,
        experiment_name: str = "ser",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        check_tracker("mlflow")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.run_dir = Path(save_dir)
        self._is_lost = False
        uri = _given_uri(tracking_uri)
        self._database = None if uri else _local_database(self.run_dir)
        with self._explained(uri), self._held():
            super().__init__(
                experiment_name=experiment_name,
                run_name=run_name or self.run_dir.name,
                tracking_uri=uri or _sqlite_uri(self._database),
                artifact_location=None
                if uri
                else (_local_database(self.run_dir).parent / "mlflow_files").as_uri(),
                tags=None if tags is None else dict(tags),
                run_id=read_id(self.run_dir, "mlflow"),
            )

    @classmethod
    def watch_command(cls, spec: Mapping[str, Any], run_dir: Path) -> list[str]:
        """Return the command that shows the local store; a server has a page of its own."""
        if _given_uri(spec.get("tracking_uri")):
            return []
        uri = f"sqlite:///{short(_local_database(run_dir))}"
        return [program("mlflow"), "ui", "--backend-store-uri", shell_word(uri)]

    @property
    def save_dir(self) -> str:
        """Return the folder of the run."""
        return str(self.run_dir)

    @property
    def experiment(self) -> Any:
        """Return MLflow's client; Lightning's would set the store of the whole process, for other jobs, too."""
        return self._mlflow_client

    def log_settings(self, config: Mapping[str, Any]) -> None:
        """Open the run, and write every setting as a parameter; those that a resumed run changed become tags."""
        from mlflow.entities import Param, RunTag

        with self._explained(self._tracking_uri):
            with self._held():
                self._open()
            store, run_id = self.experiment, str(self.run_id)
            known = store.get_run(run_id).data.params
            values = {key: str(value)[:_LONGEST] for key, value in _flat(config)}
            new = [Param(key, value) for key, value in values.items() if key not in known]
            for start in range(0, len(new), _BATCH):
                store.log_batch(run_id, params=new[start : start + _BATCH])
            changed = {key: value for key, value in values.items() if known.get(key, value) != value}
            changed.pop("resume", None)
            store.log_batch(
                run_id, tags=[RunTag(f"resumed with {key}", value) for key, value in changed.items()]
            )
            store.log_dict(run_id, dict(config), "config.yaml")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a point to each curve during the training."""
        if not self.is_trained:
            self._try(lambda: self._write(metrics, step or 0))

    def add_plot(self, name: str, image: np.ndarray, *, epoch: int, step: int) -> None:
        """Store a plot as a file of the run, in place of that of an earlier epoch."""
        self._try(lambda: self.experiment.log_image(str(self.run_id), image, artifact_file=f"{name}.png"))

    def add_text(self, name: str, text: str) -> None:
        """Store a text as a file of the run."""
        self._try(lambda: self.experiment.log_text(str(self.run_id), text, f"{name}.txt"))

    def log_scores(self, scores: Mapping[str, float], typed: Mapping[str, str | float], *, step: int) -> None:
        """Write the scores as the newest values of their metrics."""
        self._try(lambda: self._write(scores, step))

    def finalize(self, status: str = "success") -> None:
        """End the curves, and record that the run has finished or failed."""
        self._try(lambda: super(Tracker, self).finalize(status))
        self.is_trained = True

    def _open(self) -> None:
        """Find the run in the store, or create it and its experiment.

        Raises:
            DataError: The run that trackers.json names is not in the store.
        """
        from mlflow.exceptions import MlflowException

        client = self._mlflow_client
        try:
            if self._run_id is None:
                self._run_id = client.create_run(
                    self._find_experiment(), tags=self.tags, run_name=self._run_name
                ).info.run_id
                write_id(self.run_dir, "mlflow", str(self._run_id))
            else:
                client.update_run(self._run_id, status="RUNNING")
        except MlflowException as error:
            if self._run_id is None or error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise DataError(
                f"{self.run_dir / IDS_FILE}: names a run, {self._run_id}, that is not in {self._tracking_uri}. Delete "
                "the file to begin a new run there, or set logger.mlflow.tracking_uri to its store."
            ) from error
        self._initialized = True

    def _find_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        client, name = self._mlflow_client, self._experiment_name
        if client.get_experiment_by_name(name) is None:
            with contextlib.suppress(MlflowException):  # another job has just created it
                client.create_experiment(name, artifact_location=self._artifact_location)
        return str(client.get_experiment_by_name(name).experiment_id)

    def _write(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        names = {name: re.sub(r"[^\w/. -]", "_", name) for name in values}  # MLflow refuses other characters
        points = [Metric(names[name], float(value), now, step) for name, value in values.items()]
        self.experiment.log_batch(str(self.run_id), metrics=points)

    def _try(self, write: Callable[[], object]) -> None:
        """Write to the store, unless it has failed before; say once that it fails."""
        from mlflow.exceptions import MlflowException

        if self._is_lost:
            return
        try:
            write()
        except MlflowException as error:
            self._is_lost = True
            print(
                f"MLflow at {self._tracking_uri} fails ({first_line(error)}). It gets no more of this run; "
                f"{short(self.run_dir)} holds all of it.",
                file=sys.stderr,
            )

    def _held(self) -> contextlib.AbstractContextManager[Any]:
        """Let one job of a sweep at a time create the local store."""
        return FileLock(f"{self._database}.lock") if self._database else contextlib.nullcontext()

    @contextlib.contextmanager
    def _explained(self, uri: str | None) -> Iterator[None]:
        """Turn an error of MLflow at the start into a message.

        Raises:
            ConfigError: The store cannot be used.
        """
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise ConfigError(
                f"{setting('logger.mlflow.tracking_uri', uri)}: cannot be used ({first_line(error)}). Start the "
                "server, correct the address, or leave it out to write a file beside the run."
            ) from error


def _given_uri(tracking_uri: str | None) -> str | None:
    return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None


def _local_database(run_dir: Path) -> Path:
    """Return the file of the local store: beside the run, for members of an ensemble beside that."""
    run = RunFolder(run_dir.absolute())
    owner = run.path.parent if run.is_member else run.path
    return owner.parent / "mlflow.db"


def _sqlite_uri(database: Path | None) -> str:
    return f"sqlite:///{database}"


def _flat(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the full key and the value of every setting."""
    for name, value in node.items():
        key = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, key)
        else:
            yield key, value
