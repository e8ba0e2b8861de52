"""Read the metadata of EmoBox: JSON lines with `key`, `wav` and `emo`, of a corpus or of one of its folds."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ser.data.manifest import Utterance
from ser.errors import DataError
from ser.files import read_text
from ser.imports.columns import make_utterance, split_named, warn_about_places

_OTHERS = ("key", "dataset", "wav", "type", "sample_rate", "num_frame", "task", "length", "channel")
"""Fields that are no labels."""


def is_emobox(file: Path) -> bool:
    """Return whether a file holds metadata of EmoBox."""
    try:
        with file.open(encoding="utf-8") as lines:
            first = json.loads(lines.readline())
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and {"key", "wav"} <= {*first}


def read_emobox(place: Path, root: Path | None, dropped: Counter[str]) -> list[Utterance]:
    """Read a file, or all files of a fold's folder, whose names tell the split; `emo` becomes `emotion`.

    Args:
        place: The file or folder.
        root: Folder that `wav` is relative to, which holds `downloads`; None for the working directory.
        dropped: Counts, for each column, values that are no labels.

    Raises:
        DataError: A line is malformed.
    """
    files = [place] if place.is_file() else sorted(file for file in place.glob("*.jsonl") if is_emobox(file))
    warn_about_places(place, {file.stem: _split_of(file) for file in files})
    return [utterance for file in files for utterance in _read_file(file, root or Path(), dropped)]


def _split_of(file: Path) -> str | None:
    named = re.search(r"_(train|valid|test)_fold_\d+$", file.stem)
    return split_named(named[1]) if named else None


def _read_file(file: Path, root: Path, dropped: Counter[str]) -> Iterator[Utterance]:
    split = _split_of(file)
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            key, wav = fields["key"], root / fields["wav"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file}, line {number}: is no object with 'key' and the path 'wav'. Copy the file again."
            ) from error
        labels = {name: value for name, value in fields.items() if name not in _OTHERS}
        if "emo" in labels:
            labels["emotion"] = labels.pop("emo")
        yield make_utterance(str(key), wav, labels, dropped=dropped, split=split)
