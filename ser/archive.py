"""Read files of torch.save after checking them; no other module calls torch.load.

The file is opened once, so that it cannot be replaced between the checks and the load:

1. the archive's checksums (CRC-32) are compared, which detects every flipped bit: 0.4 s per GB;
2. its containers are read on the `meta` device, where a tensor has a shape and no memory, and the size that each
   tensor claims is compared with the bytes in the file;
3. only then is it loaded, with `weights_only=True`, so that it cannot run code.
"""

import os
import pickle
import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ser.errors import CheckpointError, named_line


def read_archive(path: Path, *, remedy: str) -> Any:
    """Return the containers and tensors of a file that torch.save wrote, on the CPU.

    Args:
        path: Path of the file.
        remedy: Last sentence of each message: what to do instead.

    Raises:
        CheckpointError: The file is missing, incomplete, damaged or of another kind, or holds more than tensors and
            plain values.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path}: is not a file. {remedy}")
        with path.open("rb") as file:
            _check_sums(file, path, remedy)
            _check_sizes(_load(file, "meta"), os.fstat(file.fileno()).st_size, path, remedy)
            return _load(file, "cpu")
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file. {remedy}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}). {remedy}") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors and plain values; it was not loaded, as such a file can run code. "
            f"{remedy}"
        ) from error
    except Exception as error:  # torch and pickle refuse files in many ways
        raise CheckpointError(
            f"{path}: cannot be read as a file of torch.save ({named_line(error)}), so it was not loaded. {remedy}"
        ) from error


def _load(file: BinaryIO, device: str) -> Any:
    file.seek(0)
    with warnings.catch_warnings(action="ignore"):  # torch warns of foreign pickles; our own errors follow
        return torch.load(file, map_location=device, weights_only=True)


def _check_sums(file: BinaryIO, path: Path, remedy: str) -> None:
    """Compare the checksums of all entries; refuse compressed ones, which torch.save never writes."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            damaged = "a compressed entry" if packed else archive.testzip()
    except Exception as error:  # zipfile refuses files in many ways, too
        raise CheckpointError(
            f"{path}: is cut, empty or of another kind ({named_line(error)}), so it was not loaded. {remedy}"
        ) from error
    if damaged is not None:
        raise CheckpointError(f"{path}: is damaged ({damaged}), so it was not loaded. {remedy}")


def _check_sizes(content: Any, num_bytes: int, path: Path, remedy: str) -> None:
    """Compare the memory that tensors on `meta` claim with the size of the file.

    Tensors may share a storage, as the weights of an LSTM do after training on a GPU. On `meta` each of them has its
    own, and only the place in the file tells that it is the same.
    """
    storages: dict[int, int] = {}
    for tensor in tensors_of(content):
        held = tensor.untyped_storage()
        place = held._checkpoint_offset
        assert place is not None  # torch.load on `meta` sets it
        storages[place] = held.nbytes()
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > held.nbytes():
            raise CheckpointError(f"{path}: holds a tensor that is not stored in full. {remedy}")
    if sum(storages.values()) > num_bytes:
        raise CheckpointError(f"{path}: its tensors claim more memory than the file holds. {remedy}")


def tensors_of(content: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested containers, each container once, however often it is referred to."""
    waiting, seen = [content], set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, Mapping | list | tuple | set | frozenset) and id(part) not in seen:
            seen.add(id(part))
            waiting += part.values() if isinstance(part, Mapping) else part
