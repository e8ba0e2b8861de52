"""Write the step of a streaming model, and any folder completely or not at all."""

import json
import math
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ser.checkpoints.checkpoint import Trained
from ser.errors import ConfigError, DataError, install_command, setting
from ser.export.compare import max_difference
from ser.export.onnx_export import save_step
from ser.export.step import Step, tensors_of_state
from ser.files import temporary_folder
from ser.runs.environment import version

FORMAT = 1
STEP, META = "step.onnx", "meta.json"
MARKS = {META: "states"}
TOLERANCE = 1e-4
"""Largest allowed difference between onnxruntime and torch, in probabilities and in states."""


def write(trained: Trained, output: Path, *, overwrite: bool = False) -> float:
    """Write a folder of step.onnx and meta.json, completely or not at all; return the largest difference from torch.

    Args:
        trained: A model that can stream.
        output: The folder.
        overwrite: Whether an existing bundle may be replaced.

    Raises:
        ConfigError: The model cannot stream, the shape of its state changes, packages are missing, or the file's
            output differs from the model's.
        DataError: The folder exists, or cannot be written.
    """
    check_packages()
    check_folder(output, overwrite=overwrite)
    step = Step(trained)
    with written_whole(output) as temporary:
        found = write_step(temporary, trained, step)
    return found


@contextmanager
def written_whole(output: Path) -> Iterator[Path]:
    """Yield a temporary folder, which becomes `output` if no error occurs.

    Raises:
        DataError: It cannot be written.
    """
    try:
        with temporary_folder(output.parent) as temporary:
            yield temporary
            move_into_place(temporary, output)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{output}: cannot be written ({reason}). Give another output.") from error


def write_step(folder: Path, trained: Trained, step: Step) -> float:
    """Write both files, if the exported step agrees with the model; return the largest difference.

    Raises:
        ConfigError: It does not.
    """
    description = describe(trained, step)
    save_step(step, trained.feature_dim, folder / STEP)
    found = max_difference(folder / STEP, description, step)
    if not found <= TOLERANCE:  # also refuses NaN
        raise ConfigError(
            f"{setting('ckpt', trained.path)}: "
            f"{type(trained.model.encoder).__name__} has other outputs in step.onnx than in "
            f"torch, by {found:.1e}, where {TOLERANCE:.0e} is allowed; nothing was written. Train another model, or "
            "stream in Python, with ser.inference.stream."
        )
    content = {**description, "largest_difference": found}
    (folder / META).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return found


def check_packages() -> None:
    """Check that the required packages are installed.

    Raises:
        ConfigError: A package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The export needs packages that cannot be imported ({error}). Run: {install_command('onnx')}"
        ) from error


def check_folder(
    output: Path,
    *,
    overwrite: bool,
    files: Collection[str] = (STEP, META),
    marks: Mapping[str, str] = MARKS,
) -> None:
    """Refuse a path to which no bundle can be written.

    Args:
        output: The folder.
        overwrite: Whether an existing bundle, or an empty folder, may be replaced.
        files: Names of the files of a bundle.
        marks: A JSON file of bundles -> a key in it that no other program writes.

    Raises:
        DataError: It exists and `overwrite` is false, it is not a bundle, or its parent folder is missing.
    """
    if not output.parent.is_dir():
        raise DataError(f"{output}: its folder is missing. Make the folder, or give another output.")
    if not output.exists():
        return
    if not overwrite:
        raise DataError(
            f"{output}: exists already. Set overwrite=true to replace it, or give another output."
        )
    found = {path.name for path in output.iterdir()} if output.is_dir() else {output.name}
    is_own = any(_has_key(output / name, key) for name, key in marks.items())
    if found and (found - {*files} or not is_own):
        raise DataError(
            f"{output}: is not an exported model, so it is not replaced. Give another output, or remove it yourself."
        )


def _has_key(path: Path, key: str) -> bool:
    """Return whether a file is JSON with a key."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and key in content


def describe(trained: Trained, step: Step) -> dict[str, Any]:
    """Describe what a program needs besides step.onnx, in plain containers."""
    answers = step.answers(torch.zeros(1, trained.target.out_dim))
    return {
        "format": FORMAT,
        "class_names": list(trained.target.class_names),
        "silence_is_a_class": step.predicts_silence,
        "sample_rate": step.extractor.sample_rate,
        "frame_shift_ms": 1000 * step.extractor.frame_shift_s,
        "features": trained.features,
        "inputs": {"frames": [1, "n", trained.feature_dim]},
        "outputs": {name: [1, "n", *answer.shape[1:]] for name, answer in answers.items()},
        "states": [_state(number, leaf) for number, leaf in enumerate(tensors_of_state(step.initial))],
        "versions": {name: version(name) for name in ("ser-lightning", "torch", "onnx", "onnxruntime")},
    }


def _state(number: int, initial: Tensor) -> dict[str, Any]:
    """Describe a tensor of the state: names, shape, type, and the value that fills it before the first frame."""
    value = initial.flatten()[0].item()
    return {
        "input": f"state_{number}",
        "output": f"next_state_{number}",
        "shape": list(initial.shape),
        "type": str(initial.dtype).removeprefix("torch."),
        "initial": value if math.isfinite(value) else str(value),  # JSON has no -inf
    }


def move_into_place(temporary: Path, output: Path) -> None:
    """Rename a complete folder to its final name, replacing an existing bundle."""
    if output.exists():
        old = temporary.with_suffix(".old")
        output.rename(old)
        temporary.rename(output)
        shutil.rmtree(old)
    else:
        temporary.rename(output)
