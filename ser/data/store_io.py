"""Write stores completely or not at all, and check them whenever they are opened.

A folder holds `audio.f32` (little-endian float32 [sum of T, F]), or `audio.f16` if features are in half precision,
`offsets.npy`, `digests.npy`, `labels.npy` if there are labels, `speech.npy` if silence is detected, and `index`: a line
with format and checksum, then JSON with the ids and the checksums of the other files.
"""

import hashlib
import io
import json
import shutil
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ser.batch import UtteranceId
from ser.data.json_fields import Layout
from ser.data.store import Store, sha256_of
from ser.errors import DataError
from ser.files import temporary_folder
from ser.shards.joined_array import JoinedArray

_FORMAT = b"ser-store 2"
_SINGLE, _HALF = "audio.f32", "audio.f16"
_DTYPES = {_SINGLE: "<f4", _HALF: "<f2"}
_DIGEST_BYTES = 16  # probability that two of a million different utterances have equal digests: 10^-26
_BLOCKS, _BLOCK_BYTES = 16, 1 << 16  # blocks of the audio that are checked at every start: 1 MiB, 1 ms


class DamagedStoreError(DataError):
    """A store that is incomplete, changed, or of another version, and must be written again."""


def open_store(folder: Path) -> Store:
    """Map the store in a folder, after checking all sizes, the small files, and 1 MiB of the large one.

    Raises:
        DamagedStoreError: A file is missing, incomplete, changed, or of another version of the format.
        OSError: A file cannot be read now, which is no reason to delete it: too many files are open, for instance.
    """
    try:
        index = _read_index(folder / "index")
        arrays = {name: _read_array(folder / name, checksum) for name, checksum in index["arrays"].items()}
        name = _HALF if index.get("is_half") else _SINGLE
        audio = np.memmap(folder / name, dtype=_DTYPES[name], mode="r").view(np.ndarray)
        if _block_checksums(audio) != index["audio"]:
            raise ValueError(f"{name} is not as it was written")
    except (FileNotFoundError, ValueError) as error:
        raise DamagedStoreError(
            f"{folder}: the stored features are damaged ({error}). Delete this folder."
        ) from error
    return Store(
        ids=index["ids"],
        audio=audio.reshape(-1, index["feature_dim"]),
        offsets=arrays["offsets.npy"],
        labels=arrays.get("labels.npy"),
        label_names=tuple(index["label_names"]),
        layout=index["layout"],
        fingerprint=index["fingerprint"],
        digests=arrays["digests.npy"],
        speech=arrays.get("speech.npy"),
    )


def discard_store(folder: Path) -> None:
    """Remove a store in one step; processes that have mapped it keep their data.

    Raises:
        OSError: The folder cannot be changed.
    """
    aside = _temporary(folder.parent)
    with suppress(FileNotFoundError):  # another process discarded it first
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def new_store(parent: Path) -> "Iterator[StoreWriter]":
    """Open a writer in a temporary folder, which is deleted at the end unless it was committed.

    Args:
        parent: Folder in which the store gets a folder named by its fingerprint; created if it does not exist.

    Raises:
        OSError: The folder cannot be written to, or the disk is full.
    """
    with temporary_folder(parent) as folder, (folder / _SINGLE).open("wb", buffering=1 << 20) as audio:
        yield StoreWriter(folder, audio)


class StoreWriter:
    """Write utterances one after the other without holding them in memory; created by `new_store`.

    Args:
        folder: Temporary folder, beside the future store.
        audio: Its file of features, open for writing.
    """

    def __init__(self, folder: Path, audio: BinaryIO) -> None:
        self._folder = folder
        self._audio = audio
        self._digests: list[bytes] = []
        self._lengths: list[int] = []
        self._speech: list[np.ndarray] = []
        self._feature_dim = 0
        self._is_half = False

    def append(self, frames: np.ndarray, speech: np.ndarray | None = None) -> None:
        """Append the features [T, F] of the next utterance and, for all utterances or none, its mask of speech [T].

        F and the type, float16 or any other, which is stored as float32, are the same for all utterances.

        Raises:
            OSError: The disk is full.
        """
        self._is_half = frames.dtype == np.float16
        data = np.ascontiguousarray(frames, dtype=_DTYPES[_HALF if self._is_half else _SINGLE]).data
        self._audio.write(data)
        # With the processor's SHA instructions, SHA-256 takes 0.27 ms for 500 KB, and BLAKE2b 0.52 ms.
        self._digests.append(hashlib.sha256(data).digest()[:_DIGEST_BYTES])
        self._lengths.append(len(frames))
        if speech is not None:
            self._speech.append(speech)
        self._feature_dim = frames.shape[1]

    def commit(
        self,
        ids: Sequence[UtteranceId],
        labels: np.ndarray | None,
        *,
        label_names: Sequence[str],
        layout: Layout,
    ) -> Store:
        """Move the store to its place and open it; an existing store with equal content is used instead.

        Args:
            ids: Ids, N, in the order in which utterances were appended.
            labels: Labels [N, K], integers, or None.
            label_names: Names of the K label fields.
            layout: Layout of the file that was read.

        Raises:
            OSError: The disk is full.
        """
        self._audio.close()
        arrays: dict[str, np.ndarray] = {
            "offsets.npy": np.cumsum([0, *self._lengths], dtype=np.int64),
            "digests.npy": np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, _DIGEST_BYTES),
        }
        if labels is not None:
            arrays["labels.npy"] = labels.astype(np.int64)
        if self._speech:
            arrays["speech.npy"] = np.concatenate(self._speech)
        index = _describe(ids, label_names, layout, self._feature_dim, is_half=self._is_half)
        file = self._folder / _SINGLE
        if self._is_half:
            file = file.rename(self._folder / _HALF)
        index["fingerprint"] = _fingerprint(index, arrays)
        index["arrays"] = {name: _write_array(self._folder / name, array) for name, array in arrays.items()}
        index["audio"] = _block_checksums(np.memmap(file, mode="r"))
        _write_index(self._folder / "index", index)
        return self._move(self._folder.with_name(index["fingerprint"]))

    def _move(self, folder: Path) -> Store:
        try:
            self._folder.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            with suppress(DamagedStoreError):
                return open_store(folder)
            discard_store(folder)
            self._folder.rename(folder)
        return open_store(folder)


def join_stores(stores: Sequence[Store], ids: Sequence[UtteranceId]) -> Store:
    """Return stores without labels as one, whose fingerprint is that of one store with all utterances.

    Args:
        stores: Stores with features of one kind, one or more.
        ids: Ids of all their utterances.
    """
    first = stores[0]
    ends = np.cumsum(np.concatenate([store.lengths for store in stores]), dtype=np.int64)
    arrays = {
        "offsets.npy": np.insert(ends, 0, 0),
        "digests.npy": np.concatenate([store.digests for store in stores if store.digests is not None]),
    }
    if first.speech is not None:
        arrays["speech.npy"] = np.concatenate([store.speech for store in stores if store.speech is not None])
    parts = [store.audio for store in stores if isinstance(store.audio, np.ndarray)]
    is_half = first.audio.dtype == np.float16
    return Store(
        ids=list(ids),
        audio=parts[0] if len(parts) == 1 else JoinedArray(parts),
        offsets=arrays["offsets.npy"],
        labels=None,
        label_names=(),
        layout=first.layout,
        fingerprint=_fingerprint(
            _describe(ids, (), first.layout, first.feature_dim, is_half=is_half), arrays
        ),
        digests=arrays["digests.npy"],
        speech=arrays.get("speech.npy"),
    )


def _describe(
    ids: Sequence[UtteranceId], label_names: Sequence[str], layout: Layout, feature_dim: int, *, is_half: bool
) -> dict[str, Any]:
    """Return what the index of a store tells about its content."""
    index: dict[str, Any] = {
        "ids": list(ids),
        "label_names": list(label_names),
        "layout": layout,
        "feature_dim": feature_dim,
    }
    return index | {"is_half": True} if is_half else index


def _fingerprint(index: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of the content, in which digests stand for the features."""
    return sha256_of(_FORMAT, json.dumps(index).encode(), *arrays.values())


def _temporary(parent: Path) -> Path:
    return parent / f".{uuid.uuid4().hex}.tmp"


def _write_index(path: Path, index: dict[str, Any]) -> None:
    body = json.dumps(index).encode()
    path.write_bytes(b"%s %08x\n%s" % (_FORMAT, zlib.crc32(body), body))


def _read_index(path: Path) -> Any:
    header, _, body = path.read_bytes().partition(b"\n")
    if header != b"%s %08x" % (_FORMAT, zlib.crc32(body)):
        raise ValueError("index is not as it was written, or of another version")
    return json.loads(body)


def _write_array(path: Path, array: np.ndarray) -> int:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    path.write_bytes(buffer.getbuffer())
    return zlib.crc32(buffer.getbuffer())


def _read_array(path: Path, checksum: int) -> np.ndarray:
    content = path.read_bytes()
    if zlib.crc32(content) != checksum:
        raise ValueError(f"{path.name} is not as it was written")
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def _block_checksums(audio: np.ndarray) -> list[int]:
    """Return the size in bytes and the CRC-32 of evenly spaced blocks, including the first and the last one."""
    data = audio.view(np.uint8)
    starts = np.linspace(0, max(0, data.size - _BLOCK_BYTES), _BLOCKS).astype(np.int64)
    return [data.size, *(zlib.crc32(data[start : start + _BLOCK_BYTES].data) for start in starts.tolist())]
