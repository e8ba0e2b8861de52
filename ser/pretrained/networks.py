"""Networks of log-mels by name, in the published sizes, and the encoder folders that hold them."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ser.errors import CheckpointError, named_line, setting
from ser.files import write_atomic
from ser.pretrained.audio_ntt import AudioNTT
from ser.pretrained.cvt import CvT
from ser.pretrained.log_mel import LogMelNetwork

NetworkName = Literal[
    "audio_ntt_512", "audio_ntt_1024", "audio_ntt_2048", "cvt_small", "cvt_large", "cvt_large_2048"
]

NETWORKS: Mapping[str, type[LogMelNetwork]] = MappingProxyType(
    {network.model_type: network for network in (AudioNTT, CvT)}
)
"""Networks by the `model_type` of config.json."""

PUBLISHED_SIZES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        **{f"audio_ntt_{width}": {"model_type": "audio_ntt", "width": width} for width in (512, 1024, 2048)},
        "cvt_small": {"model_type": "cvt", "widths": [64, 128, 256]},
        "cvt_large": {"model_type": "cvt", "widths": [64, 256, 512]},
        "cvt_large_2048": {"model_type": "cvt", "widths": [64, 256, 512], "frequency": "flat"},
    }
)
"""Settings of the published networks."""


def describe_network(network: LogMelNetwork) -> dict[str, Any]:
    """Return the settings of a network, as config.json of an encoder folder holds them."""
    return {"model_type": network.model_type, **network.settings}


def build_network(config: Mapping[str, Any]) -> LogMelNetwork:
    """Build the network that `describe_network` describes, with random weights.

    Other keys than settings of the network are ignored, as programs add their own.
    """
    kind: Any = NETWORKS[config["model_type"]]
    known = kind().settings
    network: LogMelNetwork = kind(**{key: value for key, value in config.items() if key in known})
    return network


def build_for_weights(weights: Mapping[str, Tensor]) -> LogMelNetwork | None:
    """Build the network that a published state_dict belongs to, without its weights; None if it is no such network."""
    if "fc.0.weight" in weights and weights["fc.0.weight"].ndim == 2:
        return AudioNTT(len(weights["fc.0.weight"]))
    stages = [weights.get(f"layers.{stage}.0.weight") for stage in range(3)]
    widths = [len(kernel) for kernel in stages if kernel is not None and kernel.ndim == 4]
    return CvT(widths) if len(widths) == len(stages) else None


@dataclass(frozen=True)
class LogMelEncoder:
    """Network of log-mels with what it reads.

    Args:
        network: Network with its weights.
        features: Spec of the extractor of its log-mels.
        mean: Mean of the log-mels, which is subtracted before the network.
        std: Deviation by which they are divided then.
    """

    network: LogMelNetwork
    features: Mapping[str, Any]
    mean: float
    std: float


def write_encoder(folder: Path, encoder: LogMelEncoder) -> None:
    """Write an encoder folder: config.json, preprocessor_config.json and model.safetensors.

    Raises:
        DataError: The folder cannot be written to.
    """
    settings = {
        key: value for key, value in encoder.features.items() if key not in ("_target_", "sample_rate")
    }
    preprocessor = {
        "feature_extractor_type": "LogMel",
        "sampling_rate": encoder.features["sample_rate"],
        "mean": encoder.mean,
        "std": encoder.std,
        **settings,
    }
    with suppress(OSError):  # then the first file cannot be written, which is reported
        folder.mkdir(exist_ok=True)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in encoder.network.state_dict().items()}
    write_atomic(folder / "model.safetensors", save(tensors, {"format": "pt"}))
    write_atomic(folder / "preprocessor_config.json", json.dumps(preprocessor, indent=2) + "\n")
    write_atomic(folder / "config.json", json.dumps(describe_network(encoder.network), indent=2) + "\n")


def read_encoder(folder: Path, key: str) -> LogMelEncoder:
    """Read an encoder folder; the network is in evaluation mode.

    Args:
        folder: Folder as `write_encoder` writes it.
        key: Setting that names it, for messages.

    Raises:
        CheckpointError: A file is missing or damaged, or the weights are not those of the network.
    """
    name = setting(key, str(folder))
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        extractor = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
        tensors = load((folder / "model.safetensors").read_bytes())
        network = build_network(config)
        unused = ("feature_extractor_type", "sampling_rate", "mean", "std")
        settings = {each: value for each, value in extractor.items() if each not in unused}
        features = {"_target_": "ser.features.LogMel", "sample_rate": extractor["sampling_rate"], **settings}
        read = LogMelEncoder(network, features, float(extractor["mean"]), float(extractor["std"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"{name}: cannot be read as an encoder of log-mels ({named_line(error)}). Copy the folder again, with "
            "config.json, preprocessor_config.json and model.safetensors."
        ) from error
    if misfit := find_misfit(network, tensors):
        raise CheckpointError(
            f"{name}: its model.safetensors does not hold the weights that its config.json describes: {misfit}. "
            "Copy both files of one encoder there."
        )
    network.load_state_dict(tensors)
    network.eval()
    return read


def find_misfit(network: LogMelNetwork, tensors: Mapping[str, Tensor]) -> str:
    """Describe tensors that are missing, superfluous or of another shape, the first five; empty if there are none."""
    own = network.state_dict()
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} is not part of it" for name in tensors if name not in own]
    problems += [
        f"{name} is {[*tensors[name].shape]}, expected {[*tensor.shape]}"
        for name, tensor in own.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    return "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
