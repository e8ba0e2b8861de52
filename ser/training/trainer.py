"""Build Lightning's trainer for a run, fit a task with it, and write and read its checkpoints."""

import io
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, ProgressBar, RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import CustomBarColumn
from rich.progress import TextColumn, TimeRemainingColumn

from ser.batching.datamodule import SpeechData
from ser.checkpoints import checkpoint
from ser.checkpoints.checkpoint import non_finite
from ser.config.instantiate import build
from ser.config.settings import Spec, Train
from ser.errors import CheckpointError, ConfigError, SerError, advise_init, named_line
from ser.files import write_atomic
from ser.runs import ranks
from ser.runs.run_folder import RunFolder
from ser.trackers.run_trackers import build_trackers, chosen_trackers
from ser.training.divergence import diverged
from ser.training.plot_callbacks import Embeddings
from ser.training.recording_callbacks import PredictionFiles
from ser.training.task import Task


def build_trainer(settings: Train) -> L.Trainer:
    """Build Lightning's trainer with our callbacks, before all processes know the run folder.

    Raises:
        ConfigError: The accelerator or the number of devices is not available.
    """
    if settings.trainer.get("overfit_batches"):
        raise ConfigError(
            "trainer.overfit_batches: Lightning would replace the bucketed batches by its own. "
            "Use debug=overfit instead, or trainer.limit_train_batches and trainer.limit_val_batches."
        )
    callbacks = [build(node, slot=f"callbacks.{name}") for name, node in settings.callbacks.items() if node]
    if not chosen_trackers(settings):
        callbacks = [callback for callback in callbacks if not isinstance(callback, LearningRateMonitor)]
    if settings.trainer.get("enable_progress_bar", True) and not any(
        isinstance(callback, ProgressBar) for callback in callbacks
    ):
        callbacks.append(Progress())
    if settings.pretraining is None:
        callbacks += [PredictionFiles(), *[Embeddings()] * settings.report.html]
    plugins: list[Any] = [WholeCheckpoints(settings.optimizer.get("lr"))]
    if not ranks.is_shared(settings.trainer):
        # Without it, the variables of a scheduler would make this process one of several.
        plugins.append(LightningEnvironment())
    try:
        trainer: L.Trainer = build(
            settings.trainer,
            slot="trainer",
            callbacks=callbacks,
            logger=False,  # `set_run_folder` adds them
            plugins=plugins,
        )
    except (MisconfigurationException, ConfigError) as error:
        raise _refused(settings.trainer, error) from error
    plugin: Any = trainer.strategy.precision_plugin
    plugin.convert_input = _unchanged  # features need float32; the model converts what it is given
    return trainer


def _unchanged(batch: Any) -> Any:
    return batch


def _refused(node: Spec, error: Exception) -> ConfigError:
    """Turn an error of Lightning about `trainer` into one sentence with a remedy."""
    cause = error.__cause__ or error
    reason = str(cause).strip().splitlines()[0].partition(". ")[0].rstrip(".!")
    place = f"trainer.accelerator={node.get('accelerator')}, trainer.devices={node.get('devices')}"
    if "devices" not in reason and "accelerator" not in reason and "backend found" not in reason:
        return ConfigError(f"trainer: {reason}. Leave that setting out.")
    strategy = "" if node.get("strategy") in (None, "auto") else " trainer.strategy=auto"
    return ConfigError(f"{place}: {reason}. Use trainer.accelerator=auto trainer.devices=1{strategy}.")


def make_trainer(settings: Train, run: RunFolder) -> L.Trainer:
    """Build Lightning's trainer for a run in one process, see `build_trainer` and `set_run_folder`."""
    trainer = build_trainer(settings)
    set_run_folder(trainer, settings, run)
    return trainer


def set_run_folder(trainer: Any, settings: Train, run: RunFolder) -> None:
    """Set the run folder of a trainer and of its checkpoints, and add the trackers."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            callback.dirpath = str(run.best.parent)
    trainer._default_root_dir = str(run.path)
    trainer.loggers = build_trackers(settings, run.path)


def fit_task(trainer: L.Trainer, task: Task, data: SpeechData, run: RunFolder) -> None:
    """Train from the start or from the newest checkpoint, and load the best weights in every process."""
    processes = ranks.current_ranks()
    resume = processes.share(run.last if run.last.is_file() else None)
    if "validation" not in data.datasets:
        trainer.limit_val_batches = 0
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
    except (SerError, MisconfigurationException, OSError):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and "val_check_interval" in str(error):
            raise ConfigError(
                f"trainer.val_check_interval={trainer.val_check_interval}: is more than the batches of an epoch. "
                "Leave it out, or set trainer.val_check_interval=0.5 for twice an epoch."
            ) from error
        if "which is not available" in str(error) and not run.best.is_file():
            raise _not_validated(trainer) from error
        if resume is None or task.has_started:
            raise
        raise CheckpointError(
            f"{resume}: lacks what this run needs to resume ({named_line(error)}). {advise_init(run.path)}"
        ) from error
    epochs: Any = trainer.fit_loop.epoch_progress.current
    epochs.completed = epochs.processed  # a resume with nothing left to train does not set it
    if not processes.share(run.best.is_file()):
        raise _not_validated(trainer)
    best = processes.run_first(lambda: checkpoint.read(run.best))
    task.load_state_dict(best["state_dict"])
    task.best_epoch = best["epoch"] + 1


def _not_validated(trainer: L.Trainer) -> ConfigError:
    """Return the error of a training that ended within its first epoch."""
    steps = f"trainer.max_steps={trainer.max_steps}" if trainer.max_steps != -1 else "trainer.max_time"
    return ConfigError(
        f"{steps}: training ended before its first validation, so there is no best epoch. Leave out "
        "trainer.max_steps and trainer.max_time, or raise them."
    )


def best_checkpoint(trainer: L.Trainer) -> ModelCheckpoint:
    """Return the callback that saves best.ckpt."""
    callbacks: list[Any] = trainer.checkpoint_callbacks
    return next(c for c in callbacks if isinstance(c, ModelCheckpoint) and c.filename == "best")


class WholeCheckpoints(TorchCheckpointIO):
    """Write a checkpoint in one step, and read it as `ser.checkpoints.checkpoint` does.

    Lightning would copy the file if /tmp is on another disk, and load it without a check.

    Args:
        learning_rate: Learning rate of the run, for the message if weights are not finite.
    """

    def __init__(self, learning_rate: float | None = None) -> None:
        super().__init__()
        self.learning_rate = learning_rate

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the file at `path`.

        Raises:
            DivergedError: A weight is not finite; the old file is unchanged.
            DataError: The disk is full or the folder cannot be written; the old file is unchanged.
        """
        weights = {**checkpoint.get("state_dict", {}), **checkpoint.get("current_model_state", {})}
        if wrong := non_finite(weights):
            raise diverged(f"{path}: the weights {wrong[0]} are", learning_rate=self.learning_rate)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(Path(path), content.getvalue())

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read the file on the first process for all processes, as the others may run on another node.

        Raises:
            CheckpointError: It cannot be used.
        """
        return ranks.current_ranks().run_first(lambda: checkpoint.read_training(Path(path)))


_BAR_WIDTH = 16  # leaves 31 of 80 columns for the metric, beside `Epoch 100/100`, `1000/1000` and `1:00:00`


class Progress(RichProgressBar):
    """Progress bar with epoch, batch, remaining time of the epoch, and the monitored metric."""

    def configure_columns(self, trainer: L.Trainer) -> list[Any]:
        """Shorten all columns except that of the metric."""
        return [
            TextColumn("{task.description}"),
            CustomBarColumn(bar_width=_BAR_WIDTH),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        ]

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Any:
        """Leave out the id that a tracker gives to the run."""
        return {
            name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"
        }

    def _get_train_description(self, current_epoch: int) -> str:
        """Return the name of the epoch, counted from 1, unlike Lightning's."""
        last = self.trainer.max_epochs
        description = f"Epoch {current_epoch + 1}" + f"/{last}" * (last is not None and last > 0)
        return f"{description:{len(self.validation_description)}}"
