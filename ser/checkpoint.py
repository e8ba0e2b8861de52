"""Checkpoints that describe themselves: a file is enough to predict.

Beside the weights, a checkpoint holds plain containers under the key `ser`: the config nodes of features, frontend,
model, pooling, head and target, and the feature dimension. Files are read with
`weights_only=True`, and only classes of this package are built from them, so that a hostile file runs nothing.
"""

import logging
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ser.build import build
from ser.errors import CheckpointError, SerError
from ser.models.classifier import Classifier, Head
from ser.run_folder import RunFolder
from ser.targets import Target

_log = logging.getLogger(__name__)

FORMAT = 2
PARTS = ("features", "frontend", "model", "pooling", "head", "target")
"""Config nodes that a checkpoint carries."""


@dataclass(frozen=True)
class Trained:
    """A model read from a checkpoint, in evaluation mode on the CPU.

    Args:
        model: features in, logits out.
        target: what the logits mean.
        feature_dim: values of a frame it was trained on.
        features: spec of the extractor that makes such frames of waveforms.
        frontend: spec of what follows, which asks for z-scores by speaker if it is normalised so.
        path: where it came from.
    """

    model: Classifier
    target: Target
    feature_dim: int
    features: Mapping[str, Any]
    frontend: Mapping[str, Any]
    path: Path


def describe(config: Mapping[str, Any], *, feature_dim: int) -> dict[str, Any]:
    """The part of a config that `assemble` needs, with a format number."""
    return {"format": FORMAT, "feature_dim": feature_dim} | {part: config[part] for part in PARTS}


def assemble(description: Mapping[str, Any]) -> tuple[Classifier, Target]:
    """Build an untrained classifier and its target from a description."""
    target: Target = build(description["target"])
    frontend = build(description["frontend"], feature_dim=description["feature_dim"])
    encoder = build(description["model"], in_dim=frontend.out_dim, in_channels=frontend.num_channels)
    pooling = build(description["pooling"], in_dim=encoder.out_dim)
    head: Head = build(description["head"], in_dim=pooling.out_dim, out_dim=target.out_dim)
    return Classifier(frontend, encoder, pooling, head), target


def load(path: str | Path) -> Trained:
    """Read a checkpoint and rebuild its model.

    Raises:
        CheckpointError: the file is missing, cut, not ours, of another format, or holds more than tensors and
            plain values.
    """
    path = Path(path)
    checkpoint = read(path)
    description = checkpoint["ser"]
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith("model.")
    }
    try:
        model, target = assemble(description)
        model.load_state_dict(weights)
    except (SerError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: its weights and its description do not fit together ({_first_line(error)}). "
            "Use the checkpoint as train.py wrote it, with the version of ser that wrote it."
        ) from error
    specs = {"features": description["features"], "frontend": description["frontend"]}
    return Trained(model.eval(), target, description["feature_dim"], **specs, path=path)


def find(path: str | Path) -> list[Path]:
    """The checkpoints that a path stands for: itself, or the best of a run's folder, of all members of an ensemble.

    Raises:
        CheckpointError: a folder holds none.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    run = RunFolder(path)
    members = [RunFolder(folder) for folder in sorted(path.glob("member_*"), key=lambda p: (len(p.name), p))]
    found = [folder.best for folder in (run, *members) if folder.best.is_file()]
    if not found:
        raise CheckpointError(
            f"{path}: this folder holds no checkpoints/best.ckpt, nor members that do. Give a checkpoint, or the "
            "folder of a run that has ended its first epoch."
        )
    if not run.best.is_file() and not (path / "metrics.json").is_file():
        _log.warning("%s: this ensemble has not ended, only %d of its members are here", path, len(found))
    return found


def initialize(model: Classifier, path: str | Path) -> None:
    """Let a model begin with the encoder, the pooling and, where it has as many outputs, the head of a checkpoint.

    The frontend stays: its statistics are those of the data at hand.

    Raises:
        CheckpointError: as `load`, or the checkpoint's encoder or pooling is another.
    """
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in read(Path(path))["state_dict"].items()
        if name.startswith(("model.encoder.", "model.pooling.", "model.head."))
    }
    own = model.state_dict()
    for name in own:
        is_known = name in weights and weights[name].shape == own[name].shape
        if name.startswith(("encoder.", "pooling.")) and not is_known:
            raise CheckpointError(
                f"init={path}: its network has no {name} of the shape {[*own[name].shape]}. Give it that run's "
                "settings: model, pooling, features and frontend.delta_scale."
            )
    if any(own[name].shape != weights[name].shape for name in own if name.startswith("head.")):
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("head.")}
    model.load_state_dict(weights, strict=False)


def read(path: Path) -> dict[str, Any]:
    """The raw containers of a checkpoint of ours.

    Raises:
        CheckpointError: as `load`.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint. Give the path of a best.ckpt or last.ckpt, "
            "such as ckpt=logs/EXPERIMENT/TIME/checkpoints/best.ckpt."
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's doubts about a foreign pickle: ours follow
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors and plain values, or is damaged; it was not loaded, as such a file "
            "can run code. Use a checkpoint that train.py wrote."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint ({_first_line(error)}). It is cut or of another kind; "
            "copy it again, or use last.ckpt beside it."
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("ser"), dict):
        raise CheckpointError(
            f"{path}: not a checkpoint of ser (it has no key 'ser'). Use one that train.py wrote."
        )
    if checkpoint["ser"].get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: has format {checkpoint['ser'].get('format')!r}, this version of ser reads {FORMAT}. "
            "Predict with the version that trained it, or train again."
        )
    return checkpoint


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
