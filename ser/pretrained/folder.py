"""What `model.path` may name: folders of Hugging Face and of our own, and published weights of BYOL-S and BYOL-A."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser.archive import read_archive
from ser.errors import CheckpointError, ConfigError, first_line, setting
from ser.features.extractors import SERAB
from ser.hugging_face.folder import FAMILIES, count_layers, load_network, make_network, read_settings
from ser.hugging_face.hub import download
from ser.hugging_face.wav2vec import Wav2Vec
from ser.hugging_face.whisper import Whisper
from ser.pretrained.log_mel_input import LogMelInput
from ser.pretrained.networks import (
    NETWORKS,
    LogMelEncoder,
    build_for_weights,
    build_network,
    describe_network,
    find_misfit,
    read_encoder,
)

Network = Wav2Vec | Whisper | LogMelInput


def find_folder(path: str, *, allow_download: bool) -> str:
    """Return the folder or file of an encoder, which is downloaded from the Hugging Face hub if that is allowed.

    Raises:
        CheckpointError: There is no such folder, and nothing may be downloaded, or cannot be.
    """
    if Path(path).expanduser().exists() or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", path):
        return path
    if not allow_download:
        raise CheckpointError(
            f"{setting('model.path', path)}: no such folder. Give one that holds the model, or add "
            "model.allow_download=true to download the model of that name from the Hugging Face hub."
        )
    return download(path)


def read_architecture(path: str) -> dict[str, Any]:
    """Read the settings of encoder and feature extractor of a folder, as plain containers.

    Raises:
        ConfigError: The package `transformers` is needed and not installed.
        CheckpointError: The folder does not hold an encoder of speech.
    """
    if (file := Path(path).expanduser()).is_file():
        return _describe(_read_published(path, file))
    kind = _read_kind(path)
    if kind in NETWORKS:
        return _describe(read_encoder(Path(path).expanduser(), "model.path"))
    return read_settings(path, kind)


def with_utterance_statistics(architecture: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the settings of an encoder that normalises log-mels by mean and deviation of each utterance.

    Args:
        architecture: Settings from `read_architecture`.
        key: Setting that asks for it, for messages.

    Raises:
        ConfigError: It is no network of log-mels.
    """
    if architecture["config"]["model_type"] not in NETWORKS:
        raise ConfigError(
            f"{key}=utterance: is for {' and '.join(NETWORKS)}; other encoders normalise their input themselves. "
            f"Leave out {key}."
        )
    return {**architecture, "extractor": {**architecture["extractor"], "statistics": "utterance"}}


def num_hidden_layers(architecture: Mapping[str, Any]) -> int:
    """Return the number of layers whose outputs are hidden states beside the first."""
    config = architecture["config"]
    return 0 if config["model_type"] in NETWORKS else count_layers(config)


def make_encoder(architecture: Mapping[str, Any], num_layers: int, path: str | None) -> Network:
    """Build an encoder, with the weights of a folder or file, or random ones if it is None.

    Args:
        architecture: Settings from `read_architecture`.
        num_layers: Number of transformer layers to use.
        path: Folder or file.

    Raises:
        CheckpointError: Weights are missing, or do not fit.
    """
    config, extractor = architecture["config"], architecture["extractor"]
    if config["model_type"] in NETWORKS:
        network = build_network(config) if path is None else _read_own(path).network
        features = {"_target_": SERAB["_target_"], **extractor["features"]}
        mean, std, statistics = (extractor.get(key) for key in ("mean", "std", "statistics"))
        return LogMelInput(network, features, mean=mean, std=std, statistics=statistics or "own")
    model = make_network(config, num_layers) if path is None else load_network(path, config, num_layers)
    return (Whisper if config["model_type"] == "whisper" else Wav2Vec)(model, extractor)


def _read_kind(path: str) -> str:
    """Return the model type of a folder."""
    name, folder = setting("model.path", path), Path(path).expanduser()
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{name}: holds no config.json. Give a folder as save_pretrained writes it; nothing is downloaded."
        )
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{name}: its config.json cannot be read ({first_line(error)}). Save or copy the folder again."
        ) from error
    if kind not in (*FAMILIES, *NETWORKS):
        raise CheckpointError(
            f"{name}: a {kind} is not an encoder of speech that can be trained here. Give one of "
            f"{', '.join((*FAMILIES, *NETWORKS))}."
        )
    return str(kind)


def _read_own(path: str) -> LogMelEncoder:
    place = Path(path).expanduser()
    return _read_published(path, place) if place.is_file() else read_encoder(place, "model.path")


def _read_published(path: str, file: Path) -> LogMelEncoder:
    """Read a published state_dict of BYOL-S or BYOL-A, which has no statistics of log-mels."""
    name = setting("model.path", path)
    remedy = "Give the folder of an encoder, or a published state_dict of BYOL-S"
    weights = read_archive(file, remedy=f"{remedy}.")
    network = build_for_weights(weights) if isinstance(weights, Mapping) else None
    if network is None:
        raise CheckpointError(f"{name}: holds no weights of {' or '.join(NETWORKS)}. {remedy}.")
    if misfit := find_misfit(network, weights):
        raise CheckpointError(f"{name}: is not all of {network.model_type}: {misfit}. {remedy}.")
    network.load_state_dict(weights)
    return LogMelEncoder(network, SERAB, float("nan"), float("nan"))


def _describe(encoder: LogMelEncoder) -> dict[str, Any]:
    statistics = {} if encoder.mean != encoder.mean else {"mean": encoder.mean, "std": encoder.std}
    features = {
        key: value for key, value in encoder.features.items() if key != "_target_"
    }  # plain values only
    extractor = {"sampling_rate": features["sample_rate"], "features": features}
    return {"config": describe_network(encoder.network), "extractor": {**extractor, **statistics}}
