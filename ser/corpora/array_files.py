"""Read .npy files of waveforms, and check them.

Nothing is copied: a store is a view of the mapped file, in its float16. Values read from a store are float32, and are
not summed before: the sum of 40,000 values overflows float16.
"""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser.data.store import Store
from ser.errors import DataError

EXPORT = "Export the array again with np.save(path, array)."
"""Remedy for a file of the wrong kind."""

_ROWS = 256  # rows checked at a time: 20 MB of 5 s at 8 kHz
_DIGEST_BYTES = 16
_REASON_LETTERS = 100

_log = logging.getLogger(__name__)


def map_array(path: Path) -> np.ndarray:
    """Map the array of a .npy file.

    Raises:
        DataError: The file is missing or cannot be read, or is not a complete .npy file of numbers.
    """
    if path.exists() and not path.is_file() and not path.is_dir():  # opening a pipe would block
        raise DataError(f"{path}: is not a regular file. Give the path of a .npy file.")
    try:
        _refuse_odd_header(path)
        return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. Check the path.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be read ({reason}). Check the path and its permissions.") from error
    except Exception as error:  # numpy evaluates the header as Python: it may raise anything
        reason = str(error).partition("\n")[0].rstrip(".")[:_REASON_LETTERS] or type(error).__name__
        raise DataError(
            f"{path}: is not a .npy file of numbers, or is cut off ({reason}). Copy or download it again, or export it "
            "with np.save(path, array)."
        ) from error


def _refuse_odd_header(path: Path) -> None:
    """Refuse shapes and types that numpy does not check, as some of them end the process.

    Raises:
        ValueError: The file does not hold numbers, or fewer than its header says.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise ValueError(f"version {version[0]}.{version[1]} of the format")
        shape, _, dtype = readers[version](file)
        if dtype.kind not in "fiu" or dtype.shape or any(type(size) is not int or size < 0 for size in shape):
            raise ValueError(f"{dtype} {shape}")
        needed, found = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
    if needed > found:
        raise ValueError(f"{found} of {needed} bytes are there")


def map_waveforms(path: Path, dtypes: Sequence[str], *, single: bool = False) -> np.ndarray:
    """Map the waveforms [N, samples] of a file.

    Args:
        path: Path of the file.
        dtypes: Types that the waveforms may have.
        single: Whether the file may hold one waveform [samples], which is returned as [1, samples].

    Raises:
        DataError: See `map_array`; or the file holds something else than waveforms.
    """
    array = map_array(path)
    if single and array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or not array.size or array.dtype.name not in dtypes or not array.dtype.isnative:
        expected = " or ".join(dtypes) + " [N, samples]" + " or [samples]" * single
        is_integer = array.dtype.kind == "i"  # full scale of integers is not 1
        values = f"(array / {np.iinfo(array.dtype).max + 1})" if is_integer else "array"
        raise DataError(
            f"{path}: holds {describe_array(array)}, expected {expected}, none of them 0. Export the array again with "
            f"np.save(path, {values}.astype(np.{dtypes[0]}))."
        )
    if not array.flags.c_contiguous:
        raise DataError(
            f"{path}: is stored column by column, so that no waveform is contiguous. Export the array again with "
            "np.save(path, np.ascontiguousarray(array))."
        )
    return array


def describe_array(array: np.ndarray) -> str:
    return f"{array.dtype} [{', '.join(map(str, array.shape))}]"


def make_store(path: Path, waveforms: np.ndarray, ids: list[str]) -> Store:
    """Build a store that views waveforms [N, samples], after checking every row once.

    Raises:
        DataError: A value is not finite.
    """
    digests, is_silent, is_finite = _scan(waveforms)
    if not is_finite.all():
        raise DataError(
            f"{path}: NaN or infinity in {_rows(~is_finite)}. float16 ends at 65504: scale waveforms to -1..1, and "
            "export the file again or leave these rows out."
        )
    if is_silent.any():
        _log.warning("%s: digital silence in %s", path, _rows(is_silent))
    header = json.dumps([waveforms.dtype.name, waveforms.shape]).encode()
    return Store(
        ids=[*ids],
        audio=waveforms.reshape(-1, 1),
        offsets=np.arange(len(waveforms) + 1, dtype=np.int64) * waveforms.shape[1],
        labels=None,
        label_names=(),
        layout="object",
        fingerprint=hashlib.sha256(header + digests.tobytes()).hexdigest(),
        digests=digests,
    )


def _scan(waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the digest of each row [N, 16], and whether each row is silent and whether it is finite, [N] bool."""
    # Without the sign, bit patterns have the order of magnitudes, from zero to infinity to NaN. Comparing them is
    # 20 times faster than comparing float16.
    bits = waveforms.view(f"u{waveforms.itemsize}")
    infinity = np.array(np.inf, waveforms.dtype).view(bits.dtype)
    magnitude = np.iinfo(bits.dtype).max >> 1
    peaks = np.empty(len(bits), bits.dtype)
    digests = []
    for start in range(0, len(bits), _ROWS):
        block = bits[start : start + _ROWS]
        peaks[start : start + _ROWS] = (block & bits.dtype.type(magnitude)).max(axis=1)
        digests += [hashlib.sha256(row.data).digest()[:_DIGEST_BYTES] for row in block]
    return (
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST_BYTES),
        peaks == 0,
        peaks < infinity,
    )


def _rows(mask: np.ndarray) -> str:
    """Format how many rows of a mask [N] are true, and the first of them."""
    found = np.flatnonzero(mask)
    listed = ", ".join(map(str, found[:5])) + ", ..." * (len(found) > 5)
    return f"{len(found)} of {len(mask)} rows: {listed}"


def read_clips(path: str | Path, sample_rate: int) -> Store:
    """Read the unlabelled waveforms of an array to predict; their ids are "0" to "N-1".

    Args:
        path: A .npy file of float16 or float32, [N, samples], or [samples] of a single waveform.
        sample_rate: Assumed sample rate in Hz, which is logged; the file does not contain it.

    Raises:
        DataError: The file is missing, damaged or of another kind, or a value is not finite.
    """
    path = Path(path)
    waveforms = map_waveforms(path, ("float16", "float32"), single=True)
    count, samples = waveforms.shape
    _log.info("%s: %d waveforms, at %d Hz %.2f s each", path, count, sample_rate, samples / sample_rate)
    return make_store(path, waveforms, [str(row) for row in range(count)])
