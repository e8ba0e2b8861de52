"""Notice that code, packages or data have changed since a job of a sweep finished."""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ser.runs.environment import PACKAGES, hash_inputs, named_paths, version

_PACKAGE = Path(__file__).parents[1]


def fingerprint(config: Mapping[str, Any], own_code: Sequence[Path] = ()) -> dict[str, str]:
    """Compute a hash each of the code, of the versions of packages, and of the data that a job depends on.

    Of a folder of recordings, the names and sizes of the files count, because reading the content takes minutes;
    files that a setting names are hashed whole. Configs need no hash, because the settings of a job name it.

    Args:
        config: Settings of the job, as plain containers.
        own_code: Folders and files of the user's own code.
    """
    versions = {name: version(name) for name in PACKAGES[1:]}  # the first is this package: its code is hashed
    data = [hash_inputs(config), *(_list_files(path) for path in named_paths(config.get("data") or {}))]
    return {"code": _hash_code((_PACKAGE, *own_code)), "packages": _hash(versions), "data": _hash(data)}


def find_changes(then: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """Return what differs between the fingerprints of a job, such as `code`; what was not recorded is unknown."""
    return [name for name, digest in now.items() if then and then.get(name, digest) != digest]


@functools.cache  # what this process has imported does not change any more
def _hash_code(places: tuple[Path, ...]) -> str:
    files = [
        file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])
    ]
    return _hash([[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in files])


def _list_files(folder: Path) -> list[list[Any]]:
    """Return the names and sizes of all files below a folder; the root itself may have moved."""
    files: Iterable[Path] = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [[file.relative_to(folder).as_posix(), file.stat().st_size] for file in files if file.is_file()]


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
