"""The progress bar of a training, in 80 columns, with epochs from 1 as in the report."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import CustomBarColumn
from rich.progress import TextColumn, TimeRemainingColumn

_BAR_WIDTH = 16  # beside `Epoch 100/100`, `1000/1000` and `1:00:00`, 31 of 80 columns are left to the metric


class Progress(RichProgressBar):
    """Which epoch and batch is trained, how long the epoch still takes, and the metric that is watched."""

    def configure_columns(self, trainer: L.Trainer) -> list[Any]:
        """Make all columns but the last, the metric's, short."""
        return [
            TextColumn("{task.description}"),
            CustomBarColumn(bar_width=_BAR_WIDTH),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        ]

    def _get_train_description(self, current_epoch: int) -> str:
        """Name the epoch; Lightning's own counts from 0."""
        last = self.trainer.max_epochs
        description = f"Epoch {current_epoch + 1}" + f"/{last}" * (last is not None and last > 0)
        return f"{description:{len(self.validation_description)}}"
