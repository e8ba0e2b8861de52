"""What happens beside training: averaged weights, the newest checkpoint, pictures."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import CustomBarColumn
from rich.progress import TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ser.batching.datamodule import SpeechData
from ser.errors import CheckpointError
from ser.report import plots
from ser.report.sections import section_of
from ser.report.tensorboard import show
from ser.training.task import Task


def task_of(module: L.LightningModule) -> Task:
    """Return the module that a callback is given, which is the task of the run."""
    assert isinstance(module, Task)
    return module


def data_of(trainer: L.Trainer) -> SpeechData:
    """Return the data of the run."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, SpeechData)
    return data


class AveragedWeights(L.Callback):
    """Validate and save an exponential moving average of the weights instead of the weights.

    Early in training it reaches back over a tenth of the steps so far, so that the random start weighs nothing. What
    no checkpoint holds, such as a bank of noises, does not train: it is neither averaged nor copied. Averages are of
    float32 whatever the weights are, or a hundredth of a change would be rounded away.

    Args:
        decay: share of the average that stays after a step, in the end; 0.99 averages over some 100 steps.
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self._averages: dict[str, Tensor] = {}
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._latest_update_step = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Average while fitting only: afterwards the task already holds what is to be scored."""
        self._averages, self._pairs = {}, []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the weights, or go on with the averages of a checkpoint, on the device of the weights."""
        weights = pl_module.state_dict(keep_vars=True)
        for name, weight in weights.items():
            held = self._averages.get(name, weight.detach())
            kind = torch.float32 if held.is_floating_point() and held.itemsize < 4 else held.dtype
            self._averages[name] = held.to(weight.device, kind, copy=True)
        self._pairs = [(self._averages[name], weight) for name, weight in weights.items()]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average after an optimiser step."""
        if trainer.global_step > self._latest_update_step:
            self._move(self._pairs)
            self._latest_update_step = trainer.global_step

    @torch.no_grad()
    def _move(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Move averages towards weights, at first all the way; counts, such as batch norm's, are copied."""
        step = self._latest_update_step
        kept = min(self.decay, (1 + step) / (10 + step)) if step else 0.0
        floats = [
            (average, weight.to(average.dtype)) for average, weight in pairs if average.is_floating_point()
        ]
        averages, weights = map(list, zip(*floats, strict=True))
        get_ema_multi_avg_fn(kept)(averages, weights, step)  # type: ignore[no-untyped-call]
        for average, count in pairs:
            if not average.is_floating_point():
                average.copy_(count)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the averages be validated."""
        self._swap()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on training the weights."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, weight in self._pairs:
            held = weight.detach().to(average.dtype, copy=True)
            weight.copy_(average)
            average.copy_(held)

    @torch.no_grad()
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the averages in the task."""
        for average, weight in self._pairs:
            weight.copy_(average)

    def state_dict(self) -> dict[str, Any]:
        """The step of the last move."""
        return {"latest_update_step": self._latest_update_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from it."""
        self._latest_update_step = state_dict["latest_update_step"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the averages as the weights, and the weights beside them."""
        if self._pairs:
            checkpoint["current_model_state"] = checkpoint["state_dict"]
            checkpoint["state_dict"] = dict(self._averages)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take averages and weights apart again."""
        if trainer.state.fn == "fit" and "current_model_state" in checkpoint:
            self._averages = dict(checkpoint["state_dict"])
            pl_module.load_state_dict(checkpoint["current_model_state"])


class LastCheckpoint(Checkpoint):
    """Keep `last.ckpt`, from which a run resumes: after every epoch and, in long epochs, in between.

    Args:
        every_n_steps: also after so many optimiser steps.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        super().__init__()
        self.every_n_steps = every_n_steps
        self._last_step = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let a run that was stopped early stay stopped: Lightning would train an epoch more with every resume."""
        stopping = trainer.early_stopping_callbacks
        if any(callback.stopped_epoch or callback.wait_count >= callback.patience for callback in stopping):
            trainer.should_stop = True

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the best epoch of a run that was moved or copied."""
        relocate(checkpoint["callbacks"], Path(trainer.default_root_dir) / "checkpoints")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the step that training begins at or goes on from."""
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save in mid-epoch; not after the last batch, from where Lightning would resume without validation.

        Only after a batch that ended with a step: gradients that are being accumulated are in no checkpoint.
        """
        has_stepped, self._last_step = trainer.global_step != self._last_step, trainer.global_step
        if has_stepped and self._last_step % self.every_n_steps == 0 and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save once the epoch is validated."""
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")


def relocate(states: Mapping[str, Any], folder: Path) -> None:
    """Let the saved states of checkpoint callbacks name a folder, to which the run was moved or copied.

    Lightning forgets the best epoch where the folder has another name.

    Args:
        states: of all callbacks, as a checkpoint holds them.
        folder: of the run's checkpoints now.

    Raises:
        CheckpointError: the best checkpoint is not there.
    """
    for state in states.values():
        if not isinstance(state, dict) or "best_model_path" not in state:
            continue
        then, now = f"{state.get('dirpath')}{os.sep}", f"{folder}{os.sep}"
        for key, value in state.items():
            if isinstance(value, str):
                state[key] = value.replace(then, now, 1)
            elif isinstance(value, dict):
                state[key] = {name.replace(then, now, 1): number for name, number in value.items()}
        state["dirpath"] = str(folder)
        best = state["best_model_path"]
        if best and not Path(best).is_file():
            raise CheckpointError(
                f"{best}: the best checkpoint so far is not there, so the best epoch would be forgotten. "
                "Copy it, too, or start a new run."
            )


class Pictures(L.Callback):
    """Put the length histogram and the validation confusion matrix into TensorBoard.

    Args:
        every_n_epochs: epochs between two confusion matrices.
    """

    def __init__(self, every_n_epochs: int = 5) -> None:
        self.every_n_epochs = every_n_epochs

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the lengths of all splits and their classes, once."""
        data = data_of(trainer)
        lengths = {name: dataset.store.lengths for name, dataset in data.datasets.items()}
        show(trainer, "lengths", plots.length_histogram(lengths))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show what is taken for what, or truth against prediction."""
        if trainer.state.fn != "fit" or trainer.current_epoch % self.every_n_epochs:
            return
        self._show(trainer, task_of(pl_module), "validation")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show it for the test split, too."""
        self._show(trainer, task_of(pl_module), "test")

    def _show(self, trainer: L.Trainer, task: Task, split: str) -> None:
        for result in task.results[split]:
            section = section_of(result)
            title = f"{split}, {type(task.model.encoder).__name__}"
            show(trainer, f"{split}/{section.stem}", section.picture(title))


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
