"""What a run writes to an experiment tracker: settings, curves, plots and, at its end, scores."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.loggers import Logger
from torch import Tensor

from ser.errors import DataError, first_line
from ser.files import write_atomic
from ser.report import figures

IDS_FILE = "trackers.json"
"""File of a run folder: tracker -> id of the run there, so that a resumed run continues its curves."""


class Tracker(Logger):
    """Base class of our loggers: Lightning's, with the settings, plots and scores of a run.

    Scores of the best epoch are no points of a curve: they are written once, after the training.
    """

    shows_images = False
    is_trained = False

    @classmethod
    def watch_command(cls, spec: Mapping[str, Any], run_dir: Path) -> list[str]:  # noqa: ARG003
        """Return the words of the command that shows the curves; none if no command does.

        Args:
            spec: Settings of the tracker.
            run_dir: Folder of the run.
        """
        return []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a point to each curve during the training."""
        if not self.is_trained:
            super().log_metrics(dict(metrics), step)  # type: ignore[safe-super]

    def finalize(self, status: str) -> None:
        """End the curves after training, or after scoring."""
        super().finalize(status)
        self.is_trained = True

    def log_settings(self, config: Mapping[str, Any]) -> None:
        """Write all settings at the start of a run; config.yaml holds them, too."""

    def add_plot(self, name: str, image: np.ndarray, *, epoch: int, step: int) -> None:
        """Add a plot, uint8 [H, W, 3]."""

    def add_text(self, name: str, text: str) -> None:
        """Add a text of fixed width, such as the table of the model."""

    def add_points(self, name: str, points: Tensor, labels: Sequence[str]) -> None:
        """Add labelled points [N, K]."""

    @abstractmethod
    def log_scores(self, scores: Mapping[str, float], typed: Mapping[str, str | float], *, step: int) -> None:
        """Write the final scores.

        Args:
            scores: Content of metrics.json.
            typed: Values of the typed settings.
            step: Number of optimiser steps of the training.
        """

    def close(self) -> None:
        """End the run in the tracker, after the scores."""


def trackers_of(trainer: L.Trainer) -> list[Tracker]:
    """Return the trackers of a trainer, without other loggers."""
    return [logger for logger in trainer.loggers if isinstance(logger, Tracker)]


def show(trainer: L.Trainer, name: str, figure: Any) -> None:
    """Add a plot to the group `views/` of every tracker that shows plots."""
    trackers = [tracker for tracker in trackers_of(trainer) if tracker.shows_images]
    if not trainer.is_global_zero or not trackers:
        return
    image = figures.to_image(figure)
    for tracker in trackers:
        tracker.add_plot(f"views/{name}", image, epoch=trainer.current_epoch, step=trainer.global_step)


def read_id(run_dir: Path, tracker: str) -> str | None:
    """Return the id of a run in a tracker; None for a run that starts.

    Raises:
        DataError: trackers.json is damaged.
    """
    return _read_ids(run_dir / IDS_FILE).get(tracker)


def write_id(run_dir: Path, tracker: str, identifier: str) -> None:
    """Remember the id of a run in a tracker."""
    ids = _read_ids(run_dir / IDS_FILE) | {tracker: identifier}
    write_atomic(run_dir / IDS_FILE, json.dumps(ids, indent=2) + "\n")


def _read_ids(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        return {str(name): str(value) for name, value in dict(json.loads(file.read_text("utf-8"))).items()}
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{file}: does not hold the ids that the run wrote ({first_line(error)}). "
            "Delete it to begin new curves in the trackers."
        ) from error
