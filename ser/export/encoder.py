"""Write the encoder of a run alone: as safetensors and, of AudioNTT and CvT, with the published names of parameters."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ser.checkpoints import checkpoint
from ser.errors import CheckpointError, ConfigError
from ser.export.write import check_folder, written_whole
from ser.files import write_atomic
from ser.pretrained.log_mel_input import LogMelInput
from ser.pretrained.networks import LogMelEncoder, build_network, write_encoder
from ser.runs.run_folder import RunFolder

WEIGHTS, CONFIG, PREPROCESSOR, PUBLISHED = (
    *("model.safetensors", "config.json", "preprocessor_config.json"),
    "encoder.pth",
)
MARK = "ser_encoder"
"""Key of config.json by which a folder that may be replaced is known; programs ignore keys that they do not know."""
_PREFIX = "model.encoder."


def find_checkpoint(path: str) -> Path:
    """Find the checkpoint of a path: itself, the best of a run, or the last of a pre-training.

    Raises:
        CheckpointError: A folder holds none, or several models.
    """
    run = RunFolder(Path(path))
    if run.last.is_file() and not run.best.is_file():
        return run.last
    return checkpoint.find_one(path, "ckpt")


def write_encoder_of(source: Path, output: Path, *, overwrite: bool = False) -> list[str]:
    """Write the encoder of a checkpoint, completely or not at all; return the names of the files.

    AudioNTT and CvT become an encoder folder, with encoder.pth beside it: a state_dict with the published names. An
    encoder of `transformers` becomes a folder of Hugging Face, with what LoRA learnt in its weights. Other encoders
    become model.safetensors and config.json, which holds the settings that rebuild them.

    Args:
        source: Checkpoint of a training or pre-training.
        output: The folder.
        overwrite: Whether an existing folder that this has written may be replaced.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        DataError: The folder exists, or cannot be written.
    """
    files = (WEIGHTS, CONFIG, PREPROCESSOR, PUBLISHED)
    check_folder(output, overwrite=overwrite, files=files, marks={CONFIG: MARK})
    content = checkpoint.read(source)
    encoder: Any = None
    if "pretraining" in content["ser"]:
        of_log_mels: LogMelEncoder | None = pretrained_encoder(content, source)
    else:
        encoder = checkpoint.rebuild(content, source).model.encoder
        of_log_mels = find_log_mel_encoder(encoder)
    with written_whole(output) as folder:
        if of_log_mels is not None:
            write_encoder(folder, of_log_mels)
            weights = {name: tensor.clone() for name, tensor in of_log_mels.network.state_dict().items()}
            torch.save(weights, folder / PUBLISHED)
        elif of_transformers := getattr(encoder, "files", lambda: None)():
            config, preprocessor, tensors = of_transformers
            _write_plain(folder, tensors, config)
            write_atomic(folder / PREPROCESSOR, json.dumps(preprocessor, indent=2) + "\n")
        else:
            described = {key: content["ser"][key] for key in ("features", "frontend", "model", "feature_dim")}
            _write_plain(folder, encoder.state_dict(), {"model_type": "ser", **described})
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        write_atomic(folder / CONFIG, json.dumps({**config, MARK: 1}, indent=2) + "\n")
        return sorted(path.name for path in folder.iterdir())


def pretrained_encoder(content: Mapping[str, Any], source: Path) -> LogMelEncoder:
    """Return the encoder of a pre-training from the content of its checkpoint.

    Raises:
        CheckpointError: Its weights and its description do not fit together.
    """
    about = content["ser"]["pretraining"]
    weights = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in content["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    try:
        network = build_network(about["encoder"])
        network.load_state_dict(weights)
        return LogMelEncoder(network.eval(), about["features"], float(about["mean"]), float(about["std"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{source}: its weights and its description do not fit together. Use the checkpoint as the pre-training "
            "wrote it, with the version of ser that wrote it."
        ) from error


def find_log_mel_encoder(encoder: Any) -> LogMelEncoder | None:
    """Return the network of log-mels within a fine-tuned encoder, with its statistics; None if it has none."""
    reader = getattr(encoder, "network", None)
    if not isinstance(reader, LogMelInput):
        return None
    if reader.mels.statistics == "utterance":
        raise ConfigError(
            "format=encoder: a folder of AudioNTT or CvT holds a mean and a deviation of log-mels, and this model "
            "normalises each utterance by itself. Export the whole model with format=onnx, or train one with "
            "model.statistics=corpus."
        )
    features = {"_target_": "ser.features.LogMel", **encoder.architecture["extractor"]["features"]}
    return LogMelEncoder(reader.model, features, float(reader.mels.mean), float(reader.mels.std))


def _write_plain(folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    tensors = {name: tensor.cpu().clone().contiguous() for name, tensor in weights.items()}
    write_atomic(folder / WEIGHTS, save(tensors, {"format": "pt"}))
    write_atomic(folder / CONFIG, json.dumps(config, indent=2) + "\n")
