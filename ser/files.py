"""Writing files so that no reader ever sees half of one."""

import errno
import os
import uuid
from pathlib import Path

from ser.errors import DataError

_REMEDIES = {
    errno.ENOENT: "Make the folder first, or give another path.",
    errno.ENOTDIR: "A part of the path is a file, not a folder: give another path.",
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.EACCES: "Give a path in a folder you may write to.",
    errno.EPERM: "Give a path in a folder you may write to.",
    errno.EROFS: "Give a path on a disk that can be written to.",
    errno.ENOSPC: "Free some space on that disk, or give a path on another.",
    errno.EDQUOT: "Your quota is used up: delete something there, or give a path on another disk.",
}
_OTHERWISE = "Check the folder and the disk, or give another path."


def exists(path: str | Path) -> bool:
    """Whether there is a file or a folder; a name that no file system takes is none."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file in one step: whatever goes wrong, the file that was there before stays as it was.

    Args:
        path: of the file; its folder must exist. Behind a symbolic link, what it points to is written.
        content: bytes, or text that is stored as UTF-8.

    Raises:
        DataError: the folder is missing or unwritable, the disk is full, or the path is no place for a file.
    """
    try:
        _replace(path, _encode(content))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        remedy = _REMEDIES.get(error.errno or 0, _OTHERWISE)
        raise DataError(f"{path}: cannot be written ({reason}). {remedy}") from error


def _encode(content: str | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    # A lone surrogate has no UTF-8; as \udc80 it is right in JSON and readable anywhere else.
    return content.encode("utf-8", "backslashreplace")


def _replace(path: Path, content: bytes) -> None:
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise DataError(f"{path}: is not a regular file, so it is not replaced. Give the path of a file.")
    # Not made of the target's name, which may already be as long as a file system allows.
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # some file systems notice only here that the disk is full
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
