"""Turn the columns of another toolkit into an utterance of a manifest."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ser.data.manifest import Label, Utterance
from ser.errors import DataError, install_command
from ser.names import is_missing

ALIASES: Mapping[str, tuple[str, ...]] = {
    "speaker": ("speaker", "speaker_id", "spk", "spkrid", "spk_id", "actor", "actor_id"),
    "group": ("group", "session", "dialogue_id", "dialog_id"),
    "text": ("text", "transcript", "transcription", "sentence"),
    "language": ("language", "lang"),
    "split": ("split", "split_set", "subset"),
}
"""Column of a manifest -> names that others give it, in any case."""

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev", "devel", "development"), "validation"
)
"""Name of a split -> ours."""


def split_named(name: str | None) -> str | None:
    """Return our name of a split; None for one that is none of ours."""
    return None if name is None else SPLITS.get(name.lower())


def make_utterance(
    name: str,
    path: Path,
    columns: Mapping[str, Any],
    *,
    split: str | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Utterance:
    """Build an utterance; columns that a manifest knows are read by their usual names, the others are label fields.

    Args:
        name: Id of the utterance.
        path: File of the recording.
        columns: Value of each column.
        split: Our name of its split, if its place tells it.
        start: Begin within the file, in s.
        end: End within the file, in s; None for that of the file.
    """
    given = {column: _plain(value) for column, value in columns.items()}
    given = {column: value for column, value in given.items() if value is not None}
    known: dict[str, Any] = {}
    for ours, names in ALIASES.items():
        used = next((column for column in given if column.lower() in names), None)
        if used is not None:
            known[ours] = str(given.pop(used))
    own = split_named(known.pop("split", None))
    return Utterance(
        id=name, path=path, start=start, end=end, split=split or own, labels=dict(_labels(given)), **known
    )


def _plain(value: Any) -> Any:
    if value is None or value != value or (isinstance(value, str) and is_missing(value)):
        return None
    return value


def _labels(columns: Mapping[str, Any]) -> Iterator[tuple[str, Label]]:
    """Yield the columns that hold one value each; lists and other structures are no labels."""
    for name, value in columns.items():
        if isinstance(value, bool | str | int | float):
            yield name, str(value) if isinstance(value, bool) else value


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
