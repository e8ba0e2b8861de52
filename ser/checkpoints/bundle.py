"""Read a bundle that `ser export` wrote: model.safetensors and config.json, checked by SHA256SUMS."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ser.errors import CheckpointError
from ser.files import read_text, write_atomic

FORMAT = 2
CONFIG, WEIGHTS, SUMS = "config.json", "model.safetensors", "SHA256SUMS"
_TENSOR = "__tensor__"
_AGAIN = "Export it again with `ser export`, or copy the whole folder again."


def is_bundle(path: Path) -> bool:
    """Return whether a path is a folder with a config.json, as runs have none."""
    return path.is_dir() and (path / CONFIG).is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a bundle, and check all files that SHA256SUMS lists.

    Raises:
        CheckpointError: The folder is no bundle; or a file is missing, or has changed since it was written.
    """
    path = folder / CONFIG
    try:
        config = json.loads(read_text(path))
        found = config["ser_bundle"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: is not of an exported model ({error}). Give a folder that `ser export` wrote, with format=onnx."
        ) from error
    if found != FORMAT:
        raise CheckpointError(
            f"{path}: has format {found!r}, this version of ser reads {FORMAT}. Export the run again."
        )
    _check_files(folder)
    return dict(config)


def _check_files(folder: Path) -> None:
    """Compare the files of a bundle with their SHA-256.

    Raises:
        CheckpointError: One is missing, has changed, or is not listed.
    """
    sums = folder / SUMS
    lines = read_text(sums).splitlines() if sums.is_file() else []
    files = {name: expected for expected, _, name in (line.partition("  ") for line in lines)}
    for name in (CONFIG, WEIGHTS):
        if name not in files:
            raise CheckpointError(
                f"{sums}: is missing, or has no SHA-256 of {name}, which is then not checked. {_AGAIN}"
            )
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: is missing. {_AGAIN}")
        if _digest(folder / name) != expected:
            raise CheckpointError(
                f"{folder / name}: has changed since the export, as its SHA-256 is another. {_AGAIN}"
            )


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of every file of a folder to SHA256SUMS, in the layout of the program sha256sum."""
    paths = sorted(path for path in folder.iterdir() if path.name != SUMS)
    lines = [f"{_digest(path)}  {path.name}\n" for path in paths]
    write_atomic(folder / SUMS, "".join(lines))


def read_bundle(folder: Path) -> dict[str, Any]:
    """Read the containers that the checkpoint of a bundle held: its description and its weights.

    Raises:
        CheckpointError: See `read_config`; or the weights cannot be read.
    """
    config = read_config(folder)
    try:
        tensors = load_file(folder / WEIGHTS)
        description = _with_tensors(config["description"], tensors)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{folder}: {WEIGHTS} cannot be read, or does not hold what {CONFIG} describes ({reason}). {_AGAIN}"
        ) from error
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    return {"ser": description, "state_dict": weights}


def without_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return plain containers with a name in place of each tensor, and put the tensors into a dictionary.

    Args:
        value: Containers.
        name: Name of the value.
        tensors: Where the tensors go, by name.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.contiguous()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {key: without_tensors(own, f"{name}.{key}", tensors) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [without_tensors(own, f"{name}.{place}", tensors) for place, own in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, Mapping):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _with_tensors(own, tensors) for key, own in value.items()}
    if isinstance(value, list):
        return [_with_tensors(own, tensors) for own in value]
    return value


def _digest(path: Path) -> str:
    """Compute the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
