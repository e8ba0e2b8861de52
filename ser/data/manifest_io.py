"""Read manifests from tables and from folders, and write them.

No audio is opened here.
"""

import logging
import math
import os
from collections import Counter
from difflib import get_close_matches
from pathlib import Path, PureWindowsPath
from types import MappingProxyType

from ser.audio.find import find_audio, recording_name
from ser.data.manifest import Manifest, Utterance, first_ten, refuse_duplicates
from ser.data.manifest_rows import COLUMNS, TIMES, Cells, read_rows
from ser.errors import DataError, did_you_mean
from ser.files import write_atomic
from ser.names import is_missing, normalize_name
from ser.runs.tables import format_csv

_SPLITS = MappingProxyType(
    {"train": "train", "test": "test"} | dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
)

_NAMES = ("speaker", "group", "split", "text", "corpus")
"""Columns in which a placeholder such as nan counts as an empty cell."""

_log = logging.getLogger(__name__)


def read_manifest(path: str | Path, *, root: str | Path | None = None) -> Manifest:
    """Read the utterances of a CSV file or a file of JSON lines.

    An empty cell counts as missing, and white space around a cell is stripped. An utterance without an id gets its
    path as id. A speaker, group, split, text or corpus that is a placeholder such as nan counts as missing, with a
    warning. Columns other than those of `Utterance` are label fields.

    Args:
        path: `.csv` with a header, or `.jsonl` with one object per line; UTF-8. Only the column `path` is required.
        root: Folder that the paths are relative to; None for the folder of the file.

    Raises:
        DataError: The file cannot be read, or a row is wrong.
    """
    path = Path(path)
    folder = _Root(path.parent if root is None else Path(root))
    utterances, lines = [], []
    missing: Counter[tuple[str, str]] = Counter()
    for line, cells in read_rows(path):
        for column in _NAMES:
            if (name := cells.get(column)) is not None and is_missing(name):
                missing[column, name] += 1
                cells[column] = None
        utterances.append(_utterance(cells, f"{path.name}, line {line}", folder))
        lines.append(f"line {line}")
    if not utterances:
        raise DataError(f"{path}: lists no utterances. Add a line for each audio file.")
    manifest = Manifest(tuple(utterances), str(path))
    refuse_duplicates(manifest, lines, remedy="Rename or remove one of them.")
    _warn_about_misspelled_columns(manifest)
    for (column, name), count in missing.items():
        _log.warning("%s: %d cells of %r hold %r, which is read as unknown", path, count, column, name)
    return manifest


def read_folder(root: str | Path, *, label: str = "label", needs_labels: bool = True) -> Manifest:
    """Read the audio files below a folder with one subfolder per class, sorted by path.

    Args:
        root: Folder whose subfolders are classes; each holds audio at any depth.
        label: Label field for the class.
        needs_labels: Whether every file must lie in a class folder; else those beside them have no label.

    Raises:
        DataError: The folder or its class folders are missing, a class folder has no audio, or audio lies beside the
            class folders.
    """
    root = Path(root)
    files = find_audio(root)
    stray = [file.name for file in files if file.parent == root]
    if len(stray) == len(files) and (needs_labels or not files):
        found = f"{len(stray)} audio files, but no folders with audio" if stray else "no audio"
        raise DataError(
            f"{root}: holds {found}. Expected a folder for each class, such as {root / 'anger' / 'a.wav'}. "
            "Check data.root."
        )
    if stray and needs_labels:
        raise DataError(
            f"{root}: {len(stray)} audio files are beside the class folders:{first_ten(stray)}\n"
            "Move each into the folder of its class."
        )
    inside = [file.relative_to(root) for file in files]
    if needs_labels:
        _refuse_bare_classes(root, {place.parts[0] for place in inside})
    utterances = (
        Utterance(recording_name(place), file, labels={label: place.parts[0]} if len(place.parts) > 1 else {})
        for place, file in zip(inside, files, strict=True)
    )
    manifest = Manifest(tuple(utterances), str(root))
    refuse_duplicates(manifest, [str(place) for place in inside], remedy="Rename or remove one of them.")
    return manifest


def _refuse_bare_classes(root: Path, classes: set[str]) -> None:
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if bare := [name for name in folders if name not in classes]:
        raise DataError(
            f"{root}: {len(bare)} of {len(folders)} class folders hold no audio that can be read:{first_ten(bare)}\n"
            f"Put recordings there, converted to wav or flac, or move folders that are not classes out of {root}."
        )


def write_manifest(path: str | Path, manifest: Manifest, *, root: str | Path | None = None) -> None:
    """Write a CSV file that `read_manifest` can read; integer labels are then read as text.

    Args:
        path: Path of the file; its folder must exist.
        manifest: Manifest to write.
        root: Folder that the paths are written relative to; None for the folder of the file.

    Raises:
        DataError: Audio lies outside the root, or the file cannot be written.
    """
    path = Path(path)
    folder = path.parent if root is None else Path(root)
    rows = [_row(utterance, folder) for utterance in manifest]
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    used = [name for name in names if any(row.get(name) is not None for row in rows)]
    cells = ([row.get(name) for name in used] for row in rows)
    write_atomic(path, format_csv(used, cells, line_end="\r\n"))  # as in RFC 4180


class _Root:
    """Folder that the paths of a manifest are relative to.

    Args:
        folder: Folder as the user gave it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = _absolute_path(folder).rstrip("/") + "/"

    def normalize_separators(self, path: str, where: str) -> str:
        """Replace the backslashes of a Windows path by slashes, unless a file of this name exists.

        Raises:
            DataError: No file can have this path, or it begins with a drive.
        """
        if "\0" in path or not (path.isascii() or _has_bytes(path)):
            raise DataError(
                f"{where}: the path {path!r} holds a character that file names cannot contain. Correct it."
            )
        if "\\" not in path or os.path.lexists(self._folder / path):
            return path
        if PureWindowsPath(path).drive:
            raise DataError(
                f"{where}: the path {path!r} begins with a drive of Windows. Write it relative to '{self._folder}', or "
                "to a folder that you give with data.root=FOLDER."
            )
        return path.replace("\\", "/")

    def locate(self, path: str, where: str) -> Path:
        """Return the file that the path of a row refers to.

        Raises:
            DataError: The path leads out of the folder, which a manifest from elsewhere must not do.
        """
        file = self._folder / path
        # Other paths cannot lead out; checking all of them would take a quarter of the time of reading.
        suspicious = path[0] == "/" or ".." in path
        if suspicious and not _absolute_path(file).startswith(self._prefix):
            raise DataError(
                f"{where}: the path {path!r} leads out of '{self._folder}', the folder that paths are relative "
                "to. Correct it, or give a folder that holds all audio with data.root=FOLDER."
            )
        return file


def _has_bytes(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # half a character, as JSON can write it
        return False
    return True


def _absolute_path(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  resolve() would follow links, which may lead where they like


def _utterance(cells: Cells, where: str, root: _Root) -> Utterance:
    start, end = (_seconds(cells.get(column), column, where) for column in TIMES)
    if end is not None and end <= (start or 0.0):
        raise DataError(
            f"{where}: 'end' is {end} s, which is not after 'start', {start or 0.0} s. Correct one of them."
        )
    path = root.normalize_separators(cells["path"], where)
    return Utterance(
        id=cells.get("id") or _default_id(path, start, end),
        path=root.locate(path, where),
        start=start or 0.0,
        end=end,
        speaker=cells.get("speaker"),
        group=cells.get("group"),
        split=_split(cells.get("split"), where),
        labels={name: cell for name, cell in cells.items() if cell is not None and name not in COLUMNS},
        text=cells.get("text"),
        language=cells.get("language"),
        corpus=cells.get("corpus"),
    )


def _seconds(value: str | float | None, column: str, where: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(f"{where}: {column!r} is {value!r}, expected seconds, 0 or more, such as 1.25.")
    return seconds


def _default_id(path: str, start: float | None, end: float | None) -> str:
    name = os.path.splitext(path)[0]  # noqa: PTH122  with_suffix fails on '/' and '.'
    if start is None and end is None:
        return name
    return f"{name}#{start or 0.0}-{'' if end is None else end}"


def _split(word: str | None, where: str) -> str | None:
    if word is None:
        return None
    name = normalize_name(word).lower()
    if name not in _SPLITS:
        raise DataError(f"{where}: there is no split {word!r}. {did_you_mean(name, _SPLITS)}")
    return _SPLITS[name]


def _warn_about_misspelled_columns(manifest: Manifest) -> None:
    for name in dict.fromkeys(name for utterance in manifest for name in utterance.labels):
        for column in get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.75):
            message = "%s: column %r is read as a label field. If it is the %s, rename it to %r."
            _log.warning(message, manifest.source, name, column, column)


def _row(utterance: Utterance, root: Path) -> dict[str, object]:
    path = os.path.relpath(utterance.path, root)
    if path.split("/")[0] == os.pardir:
        raise DataError(
            f"Utterance {utterance.id!r}: {utterance.path} lies outside '{root}', the folder that paths are "
            "written relative to. Give one that holds all audio."
        )
    known = {column: getattr(utterance, column) for column in COLUMNS}
    return {**known, "path": path, "start": utterance.start or None, **utterance.labels}
