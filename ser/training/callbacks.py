"""Callbacks: averaged weights, the newest checkpoint; and the base class of those that evaluate."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ser.batch import Batch
from ser.batching.datamodule import SpeechData
from ser.errors import REPEAT_RUN, CheckpointError
from ser.report import figures
from ser.runs import ranks
from ser.trackers.base import show
from ser.training.task import Task


def task_of(module: L.LightningModule) -> Task:
    """Return the module of a callback as the run's task."""
    assert isinstance(module, Task)
    return module


def data_of(trainer: L.Trainer) -> SpeechData:
    """Return the data module of a run."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, SpeechData)
    return data


def save_picture(trainer: L.Trainer, picture: Any, file: str, *, tag: str) -> None:
    """Write a figure as a file of the run folder, and show it in trackers under a tag."""
    figures.save(picture, Path(trainer.default_root_dir) / file)
    show(trainer, tag, picture)


class EvaluationCallback(L.Callback):
    """Base class that collects rows about the utterances of a split, and summarises them when all are scored.

    A row begins with the id of its utterance.
    """

    while_fitting = True
    """Whether the validation within a training counts, too."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def collect(self, task: Task, logits: Tensor, batch: Batch) -> None:
        """Add the rows of a batch."""
        raise NotImplementedError

    def summarize(self, trainer: L.Trainer, task: Task, split: str) -> None:
        """Use the rows of a split; it runs in every process."""
        raise NotImplementedError

    def take_rows(self, trainer: L.Trainer, split: str) -> list[tuple[Any, ...]]:
        """Return the rows of all processes in the order of the split, and reset them."""
        rows, self.rows = gather_lists(self.rows), []
        place = {name: number for number, name in enumerate(data_of(trainer).datasets[split].store.ids)}
        return sorted(rows, key=lambda row: place[row[0]])

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the rows of the batch."""
        if self.while_fitting or trainer.state.fn == "validate":
            self.collect(task_of(pl_module), outputs, batch)

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the rows of the batch."""
        self.collect(task_of(pl_module), outputs, batch)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Summarise the validation split."""
        if self.while_fitting or trainer.state.fn == "validate":
            self.summarize(trainer, task_of(pl_module), "validation")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Summarise the test split."""
        self.summarize(trainer, task_of(pl_module), "test")


def gather_lists(mine: list[Any]) -> list[Any]:
    """Return the items of all processes, by rank."""
    return [item for items in ranks.current_ranks().gather(mine) for item in items]


class AveragedWeights(L.Callback):
    """Validate and save an exponential moving average of the weights instead of the weights.

    Early in training, the average covers a tenth of the steps so far, so that the initial weights have no influence.
    Buffers that are not in a checkpoint, such as a bank of noises, are neither averaged nor copied. Averages are
    float32 whatever the type of the weights, because rounding would remove a hundredth of a change.

    Args:
        decay: Largest share of the average that is kept in a step; 0.99 averages over about 100 steps.
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self._averages: dict[str, Tensor] = {}
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._latest_update_step = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Reset the averages; they are used while fitting only, as the task then holds the weights to score."""
        self._averages, self._pairs = {}, []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Initialise the averages with the weights, or those of a checkpoint, on the device of the weights."""
        weights = pl_module.state_dict(keep_vars=True)
        for name, weight in weights.items():
            held = self._averages.get(name, weight.detach())
            kind = torch.float32 if held.is_floating_point() and held.itemsize < 4 else held.dtype
            self._averages[name] = held.to(weight.device, kind, copy=True)
        self._pairs = [(self._averages[name], weight) for name, weight in weights.items()]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the averages after an optimiser step."""
        if trainer.global_step > self._latest_update_step:
            self._move(self._pairs)
            self._latest_update_step = trainer.global_step

    @torch.no_grad()
    def _move(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Move averages towards weights, at first completely; integers, such as batch norm's counts, are copied."""
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
        """Swap weights and averages, to validate the averages."""
        self._swap()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Swap back, to train the weights."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, weight in self._pairs:
            held = weight.detach().to(average.dtype, copy=True)
            weight.copy_(average)
            average.copy_(held)

    @torch.no_grad()
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Copy the averages to the task."""
        for average, weight in self._pairs:
            weight.copy_(average)

    def state_dict(self) -> dict[str, Any]:
        """Return the step of the last update."""
        return {"latest_update_step": self._latest_update_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the step of the last update."""
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
        """Restore averages and weights."""
        if trainer.state.fn == "fit" and "current_model_state" in checkpoint:
            self._averages = dict(checkpoint["state_dict"])
            pl_module.load_state_dict(checkpoint["current_model_state"])


class LastCheckpoint(Checkpoint):
    """Save `last.ckpt`, from which a run resumes: after every epoch and, in long epochs, in between.

    Args:
        every_n_steps: Number of optimiser steps between two further checkpoints.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        super().__init__()
        self.every_n_steps = every_n_steps
        self._last_step = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop a resumed run that was stopped early; Lightning would train a further epoch with every resume."""
        stopping = trainer.early_stopping_callbacks
        if any(callback.stopped_epoch or callback.wait_count >= callback.patience for callback in stopping):
            trainer.should_stop = True

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the best epoch of a run that was moved or copied."""
        move_saved_paths(checkpoint["callbacks"], Path(trainer.default_root_dir) / "checkpoints")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Store the step at which training starts or resumes."""
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch, but not after the last batch, where a resume would skip validation.

        A checkpoint is saved only after a batch that ended with a step, because it does not contain accumulated
        gradients.
        """
        has_stepped, self._last_step = trainer.global_step != self._last_step, trainer.global_step
        if has_stepped and self._last_step % self.every_n_steps == 0 and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after the validation of the epoch."""
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")


def move_saved_paths(states: Mapping[str, Any], folder: Path) -> None:
    """Replace the folder in the saved states of checkpoint callbacks, after a run was moved or copied.

    Lightning forgets the best epoch if the name of the folder has changed.

    Args:
        states: States of all callbacks in a checkpoint.
        folder: Current folder of the run's checkpoints.

    Raises:
        CheckpointError: The best checkpoint is missing.
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
                f"Copy it, too, or {REPEAT_RUN}."
            )
