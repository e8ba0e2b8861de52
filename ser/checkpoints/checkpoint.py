"""Read checkpoints, which contain everything that is needed to predict.

Besides the weights, a checkpoint holds plain containers under the key `ser`: the config nodes of features, frontend,
model, pooling, head and target, the feature dimension, and the weights of a frozen encoder that computed the features.
All code that reads one (predict, resume, init, embeddings, the benchmark, export) uses `read`.
`ser.archive` describes what is checked before a file is loaded. Weights that are not finite are refused,
and a model is built on the `meta` device, without memory, until its shapes are known to match the weights.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import module as registration

from ser.archive import read_archive
from ser.calibration.members import read_members
from ser.checkpoints.bundle import is_bundle, read_bundle
from ser.config.instantiate import build, find_class
from ser.config.old_names import with_current_names
from ser.errors import (
    CheckpointError,
    ConfigError,
    MissingPackageError,
    SerError,
    advise_init,
    named_line,
    setting,
)
from ser.frozen.weights import keep_weights
from ser.models.classifier import Classifier, Head
from ser.runs.run_folder import RunFolder
from ser.targets.base import Target
from ser.text.word_sources import WordTable, table_from_state

_log = logging.getLogger(__name__)

FORMAT = 2
PARTS = ("features", "frontend", "model", "pooling", "head", "target")
"""Config nodes in a checkpoint."""


@dataclass(frozen=True)
class Trained:
    """A model read from a checkpoint, in evaluation mode on the CPU.

    Args:
        model: Model from features to logits.
        target: Target that interprets the logits.
        feature_dim: Number of values of a frame.
        features: Spec of the extractor that computes such frames from waveforms.
        frontend: Spec of the frontend, which may require normalisation by speaker.
        path: Path of the checkpoint.
        words: Table of word vectors that follow the audio's values in a frame; None without words.
    """

    model: Classifier
    target: Target
    feature_dim: int
    features: Mapping[str, Any]
    frontend: Mapping[str, Any]
    path: Path
    words: WordTable | None = None

    @property
    def audio_dim(self) -> int:
        """Return the number of values of a frame without those of its word."""
        return self.feature_dim - (0 if self.words is None else self.words.dim)

    @property
    def reads_waveforms(self) -> bool:
        """Return whether the model takes waveforms, of which many samples take the time of a frame."""
        extractor = build(self.features, slot="features")
        return bool(extractor.is_waveform) and self.feature_dim == extractor.feature_dim

    def check(self, logits: Tensor) -> Tensor:
        """Return logits unchanged, if they are finite; then NaN among probabilities means silence only.

        Raises:
            CheckpointError: A logit is not finite.
        """
        if not logits.isfinite().all():
            raise CheckpointError(
                f"{self.path}: its outputs are not finite, although its input is: its weights are too "
                "large. Train again with a lower optimizer.lr."
            )
        return logits


def describe(
    config: Mapping[str, Any], *, feature_dim: int, words: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the part of a config that `assemble` needs, with a format number, and the state of word vectors."""
    described = {"format": FORMAT, "feature_dim": feature_dim} | {part: config[part] for part in PARTS}
    return described if words is None else described | {"words": dict(words)}


def assemble(description: Mapping[str, Any]) -> tuple[Classifier, Target]:
    """Build an untrained classifier and its target from a description."""
    target: Target = build(description["target"], slot="target")
    frontend = build(description["frontend"], slot="frontend", feature_dim=description["feature_dim"])
    encoder = build(
        description["model"], slot="model", in_dim=frontend.out_dim, in_channels=frontend.num_channels
    )
    pooling = build(description["pooling"], slot="pooling", in_dim=encoder.out_dim)
    head: Head = build(description["head"], slot="head", in_dim=pooling.out_dim, out_dim=target.out_dim)
    return Classifier(frontend, encoder, pooling, head), target


def load(path: str | Path) -> Trained:
    """Read a checkpoint and build its model, without drawing random numbers.

    Raises:
        CheckpointError: The file is missing, incomplete, not from this framework, of another format, or holds more
            than tensors and plain values; or its weights are not finite, or do not match the described model.
    """
    return rebuild(read(Path(path)), Path(path))


def rebuild(checkpoint: Mapping[str, Any], path: Path) -> Trained:
    """Build the model from the containers that `read` returned for a path."""
    description = checkpoint["ser"]
    if "pretraining" in description:
        raise CheckpointError(
            f"{path}: is of a pre-training, whose encoder answers nothing yet. Fine-tune it first, with "
            "experiment=finetune and model.path=RUN/encoder."
        )
    weights = model_weights(checkpoint)
    if frozen := description.get("frozen"):
        keep_weights(frozen)
    for part in PARTS:
        try:
            find_class(description[part], slot=part)
        except ConfigError as error:
            raise CheckpointError(f"{path}: {error}") from error
    try:
        with torch.device("meta"), _limit_parts(20 * len(weights) + 1000):
            _check_shapes(assemble(description)[0], weights)
        with torch.random.fork_rng(devices=[]):
            model, target = assemble(description)
        model.load_state_dict(weights)
    except MissingPackageError as error:
        raise MissingPackageError(f"{path}: {error}") from error
    except Exception as error:  # constructors refuse wrong settings in many ways
        raise CheckpointError(
            f"{path}: its weights and its description do not fit together ({named_line(error)}). "
            "Use the checkpoint as the training wrote it, with the version of ser that wrote it."
        ) from error
    specs = {"features": description["features"], "frontend": description["frontend"]}
    words = description.get("words")
    table = None if words is None else table_from_state(words)
    return Trained(model.eval(), target, description["feature_dim"], **specs, path=path, words=table)


def model_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of the classifier in a checkpoint, with the classifier's own names."""
    return {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith("model.")
    }


def _check_shapes(model: Classifier, weights: Mapping[str, Tensor]) -> None:
    """Check that weights match a model, which may be on `meta`.

    Raises:
        SerError: A tensor is missing, superfluous, of another shape, or of another kind of numbers, such as integers
            for floats; the message names the first one.
    """
    own = model.state_dict()
    for name in [*own, *weights]:
        expected, found = (
            "none" if name not in tensors else f"{[*tensors[name].shape]}" for tensors in (own, weights)
        )
        if expected != found:
            raise SerError(f"{name}: expected {expected}, found {found}")
        if own[name].is_floating_point() != weights[name].is_floating_point():
            raise SerError(f"{name}: expected {own[name].dtype}, found {weights[name].dtype}")


@contextmanager
def _limit_parts(number: int) -> Iterator[None]:
    """Refuse to build a model of more than `number` parts, as a million layers on `meta` cost time and memory, too."""
    count = 0

    def register(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > number:
            raise SerError(f"it describes a model of more than {number} parts, and holds far fewer weights")

    handles = [
        registration.register_module_parameter_registration_hook(register),
        registration.register_module_buffer_registration_hook(register),
        registration.register_module_module_registration_hook(register),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def find(path: str | Path) -> list[Path]:
    """Find the checkpoints of a path: itself, or an exported folder; or the best of a run, or of an ensemble's members.

    An ensemble is a run that trained several members, or a folder that `ser ensemble` wrote.

    Raises:
        CheckpointError: A folder holds none.
    """
    path = Path(path)
    if not path.is_dir() or is_bundle(path):
        return [path]
    if others := read_members(path):
        return [RunFolder(each.run).best for each in others]
    run = RunFolder(path)
    members = [RunFolder(folder) for folder in sorted(path.glob("member_*"), key=lambda p: (len(p.name), p))]
    found = [folder.best for folder in (run, *members) if folder.best.is_file()]
    if not found and (encoder := path / "encoder").is_dir():
        raise CheckpointError(
            f"{path}: is a pre-training, whose encoder predicts nothing by itself. Train a model on it, with "
            f"experiment=finetune {setting('model.path', str(encoder))}, and give the folder of that run."
        )
    if not found:
        raise CheckpointError(
            f"{path}: this folder holds no checkpoints/best.ckpt, nor members that do. Give a checkpoint, or the "
            "folder of a run that has ended its first epoch."
        )
    if not run.best.is_file() and not (path / "metrics.json").is_file():
        _log.warning("%s: this ensemble is not complete: only %d of its members are there", path, len(found))
    return found


def find_one(path: str | Path, key: str) -> Path:
    """Find the checkpoint of a path, if only one can be used.

    Args:
        path: See `find`.
        key: Setting that names it, for messages.

    Raises:
        CheckpointError: See `find`; or the folder is that of an ensemble.
    """
    found = find(path)
    if len(found) > 1:
        raise CheckpointError(
            f"{setting(key, path)}: holds {len(found)} models, but one is needed. Give one of its checkpoints, "
            f"such as {setting(key, found[0])}"
        )
    return found[0]


def read(path: Path) -> dict[str, Any]:
    """Read the containers of a checkpoint or of an exported folder, and check that its weights are finite.

    Raises:
        CheckpointError: See `load`, except for errors that appear when the model is built.
    """
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such checkpoint. Give the path of a best.ckpt or last.ckpt, "
            "such as logs/EXPERIMENT/TIME/checkpoints/best.ckpt."
        )
    checkpoint = (
        read_bundle(path)
        if is_bundle(path)
        else read_archive(
            path,
            remedy="Use a checkpoint that a training wrote: copy it again, or take the other one beside it.",
        )
    )
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("ser"), dict):
        raise CheckpointError(
            f"{path}: not a checkpoint of ser (it has no key 'ser'). Use one that a training wrote."
        )
    if checkpoint["ser"].get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: has format {checkpoint['ser'].get('format')!r}, this version of ser reads {FORMAT}. "
            "Predict with the version that trained it, or train again."
        )
    if fault := _find_fault(checkpoint):
        raise CheckpointError(f"{path}: {fault}. Use a checkpoint that a training wrote.")
    if wrong := non_finite(checkpoint["state_dict"]):
        raise CheckpointError(
            f"{path}: {len(wrong)} of its {len(checkpoint['state_dict'])} tensors are not finite, such as {wrong[0]}: "
            "its training diverged. Train again with a lower optimizer.lr."
        )
    return checkpoint | {"ser": with_current_names(checkpoint["ser"])}


_FOR_TRAINING = {
    **{"epoch": int, "global_step": int, "pytorch-lightning_version": str, "loops": dict, "callbacks": dict},
    **{"optimizer_states": list, "lr_schedulers": list, "ser_progress": dict},
}


def read_training(path: Path) -> dict[str, Any]:
    """Read a checkpoint from which a training can be resumed.

    Raises:
        CheckpointError: See `read`; or it has only what prediction needs.
    """
    checkpoint = read(path)
    lacking = [key for key, kind in _FOR_TRAINING.items() if not isinstance(checkpoint.get(key), kind)]
    if not lacking and "epoch_progress" not in (checkpoint["loops"].get("fit_loop") or {}):
        lacking = ["loops.fit_loop"]
    if lacking:
        raise CheckpointError(
            f"{path}: lacks what this run needs to resume ({', '.join(lacking)}). {advise_init(path)}"
        )
    return checkpoint


def _find_fault(checkpoint: Mapping[str, Any]) -> str | None:
    """Describe which part of a checkpoint is missing or of the wrong type; None if there is none."""
    description, weights = checkpoint["ser"], checkpoint.get("state_dict")
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()
    ):
        return "its state_dict is missing, or holds other things than names and tensors"
    parts = () if "pretraining" in description else PARTS
    if wrong := [part for part in parts if "_target_" not in _mapping(description.get(part))]:
        return f"its description lacks the settings of {wrong[0]}"
    feature_dim = description.get("feature_dim") if parts else 1
    frozen = description.get("frozen", {})
    if not isinstance(frozen, Mapping) or not all(isinstance(each, Tensor) for each in frozen.values()):
        return "its description holds other things than tensors as weights of a frozen encoder"
    if not isinstance(feature_dim, int) or isinstance(feature_dim, bool) or feature_dim < 1:
        return f"its description has feature_dim={feature_dim!r}, expected a number of values"
    return None


def _mapping(part: object) -> Mapping[str, Any]:
    return part if isinstance(part, Mapping) else {}


def non_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity."""
    floats = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
    return [name for name, tensor in floats.items() if not tensor.isfinite().all()]
