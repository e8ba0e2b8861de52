"""Initialise a model with the weights of another run: `init=RUN`."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ser.checkpoints import checkpoint
from ser.config.instantiate import find_class
from ser.errors import CheckpointError, setting
from ser.models.classifier import Classifier
from ser.targets.base import Target

Row = tuple[Tensor, Tensor]
"""Weights and bias of an output."""

_KEPT = ("encoder.", "pooling.")
_OF_TRAINING = ("dropout", "layer_dropout")
"""Settings of a network that can change without changing the meaning of its weights."""


def initialize(model: Classifier, target: Target, description: Mapping[str, Any], path: str | Path) -> str:
    """Copy the encoder, the pooling and, by the names of classes, rows of the head from a checkpoint.

    The frontend is not copied: its statistics are those of the current data. Rows of classes that the checkpoint does
    not contain are initialised at random, as is the whole head if its earlier layers differ.

    Args:
        model: Classifier to initialise.
        target: Target that interprets its logits.
        description: Settings of its parts, from `ser.checkpoints.checkpoint.describe`.
        path: Checkpoint, or folder of a run.

    Returns:
        Lines to print: the parts that were copied, those that were not, and the settings that differ.

    Raises:
        CheckpointError: See `ser.checkpoints.checkpoint.load`; or the network, its sample rate or its features differ.
    """
    place = checkpoint.find_one(path, "init")
    content = checkpoint.read(place)
    trained, then = checkpoint.rebuild(content, place), content["ser"]
    name = setting("init", path)
    _check_meaning(then, description, name)
    own, weights = model.state_dict(), trained.model.state_dict()
    _check_shapes(own, weights, name)
    taken, fresh = _copy_head(model, trained.model, target, trained.target)
    model.load_state_dict({key: weights[key] for key in own if key.startswith(_KEPT)}, strict=False)
    lines = [f"{name}: took the encoder, the pooling and {_rows(taken, fresh)}."]
    differing = [*_differences(then, description)]
    if differing:
        lines.append(f"These settings are not those it was trained with: {'; '.join(differing)}.")
    return "\n".join(lines)


def _rows(taken: list[str], fresh: list[str]) -> str:
    if not taken:
        return "nothing of the head, which is initialised at random"
    rest = f"; {', '.join(fresh)} is initialised at random" if fresh else ""
    return f"{len(taken)} of {len(taken) + len(fresh)} rows of the head ({', '.join(taken)}){rest}"


def _check_meaning(then: Mapping[str, Any], now: Mapping[str, Any], name: str) -> None:
    """Refuse a network whose input would differ from that of its training."""
    for part in ("features", "model", "pooling"):
        kinds = [find_class(spec[part], slot=part) for spec in (then, now)]
        if kinds[0] is not kinds[1]:
            raise CheckpointError(
                f"{name}: was trained with {part} {kinds[0].__name__}, this training has {kinds[1].__name__}. "
                f"Choose the same {part} as there, or leave init out."
            )
    rates = [spec["features"].get("sample_rate") for spec in (then, now)]
    if rates[0] != rates[1]:
        raise CheckpointError(
            f"{name}: was trained at {rates[0]} Hz, this training has {rates[1]} Hz. "
            f"Set features.sample_rate={rates[0]}, or leave init out."
        )


def _check_shapes(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], name: str) -> None:
    for key in sorted({*own, *weights}):
        shapes = [[*tensors[key].shape] if key in tensors else None for tensors in (own, weights)]
        if key.startswith(_KEPT) and shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{name}: its network has {_shape(shapes[1])} for {key}, this training {_shape(shapes[0])}. Give it "
                "that run's settings: model, pooling, features and frontend.delta_scale."
            )


def _shape(shape: list[int] | None) -> str:
    return "no tensor" if shape is None else f"the shape {shape}"


@torch.no_grad()
def _copy_head(
    model: Classifier, other: Classifier, target: Target, others: Target
) -> tuple[list[str], list[str]]:
    """Copy a head by the names of its logits; return the names that were taken and those that were not."""
    names = [*target.logit_names]
    own, weights = model.head.state_dict(), other.head.state_dict()
    last = f"layers.{len(model.head.layers) - 1}."
    before = {key for key in {*own, *weights} if not key.startswith(last)}
    if any(key not in own or key not in weights or own[key].shape != weights[key].shape for key in before):
        return [], names
    if model.head.output.in_features != other.head.output.in_features:
        return [], names
    found = _find_rows(dict(_named_rows(other, others)), target, others)
    if not found:
        return [], names
    model.head.load_state_dict({key: weights[key] for key in before}, strict=False)
    for place, row in found.items():
        model.head.output.weight[place], model.head.output.bias[place] = row
    taken = [names[place] for place in found]
    return taken, [name for name in names if name not in taken]


def _find_rows(rows: Mapping[str, Row], target: Target, others: Target) -> dict[int, Row]:
    """Return the row of each output that the other target has, by the output's place.

    A task of several is also found by the names within it, where no two tasks of a target share one.
    """
    plain = dict(zip(others.plain_logit_names, others.logit_names, strict=True))
    counts = [Counter(each.plain_logit_names) for each in (target, others)]
    twice = {name for count in counts for name in count if count[name] > 1}
    found = {}
    for place, (name, short) in enumerate(zip(target.logit_names, target.plain_logit_names, strict=True)):
        match = name if name in rows else plain.get(short, short)
        if match in rows and (match == name or short not in twice):
            found[place] = rows[match]
    return found


def _named_rows(model: Classifier, target: Target) -> Iterator[tuple[str, Row]]:
    """Yield the weights and the bias of each logit, by name; the one of two classes also with the classes exchanged."""
    output = model.head.output
    for name, row, bias in zip(target.logit_names, output.weight, output.bias, strict=True):
        yield name, (row, bias)
    for name, row, bias in zip(target.opposite_logit_names, output.weight, output.bias, strict=False):
        yield name, (-row, -bias)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings of features, frontend, model and pooling that differ, with both values."""
    for part in ("features", "frontend", "model", "pooling"):
        flat = [dict(_flat(spec[part], part)) for spec in (then, now)]
        for key in dict.fromkeys([*flat[0], *flat[1]]):
            values = [settings.get(key) for settings in flat]
            if values[0] != values[1] and key.rpartition(".")[2] not in _OF_TRAINING:
                yield f"{key}={values[1]}, there {values[0]}"


def _flat(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", [*value] if isinstance(value, tuple) else value
