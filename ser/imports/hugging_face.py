"""Read datasets of Hugging Face that were saved locally: as Parquet files, or by `save_to_disk`.

pyarrow reads both; the package `datasets` is not needed. Recordings that are stored within the files are written to the
cache once.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ser.data.manifest import Utterance
from ser.errors import DataError
from ser.files import write_atomic
from ser.imports.columns import (
    import_pyarrow,
    make_utterance,
    refuse_damaged_table,
    split_in,
    warn_about_places,
)

_log = logging.getLogger(__name__)


def find_tables(folder: Path) -> list[Path]:
    """Return the Parquet and Arrow files of a folder, or a file; indices in a cache of `datasets` are none."""
    if folder.is_file():
        return [folder] if folder.suffix in (".parquet", ".arrow") else []
    files = [file for kind in ("*.parquet", "*.arrow") for file in folder.rglob(kind)]
    return sorted(file for file in files if not file.name.startswith(("cache-", ".")))


def read_hugging_face(folder: Path, root: Path | None, cache: Path, dropped: Counter[str]) -> list[Utterance]:
    """Read all files of a dataset; folders and names such as train-00000-of-00001 tell the split.

    Args:
        folder: Folder of the dataset, or one file.
        root: Folder that paths of recordings are relative to, where these are not within the files.
        cache: Folder for recordings that are.
        dropped: Counts, for each column, values that are no labels.

    Raises:
        DataError: A file is damaged or has no column of audio, or a row has no recording.
    """
    base = folder if folder.is_dir() else folder.parent
    unlabelled: Counter[str] = Counter()
    tables = find_tables(folder)
    warn_about_places(folder, {place: split_in(place) for place in (_place(file, base) for file in tables)})
    found = [
        utterance
        for file in tables
        for utterance in _read_file(file, base, root or base, cache, dropped=dropped, unlabelled=unlabelled)
    ]
    for column, count in unlabelled.items():
        _log.warning("%s: %d of %d rows have no label in %r (class -1)", folder, count, len(found), column)
    return found


def _read_file(
    file: Path, folder: Path, root: Path, cache: Path, *, dropped: Counter[str], unlabelled: Counter[str]
) -> Iterator[Utterance]:
    pyarrow = import_pyarrow(str(file))
    with refuse_damaged_table(file):
        if file.suffix == ".parquet":
            table = pyarrow.parquet.ParquetFile(file)
            schema, batches = table.schema_arrow, table.iter_batches(batch_size=256)
        else:
            reader = pyarrow.ipc.open_stream(pyarrow.memory_map(str(file)))
            schema, batches = reader.schema, iter(reader)
    features = _features(schema.metadata or {})
    audio = _audio_column(file, schema, features)
    place = _place(file, folder)
    split = split_in(place)
    own = cache / "imports" / _fingerprint(file)
    for number, row in enumerate(_rows(file, batches)):
        sound = row.pop(audio)
        name, path = _recording(sound, f"{place}/{number}", root, own)
        columns = {column: _named(features.get(column), value) for column, value in row.items()}
        unlabelled.update(
            column for column, value in columns.items() if value is None and row[column] is not None
        )
        name = str(columns.pop("id", None) or name)
        yield make_utterance(name, path, columns, dropped=dropped, split=split)


def _place(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _rows(file: Path, batches: Iterator[Any]) -> Iterator[dict[str, Any]]:
    while True:
        with refuse_damaged_table(file):
            batch = next(batches, None)
            rows = None if batch is None else batch.to_pylist()
        if rows is None:
            return
        yield from rows


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the description of the columns that `datasets` writes into a file; empty in files of others."""
    try:
        found = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _audio_column(file: Path, schema: Any, features: Mapping[str, Any]) -> str:
    for name, feature in features.items():
        if isinstance(feature, dict) and feature.get("_type") == "Audio":
            return name
    for name in ("audio", "path", "file"):
        if name in schema.names:
            return name
    raise DataError(
        f"{file}: has no column of audio, only {', '.join(schema.names)}. Cast one with "
        "datasets.Audio(), or name it audio."
    )


def _recording(sound: Any, name: str, root: Path, own: Path) -> tuple[str, Path]:
    """Return id and file of a recording; one that is stored as bytes is written first."""
    given = sound if isinstance(sound, dict) else {"path": sound}
    path, content = given.get("path"), given.get("bytes")
    if content is None and path is None:
        raise DataError(
            f"{name}: has neither audio nor a path. Save the dataset again, or leave this row out."
        )
    stem = Path(path).stem if path else name
    if content is None:
        return stem, root / str(path)
    file = own / f"{name.replace('/', '_')}{Path(path or '').suffix or '.wav'}"
    if not file.is_file() or file.stat().st_size != len(content):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, content)
    return stem, file


def _named(feature: Any, value: Any) -> Any:
    """Return the name of a class that is stored as its number; None for -1, as in test sets without labels."""
    names = feature.get("names") if isinstance(feature, dict) else None
    if not names or not isinstance(value, int) or value >= len(names):
        return value
    return None if value < 0 else names[value]


def _fingerprint(file: Path) -> str:
    facts = file.stat()
    return hashlib.sha256(f"{file.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()[:16]
