"""What happens beside training: averaged weights, the newest checkpoint, pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from ser import plots
from ser.data.module import SpeechData


class AveragedWeights(WeightAveraging):
    """Validate and save an exponential moving average of the weights instead of the weights.

    Early in training it reaches back over a tenth of the steps so far, so that the random start weighs nothing.

    Args:
        decay: share of the average that stays after a step, in the end; 0.99 averages over some 100 steps.
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Average while fitting only: afterwards the task already holds what is to be scored."""
        super().setup(trainer, pl_module, stage)
        self._pairs = []
        if stage != "fit":
            self._average_model = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average after an optimiser step. Lightning's own way walks over all modules: 0.2 ms more."""
        if trainer.global_step > self._latest_update_step:
            self._pairs = self._pairs or self._find_pairs(pl_module)
            self._move(self._pairs)
            self._latest_update_step = trainer.global_step

    def _find_pairs(self, task: L.LightningModule) -> list[tuple[Tensor, Tensor]]:
        assert self._average_model is not None
        averages = self._average_model.module.state_dict(keep_vars=True)
        return [(averages[name], weight) for name, weight in task.state_dict(keep_vars=True).items()]

    @torch.no_grad()
    def _move(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Move averages towards weights, at first all the way; counts, such as batch norm's, are copied."""
        step = self._latest_update_step
        share = max(1 - self.decay, 9 / (10 + step)) if step else 1.0
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([average for average, _ in floats], [weight for _, weight in floats], share)
        for average, count in pairs:
            if not average.is_floating_point():
                average.copy_(count)


class LastCheckpoint(Checkpoint):
    """Keep `last.ckpt`, from which a run resumes: after every epoch and, in long epochs, in between.

    Args:
        every_n_steps: also after so many optimiser steps.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        super().__init__()
        self.every_n_steps = every_n_steps
        self._saved_at = -1

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let a run that was stopped early stay stopped: Lightning would train an epoch more with every resume."""
        stopping = trainer.early_stopping_callbacks
        if any(callback.stopped_epoch or callback.wait_count >= callback.patience for callback in stopping):
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save in mid-epoch; not after the last batch, from where Lightning would resume without validation."""
        is_due = trainer.global_step % self.every_n_steps == 0 and trainer.global_step != self._saved_at
        if is_due and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save once the epoch is validated."""
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        self._saved_at = trainer.global_step
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")


class Pictures(L.Callback):
    """Put the length histogram and the validation confusion matrix into TensorBoard.

    Args:
        every_n_epochs: epochs between two confusion matrices.
    """

    def __init__(self, every_n_epochs: int = 5) -> None:
        self.every_n_epochs = every_n_epochs

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the lengths of all splits and their classes, once."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, SpeechData)
        lengths = {name: dataset.store.lengths for name, dataset in data.datasets.items()}
        self._show(trainer, "lengths", plots.length_histogram(lengths))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show what is taken for what."""
        if trainer.state.fn != "fit" or trainer.current_epoch % self.every_n_epochs:
            return
        self._confusion(trainer, pl_module, "validation")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show it for the test split, too."""
        self._confusion(trainer, pl_module, "test")

    def _confusion(self, trainer: L.Trainer, task: Any, split: str) -> None:
        counts: Tensor = task.confusions[split]
        picture = plots.confusion_matrix(np.asarray(counts.cpu()), task.target.class_names, split)
        self._show(trainer, f"{split}/confusion", picture)

    def _show(self, trainer: L.Trainer, name: str, figure: Any) -> None:
        logger = trainer.logger
        if trainer.is_global_zero and isinstance(logger, TensorBoardLogger):
            image = plots.to_image(figure)
            logger.experiment.add_image(name, image, trainer.current_epoch, dataformats="HWC")
