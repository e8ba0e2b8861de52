"""Features of many utterances in one memory-mapped array.

A store is a folder: `audio.f32` (little-endian float32 [sum of T, F]), `offsets.npy`, `digests.npy`, `labels.npy`
where there are labels, `speech.npy` where speech is told from silence, and `index`: a line with format and checksum,
then JSON with ids and the others' checksums.
"""

import hashlib
import io
import json
import shutil
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ser.batch import UtteranceId
from ser.data.json_stream import Layout
from ser.errors import DataError
from ser.features.normalize import SMALLEST_STD

_FORMAT = b"ser-store 2"
_DIGEST_BYTES = 16  # two of a million utterances are alike by chance once in 10^26
_BLOCKS, _BLOCK_BYTES = 16, 1 << 16  # of the audio are checked at every start: 1 MiB, 1 ms


class DamagedStoreError(DataError):
    """A store that was cut, changed, or written by another version; it has to be written again."""


@dataclass(frozen=True, eq=False)
class ZScores:
    """Features on the scale of the group that an utterance belongs to, such as its speaker's recordings.

    Args:
        groups: [N] int64, of each utterance.
        mean: [G, F] of each group's frames.
        std: [G, F], above 0.
        floor: smaller values are raised to it first; None leaves them.
    """

    groups: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    floor: float | None

    def __call__(self, index: int, frames: np.ndarray) -> np.ndarray:
        """Frames [T, F] of the utterance at `index`, on its group's scale."""
        if self.floor is not None:
            frames = np.maximum(frames, np.float32(self.floor))
        group = self.groups[index]
        scores: np.ndarray = (frames - self.mean[group]) / self.std[group]
        return scores


@dataclass(frozen=True, eq=False)
class Store:
    """N utterances: features, and labels where there are any. A split is a selection of what is stored.

    Args:
        ids: N utterance ids in the order of file or manifest, type kept.
        audio: [sum of T, F] float32, read-only, mapped from disk: of all M stored utterances, selected or not.
        offsets: [M+1] int64; stored utterance m is `audio[offsets[m] : offsets[m + 1]]`.
        labels: [N, K] numbers, or words as a manifest has them, in the order of `label_names`; None where there are
            none.
        label_names: K names.
        layout: of the file; answers have to follow it.
        fingerprint: SHA-256 of all content; a selection and other labels have their own.
        digests: [N, 16] uint8, equal where the features are; None where they were never written.
        rows: [N] int64, which of the stored utterances these are; None for all of them.
        zscores: applied to whatever is taken out; None = features as they are stored.
        speech: [sum of T] bool, whether a frame is speech; None where nobody asked.
    """

    ids: list[UtteranceId]
    audio: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    layout: Layout
    fingerprint: str
    digests: np.ndarray | None = None
    rows: np.ndarray | None = None
    zscores: ZScores | None = None
    speech: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """[N] int64, frames of each utterance."""
        return self._selected(np.diff(self.offsets))

    @cached_property
    def firsts(self) -> np.ndarray:
        """[N] int64, where in `audio` each utterance begins."""
        return self._selected(self.offsets[:-1])

    @property
    def feature_dim(self) -> int:
        """F, values of a frame."""
        return int(self.audio.shape[1])

    def select(self, indices: np.ndarray) -> "Store":
        """The utterances at `indices` [n], in that order; their features stay where they are mapped."""
        return replace(
            self,
            ids=[self.ids[index] for index in indices.tolist()],
            labels=None if self.labels is None else self.labels[indices],
            digests=None if self.digests is None else self.digests[indices],
            rows=self._selected(np.arange(len(self.offsets) - 1))[indices],
            zscores=self.zscores and replace(self.zscores, groups=self.zscores.groups[indices]),
            fingerprint=_sha256(self.fingerprint.encode(), indices.astype(np.int64)),
        )

    def with_labels(self, labels: np.ndarray, names: Sequence[str]) -> "Store":
        """The same utterances with labels [N, K] of K names: a manifest's labels change, its audio does not."""
        content = json.dumps([[*names], labels.tolist()]).encode()
        fingerprint = _sha256(self.fingerprint.encode(), content)
        return replace(self, labels=labels, label_names=tuple(names), fingerprint=fingerprint)

    def with_zscores(self, groups: np.ndarray, *, floor: float | None) -> "Store":
        """The same utterances, each on the scale of its group: z-scores by the frames of all that are in it.

        Args:
            groups: [N] int64, 0..G-1.
            floor: smaller values are raised to it first; None leaves them.
        """
        moments = np.zeros((2, int(groups.max()) + 1, self.feature_dim))
        counts = np.bincount(groups, weights=self.lengths)[:, None]
        for index, group in enumerate(groups.tolist()):
            frames = self._frames(index).astype(np.float64)
            frames = frames if floor is None else np.maximum(frames, floor)
            moments[:, group] += frames.sum(0), np.square(frames).sum(0)
        mean, squares = moments / counts
        std = np.sqrt(np.maximum(squares - mean**2, SMALLEST_STD**2))
        zscores = ZScores(groups, mean.astype(np.float32), std.astype(np.float32), floor)
        content = json.dumps([groups.tolist(), floor]).encode()
        return replace(self, zscores=zscores, fingerprint=_sha256(self.fingerprint.encode(), content))

    def chunks(self, frames: int) -> Iterator[np.ndarray]:
        """Copies [n, F] float32 of all utterances' frames, one after the other, n = `frames` in all but the last."""
        ends = np.cumsum(self.lengths)
        begins = ends - self.lengths
        for start in range(0, int(self.lengths.sum()), frames):
            first, last = np.searchsorted(ends, [start, start + frames - 1], side="right")
            yield np.concatenate(
                [
                    self._frames(index)[max(start - begins[index], 0) : start + frames - begins[index]]
                    for index in range(first, min(last + 1, len(self)))
                ],
                dtype=np.float32,
            )

    def gather(self, indices: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Tensor:
        """Return a stretch of each of B utterances, padded with zeros: [B, T, F] float32.

        Args:
            indices: [B] which utterances.
            starts: [B] first frame of each stretch, counted from the utterance's own.
            lengths: [B] frames of each stretch.
        """
        # Copying slices: 0.3 ms for 64 utterances of mixed length. One np.take over [B, T] takes 1.3 ms there, as
        # it fetches the padding too, and is no faster where lengths are alike.
        batch = np.empty((len(indices), int(lengths.max()), self.feature_dim), dtype=np.float32)
        firsts = self.firsts[indices] + starts
        spans = zip(batch, indices.tolist(), firsts.tolist(), lengths.tolist(), strict=True)
        for row, index, first, length in spans:
            frames = self.audio[first : first + length]
            row[:length] = frames if self.zscores is None else self.zscores(index, frames)
            row[length:] = 0
        return torch.from_numpy(batch)

    def gather_speech(self, indices: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Tensor | None:
        """Whether each frame of such a stretch is speech, [B, T] bool, false for padding; None where it is unknown."""
        if self.speech is None:
            return None
        flags = np.zeros((len(indices), int(lengths.max())), dtype=bool)
        firsts = self.firsts[indices] + starts
        for row, first, length in zip(flags, firsts.tolist(), lengths.tolist(), strict=True):
            row[:length] = self.speech[first : first + length]
        return torch.from_numpy(flags)

    @cached_property
    def spoken(self) -> np.ndarray:
        """[N] int64, frames of speech of each utterance; all, where nothing is known of silence."""
        if self.speech is None:
            return self.lengths
        before = np.concatenate([[0], np.cumsum(self.speech, dtype=np.int64)])
        counts: np.ndarray = before[self.firsts + self.lengths] - before[self.firsts]
        return counts

    def cut(self, frames: int) -> "Store":
        """The same utterances, longer ones in sequences of so many frames, `<id>#<number>` each, the last one shorter.

        Nothing is joined, so that no sequence holds frames of two utterances.
        """
        if not len(self) or self.lengths.max() <= frames:
            return self
        pieces = -(-np.diff(self.offsets) // frames)  # [M], of each stored utterance
        first_piece = np.cumsum(pieces) - pieces
        number = np.arange(int(pieces.sum())) - first_piece.repeat(pieces)
        begins = self.offsets[:-1].repeat(pieces) + number * frames
        own = self._selected(np.arange(len(pieces)))
        rows = np.concatenate([first_piece[row] + np.arange(pieces[row]) for row in own])
        owner = np.arange(len(self)).repeat(pieces[own])
        return replace(
            self,
            ids=[
                f"{self.ids[index]}#{piece}" if count > 1 else self.ids[index]
                for index, piece, count in zip(
                    owner.tolist(), number[rows].tolist(), pieces[own][owner].tolist(), strict=True
                )
            ],
            offsets=np.append(begins, self.offsets[-1]),
            labels=None if self.labels is None else self.labels[owner],
            digests=None,
            rows=rows,
            zscores=self.zscores and replace(self.zscores, groups=self.zscores.groups[owner]),
            fingerprint=_sha256(self.fingerprint.encode(), b"cut %d" % frames),
        )

    def _frames(self, index: int) -> np.ndarray:
        """Utterance's frames [T, F]: where they are mapped, if they need no change."""
        first = self.firsts[index]
        frames: np.ndarray = self.audio[first : first + self.lengths[index]]
        return frames if self.zscores is None else self.zscores(index, frames)

    def _selected(self, stored: np.ndarray) -> np.ndarray:
        """Of one value a stored utterance [M, ...], those of this selection [N, ...]."""
        return stored if self.rows is None else stored[self.rows]


def open_store(folder: Path) -> Store:
    """Map the store in a folder, after checking all sizes, the small files and 1 MiB of the large one.

    Raises:
        DamagedStoreError: a file is missing, cut, changed, or of another version of the format.
    """
    try:
        index = _read_index(folder / "index")
        arrays = {name: _read_array(folder / name, checksum) for name, checksum in index["arrays"].items()}
        audio = np.memmap(folder / "audio.f32", dtype="<f4", mode="r").view(np.ndarray)
        if _block_checksums(audio) != index["audio"]:
            raise ValueError("audio.f32 is not as it was written")
    except (OSError, ValueError) as error:
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
    """Remove a store in one step; processes that have mapped it keep what they see.

    Raises:
        OSError: the folder is not ours to change.
    """
    aside = _temporary(folder.parent)
    with suppress(FileNotFoundError):  # another process discarded it first
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def new_store(parent: Path) -> "Iterator[StoreWriter]":
    """A writer that works under a temporary name; what is not committed is deleted at the end.

    Args:
        parent: folder in which the store gets a folder named by its fingerprint; made if it is not there.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    folder = _temporary(parent)
    folder.mkdir(parents=True)
    try:
        with (folder / "audio.f32").open("wb", buffering=1 << 20) as audio:
            yield StoreWriter(folder, audio)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class StoreWriter:
    """Takes one utterance after the other, holding none of them; made by `new_store`.

    Args:
        folder: temporary, beside where the store will be.
        audio: `audio.f32` in it, open for writing.
    """

    def __init__(self, folder: Path, audio: BinaryIO) -> None:
        self._folder = folder
        self._audio = audio
        self._digests: list[bytes] = []
        self._lengths: list[int] = []
        self._speech: list[np.ndarray] = []
        self._feature_dim = 0

    def append(self, frames: np.ndarray, speech: np.ndarray | None = None) -> None:
        """Add the features [T, F] of the next utterance, and whether each frame is speech [T] bool, or never.

        F is the same for all.

        Raises:
            OSError: the disk is full.
        """
        data = np.ascontiguousarray(frames, dtype="<f4").data
        self._audio.write(data)
        # With the processor's own instructions, SHA-256 takes 0.27 ms for 500 KB, and BLAKE2b 0.52 ms.
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
        """Move the store to its place and open it; one of equal content that is there is used instead.

        Args:
            ids: N, in the order in which utterances were appended.
            labels: [N, K] integers, or None.
            label_names: K names.
            layout: of the file that was read.

        Raises:
            OSError: the disk is full.
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
        index: dict[str, Any] = {
            "ids": list(ids),
            "label_names": list(label_names),
            "layout": layout,
            "feature_dim": self._feature_dim,
        }
        index["fingerprint"] = _sha256(_FORMAT, json.dumps(index).encode(), *arrays.values())
        index["arrays"] = {name: _write_array(self._folder / name, array) for name, array in arrays.items()}
        index["audio"] = _block_checksums(np.memmap(self._folder / "audio.f32", mode="r"))
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


def _sha256(*parts: bytes | np.ndarray) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else part)
    return digest.hexdigest()


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
    """The size in bytes, and the CRC-32 of evenly spaced blocks, the first and the last included."""
    data = audio.view(np.uint8)
    starts = np.linspace(0, max(0, data.size - _BLOCK_BYTES), _BLOCKS).astype(np.int64)
    return [data.size, *(zlib.crc32(data[start : start + _BLOCK_BYTES].data) for start in starts.tolist())]
