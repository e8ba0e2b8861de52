"""Find recordings in a folder by their content, not by their suffix."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ser.audio.reader import AUDIO_SUFFIXES, is_audio
from ser.errors import DataError

_NAMED = 5  # files that a message lists; there may be thousands

_log = logging.getLogger(__name__)


def find_audio(root: Path) -> list[Path]:
    """Find all recordings at any depth, sorted, and log how many other files are skipped.

    A file with an audio suffix counts even if it cannot be read, so that reading it raises an error. Hidden files and
    folders are skipped, links are followed.

    Args:
        root: Folder to search.

    Raises:
        DataError: The folder does not exist, or part of it cannot be read.
    """
    hidden: list[str] = []
    found: list[str] = []
    others: list[str] = []
    for file in sorted(_walk(root, hidden)):
        is_recording = file.lower().endswith(AUDIO_SUFFIXES) or is_audio(Path(file))
        (found if is_recording else others).append(file)
    passed_over = [
        f"{len(files)} {what} ({_list_examples(files, root)})"
        for files, what in ((others, "without audio that can be read"), (hidden, "hidden"))
        if files
    ]
    if passed_over:
        _log.info("%s: skipped files: %s", root, ", ".join(passed_over))
    return [Path(file) for file in found]


def find_files(root: Path, suffix: str) -> list[Path]:
    """Find regular files at any depth, sorted; hidden files and folders are skipped, links are followed.

    Args:
        root: Folder to search.
        suffix: Suffix of the files, in any case.

    Raises:
        DataError: The folder does not exist, or part of it cannot be read.
    """
    files = (Path(file) for file in sorted(_walk(root, [])) if file.lower().endswith(suffix))
    return [file for file in files if file.is_file()]


def recording_name(place: Path) -> str:
    """Return the path of a recording without its suffix, if this is an audio suffix."""
    return (place.with_suffix("") if place.suffix.lower() in AUDIO_SUFFIXES else place).as_posix()


def _walk(root: Path, hidden: list[str]) -> Iterator[str]:
    """Yield the visible files, and append hidden files and folders to a list."""
    if not root.is_dir():
        raise DataError(f"{root}: {'is no folder' if root.exists() else 'no such folder'}. Check data.root.")
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, onerror=_refuse_folder, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a parent folder would lead to an endless loop
            subfolders.clear()
            continue
        seen.add(real)
        # macOS leaves '._a.wav' beside 'a.wav', with no audio in it
        hidden += sorted(f"{folder}/{name}" for name in (*files, *subfolders) if name.startswith("."))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (f"{folder}/{name}" for name in files if not name.startswith("."))


def _list_examples(files: Iterable[str], root: Path) -> str:
    names = [os.path.relpath(file, root) for file in files]
    return ", ".join([*names[:_NAMED], *["..."] * (len(names) > _NAMED)])


def _refuse_folder(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}). Check its permissions.") from error
