"""Stores of files that were read before: a later start maps them and reads nothing.

The folder holds stores, named by the fingerprint of their content, and notes, named by the hash of a path:
which store a file was read into, and the size and times it had then. All of it can be deleted at any time.
"""

import json
import logging
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from ser.data.json_stream import unreadable
from ser.data.store import DamagedStoreError, Store, StoreWriter, discard_store, new_store, open_store
from ser.errors import DataError
from ser.files import write_atomic

_log = logging.getLogger(__name__)


def cached_store(
    path: Path, cache_dir: Path, read: Callable[[StoreWriter], Store], *, settings: str
) -> Store:
    """Return the store of a file, which is read only if the cache has not got it as it is now.

    Args:
        path: of the file.
        cache_dir: folder of the cache; made if it is not there.
        read: fills a writer from the file and commits it.
        settings: whatever else decides what `read` makes of the file, its version included.

    Raises:
        DataError: the file is not there or was changed meanwhile, or the cache cannot be written.
    """
    note = cache_dir / f"{sha256(os.fsencode(os.path.realpath(path))).hexdigest()}.json"
    state = _state(path, settings)
    try:
        store = _recall(note, state)
        if store is not None:
            return store
        with new_store(cache_dir) as writer:
            store = read(writer)
    except OSError as error:
        raise DataError(
            f"{cache_dir}: the cache cannot be written ({error.strerror or error}). Free some space there, "
            "or choose another folder with data.cache_dir=FOLDER or the environment variable SER_CACHE_DIR."
        ) from error
    if _state(path, settings) != state:
        raise DataError(f"{path}: was changed while it was read. Start again once it is complete.")
    write_atomic(note, json.dumps({"state": state, "fingerprint": store.fingerprint}))
    return store


def _state(path: Path, settings: str) -> list[str | int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    # The change time too: `cp -p` and `mv` can bring other content of the same age and size.
    return [settings, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _recall(path: Path, state: list[str | int]) -> Store | None:
    try:
        note = json.loads(path.read_bytes())
        folder = path.with_name(note["fingerprint"])
        if note["state"] != state or not folder.is_dir():
            return None
    except (OSError, ValueError, LookupError, TypeError):
        return None  # never read, or the note is damaged: reading again costs a second or two
    try:
        return open_store(folder)
    except DamagedStoreError as error:
        _log.warning("%s; the file is read again", error)
        discard_store(folder)
        return None
