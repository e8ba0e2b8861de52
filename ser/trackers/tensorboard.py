"""Write a run to TensorBoard: training curves, and settings and scores in the HPARAMS tab.

TensorBoard sorts charts by name and opens the first two groups: they are `train/` and `validation/`, with accuracy
and loss. Plots are in the group `views/`, which comes last.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.nn import functional

from ser.report.next_commands import tensorboard_command
from ser.trackers.base import Tracker

_NO_CURVES = ("epoch", "validation/majority_floor")  # added by Lightning; the same in every epoch
_COMPARED = ("accuracy", "uar")


class TensorBoard(Tracker, TensorBoardLogger):
    """Write curves, plots, typed settings and scores to TensorBoard.

    Arguments are those of Lightning's TensorBoardLogger.
    """

    shows_images = True

    @classmethod
    def watch_command(cls, spec: Mapping[str, Any], run_dir: Path) -> list[str]:  # noqa: ARG003
        """Return the command that shows this run and, in logs, all others."""
        return tensorboard_command(run_dir)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a point to each curve during the training."""
        super().log_metrics({name: value for name, value in metrics.items() if name not in _NO_CURVES}, step)

    @rank_zero_only
    def save(self) -> None:
        """Flush the log; no hparams.yaml is written, because config.yaml contains the settings."""
        self.experiment.flush()

    def add_plot(self, name: str, image: np.ndarray, *, epoch: int, step: int) -> None:
        """Add a plot."""
        self.experiment.add_image(name, image, epoch, dataformats="HWC")

    def add_text(self, name: str, text: str) -> None:
        """Add a text, as code in Markdown."""
        self.experiment.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))

    def add_points(self, name: str, points: Tensor, labels: Sequence[str]) -> None:
        """Add points to the projector, which needs at least two dimensions."""
        plane = functional.pad(points, (0, max(0, 2 - points.shape[1])))
        with contextlib.redirect_stdout(io.StringIO()):  # it prints where a run is scored again
            self.experiment.add_embedding(plane, [*labels], tag=name)

    def log_scores(self, scores: Mapping[str, float], typed: Mapping[str, str | float], *, step: int) -> None:
        """Add a run to the HPARAMS tab, with its typed settings, accuracy and UAR as columns of one table.

        The tab takes metrics from curves only, and a score that is not a curve would be a chart with one point. So
        scores are written as settings: they can be sorted, filtered and compared, too. TensorBoard finds the columns
        by joining those of all runs; an explicit list of columns would be that of one run.
        """
        from torch.utils.tensorboard.summary import hparams

        compared = {
            f"best/{name}": value for name, value in scores.items() if name.split("/")[-1] in _COMPARED
        }
        _, start, end = hparams({**typed, **compared}, {})  # type: ignore[no-untyped-call]
        writer = self.experiment._get_file_writer()
        writer.add_summary(start)
        writer.add_summary(end)
        self.experiment.flush()
