"""Average the probabilities of models: equally, or with the weights and temperatures that were fitted on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ser.calibration.members import read_members
from ser.calibration.run import read_temperature
from ser.calibration.temperature import apply_temperature
from ser.checkpoints import checkpoint
from ser.checkpoints.checkpoint import Trained
from ser.errors import CheckpointError, ConfigError, setting
from ser.inference import predict
from ser.inference.model_inputs import ModelInput


@dataclass(frozen=True)
class Mixture:
    """Models of one path: of a run, of an ensemble that was trained, or of one that `ser ensemble` put together.

    Args:
        models: Models with the same target.
        weights: Weight of each, with the sum 1; empty for equal ones.
        temperature: Temperature of the mean; 1 leaves the probabilities as they are.
    """

    models: Sequence[Trained]
    weights: Sequence[float] = field(default=())
    temperature: float = 1.0


def load_mixtures(paths: Sequence[str | Path], *, calibrate: bool) -> list[Mixture]:
    """Read the models of each path.

    Args:
        paths: Checkpoints, folders of runs, or of ensembles.
        calibrate: Whether to read the temperatures that were fitted on validation.

    Raises:
        CheckpointError: A checkpoint or a temperature is missing, or cannot be used.
    """
    mixtures = []
    for path in map(Path, paths):
        members = read_members(path)
        models = [checkpoint.load(found) for found in checkpoint.find(path)]
        temperature = _temperature_of(path) if calibrate else 1.0
        mixtures.append(Mixture(models, [each.weight for each in members], temperature))
    return mixtures


def require_plain(mixtures: Sequence[Mixture]) -> None:
    """Refuse fitted weights and temperatures for a stream, whose models are averaged equally at every frame.

    Raises:
        ConfigError: There are some.
    """
    if any(each.weights or each.temperature != 1 for each in mixtures):
        raise ConfigError(
            f"{mixtures[0].models[0].path}: fitted weights and temperatures are those of whole recordings, and a "
            "stream has none. Give the runs themselves, without calibration."
        )


def calibrated_folder(path: Path) -> Path | None:
    """Return the folder of the run whose temperature holds for a path; None for other checkpoints than best.ckpt."""
    if path.is_dir():
        return path
    return path.parents[1] if path.name == "best.ckpt" and path.parent.name == "checkpoints" else None


def _temperature_of(path: Path) -> float:
    """Read the temperature that holds for a path.

    Raises:
        CheckpointError: There is none, or it cannot be used.
    """
    remedy = f"leave out {setting('calibrate', True)}"
    folder = calibrated_folder(path)
    if folder is None:
        raise CheckpointError(
            f"{path}: the temperature of a run belongs to its checkpoints/best.ckpt. Give the folder of the run, or "
            f"{remedy}."
        )
    return read_temperature(folder, remedy)


def mixture_scores(mixtures: Sequence[Mixture], inputs: Sequence[ModelInput], **settings: Any) -> Tensor:
    """Compute the probabilities [N, C] of utterances, averaged over mixtures; NaN where a model hears only silence.

    Args:
        mixtures: One or more, of the same target.
        inputs: What the models read; each model is in one of them.
        settings: Further arguments of `class_scores`.

    Raises:
        SerError: See `class_scores`.
    """
    models = [model for each in mixtures for model in each.models]
    for trained in models:
        predict.check_same_target(trained, models[0])
    scores = []
    for each in mixtures:
        found = _mean(each, inputs, settings)
        if each.temperature != 1:
            scaled = apply_temperature(found.double().numpy(), each.temperature)
            found = torch.from_numpy(scaled.astype(np.float32))
        scores.append(found)
    return torch.stack(scores).mean(0)


def _mean(mixture: Mixture, inputs: Sequence[ModelInput], settings: Mapping[str, Any]) -> Tensor:
    """Compute the weighted mean [N, C] of a mixture's models."""
    equal = [1 / len(mixture.models)] * len(mixture.models)
    weight_of = dict(zip(map(id, mixture.models), mixture.weights or equal, strict=True))
    parts = []
    for given in inputs:
        if own := [trained for trained in given.models if id(trained) in weight_of]:
            weights = [weight_of[id(trained)] for trained in own]
            to_features = given.to_features
            parts.append(
                predict.class_scores(own, given.store, weights=weights, to_features=to_features, **settings)
            )
    return torch.stack(parts).sum(0)
