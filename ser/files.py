"""Read text files of a user, and write files in one step, so that a reader never sees a partial file.

Temporary files and folders are locked themselves, by `fcntl`: filelock locks a file beside each, which would be left
behind, too, by a process that is killed.
"""

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from ser.errors import DataError, did_you_mean

try:
    import fcntl
except ImportError:  # Windows has no advisory locks; there, temporary files of killed processes remain
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

REMEDIES = {
    errno.EACCES: "Change its permissions, or give a path in a folder you may write to.",
    errno.EPERM: "Change its permissions, or give a path in a folder you may write to.",
    errno.EROFS: "Give a path on a disk that can be written to.",
    errno.ENOSPC: "Free some space on that disk, or give a path on another.",
    errno.EDQUOT: "Your quota is used up: delete something there, or give a path on another disk.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or give a path on another disk.",
    errno.EIO: "Check the disk, or give a path on another.",
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n).",
    errno.ENOTDIR: "A part of the path is a file, not a folder: give another path.",
    errno.EISDIR: "Give the path of a file.",
}
"""Remedy for each error of the operating system."""
_NO_FOLDER = "Make the folder first, or give another path."
_OTHERWISE = "Check the folder and the disk, or give another path."


def exists(path: str | Path) -> bool:
    """Return whether a file or folder exists; False for a name that no file system accepts."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file in one step; if it fails, the previous file stays unchanged.

    Args:
        path: Path of the file; its folder must exist. The target of a symbolic link is written.
        content: Bytes, or text that is stored as UTF-8.

    Raises:
        DataError: The folder is missing or not writable, the disk is full, or the path cannot be a file.
    """
    try:
        _replace(path, _encode(content))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        is_missing = error.errno == errno.ENOENT
        remedy = _NO_FOLDER if is_missing else REMEDIES.get(error.errno or 0, _OTHERWISE)
        raise DataError(f"{path}: cannot be written ({reason}). {remedy}") from error


def _encode(content: str | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    # A lone surrogate has no UTF-8 encoding; \udc80 is correct in JSON and readable elsewhere.
    return content.encode("utf-8", "backslashreplace")


def _replace(path: Path, content: bytes) -> None:
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise DataError(f"{path}: is not a regular file, so it is not replaced. Give the path of a file.")
    remove_leftovers(target.parent)
    while True:
        # The name does not contain the target's name, which may already have the maximum length.
        temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                if not hold(file.fileno()):
                    continue
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # some file systems report a full disk only here
                temporary.replace(target)
            return
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Create a hidden folder, and remove it at the end unless it was renamed; a later start removes it after a kill.

    Args:
        parent: Folder in which it is created; created if it does not exist.

    Raises:
        OSError: The folder cannot be written to.
    """
    remove_leftovers(parent)
    while True:
        folder = parent / f".{uuid.uuid4().hex}.tmp"
        folder.mkdir(parents=True)
        handle = os.open(folder, os.O_RDONLY) if _CAN_LOCK else -1
        try:
            if handle >= 0 and not hold(handle):
                continue
            yield folder
            return
        finally:
            if handle >= 0:
                os.close(handle)
            shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders of killed processes, once per process and folder."""
    if not _CAN_LOCK or folder in _searched:
        return
    _searched.add(folder)
    for path in folder.glob(".*.tmp"):
        if _LEFTOVER.fullmatch(path.name):
            with contextlib.suppress(OSError):
                _remove_unless_held(path)


def _remove_unless_held(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while another process writes
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    finally:
        os.close(handle)


def hold(handle: int) -> bool:
    """Lock an open file or folder until it is closed; return False if another process has already removed it."""
    if not _CAN_LOCK:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where temporary files remain
        return True
    return os.fstat(handle).st_nlink > 0


def allow_open_files(count: int) -> None:
    """Raise this process's limit on open files, as far as the system allows it, so that it can map `count` more."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _count_open_files() + count + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _count_open_files() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:  # no such folder, or no file is left to list it
        return 0


_OTHER_FILES = 512  # libraries, pipes of loader processes, logs
_LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.tmp")
_searched: set[Path] = set()


def read_text(path: Path) -> str:
    """Read a UTF-8 file, without a byte order mark (Excel writes one).

    Raises:
        DataError: The file is missing, unreadable, empty, or has another encoding.
    """
    if path.exists() and not path.is_file() and not path.is_dir():  # reading a pipe would block
        raise DataError(f"{path}: is a pipe, socket or device, not a file. Check the path.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        siblings = [file.name for file in path.parent.glob(f"*{path.suffix}")]
        hint = did_you_mean(path.name, siblings) if siblings else "Check the path."
        raise DataError(f"{path}: no such file. {hint}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, byte {error.start}: is not UTF-8 text. Save the file as UTF-8 (Excel: 'CSV UTF-8')."
        ) from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty. Export it again.")
    return text


def is_table(path: str | Path) -> bool:
    """Return whether a path is that of a table of recordings, by its suffix."""
    return Path(path).suffix.lower() in (".csv", ".jsonl")


def short(path: Path) -> Path:
    """Return a path as a user would type it: relative if it lies below the working folder."""
    path, here = path.absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
