"""Read data folders of Kaldi: wav.scp, utt2spk, segments, text, and labels in files such as utt2emotion, spk2gender."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from ser.data.manifest import Utterance
from ser.errors import DataError, setting
from ser.files import read_text
from ser.imports.columns import make_utterance, split_in, warn_about_places

_log = logging.getLogger(__name__)

_NO_LABELS = ("utt2spk", "utt2dur", "utt2num_frames", "utt2uniq", "spk2utt")
_ABOUT = {"lang": "language"}
"""Name in utt2NAME and spk2NAME -> column of a manifest."""
_GENDERS = {"f": "female", "m": "male"}
"""Letter in spk2gender and utt2gender -> word."""


def read_kaldi(folder: Path, root: Path | None, dropped: Counter[str]) -> list[Utterance]:
    """Read a folder with wav.scp, or folders such as train, dev_mine and test, each with one.

    Kaldi's own copies are skipped: folders such as split4, for its jobs, and .backup.

    Args:
        folder: The folder.
        root: Folder that paths in wav.scp are relative to; None for the working directory, as in Kaldi.
        dropped: Counts values that are no labels, of which Kaldi has none.

    Raises:
        DataError: A file is malformed, or holds a command instead of a path, or two folders name the same speech.
    """
    parts = sorted(file.parent for file in folder.rglob("wav.scp") if not _is_copy(file.parent, folder))
    single = len(parts) == 1
    places = {part: part.relative_to(folder).as_posix() for part in parts}
    warn_about_places(folder, {place: split_in(place) for place in places.values()})
    part_of: dict[tuple[Path, float, float | None], Path] = {}
    found = []
    for part in parts:
        split, prefix = (None, "") if single else (split_in(places[part]), f"{part.name}/")
        for utterance in _read_part(part, root or Path(), split, prefix, dropped=dropped):
            other = part_of.setdefault((utterance.path, utterance.start, utterance.end), part)
            if other != part:
                raise DataError(
                    f"{part}: {utterance.id} is speech that {other} has, too: {utterance.path}. Give one of these "
                    f"folders, as in {setting('data.path', str(other))}, or move the copy elsewhere."
                )
            found.append(utterance)
    return found


def _is_copy(part: Path, folder: Path) -> bool:
    """Return whether a folder is Kaldi's own copy of another: split4/1, split4utt/1 or .backup."""
    names = part.relative_to(folder).parts
    return any(re.fullmatch(r"split\d+(utt|spk)?|\..+", name) for name in names)


def _read_part(
    folder: Path, root: Path, split: str | None, prefix: str, *, dropped: Counter[str]
) -> Iterator[Utterance]:
    recordings = _read_map(folder / "wav.scp")
    for name, place in recordings.items():
        if place.endswith("|"):
            raise DataError(
                f"{folder / 'wav.scp'}: {name} is the output of a command, which is not run here. Write it to a file, "
                "such as with wav-copy scp:wav.scp ark,scp:..., and give its path."
            )
    spans = _spans(folder, recordings)
    columns = _columns(folder, spans)
    for column, found in columns.items():
        if strange := [name for name in found if name not in spans]:
            _log.warning(
                "%s: %d lines of %r are of no utterance of the folder, the first of %s",
                *(folder, len(strange), column, strange[0]),
            )
    for name, (recording, start, end) in spans.items():
        values = {column: found.get(name) for column, found in columns.items()}
        path = root / recordings[recording]
        yield make_utterance(
            f"{prefix}{name}", path, values, dropped=dropped, split=split, start=start, end=end
        )


def _columns(folder: Path, names: Collection[str]) -> dict[str, dict[str, str]]:
    """Return what each file says about utterances, by its column; log the files that are not read."""
    speakers = _read_map(folder / "utt2spk")
    if not speakers:
        listed = _read_map(folder / "spk2utt").items()
        speakers = {name: speaker for speaker, own in listed for name in own.split()}
    columns = {"speaker": speakers, "text": _read_map(folder / "text")}
    files = sorted(file for kind in ("spk2*", "utt2*") for file in folder.glob(kind))
    for file in (file for file in files if file.name not in _NO_LABELS):
        about, _, column = file.name.partition("2")
        found = _read_map(file)
        if about == "spk":
            of_each = ((name, speakers[name]) for name in names if name in speakers)
            found = {name: found[speaker] for name, speaker in of_each if speaker in found}
        if column == "gender":
            found = {name: _GENDERS.get(letter.lower(), letter) for name, letter in found.items()}
        column = _ABOUT.get(column, column)
        columns[column] = columns.get(column, {}) | found  # an utterance's own file comes last
    known = {"wav.scp", "segments", "text", *(file.name for file in files)}
    if unread := sorted(file.name for file in folder.iterdir() if file.is_file() and file.name not in known):
        _log.info("%s: %d files are not read: %s", folder, len(unread), ", ".join(unread))
    return columns


def _spans(folder: Path, recordings: dict[str, str]) -> dict[str, tuple[str, float, float | None]]:
    """Return recording, begin and end of each utterance: those of `segments`, or else all recordings."""
    file = folder / "segments"
    if not file.is_file():
        return {name: (name, 0.0, None) for name in recordings}
    spans: dict[str, tuple[str, float, float | None]] = {}
    for name, rest in _read_map(file).items():
        try:
            recording, start, end = rest.split()
            spans[name] = (recording, float(start), None if float(end) < 0 else float(end))
        except ValueError as error:
            raise DataError(
                f"{file}: {name} has {rest!r}, expected a recording, begin and end in s. Correct it."
            ) from error
        if recording not in recordings:
            raise DataError(f"{file}: {name} is of {recording!r}, which wav.scp lacks. Add it there.")
    return spans


def _read_map(file: Path) -> dict[str, str]:
    """Read the rest of each line by its first word; empty if there is no such file."""
    if not file.is_file():
        return {}
    lines = (line.split(maxsplit=1) for line in read_text(file).splitlines() if line.strip())
    return {words[0]: words[1].strip() if len(words) > 1 else "" for words in lines}
