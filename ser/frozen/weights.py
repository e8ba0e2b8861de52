"""Weights of frozen encoders: loaded once in a process, and named by a digest of their content.

The digest stands in settings, so that caches and checkpoints know the weights wherever their folder is. A checkpoint
holds the weights themselves, in half precision where that loses nothing.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from ser.errors import CheckpointError, SerError
from ser.precision import in_float32
from ser.pretrained.encoder import Layer, PretrainedEncoder

_CPU = torch.device("cpu")
_kept: dict[str, Mapping[str, Tensor]] = {}
"""Digest -> weights that were read in this process."""
_lock = Lock()


def keep_weights(weights: Mapping[str, Tensor]) -> str:
    """Keep the weights of a checkpoint or a folder for this process; return their digest."""
    name = digest(weights)
    _kept[name] = weights
    return name


def kept_weights(name: str) -> Mapping[str, Tensor]:
    """Return the weights of a digest.

    Raises:
        CheckpointError: They were not read in this process.
    """
    if name not in _kept:
        raise CheckpointError(
            f"features.weights={name}: names weights that were not read. Use the checkpoint that holds them, or "
            "give features.path=FOLDER instead."
        )
    return _kept[name]


def read_weights(path: str, architecture: Mapping[str, Any], num_layers: int | None) -> str:
    """Read the weights of a folder, and return their digest; those of an unchanged folder are read once.

    Args:
        path: Folder of the encoder.
        architecture: Its architecture.
        num_layers: Number of transformer layers that are needed; None for all.
    """
    folder = Path(path).expanduser()
    with _lock:
        files = sorted(file for file in folder.glob("*") if file.is_file()) if folder.is_dir() else [folder]
        state = tuple(
            (str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()
        )
        return _read(path, json.dumps(architecture), num_layers, state)


@lru_cache(maxsize=8)
def _read(path: str, architecture: str, num_layers: int | None, state: object) -> str:  # noqa: ARG001
    layer: Layer = "last" if num_layers is None else num_layers
    with torch.random.fork_rng(devices=[]):
        encoder = PretrainedEncoder(1, path=path, layer=layer, architecture=json.loads(architecture))
    return keep_weights({name: _compact(tensor) for name, tensor in encoder.state_dict().items()})


@contextmanager
def encoder_of(
    name: str, architecture: Mapping[str, Any], num_layers: int | None, device: torch.device = _CPU
) -> Iterator[PretrainedEncoder]:
    """Provide the encoder with the weights of a digest, in evaluation mode, without gradients, in float32.

    Args:
        name: Digest of the weights.
        architecture: Architecture of the encoder.
        num_layers: Number of its transformer layers; None for all.
        device: Device of the computation.
    """
    with _lock:
        encoder = _built(name, json.dumps(architecture), num_layers, str(device))
    with in_float32(device), torch.no_grad():
        yield encoder


@lru_cache(maxsize=4)
def _built(name: str, architecture: str, num_layers: int | None, device: str) -> PretrainedEncoder:
    layer: Layer = "last" if num_layers is None else num_layers
    weights = kept_weights(name)
    try:
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            encoder = PretrainedEncoder(1, layer=layer, architecture=json.loads(architecture))
            encoder.load_state_dict(weights)
            return encoder.requires_grad_(False).float().eval().to(device)
    except SerError:
        raise
    except Exception as error:  # torch lists what does not fit
        raise CheckpointError(
            f"features.weights={name}: do not fit the encoder that the checkpoint describes. "
            "Use the checkpoint as the training wrote it."
        ) from error


def digest(weights: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of tensors with their names, types and shapes."""
    sha = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        sha.update(f"{name} {tensor.dtype} {[*tensor.shape]}\n".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _compact(tensor: Tensor) -> Tensor:
    """Return a tensor in half precision, if that loses nothing; many published weights are so."""
    if tensor.dtype != torch.float32:
        return tensor.detach()
    half = tensor.detach().half()
    return half if torch.equal(half.float(), tensor) else tensor.detach()
