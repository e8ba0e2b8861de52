"""Cache the stores that files were read into; a later start maps them and reads no file.

The folder holds stores, named by the fingerprint of their content, and notes, named by the hash of the request. A
note names the store, and a digest of the sizes and times of the files when they were read. Of recordings, there is a
store and a note for each shard. Everything in the folder can be deleted at any time.
"""

import errno
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from ser.data.store import Store
from ser.data.store_io import DamagedStoreError, StoreWriter, discard_store, new_store, open_store
from ser.errors import DataError
from ser.files import REMEDIES, allow_open_files, write_atomic

_log = logging.getLogger(__name__)

State = list[list[int] | None]


class ReadResult(NamedTuple):
    """Result of reading files.

    Args:
        store: Store with the content of the files.
        remarks: Facts to report at every start, as plain values for JSON.
    """

    store: Store
    remarks: Any = None


class Row(NamedTuple):
    """What a shard holds of an utterance.

    Args:
        frames: Features [T, F]; None if the utterance cannot be used.
        speech: Whether each frame is speech [T]; None without silence detection.
        remark: Facts about the utterance, as plain values for JSON.
        is_lasting: Whether a later start may use this row; False after an error that may pass.
    """

    frames: np.ndarray | None
    speech: np.ndarray | None
    remark: Any
    is_lasting: bool = True


class Shard(NamedTuple):
    """Some utterances of a corpus.

    Args:
        store: Store of those that can be used; None if there are none.
        remarks: Remark of each utterance.
    """

    store: Store | None
    remarks: list[Any]


Compute = Callable[[int, Sequence[int]], Iterator[Row]]
"""Function of the index of a shard and of places in it, which yields their rows."""


class ShardCache:
    """Shards of one kind of features; processes fill them side by side, and an interrupted one goes on at a shard.

    Args:
        folder: Folder of the cache; created if it does not exist.
        kind: Digest of everything but the files that determines the features, in hexadecimal.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind[:16]
        self._known: dict[str, tuple[Store | None, int, Any]] = {}

    def find(self, digests: Sequence[str]) -> Shard | None:
        """Map the shard of the utterances with these digests; None if it is missing or damaged."""
        note = self._read_note(self._note(digests))
        if note is None:
            return None
        store = None if note["fingerprint"] is None else _open(self._folder / note["fingerprint"])
        is_whole = store is not None or note["fingerprint"] is None
        return Shard(store, note["remarks"]) if is_whole else None

    def fill(
        self, parts: Sequence[Sequence[str]], found: Sequence[Shard | None], compute: Compute
    ) -> list[Shard]:
        """Return all shards after computing those that are missing and that no other process computes.

        Utterances of other shards, such as those of the corpus before a file was added, are copied.

        Args:
            parts: Digests of the utterances of each shard.
            found: Each shard, None if it is missing.
            compute: Function that computes rows.

        Raises:
            OSError: The cache cannot be written.
        """
        shards = dict(enumerate(found))
        missing = [index for index, shard in shards.items() if shard is None]
        wanted = {digest for index in missing for digest in parts[index]}
        used = {self._note(part) for part, shard in zip(parts, found, strict=True) if shard is not None}
        self._known = self._find_rows(wanted, len(missing), used)
        for wait in (False, True):
            for index in missing:
                if shards[index] is None:
                    shards[index] = self._find_or_write(index, parts[index], compute, wait=wait)
        return [shard for shard in shards.values() if shard is not None]

    def _find_or_write(
        self, index: int, digests: Sequence[str], compute: Compute, *, wait: bool
    ) -> Shard | None:
        with locked(self._note(digests).with_suffix(".lock"), wait=wait) as is_mine:
            if not is_mine:
                return None
            return self.find(digests) or self._write(index, digests, compute)

    def _write(self, index: int, digests: Sequence[str], compute: Compute) -> Shard:
        known = {place: self._known[digest] for place, digest in enumerate(digests) if digest in self._known}
        fresh = compute(index, [place for place in range(len(digests)) if place not in known])
        remarks: list[Any] = []
        unusable: list[int] = []
        passing: list[int] = []
        with new_store(self._folder) as writer:
            for place in range(len(digests)):
                row = _copy_row(*known[place]) if place in known else next(fresh)
                remarks.append(row.remark)
                if not row.is_lasting:
                    passing.append(place)
                if row.frames is None:
                    unusable.append(place)
                else:
                    writer.append(row.frames, row.speech)
            next(fresh, None)  # which checks that no file has changed meanwhile
            ids = [*range(len(digests) - len(unusable))]
            store = writer.commit(ids, None, label_names=(), layout="object") if ids else None
        lasting = [place for place in range(len(digests)) if place not in passing]
        noted = [digests[place] for place in lasting]
        note = {
            "digests": noted,
            "fingerprint": None if store is None else store.fingerprint,
            "remarks": [remarks[place] for place in lasting],
            "unusable": [row for row, place in enumerate(lasting) if place in unusable],
        }
        if noted:  # without `passing`, which a later start reads again
            write_atomic(self._note(noted), json.dumps(note))
        return Shard(store, remarks)

    def _find_rows(
        self, wanted: set[str], missing: int, used: set[Path]
    ) -> dict[str, tuple[Store | None, int, Any]]:
        """Find utterances in other shards: the store, the row in it, and the remark of each.

        Args:
            wanted: Digests of the utterances.
            missing: Number of shards that will be written, and mapped beside those found here.
            used: Notes of shards that hold other utterances of the same corpus.
        """
        found: dict[str, tuple[Store | None, int, Any]] = {}
        paths = sorted({*self._folder.glob(f"{self._kind}-*.json")} - used) if wanted else []
        notes = [
            note for note in map(self._read_note, paths) if note and not wanted.isdisjoint(note["digests"])
        ]
        allow_open_files(len(notes) + missing)
        for note in notes:
            store = None if note["fingerprint"] is None else _open(self._folder / note["fingerprint"])
            unusable = {*note["unusable"]}
            rows = accumulate((place not in unusable for place in range(len(note["digests"]))), initial=0)
            for place, (digest, row) in enumerate(zip(note["digests"], rows, strict=False)):
                if digest in wanted and (place in unusable or store is not None):
                    found[digest] = (None if place in unusable else store, row, note["remarks"][place])
        return found

    def _note(self, digests: Sequence[str]) -> Path:
        return self._folder / f"{self._kind}-{sha256(' '.join(digests).encode()).hexdigest()[:32]}.json"

    def _read_note(self, path: Path) -> dict[str, Any] | None:
        """Read a note; None if it does not exist or is damaged."""
        try:
            note: dict[str, Any] = json.loads(path.read_bytes())
            count = len(note["digests"])
            is_whole = len(note["remarks"]) == count and {"fingerprint", "unusable"} <= note.keys()
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return None
        return note if is_whole else None


def _open(folder: Path) -> Store | None:
    """Map a store; None if it is missing or damaged.

    Raises:
        OSError: It cannot be read now.
    """
    if not folder.is_dir():
        return None
    try:
        return open_store(folder)
    except DamagedStoreError as error:
        _log.warning("%s; the files are read again", error)
        discard_store(folder)
        return None


def _copy_row(store: Store | None, row: int, remark: Any) -> Row:
    if store is None:
        return Row(None, None, remark)
    frames = slice(*store.offsets[row : row + 2].tolist())
    return Row(store.audio[frames], None if store.speech is None else store.speech[frames], remark)


def cached_store(
    files: Sequence[Path], cache_dir: Path, read: Callable[[StoreWriter], ReadResult], *, key: str
) -> ReadResult:
    """Return the store and remarks for some files; the files are read only if the cache lacks their current state.

    Of several processes that ask for the same, one reads the files, and the others wait for it; if it is killed, the
    next one reads them.

    Args:
        files: All files that `read` opens; `read` reports a missing one.
        cache_dir: Folder of the cache; created if it does not exist.
        read: Function that fills a writer from the files and commits it.
        key: Everything else that determines the result, such as the paths and a digest of the code of `read`.

    Raises:
        DataError: A file changed while it was read, or the cache cannot be written.
    """
    note = cache_dir / f"{sha256(os.fsencode(key)).hexdigest()}.json"
    state = _state(files)
    with explain_errors(cache_dir):
        reading = _read_cached(note, state)
        if reading is not None:
            return reading
        with one_process(note.with_suffix(".lock")):
            return _read_cached(note, state) or _fill(files, state, note, read)


@contextmanager
def explain_errors(cache_dir: Path) -> Iterator[None]:
    """Turn an error of the operating system, where the cache is read or written, into a message.

    Raises:
        DataError: The cache cannot be read or written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        if error.errno == errno.EMFILE:
            raise DataError(
                f"{cache_dir}: the cache cannot be opened ({reason}). {REMEDIES[errno.EMFILE]}"
            ) from error
        raise DataError(
            f"{cache_dir}: the cache cannot be read or written ({reason}). Free some space there, "
            "or choose another folder with data.cache_dir=FOLDER or, before the command, SER_CACHE_DIR=FOLDER"
        ) from error


@contextmanager
def one_process(path: Path) -> Iterator[None]:
    """Let one process at a time through; the lock ends with the process, however it ends."""
    with locked(path):
        yield


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock, which ends with the process, however it ends; yield whether this process has it.

    Args:
        path: File of the lock.
        wait: Whether to wait for another process that has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            yield False
            return
        _log.warning("Another process computes the same features: waiting for it.")
        lock.acquire()
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)  # a process that gets the deleted lock finds the work done
        lock.release()


def _fill(
    files: Sequence[Path], state: State, note: Path, read: Callable[[StoreWriter], ReadResult]
) -> ReadResult:
    with new_store(note.parent) as writer:
        reading = read(writer)
    for path, before, after in zip(files, state, _state(files), strict=True):
        if before != after:
            raise DataError(f"{path}: was changed while it was read. Start again once it is complete.")
    content = {
        "state": _digest(state),
        "fingerprint": reading.store.fingerprint,
        "remarks": reading.remarks,
    }
    write_atomic(note, json.dumps(content))
    return reading


def _state(files: Sequence[Path]) -> State:
    return [file_state(path) for path in files]


def file_state(path: str | Path) -> list[int] | None:
    """Return size and times of a file, or None if it does not exist."""
    try:
        stat = os.stat(path)  # noqa: PTH116  Path.stat takes twice as long, and a corpus has many files
    except OSError:
        return None
    # Including the change time: `cp -p` and `mv` can bring other content of the same size and modification time.
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _digest(state: State) -> str:
    return sha256(json.dumps(state).encode()).hexdigest()


def _read_cached(path: Path, state: State) -> ReadResult | None:
    try:
        note = json.loads(path.read_bytes())
        folder = path.with_name(note["fingerprint"])
        if note["state"] != _digest(state) or not folder.is_dir():
            return None
        remarks = note["remarks"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None  # never read, or the note is damaged: the files are read again
    store = _open(folder)
    return None if store is None else ReadResult(store, remarks)
