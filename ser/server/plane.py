"""The place of an answer on the plane of valence and activation, where a model implies one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ser.config.settings import find_conf
from ser.data.label_map import read_label_map
from ser.names import normalize_name
from ser.targets.base import Target

_VALENCE, _ACTIVATION = "valence", ("activation", "arousal")
_WIDTH = 2.0  # standard deviations from the middle of the plane to its edge, for values


@dataclass(frozen=True)
class Plane:
    """Map an answer [A] to valence and activation, each -1..1: a matrix and an offset, clipped.

    Args:
        matrix: [2, A].
        offset: [2].
        source: What the positions are, for people.
    """

    matrix: np.ndarray
    offset: np.ndarray
    source: str

    def locate(self, answer: Sequence[float] | np.ndarray) -> list[float] | None:
        """Return valence and activation of an answer [A]; None if it is not known."""
        place = np.clip(self.matrix @ np.asarray(answer, dtype=float) + self.offset, -1, 1)
        return [round(float(value), 4) for value in place] if np.isfinite(place).all() else None


def tasks_of(target: Target) -> list[Target]:
    """Return the targets of several tasks, or the target itself."""
    return [*getattr(target, "targets", {}).values()] or [target]


def plane_of(target: Target, names: Sequence[str]) -> Plane | None:
    """Return the plane of a target, or None if its answers have no place there.

    Of several tasks, one of values comes before one of classes.

    Args:
        target: Target of the model.
        names: Name of each number of an answer: classes, or fields of values; of several tasks, `<task>_<class>` of all
            classes, then the fields.
    """
    if tasks := getattr(target, "targets", {}):
        return _plane_of_tasks(tasks, [*names])
    if target.class_names and [*names] == [*target.class_names]:
        return _plane_of_bits(target) or _plane_of_emotions(names)
    return _plane_of_values(target, names)


def _plane_of_tasks(tasks: Mapping[str, Target], names: list[str]) -> Plane | None:
    """Return the plane of the first task that has one, as a plane of the answers to all tasks."""
    for task, target in sorted(tasks.items(), key=lambda item: bool(item[1].class_names)):
        own = [*target.class_names] or [*target.label_names]
        places = [names.index(f"{task}_{name}" if target.class_names else name) for name in own]
        if plane := plane_of(target, own):
            matrix = np.zeros((2, len(names)))
            matrix[:, places] = plane.matrix
            return Plane(matrix, plane.offset, plane.source)
    return None


def _plane_of_bits(target: Target) -> Plane | None:
    """Return the corners of the plane, of classes that are pairs of bits."""
    if {*target.label_names} != {_VALENCE, _ACTIVATION[0]}:
        return None
    labels = target.labels_of(torch.eye(len(target.class_names)))
    rows = [[2 * float(own[axis]) - 1 for own in labels] for axis in (_VALENCE, _ACTIVATION[0])]
    return Plane(np.array(rows), np.zeros(2), "the mean of the four corners, weighted by their probabilities")


def _plane_of_emotions(names: Sequence[str]) -> Plane | None:
    """Return the usual positions of emotions, if the table has one for each class."""
    table = read_label_map(find_conf(Path(__file__)) / "label_map" / "arousal_valence.yaml")
    places = [table.get(normalize_name(name)) for name in names]
    if not all(isinstance(place, Mapping) for place in places):
        return None
    rows = [[float(place[axis]) for place in places] for axis in (_VALENCE, _ACTIVATION[1])]  # type: ignore[index]
    return Plane(
        np.array(rows),
        np.zeros(2),
        "the mean of the emotions' usual places (Russell 1980), weighted by their probabilities: no rating",
    )


def _plane_of_values(target: Target, names: Sequence[str]) -> Plane | None:
    """Return the predicted values in standard deviations of the training labels, if both axes are predicted."""
    mean, std = getattr(target, "mean", None), getattr(target, "std", None)
    fields = [next((name for name in axis if name in names), None) for axis in ((_VALENCE,), _ACTIVATION)]
    if mean is None or std is None or None in fields or len(mean) != len(names):
        return None
    places = [[*names].index(str(field)) for field in fields]
    matrix = np.zeros((2, len(names)))
    for row, place in enumerate(places):
        matrix[row, place] = 1 / (_WIDTH * std[place])
    offset = np.array([-mean[place] / (_WIDTH * std[place]) for place in places])
    return Plane(matrix, offset, "the predicted values; the middle is the mean of the training labels")
