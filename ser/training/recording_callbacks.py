"""Callbacks about single utterances: files of predictions, scores of whole recordings, and plots of some over time."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from ser.batch import Batch, Padded
from ser.batching.datamodule import SpeechData
from ser.batching.samplers import BatchIndices
from ser.config.instantiate import build
from ser.errors import ConfigError
from ser.files import write_atomic
from ser.report import stream_plot
from ser.runs.predictions_file import answer_columns, write_predictions
from ser.targets.metrics import ClassificationScores, accuracy, majority_floor, recall, uar
from ser.training.callbacks import EvaluationCallback, data_of, gather_lists, save_picture, task_of
from ser.training.task import Task

_EVALUATING = "validate", "test"  # what the trainer does when it is not fitting


class PredictionFiles(EvaluationCallback):
    """Write the label, the prediction and the probabilities of each scored utterance to predictions_<split>.csv.

    Where steps have labels, there is a row for each step.
    """

    while_fitting = False

    def collect(self, task: Task, logits: Tensor, batch: Batch) -> None:
        """Add the rows of each utterance."""
        self.rows += describe_predictions(task.target, logits.float(), batch)

    def summarize(self, trainer: L.Trainer, task: Task, split: str) -> None:
        """Write the file of a split."""
        scored = {row[0]: row for row in self.take_rows(trainer, split)}
        if trainer.is_global_zero:
            write_rows(Path(trainer.default_root_dir), split, [*scored.values()], data_of(trainer))


def describe_predictions(
    target: Any, outputs: Tensor, batch: Batch
) -> list[tuple[Any, list[dict[str, Any]]]]:
    """Return the id of each utterance of a batch with its rows of predictions_<split>.csv, one or one for each step.

    Args:
        target: Target of the run.
        outputs: Outputs [R, out_dim] of the model.
        batch: Batch of B utterances.
    """
    if target.labelled_at == "utterance":
        return describe_answers(target, target.answers(outputs, batch), batch)
    assert isinstance(batch.targets, Padded)
    found = []
    curves = target.curves(outputs, batch.audio.lengths)
    for name, labels, curve in zip(batch.ids, batch.targets.values, curves, strict=True):
        columns = zip(target.label_columns(labels[: len(curve)]), target.predictions(curve), strict=True)
        found.append((name, [{"step": step, **answer_columns(*pair)} for step, pair in enumerate(columns)]))
    return found


def describe_answers(target: Any, answers: Tensor, batch: Batch) -> list[tuple[Any, list[dict[str, Any]]]]:
    """Return the id of each utterance of a batch with its row of predictions_<split>.csv.

    Args:
        target: Target whose labels are of whole utterances.
        answers: Answers [B, A].
        batch: Batch of B utterances.
    """
    pairs = zip(target.label_columns(batch.labels), target.predictions(answers), strict=True)
    return [(name, [answer_columns(*pair)]) for name, pair in zip(batch.ids, pairs, strict=True)]


def write_rows(
    folder: Path, split: str, scored: Sequence[tuple[Any, list[dict[str, Any]]]], data: SpeechData
) -> None:
    """Write what `describe_predictions` returned, with the speakers and, if there are several, the corpora.

    Args:
        folder: Folder of the run.
        split: Name of the split.
        scored: Id and rows of each utterance.
        data: Data of the run.
    """
    speakers = data.speakers.get(split, {})
    corpora = data.corpora.get(split)
    known = {name: {"corpus": corpora.get(name) or "unknown"} if corpora else {} for name, _ in scored}
    rows = [
        {"id": name, "speaker": speakers.get(name), **known[name], **row}
        for name, own in scored
        for row in own
    ]
    write_predictions(folder, split, rows)


class RecordingScores(EvaluationCallback):
    """Score decisions on whole recordings, and all frames: file_metrics.json, frame_metrics.json, plots.

    The decision on a recording is the mean over its speech frames. `<split>/file_accuracy` and `<split>/file_uar` are
    logged, but the best checkpoint is selected by the target's own scores. Recordings without speech have no decision
    and count as wrong.

    Args:
        pictures: Number of recordings of the last scored split whose probabilities over time are plotted in
            probabilities_<number>.png: the first of each class, then others.

    Raises:
        ConfigError: The number of plots is negative.
    """

    def __init__(self, pictures: int = 3) -> None:
        if pictures < 0:
            raise ConfigError(f"callbacks.recordings.pictures={pictures}: give 0 or more.")
        super().__init__()
        self.pictures = pictures
        self._confusions: dict[str, Tensor] = {}
        self._written: dict[str, dict[str, Any]] = {"file_metrics.json": {}, "frame_metrics.json": {}}

    def collect(self, task: Task, logits: Tensor, batch: Batch) -> None:
        """Add the decision on each recording, and count its frames."""
        decided = task.target.answers(logits.float(), batch)
        self.rows += zip(batch.ids, decided.tolist(), batch.labels.tolist(), strict=True)
        for name, counted in {
            "speech": task.target.metric_inputs(logits.float(), batch),
            "all": (task.target.scores(logits.float()), batch.labels.repeat_interleave(batch.audio.lengths)),
        }.items():
            metric = ClassificationScores(task.target.class_names).to(logits.device)
            metric.update(*counted)
            self._confusions[name] = self._confusions.get(name, 0) + metric.confusion.cpu()

    def summarize(self, trainer: L.Trainer, task: Task, split: str) -> None:
        """Score the recordings of a split; except while fitting, write files and plots."""
        names = task.target.class_names
        decisions = [*{row[0]: row for row in self.take_rows(trainer, split)}.values()]
        confusions = gather_lists([self._confusions])
        self._confusions = {}
        files = scores_of_recordings(decisions, names)
        task.log(f"{split}/file_accuracy", files["accuracy"], rank_zero_only=True)
        task.log(f"{split}/file_uar", files["uar"], rank_zero_only=True)
        if trainer.state.fn not in _EVALUATING or not trainer.is_global_zero:
            return
        self._written["file_metrics.json"][split] = {
            **files,
            "recordings": _format_decisions(decisions, names),
        }
        self._written["frame_metrics.json"][split] = {
            name: _scores(sum(part[name] for part in confusions), names) for name in confusions[0]
        }
        for name, content in self._written.items():
            write_atomic(Path(trainer.default_root_dir) / name, json.dumps(content, indent=2) + "\n")
        self._draw(trainer, task, split, [row[2] for row in decisions], [row[0] for row in decisions])

    def _draw(self, trainer: L.Trainer, task: Task, split: str, labels: list[int], ids: list[Any]) -> None:
        dataset = data_of(trainer).datasets[split]
        place = {name: number for number, name in enumerate(dataset.store.ids)}
        firsts = [labels.index(label) for label in dict.fromkeys(labels)]
        order = [*firsts, *(number for number in range(len(ids)) if number not in firsts)]
        shift = build(task.description["features"], slot="features").frame_shift_s
        for number, chosen in enumerate(order[: self.pictures]):
            batch = dataset[BatchIndices(0, [place[ids[chosen]]])].to(task.device)
            with torch.inference_mode():
                logits = task.model(batch.audio).float()
            speech = batch.audio.mask if batch.speech is None else batch.speech
            is_speech = task.target.is_speech(logits, speech[batch.audio.mask])
            scores = task.target.scores(logits).cpu()
            picture = stream_plot.probabilities(
                np.arange(len(scores)) * shift,
                scores.numpy(),
                running_mean(scores, is_speech.cpu()),
                ~is_speech.cpu().numpy(),
                class_names=task.target.class_names,
                title=f"{ids[chosen]}, {task.target.class_names[labels[chosen]]}",
            )
            name = f"probabilities_{number}"
            save_picture(trainer, picture, f"{name}.png", tag=f"{split}/{name}")


class CurvePictures(L.Callback):
    """Plot truth and prediction over time of the first recordings of the last scored split: values_<number>.png.

    It is for targets whose labels are over time; for others, there are no plots.

    Args:
        pictures: Number of recordings.
    """

    def __init__(self, pictures: int = 3) -> None:
        self.pictures = pictures

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Plot recordings of the validation split after training."""
        if trainer.state.fn == "validate":
            self._draw(trainer, pl_module, "validation")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Plot recordings of the test split."""
        self._draw(trainer, pl_module, "test")

    @torch.inference_mode()
    def _draw(self, trainer: L.Trainer, module: L.LightningModule, split: str) -> None:
        task = task_of(module)
        target: Any = task.target
        if target.labelled_at != "frame" or not trainer.is_global_zero:
            return
        dataset = data_of(trainer).datasets[split]
        shift = build(task.description["features"], slot="features").frame_shift_s
        for number in range(min(self.pictures, len(dataset))):
            batch = dataset[BatchIndices(0, [number])].to(task.device)
            assert isinstance(batch.targets, Padded)
            predicted = target.curves(task.model(batch.audio).float(), batch.audio.lengths)[0]
            picture = stream_plot.truth_and_prediction(
                batch.targets.values[0].cpu().numpy(),
                predicted.cpu().numpy(),
                target.label_names,
                step_s=shift,
                title=f"{split}, {batch.ids[0]}",
            )
            save_picture(trainer, picture, f"values_{number}.png", tag=f"{split}/values_{number}")


def running_mean(scores: Tensor, is_speech: Tensor) -> np.ndarray:
    """Compute the mean of the scores [T, C] over speech frames up to each frame [T, C]; NaN before the first."""
    sums = (scores.double() * is_speech[:, None]).cumsum(0)
    means: np.ndarray = (sums / is_speech.cumsum(0)[:, None]).numpy()
    return means


def scores_of_recordings(
    decisions: list[tuple[Any, list[float], int]], names: tuple[str, ...]
) -> dict[str, float]:
    """Compute accuracy and UAR; a missing decision is wrong, whatever the class."""
    confusion = torch.zeros(len(names), len(names), dtype=torch.long)
    for _, probabilities, label in decisions:
        best = int(np.argmax(probabilities)) if np.isfinite(probabilities).all() else (label + 1) % len(names)
        confusion[label, best] += 1
    return _scores(confusion, names)


def _scores(confusion: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    scores = {"accuracy": accuracy(confusion), "uar": uar(confusion), "floor": majority_floor(confusion)}
    recalls = zip(names, recall(confusion), strict=True)
    scores |= {f"recall_{name}": value for name, value in recalls if not value.isnan()}
    return {name: float(value) for name, value in scores.items()}


def _format_decisions(
    decisions: list[tuple[Any, list[float], int]], names: tuple[str, ...]
) -> list[Mapping[str, Any]]:
    """Return the label, decision and probabilities of each recording; null without speech."""
    rows: list[Mapping[str, Any]] = []
    for name, probabilities, label in decisions:
        known = bool(np.isfinite(probabilities).all())
        scores = dict(zip(names, probabilities, strict=True)) if known else None
        decision = names[int(np.argmax(probabilities))] if known else None
        rows.append({"id": name, "label": names[label], "decision": decision, "probabilities": scores})
    return rows
