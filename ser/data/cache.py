"""Cache the stores that files were read into; a later start maps them and reads no file.

The folder holds stores, named by the fingerprint of their content, and notes, named by the hash of the request. A
note names the store, and a digest of the sizes and times of the files when they were read. Everything in the folder
can be deleted at any time.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from ser.data.store import Store
from ser.data.store_io import DamagedStoreError, StoreWriter, discard_store, new_store, open_store
from ser.errors import DataError
from ser.files import write_atomic

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
    try:
        reading = _read_cached(note, state)
        if reading is not None:
            return reading
        with one_process(note.with_suffix(".lock")):
            return _read_cached(note, state) or _fill(files, state, note, read)
    except OSError as error:
        raise DataError(
            f"{cache_dir}: the cache cannot be written ({error.strerror or error}). Free some space there, "
            "or choose another folder with data.cache_dir=FOLDER or, before the command, SER_CACHE_DIR=FOLDER"
        ) from error


@contextmanager
def one_process(path: Path) -> Iterator[None]:
    """Let one process at a time through; the lock ends with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("Another process computes the same features: waiting for it.")
        lock.acquire()
    try:
        yield
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
    return [_file_state(path) for path in files]


def _file_state(path: Path) -> list[int] | None:
    """Return size and times of a file, or None if it does not exist."""
    try:
        stat = path.stat()
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
    except (OSError, ValueError, LookupError, TypeError):
        return None  # never read, or the note is damaged: the files are read again
    try:
        return ReadResult(open_store(folder), remarks)
    except DamagedStoreError as error:
        _log.warning("%s; the files are read again", error)
        discard_store(folder)
        return None
