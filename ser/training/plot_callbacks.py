"""Callbacks that measure and plot a training without changing it."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from ser.batch import Batch
from ser.batching.bucketing import plan_evaluation
from ser.batching.samplers import BatchIndices
from ser.errors import ConfigError
from ser.files import write_atomic
from ser.html_report.embeddings import Plane, principal_components, project
from ser.report import plots, sound_plots
from ser.report.model_summary import (
    Part,
    blocks,
    evaluating,
    plot_architecture,
    size_of,
    table,
    totals,
    trace_parts,
)
from ser.report.sections import section_of
from ser.runs.tables import write_csv
from ser.trackers.base import show, trackers_of
from ser.training.callbacks import EvaluationCallback, data_of, save_picture, task_of
from ser.training.task import Task


class Pictures(L.Callback):
    """Write the length histogram and the validation confusion matrix to the trackers.

    Args:
        every_n_epochs: Number of epochs between two confusion matrices.
    """

    def __init__(self, every_n_epochs: int = 5) -> None:
        self.every_n_epochs = every_n_epochs

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Plot the lengths of all splits, once."""
        data = data_of(trainer)
        lengths = {name: dataset.store.lengths for name, dataset in data.datasets.items()}
        show(trainer, "lengths", plots.length_histogram(lengths))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Plot the confusion matrix, or predictions against truth."""
        if trainer.state.fn != "fit" or trainer.current_epoch % self.every_n_epochs:
            return
        self._show(trainer, task_of(pl_module), "validation")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Plot the same for the test split."""
        self._show(trainer, task_of(pl_module), "test")

    def _show(self, trainer: L.Trainer, task: Task, split: str) -> None:
        for result in task.results[split]:
            section = section_of(result)
            title = f"{split}, {type(task.model.encoder).__name__}"
            show(trainer, f"{split}/{section.stem}", section.picture(title))


class LossCurve(L.Callback):
    """Plot the loss of training and of some validation utterances every few steps: loss_curve.png, loss_curve.csv.

    The training loss is that minimised in the step: of an augmented batch, with dropout, and before the update. The
    validation loss is that of whole utterances, without dropout, with the weights after the update, not their moving
    average. So at first, the training loss may be higher.

    Args:
        every_n_steps: Number of optimiser steps between two points.
        utterances: Maximum number of validation utterances, drawn once with the run's seed. They stay on the device:
            41 MB for 256 waveforms of 5 s at 8 kHz.

    Raises:
        ConfigError: A number is below 1.
    """

    needs_validation = True

    def __init__(self, every_n_steps: int = 10, utterances: int = 256) -> None:
        for name, value in {"every_n_steps": every_n_steps, "utterances": utterances}.items():
            if value < 1:
                raise ConfigError(f"callbacks.loss_curve.{name}={value}: is below 1. Give 1 or more.")
        self.every_n_steps = every_n_steps
        self.utterances = utterances
        self.points: list[tuple[float, float, float]] = []
        """Step, training loss, validation loss."""
        self._batches: list[Batch] = []
        self._drawn = 0
        self._step = 0
        self._losses: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the points so far."""
        return {"points": torch.tensor(self.points, dtype=torch.float64)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the points."""
        self.points = [(step, train, validation) for step, train, validation in state_dict["points"].tolist()]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the validation utterances of this process."""
        data = data_of(trainer)
        dataset = data.datasets["validation"]
        self._drawn = min(self.utterances, len(dataset))
        generator = np.random.default_rng([data.seed, 1])  # torch's generators are used by the training
        drawn = np.sort(generator.permutation(len(dataset))[: self._drawn])
        plan = plan_evaluation(dataset.lengths[drawn], **data.limits)
        mine = plan[trainer.global_rank :: trainer.world_size]
        self._batches = [
            dataset[BatchIndices(0, drawn[batch].tolist())].to(pl_module.device) for batch in mine
        ]
        self._step, self._losses = trainer.global_step, []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a point every `every_n_steps` steps; with accumulated gradients, a step has several batches."""
        self._losses.append(outputs["loss"])
        if trainer.global_step == self._step:
            return
        losses, self._losses = self._losses, []
        self._step = trainer.global_step
        if self._step % self.every_n_steps == 0:
            self._add(
                trainer, task_of(pl_module), torch.stack(losses).mean() * trainer.accumulate_grad_batches
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the curve, and free the utterances."""
        self._batches = []
        if not self.points or not trainer.is_global_zero:
            return
        rows = [(int(step), f"{train:.6g}", f"{validation:.6g}") for step, train, validation in self.points]
        write_csv(Path(trainer.default_root_dir) / "loss_curve.csv", ("step", "train", "validation"), rows)
        picture = plots.loss_curve(np.array(self.points), utterances=self._drawn)
        save_picture(trainer, picture, "loss_curve.png", tag="loss_curve")

    def _add(self, trainer: L.Trainer, task: Task, train_loss: Tensor) -> None:
        with evaluating(task), trainer.precision_plugin.forward_context():
            losses = [
                task.objective(task.model(task.to_features(batch.audio), batch.groups), batch)
                for batch in self._batches
            ]
        nothing = torch.zeros_like(train_loss)
        mine = torch.stack(
            [
                train_loss.float() / trainer.world_size,
                sum((part.sum() for part in losses), nothing),
                nothing + sum(map(len, losses)),
            ]
        )
        total: Any = trainer.strategy.reduce(mine, reduce_op="sum")
        train, validation, count = total.tolist()
        point = {"train/loss_curve": train, "validation/loss_curve": validation / max(count, 1)}
        self.points.append((self._step, *point.values()))
        for logger in trainer.loggers:
            logger.log_metrics(point, step=self._step)


class OutputSpace(EvaluationCallback):
    """Plot the utterances of each class in the space of the logits: pca.png, pca.csv, TensorBoard's projector.

    The plot shows the best checkpoint on the validation split, and is replaced by that of the test split if it is
    scored.
    """

    while_fitting = False

    def collect(self, task: Task, logits: Tensor, batch: Batch) -> None:
        """Add the logits and the class of each utterance."""
        classes = task.target.class_index(batch.labels)
        self.rows += zip(batch.ids, logits.float().tolist(), classes.tolist(), strict=True)

    def summarize(self, trainer: L.Trainer, task: Task, split: str) -> None:
        """Plot the logits of a split."""
        found = self.take_rows(trainer, split)
        if not trainer.is_global_zero:
            return
        ids, rows, labels = zip(*found, strict=True)
        logits, names = torch.tensor(rows), task.target.class_names
        predictions = task.target.scores(logits).argmax(-1).tolist()
        points, shares = principal_components(logits)
        classes = ([names[index] for index in indices] for indices in (labels, predictions))
        coordinates = ([f"{value:.6g}" for value in axis] for axis in points.T.tolist())
        cells = [*zip(ids, *classes, *coordinates, strict=True)]
        write_csv(
            Path(trainer.default_root_dir) / "pca.csv", ("id", "label", "prediction", "pc1", "pc2"), cells
        )
        title = f"Logits of {split}: {len(ids)} utterances"
        picture = plots.output_space(points.numpy(), np.array(labels), names, shares=shares, title=title)
        save_picture(trainer, picture, "pca.png", tag=f"{split}/logits")
        for tracker in trackers_of(trainer):
            tracker.add_points(f"{split}/logits", logits, [names[index] for index in labels])


class Embeddings(EvaluationCallback):
    """Keep what the head reads of the utterances of the last scored split, in two dimensions, for report.html.

    A model that answers each frame has a vector for each; the mean over an utterance is kept. Of large splits, every
    n-th utterance is kept.

    Args:
        most: Maximum number of utterances.
    """

    while_fitting = False

    def __init__(self, most: int = 800) -> None:
        super().__init__()
        self.most = most
        self.plane: Plane | None = None
        """Embeddings of the last scored split; None before, or if the model is compiled, which calls no hooks."""
        self._vectors: Tensor | None = None
        self._hook: Any = None
        self._kept: set[Any] = set()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Watch the head."""
        if trainer.state.fn == "validate":
            self._watch(trainer, task_of(pl_module), "validation")

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Watch the head."""
        self._watch(trainer, task_of(pl_module), "test")

    def collect(self, task: Task, logits: Tensor, batch: Batch) -> None:
        """Add the vector of each utterance that is kept."""
        vectors, self._vectors = self._vectors, None
        if vectors is None:
            return
        if task.model.pooling.resolution == "frame":
            parts = torch.split(vectors, batch.audio.lengths.tolist())
            vectors = torch.stack([part.mean(0) for part in parts])
        rows = zip(batch.ids, vectors.float().cpu(), strict=True)
        self.rows += [(name, vector.numpy()) for name, vector in rows if name in self._kept]

    def summarize(self, trainer: L.Trainer, task: Task, split: str) -> None:
        """Project the vectors."""
        self._hook.remove()
        found = self.take_rows(trainer, split)
        if found and trainer.is_global_zero:
            ids, vectors = zip(*dict(found).items(), strict=True)
            total = len(data_of(trainer).datasets[split])
            self.plane = project([*map(str, ids)], torch.from_numpy(np.stack(vectors)), total=total)

    def _watch(self, trainer: L.Trainer, task: Task, split: str) -> None:
        ids = data_of(trainer).datasets[split].store.ids
        self._kept = {*ids[:: -(-len(ids) // self.most)]}
        self._hook = task.model.head.register_forward_pre_hook(self._keep)

    def _keep(self, head: Any, inputs: tuple[Any, ...]) -> None:
        self._vectors = inputs[0].detach()


class WaveformPictures(L.Callback):
    """Plot some training recordings: waveforms.png; no plot if the data holds features.

    Args:
        utterances: Number of recordings.
        seed: Seed of the draw, so that runs on the same data show the same recordings.
    """

    def __init__(self, utterances: int = 5, seed: int = 0) -> None:
        self.utterances = utterances
        self.seed = seed

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Plot whole recordings."""
        data = data_of(trainer)
        dataset = data.datasets["train"]
        if not trainer.is_global_zero or not data.holds_waveforms:
            return
        task = task_of(pl_module)
        labels: Any = dataset.targets
        order = np.random.default_rng(self.seed).permutation(len(dataset))
        recorded = {}
        for index in order[: self.utterances].tolist():
            store = dataset.store
            audio = store.gather(np.array([index]), np.zeros(1, int), store.lengths[[index]])
            label = task.target.describe_label(labels[[index]])
            recorded[f"{store.ids[index]}: {label}"] = audio[0, :, 0].numpy()
        picture = sound_plots.waveforms(recorded, sample_rate=task.description["features"]["sample_rate"])
        save_picture(trainer, picture, "waveforms.png", tag="waveforms")


class Architecture(L.Callback):
    """Write a table and a plot of the model, with sizes of one utterance: model.txt, architecture.png."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Pass an utterance of median length through the model, and write the files."""
        if not trainer.is_global_zero:
            return
        task = task_of(pl_module)
        datasets = data_of(trainer).datasets
        dataset = datasets.get("validation", datasets["train"])
        median = int(np.argsort(dataset.lengths, kind="stable")[len(dataset) // 2])
        batch = dataset[BatchIndices(0, [median])].to(task.device)
        with trainer.precision_plugin.forward_context(), evaluating(task.to_features):
            audio = task.to_features(batch.audio)
            parts = trace_parts(task.model, audio)
        everything, trained = totals(task.model)
        size = size_of(audio.values.shape[1:])
        head = f"Utterance {batch.ids[0]}, {size}; the shapes are those of a batch of it alone."
        text = f"{head}\n\n{table(parts)}\n\nparameters: {everything:,}\ntrainable: {trained:,}\n"
        write_atomic(Path(trainer.default_root_dir) / "model.txt", text)
        boxes = [("input", "", size_of(batch.audio.values.shape[1:]), "")]
        if task.to_features.extractor is not None:
            boxes.append(("features", type(task.to_features.extractor).__name__, size, ""))
        boxes += [_box(part) for part in blocks(parts)]
        name = type(task.model.encoder).__name__
        picture = plot_architecture(
            boxes, f"{name}: {everything:,} parameters; sizes of one utterance, [T, D]"
        )
        save_picture(trainer, picture, "architecture.png", tag="architecture")
        for tracker in trackers_of(trainer):
            tracker.add_text("model", text)


def _box(part: Part) -> tuple[str, str, str, str]:
    count = f"{part.parameters:,} parameters" if part.parameters else "no parameters"
    return part.path, f"{part.type}: {part.layers}" if part.layers else part.type, part.size, count
