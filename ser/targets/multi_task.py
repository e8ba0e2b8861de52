"""Several targets at once from one network, such as emotion, arousal and valence; labels may be missing for any."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ser.batch import Batch
from ser.config.instantiate import build, find_class
from ser.errors import ConfigError, SerError
from ser.targets.base import Compare, Quantity, Target, TaskAnswers, check_loss
from ser.targets.labels import LabelError, Labels, encode_labels
from ser.targets.losses import ConcordanceLoss, CrossEntropy, Loss
from ser.targets.metrics import Scores
from ser.targets.multi_task_scores import MultiTaskScores

DEFAULT_LOSSES: Mapping[Quantity, type[Loss]] = {"classes": CrossEntropy, "values": ConcordanceLoss}
"""What a target predicts -> loss of a task that names none."""


class MultiTask(Target):
    """Several targets of utterances, each a part of the outputs; the loss is the weighted sum of theirs.

    An utterance counts in the loss and in the scores of those tasks that it is labelled for. It is left out where it is
    labelled for none.

    Args:
        tasks: name -> its target, its loss (None = cross-entropy of classes, CCC of values) and its weight, 1 where it
            is not given. The first task is the main one: its score chooses the checkpoint.

    Raises:
        ConfigError: there are fewer than two tasks, a name has a slash, a weight is not above 0, a target answers
            frames, or a loss does not fit its target.
    """

    predicts: ClassVar[Quantity] = "values"

    def __init__(self, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        if len(tasks) < 2:
            raise ConfigError(
                "target.tasks: has fewer than two tasks. Name two or more, or use the target alone."
            )
        self.targets: dict[str, Target] = {name: task["target"] for name, task in tasks.items()}
        self.weights = {name: _weight(name, task) for name, task in tasks.items()}
        self.losses: dict[str, nn.Module] = {}
        for name, target in self.targets.items():
            if "/" in name or target.resolution != "utterance":
                raise ConfigError(
                    f"target.tasks.{name}: a task has a name without a slash, and answers utterances. Choose another."
                )
            loss = tasks[name].get("loss")
            self.losses[name] = DEFAULT_LOSSES[target.predicts]() if loss is None else loss
            check_loss(self.losses[name], target.predicts, f"target.tasks.{name}.loss", mixup=False)
        parts = self.targets.values()
        self.out_dim = sum(target.out_dim for target in parts)
        self.label_names = tuple(dict.fromkeys(field for target in parts for field in target.label_names))
        self.requested_fields = self.label_names
        self.logit_names = tuple(
            f"{task}/{name}" for task, target in self.targets.items() for name in target.logit_names
        )
        first, main = next(iter(self.targets.items()))
        self.monitor = f"{first}/{main.monitor}"
        self.accuracy_names = tuple(
            f"{task}/{name}" for task, target in self.targets.items() for name in target.accuracy_names
        )
        self._outputs = [target.out_dim for target in parts]
        self._answers = [
            target.scores(torch.zeros(1, target.out_dim, device="cpu")).shape[-1] for target in parts
        ]

    @classmethod
    def example(cls, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return a spec whose targets can be built before the data is read."""
        return _each(spec, lambda target: find_class(target, slot=_SLOT).example(target))

    @classmethod
    def complete(cls, spec: Mapping[str, Any], labels: Mapping[str, Labels]) -> dict[str, Any]:
        """Return the spec with what the data tells about each task.

        Raises:
            SerError: the data lacks what a task needs, or a split has no label for one.
        """
        completed = _each(spec, lambda target: find_class(target, slot=_SLOT).complete(target, labels))
        for name, task in completed["tasks"].items():
            target = build(task["target"], slot=_SLOT)
            for split, one in labels.items():
                if not target.is_labelled(encode_labels(target, one)).any():
                    raise ConfigError(
                        f"target.tasks.{name}: no utterance of {split} has a label in "
                        f"{', '.join(target.label_names)}. Label some, choose another split, or leave the task out."
                    )
        return completed

    def _split(self, tensor: Tensor, sizes: Sequence[int]) -> dict[str, Tensor]:
        return dict(zip(self.targets, torch.split(tensor, list(sizes), -1), strict=True))

    def encode(self, labels: np.ndarray) -> Tensor:
        """Encode labels [N, K] as float32 [N, W], task after task; class indices stand as numbers, too."""
        places = {field: place for place, field in enumerate(self.label_names)}
        parts = []
        for target in self.targets.values():
            own = target.encode(labels[:, [places[field] for field in target.label_names]])
            parts.append(own.float().reshape(len(labels), -1))
        return torch.cat(parts, 1)

    def labels_of_tasks(self, targets: Tensor) -> dict[str, Tensor]:
        """Split encoded utterances [N, W] into each task's own encoding."""
        widths = [target.label_width or 1 for target in self.targets.values()]
        parts = self._split(targets, widths)
        return {
            name: parts[name] if target.label_width else parts[name].squeeze(-1).long()
            for name, target in self.targets.items()
        }

    def is_labelled(self, targets: Tensor) -> Tensor:
        """Return which utterances are labelled for some task."""
        return torch.stack(list(self._known(targets).values())).any(0)

    def _known(self, targets: Tensor) -> dict[str, Tensor]:
        own = self.labels_of_tasks(targets)
        return {name: target.is_labelled(own[name]) for name, target in self.targets.items()}

    def loss(self, outputs: Tensor, batch: Batch, compare: Compare) -> Tensor:
        """Return the weighted sums [B] of the losses of the tasks that an utterance is labelled for."""
        labels = batch.labels
        own, known = self.labels_of_tasks(labels), self._known(labels)
        total = outputs.new_zeros(len(outputs))
        for name, part in self._split(outputs, self._outputs).items():
            rows, target = known[name].nonzero().flatten(), self.targets[name]
            if not len(rows) and getattr(self.losses[name], "is_per_utterance", True):
                continue  # a loss of the whole batch adds sums over processes, which wait for each other
            losses = target.loss(
                part[rows], replace(batch, targets=own[name][rows]), self._compare_as(name, compare)
            )
            total = total.index_add(0, rows, self.weights[name] * losses)
        return total

    def _compare_as(self, task: str, compare: Compare) -> Compare:
        def compare_task(
            outputs: Tensor, labels: Tensor, name: str = "", criterion: nn.Module | None = None
        ) -> Tensor:
            return compare(outputs, labels, f"{task}/{name}", criterion or self.losses[task])

        return compare_task

    def counts(self, targets: Tensor, frames: Tensor, spoken: Tensor) -> Mapping[str, Tensor]:
        """Return the class counts of each task, over the utterances that are labelled for it."""
        own, known = self.labels_of_tasks(targets), self._known(targets)
        found: dict[str, Tensor] = {}
        for name, target in self.targets.items():
            rows = known[name]
            spans = (part[rows] if len(part) == len(rows) else part for part in (frames, spoken))
            counts = target.counts(own[name][rows], *spans)
            found |= {f"{name}/{question}": count for question, count in counts.items()}
        return found

    def scores(self, outputs: Tensor) -> Tensor:
        """Turn outputs [..., out_dim] into the answers of all tasks, one after the other."""
        parts = self._split(outputs, self._outputs)
        return torch.cat([target.scores(parts[name]) for name, target in self.targets.items()], -1)

    @property
    def plain_logit_names(self) -> tuple[str, ...]:
        """Return the names of the outputs without those of the tasks."""
        return tuple(name for target in self.targets.values() for name in target.plain_logit_names)

    def correct(self, answers: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Return which answers of each task are right, of the utterances that are labelled for it."""
        own, known = self.labels_of_tasks(truth), self._known(truth)
        found: dict[str, Tensor] = {}
        for name, part in self._split(answers, self._answers).items():
            rows, target = known[name], self.targets[name]
            right = target.correct(part[rows], target.truth(own[name][rows]))
            found |= {f"{name}/{question}": which for question, which in right.items()}
        return found

    def metrics(self) -> Scores:
        """Build the metrics of each task, by its name."""
        return MultiTaskScores(self)

    def predictions(self, answers: Tensor) -> list[dict[str, Any]]:
        """Return the columns of all tasks: a class as the task's name, and `p_<task>_<class>`; values by field."""
        rows: list[dict[str, Any]] = [{} for _ in answers]
        for name, part in self._split(answers, self._answers).items():
            target = self.targets[name]
            new = {column: f"p_{name}_{column.removeprefix('p_')}" for column in target.probability_columns}
            new["label"] = name
            for row, own in zip(rows, target.predictions(part), strict=True):
                row.update({new.get(column, column): value for column, value in own.items()})
        return rows

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """Return `p_<task>_<class>` of each task and class."""
        return tuple(
            f"p_{name}_{column.removeprefix('p_')}"
            for name, target in self.targets.items()
            for column in target.probability_columns
        )

    def labels_of(self, answers: Tensor) -> list[dict[str, Any]]:
        """Return the answers in the label fields of all tasks."""
        rows: list[dict[str, Any]] = [{} for _ in answers]
        for name, part in self._split(answers, self._answers).items():
            for row, own in zip(rows, self.targets[name].labels_of(part), strict=True):
                row.update(own)
        return rows

    def label_columns(self, targets: Tensor) -> list[dict[str, Any]]:
        """Return the columns of all tasks: a class as `label_<task>`, values by field; None where it is missing."""
        own, known = self.labels_of_tasks(targets), self._known(targets)
        rows: list[dict[str, Any]] = [{} for _ in targets]
        for name, target in self.targets.items():
            columns = target.label_columns(own[name])
            for row, found, is_known in zip(rows, columns, known[name].tolist(), strict=True):
                row.update(
                    {
                        f"label_{name}" if column == "label" else column: value if is_known else None
                        for column, value in found.items()
                    }
                )
        return rows

    def describe(self, answer: Sequence[float]) -> str:
        """Return the description of each task's answer."""
        parts = self._split(torch.tensor(answer), self._answers)
        return ", ".join(self.targets[name].describe(part.tolist()) for name, part in parts.items())

    def describe_label(self, targets: Tensor) -> str:
        """Return the labels that there are."""
        own, known = self.labels_of_tasks(targets), self._known(targets)
        return ", ".join(
            target.describe_label(own[name]) for name, target in self.targets.items() if known[name].all()
        )

    def floors(self, train: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the floors of each task by its name."""
        first, second = self.labels_of_tasks(train), self.labels_of_tasks(targets)
        return {
            f"{name}/{metric}": value
            for name, target in self.targets.items()
            for metric, value in target.floors(first[name], second[name]).items()
        }

    def task_answers(self, answers: Tensor, targets: Tensor) -> list[TaskAnswers]:
        """Return each task with its answers to the utterances that are labelled for it."""
        own, known = self.labels_of_tasks(targets), self._known(targets)
        parts = self._split(answers, self._answers)
        return [
            TaskAnswers(name, target, rows, parts[name][rows], own[name][rows])
            for name, target in self.targets.items()
            for rows in [known[name].nonzero().flatten()]
        ]

    def summary(self, targets: Tensor) -> dict[str, str]:
        """Return how many utterances are labelled for each task, counts of its classes, and rows about its values."""
        own, known = self.labels_of_tasks(targets), self._known(targets)
        rows = {}
        for name, target in self.targets.items():
            labels = own[name][known[name]]
            rows[f"{name}: labelled"] = str(len(labels))
            if target.class_names:
                counts = torch.bincount(
                    target.class_index(labels), minlength=len(target.class_names)
                ).tolist()
                pairs = zip(target.class_names, counts, strict=True)
                rows |= {f"{name}: {label}": str(count) for label, count in pairs}
            rows |= target.summary(labels)
        return rows

    def remarks(self, targets: Tensor, ids: Sequence[object]) -> list[str]:
        """Return the remarks on each task's labels."""
        own, known = self.labels_of_tasks(targets), self._known(targets)
        found = []
        for name, target in self.targets.items():
            rows = known[name].nonzero().flatten()
            some = [ids[row] for row in rows.tolist()]
            found += [f"{name}: {remark}" for remark in target.remarks(own[name][rows], some)]
        return found

    def check_loss(self, criterion: nn.Module, *, mixup: bool = False) -> None:
        """Refuse mixup where a task's loss is of a whole batch; the run's loss is of no matter, each task has its own.

        Raises:
            ConfigError: as above.
        """
        for name, target in self.targets.items():
            check_loss(self.losses[name], target.predicts, f"target.tasks.{name}.loss", mixup=mixup)


_SLOT = "target.tasks.any.target"


def _each(spec: Mapping[str, Any], change: Any) -> dict[str, Any]:
    """Change the spec of each task's target."""
    tasks = {}
    for name, task in spec["tasks"].items():
        if task:
            with _task_remedies(name):
                tasks[name] = {**task, "target": change(task["target"])}
    return {**spec, "tasks": tasks}


@contextmanager
def _task_remedies(name: str) -> Iterator[None]:
    """Replace settings `target.*` in messages of a task's target by those of the task."""
    try:
        yield
    except LabelError:
        raise
    except SerError as error:
        message = re.sub(r"\btarget\.(?!tasks\.|_target_)", f"target.tasks.{name}.target.", str(error))
        raise type(error)(message) from error


def _weight(name: str, task: Mapping[str, Any]) -> float:
    weight = float(task.get("weight", 1.0))
    if not weight > 0:
        raise ConfigError(
            f"target.tasks.{name}.weight={weight}: expected more than 0. Leave the task out instead."
        )
    return weight
