"""Read the course challenge's JSON files: check every utterance once, and keep it in a store.

Errors that would spoil a training much later, such as an incomplete frame, an invalid number or a missing label, are
reported here with the file, the utterance and the frame.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import simdjson

from ser.batch import UtteranceId
from ser.data.cache import ReadResult, cached_store
from ser.data.json_fields import LABEL_NAMES, IdRegister, Layout, RawUtterance, load_fields, shorten_json
from ser.data.json_stream import read_chunks, split_utterances, unreadable_error
from ser.data.store import Store
from ser.data.store_io import StoreWriter
from ser.errors import DataError
from ser.sources import digest_of_code

_log = logging.getLogger(__name__)

Labels = Literal["required", "optional"]

_BAR_FROM_BYTES = 50_000_000  # smaller files are read in 0.1 s
_FLOAT32_LIMIT = 2.0**128 - 2.0**103  # float32 rounds this and larger numbers to infinity


def read_challenge(
    path: str | Path,
    *,
    cache_dir: str | Path,
    feature_dim: int | None = None,
    labels: Labels = "required",
    width_setting: str | None = None,
) -> Store:
    """Return the utterances of a file; if they are cached, its JSON is not read.

    Args:
        path: File with an object keyed by utterance id, or a list of records with an `id` field.
        cache_dir: Folder for parsed files; created if it does not exist.
        feature_dim: Required number of values of a frame, F; None for that of the first frame.
        labels: "required" for training and validation, "optional" if the file may have none.
        width_setting: Setting that `feature_dim` comes from, for the message if all frames have another width.

    Raises:
        DataError: The file is missing, damaged or of the wrong shape, or the cache cannot be written.
    """
    path = Path(path)
    store, _ = cached_store(
        [path],
        Path(cache_dir),
        lambda writer: ReadResult(
            _read_into(writer, _UtteranceReader(path.name, feature_dim, width_setting), path)
        ),
        key=f"{digest_of_code(__name__)} {os.path.realpath(path)}",
    )
    # Both are checked on the store, not part of the cache's key: they do not change its content.
    _check_width(store, path.name, feature_dim, width_setting)
    if labels == "required":
        _check_labels(store, path.name)
    return store


def read_labels(path: str | Path, ids: Sequence[UtteranceId]) -> np.ndarray:
    """Read labels [N, 2] int64 of the utterances `ids` from a file that may hold nothing else.

    Its ids may be of the other type: keys of a JSON object are strings, so "3" stands for 3.

    Raises:
        DataError: The file cannot be read, or an utterance is missing or has no labels.
    """
    path = Path(path)
    register = IdRegister(path.name)
    found: dict[str, tuple[int, int] | None] = {}
    for raw in split_utterances(read_chunks(path), path.name):
        fields = load_fields(raw, path.name)
        utterance_id = register.add(raw, fields.get("id"))
        found[str(utterance_id)] = _labels(fields, f"{path.name}, utterance {utterance_id!r}")
    absent = [utterance_id for utterance_id in ids if found.get(str(utterance_id)) is None]
    if absent:
        raise DataError(
            f"{path.name}: no labels for {len(absent)} of {len(ids)} utterances, the first is {absent[0]!r}. "
            "Give the file that belongs to these utterances."
        )
    return np.array([found[str(utterance_id)] for utterance_id in ids], dtype=np.int64)


def _read_into(writer: StoreWriter, reader: "_UtteranceReader", path: Path) -> Store:
    name = path.name
    register = IdRegister(name)
    labels: list[tuple[int, int] | None] = []
    layout: Layout = "object"
    for raw in split_utterances(_with_bar(read_chunks(path), path), name):
        fields, frames = reader.read(raw)
        utterance_id = register.add(raw, fields.get("id"))
        labels.append(_labels(fields, f"{name}, utterance {utterance_id!r}"))
        if (labels[-1] is None) != (labels[0] is None):
            unlabelled = utterance_id if labels[-1] is None else register.ids[0]
            raise DataError(
                f"{name}, utterance {unlabelled!r}: has no labels, but others of this file have. "
                "Label all utterances of a file, or none."
            )
        writer.append(frames)
        layout = raw.layout
    table = None if labels[0] is None else np.array(labels, dtype=np.int64)
    return writer.commit(register.ids, table, label_names=LABEL_NAMES, layout=layout)


def _labels(fields: dict[str, Any], where: str) -> tuple[int, int] | None:
    present = [name for name in LABEL_NAMES if name in fields]
    if not present:
        return None
    for name in LABEL_NAMES:
        if name not in fields:
            raise DataError(f"{where}: has '{present[0]}' but no '{name}'. Give both labels, or neither.")
        if type(fields[name]) is not int or fields[name] not in (0, 1):
            raise DataError(
                f"{where}: '{name}' is {shorten_json(fields[name])}, expected the integer 0 or 1. Correct the label."
            )
    return fields["valence"], fields["activation"]


def _check_width(store: Store, name: str, feature_dim: int | None, width_setting: str | None) -> None:
    found, where = store.feature_dim, f"{name}, utterance {store.ids[0]!r}"
    if feature_dim not in (None, found):
        if found > store.lengths[0] == feature_dim:
            raise _transposed(where, int(store.lengths[0]), found)
        remedy = f" or set {width_setting}={found}" if width_setting else ""
        raise DataError(
            f"{where}: frame 0 has {found} values, expected {feature_dim}. Re-export the file{remedy}."
        )
    rows = int(store.lengths[0])
    if len(store) > 1 and rows < found and (store.lengths == rows).all():
        _log.warning(
            "%s: all utterances have %d frames of %d values. If these are %d features at %d times, transpose them.",
            *(name, rows, found, rows, found),
        )


def _transposed(where: str, rows: int, width: int) -> DataError:
    return DataError(
        f"{where}: has {rows} lists of {width} values, which look like a list for each feature. Write a list for each "
        "frame: in NumPy, features.T.tolist()."
    )


def _check_labels(store: Store, name: str) -> None:
    if store.labels is None:
        raise DataError(
            f"{name}, utterance {store.ids[0]!r}: has no 'valence' and 'activation', nor has any other. "
            "Give a labelled file here; a test file is for prediction."
        )
    if (store.labels == store.labels[0]).all():
        valence, activation = store.labels[0].tolist()
        raise DataError(
            f"{name}: all {len(store)} utterances have valence {valence} and activation {activation}. "
            "With one class there is nothing to learn: give a file with several."
        )


def _with_bar(chunks: Iterable[bytes], path: Path) -> Iterable[bytes]:
    """Return the chunks, with a progress bar if the file is large and the output is a terminal."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable_error(path, error) from error
    return _bar(chunks, size, path.name) if size > _BAR_FROM_BYTES and sys.stderr.isatty() else chunks


def _bar(chunks: Iterable[bytes], size: int, name: str) -> Iterator[bytes]:
    from rich.console import Console  # imported here, because a start that reads no JSON shows no bar
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = TextColumn(f"Reading {name}"), BarColumn(), DownloadColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=size)
        for chunk in chunks:
            yield chunk
            progress.advance(task, len(chunk))


class _UtteranceReader:
    """Read utterances, fast as long as they are regular, else with an exact check.

    Args:
        name: Name of the file, for messages.
        feature_dim: Number of values of a frame, F; None for that of the first frame.
        width_setting: See `read_challenge`.
    """

    def __init__(self, name: str, feature_dim: int | None, width_setting: str | None) -> None:
        self._name = name
        self._feature_dim = feature_dim
        self._width_setting = width_setting
        self._lengths: set[int] = set()  # lengths of the utterances so far, in frames
        self._parser = simdjson.Parser()

    def read(self, raw: RawUtterance) -> tuple[dict[str, Any], np.ndarray]:
        """Read the fields other than the features, and the frames [T, F] float32.

        Raises:
            DataError: It is not valid JSON, or its features are not T x F finite numbers.
        """
        fields, frames = self._read_fast(raw) or self._read_exactly(raw)
        self._feature_dim = frames.shape[1]
        self._lengths.add(len(frames))
        return fields, frames

    def _read_fast(self, raw: RawUtterance) -> tuple[dict[str, Any], np.ndarray] | None:
        """Read a regular utterance; return None for an irregular one, which `_read_exactly` checks."""
        try:
            record: Any = self._parser.parse(raw.content)
            features = record["features"]
            values = np.frombuffer(features.as_buffer(of_type="d"))
            frames = _to_float32(values.reshape(len(features), -1))
            width = self._feature_dim or frames.shape[1]
            fields = {name: record[name] for name in ("id", *LABEL_NAMES) if name in record}
            regular = (
                frames.size == len(features) * width > 0
                and set(map(len, features)) == {width}
                and _count_brackets(raw.content) == 1 + len(features)  # as_buffer flattens deeper lists
                and len(record) == len(set(record))
                and all(type(value) in (str, int) for value in fields.values())
                and np.isfinite(frames).all()
            )
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError):
            return None
        return (fields, frames) if regular else None

    def _read_exactly(self, raw: RawUtterance) -> tuple[dict[str, Any], np.ndarray]:
        fields = load_fields(raw, self._name)
        known = raw.key is None and "id" in fields
        where = f"{self._name}, " + (f"utterance {fields['id']!r}" if known else raw.label)
        if "features" not in fields:
            found = ", ".join(map(repr, fields)) or "none"
            raise DataError(
                f"{where}: 'features' is missing, its fields are {found}. Add its list of frames."
            )
        features = fields.pop("features")
        if not isinstance(features, list):
            raise DataError(
                f"{where}: 'features' is {shorten_json(features)}, expected a list of frames. Re-export the file."
            )
        if not features:
            raise DataError(f"{where}: has no frames. Remove the utterance or re-export the file.")
        for number, frame in enumerate(features):
            width = _checked_width(frame, f"{where}: frame {number}")
            expected = self._feature_dim or len(features[0])
            if width != expected:
                raise self._wrong_width(where, features, number, expected)
        return fields, _to_float32(np.array(features, dtype=np.float64))

    def _wrong_width(self, where: str, features: list[Any], number: int, expected: int) -> DataError:
        """Return the error for a frame of another width; a transposed file is recognised."""
        rows, found = len(features), len(features[number])
        is_even = all(isinstance(frame, list) and len(frame) == found for frame in features)
        of_equal_rows = rows == expected or (self._lengths == {rows} and rows < expected)
        if is_even and rows < found and of_equal_rows:
            return _transposed(where, rows, found)
        remedy = "Re-export the file"
        if self._width_setting and is_even and not self._lengths:
            remedy += f" or set {self._width_setting}={found}"
        return DataError(f"{where}: frame {number} has {found} values, expected {expected}. {remedy}.")


def _checked_width(frame: Any, where: str) -> int:
    """Return the number of values of a frame, after checking that all are finite in float32.

    Raises:
        DataError: It is not a list of finite numbers.
    """
    if not isinstance(frame, list) or not frame:
        raise DataError(f"{where} is {shorten_json(frame)}, expected a list of numbers. Re-export the file.")
    for number, value in enumerate(frame):
        if type(value) not in (int, float) or not abs(value) < _FLOAT32_LIMIT:
            raise DataError(
                f"{where}, value {number} is {shorten_json(value)}, expected a finite number (below 3.4e38). "
                "Re-export the file."
            )
    return len(frame)


def _to_float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which the callers check for
        return values.astype(np.float32)


def _count_brackets(content: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(content, np.uint8) == ord("[")))
