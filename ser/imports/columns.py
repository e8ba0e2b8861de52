"""Turn the columns of another toolkit into an utterance of a manifest."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from ser.data.manifest import Label, Utterance
from ser.errors import DataError, install_command, named_line
from ser.names import is_missing

_log = logging.getLogger(__name__)

ALIASES: Mapping[str, tuple[str, ...]] = {
    "speaker": ("speaker", "speaker_id", "spk", "spkrid", "spk_id", "actor", "actor_id"),
    "group": ("group", "session", "dialogue_id", "dialog_id"),
    "text": ("text", "transcript", "transcription", "sentence"),
    "language": ("language", "lang"),
}
"""Column of a manifest -> names that others give it, in any case."""

_SPLIT_COLUMNS = ("split", "split_set", "subset")

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev", "devel", "development"), "validation"
)
"""Name of a split -> ours."""


def split_named(name: str | None) -> str | None:
    """Return our name of a split; None for one that is none of ours."""
    return None if name is None else SPLITS.get(name.lower())


def split_in(place: str) -> str | None:
    """Return our name of the split that a place such as train/emo or test_mine names.

    The name itself counts before its folders. One that names two, as in train_dev, tells none.
    """
    for name in reversed(place.split("/")):
        if found := {split for word in re.split(r"[\-_.]", name) if (split := split_named(word))}:
            return found.pop() if len(found) == 1 else None
    return None


def warn_about_places(source: Path, split_of: Mapping[str, str | None]) -> None:
    """Log the files or folders whose names tell no split, where there are several."""
    if len(split_of) > 1 and (silent := [place for place, split in split_of.items() if split is None]):
        _log.warning(
            "%s: the names of %d of %d parts tell no split, such as train, dev or test: %s",
            *(source, len(silent), len(split_of), ", ".join(silent)),
        )


def make_utterance(
    name: str,
    path: Path,
    columns: Mapping[str, Any],
    *,
    dropped: Counter[str],
    split: str | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Utterance:
    """Build an utterance; columns that a manifest knows are read by their usual names, the others are label fields.

    A split that is none of ours stays a label field, too: `split_name` if its column is `split`.

    Args:
        name: Id of the utterance.
        path: File of the recording.
        columns: Value of each column.
        dropped: Counts, for each column, lists and other structures, which are no labels.
        split: Our name of its split, if its place tells it.
        start: Begin within the file, in s.
        end: End within the file, in s; None for that of the file.
    """
    given: dict[str, Label] = {}
    for column, value in columns.items():
        if (plain := _plain(value)) is not None:
            given[column] = plain
        elif isinstance(value, Mapping | Sequence) and not isinstance(value, str):
            dropped[column] += 1
    known: dict[str, Any] = {"split": split}
    for ours, names in ALIASES.items():
        used = next((column for column in given if column.lower() in names), None)
        if used is not None:
            known[ours] = str(given.pop(used))
    for column in [column for column in given if column.lower() in _SPLIT_COLUMNS]:
        if own := split_named(str(given[column])):
            known["split"] = known["split"] or own
            del given[column]
    if "split" in given:
        given["split_name"] = given.pop("split")
    return Utterance(id=name, path=path, start=start, end=end, labels=given, **known)


def _plain(value: Any) -> Label | None:
    """Return a value as a label; None if it is missing, or a list or another structure."""
    if value is None or value != value or (isinstance(value, str) and is_missing(value)):
        return None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bool | date | time | timedelta):
        return str(value)
    return value if isinstance(value, str | int | float) else None


@contextmanager
def refuse_damaged_table(file: Path) -> Iterator[None]:
    """Raise a DataError where pyarrow cannot read a file."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be read as Parquet or Arrow ({named_line(error)}). Copy it again."
        ) from error


def import_pyarrow(kind: str) -> Any:
    """Return pyarrow, which reads Parquet and Arrow files.

    Raises:
        DataError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{kind}: reading Parquet and Arrow files needs pyarrow. Run: {install_command('parquet')}"
        ) from error
    return pyarrow
