"""Write predictions in the layout of the input: every utterance once, in its order and with its id."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser.data.json_fields import Layout
from ser.errors import DataError
from ser.files import write_atomic
from ser.runs.tables import format_csv

if TYPE_CHECKING:
    from ser.batch import UtteranceId


def write_predictions(
    path: Path,
    ids: "Sequence[UtteranceId]",
    layout: Layout,
    decoded: "Iterable[tuple[UtteranceId, Mapping[str, int | str | float]]]",
    *,
    overwrite: bool = False,
) -> None:
    """Write `{"0": {"valence": 1, "activation": 0}, ...}`, or a list of records with `id`, in one step.

    Args:
        path: Path of the file; its folder must exist.
        ids: Ids of the input, N.
        layout: Layout of the input.
        decoded: Pairs of id and labels, bits, names or values, N, in any order.
        overwrite: Whether to replace an existing file.

    Raises:
        DataError: An id is missing, unknown or occurs twice, or the file exists or cannot be written.
    """
    answers = ((utterance_id, _plain(utterance_id, labels)) for utterance_id, labels in decoded)
    _write(path, ids, layout, answers, overwrite=overwrite)


def write_scores(
    path: Path,
    ids: "Sequence[UtteranceId]",
    layout: Layout,
    scores: "Iterable[tuple[UtteranceId, Mapping[str, float]]]",
    *,
    overwrite: bool = False,
) -> None:
    """Write `{"0": {"scores": {"joy": 0.7, ...}}, ...}`, or a list of records with `id`, in one step.

    Args:
        path: Path of the file; its folder must exist.
        ids: Ids of the input, N.
        layout: Layout of the input.
        scores: Pairs of id and the probability of each class by name, N, in any order.
        overwrite: Whether to replace an existing file.

    Raises:
        DataError: An id is missing, unknown or occurs twice, a score is not finite, or the file exists or cannot be
            written.
    """
    answers = ((utterance_id, {"scores": _floats(utterance_id, row)}) for utterance_id, row in scores)
    _write(path, ids, layout, answers, overwrite=overwrite)


def write_table(path: Path, rows: "Sequence[Mapping[str, Any]]", *, overwrite: bool = False) -> None:
    """Write one row an answer, all in one step: CSV with a header, or a JSON list of records.

    Args:
        path: ends in .json or .csv; its folder must exist.
        rows: column -> plain value, the same columns in each; scores must be finite.
        overwrite: whether a file that exists may be replaced.

    Raises:
        DataError: the name ends otherwise, a score is not finite, or the file exists or cannot be written.
    """
    check_table_name(path)
    check_output(path, overwrite=overwrite)
    for row in rows:
        _floats(row["id"], {name: value for name, value in row.items() if isinstance(value, float)})
    if path.suffix.lower() == ".json":
        text = "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n"
    else:
        text = format_csv([*rows[0]] if rows else [], ([*row.values()] for row in rows))
    write_atomic(path, text)


def check_table_name(path: Path) -> None:
    """Refuse tables other than CSV and JSON.

    Raises:
        DataError: The name ends in neither .csv nor .json.
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise DataError(
            f"{path}: predictions of recordings are written as .csv or .json. Give such an output."
        )


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse a path that cannot become a file, before a long computation.

    Raises:
        DataError: It exists and `overwrite` is false, or its folder is missing or not writable.
    """
    if not path.name:
        raise DataError(f"{path}: is not the name of a file. Give another output, such as predictions.csv.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DataError(
            f"{path}: its folder is missing or cannot be written to. Make the folder, or give another output."
        )
    try:
        is_there = path.exists()
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}). Give another output.") from error
    if is_there and not overwrite:
        raise DataError(f"{path}: exists already. Set overwrite=true to replace it, or give another output.")


def _write(
    path: Path,
    ids: "Sequence[UtteranceId]",
    layout: Layout,
    answers: "Iterable[tuple[UtteranceId, dict[str, Any]]]",
    *,
    overwrite: bool,
) -> None:
    check_output(path, overwrite=overwrite)
    ordered = _in_order(path, ids, answers)
    if layout == "object":
        rows = [f"{json.dumps(key)}: {json.dumps(answer)}" for key, answer in ordered.items()]
    else:
        rows = [json.dumps({"id": key, **answer}) for key, answer in ordered.items()]
    opening, closing = "{}" if layout == "object" else "[]"
    write_atomic(path, f"{opening}\n" + ",\n".join(rows) + f"\n{closing}\n")


def _in_order(
    path: Path, ids: "Sequence[UtteranceId]", answers: "Iterable[tuple[UtteranceId, dict[str, Any]]]"
) -> "dict[UtteranceId, dict[str, Any]]":
    found: dict[UtteranceId, dict[str, Any]] = {}
    for utterance_id, answer in answers:
        if utterance_id in found:
            raise _refusal(path, utterance_id, "is answered twice")
        found[utterance_id] = answer
    for utterance_id in found.keys() - set(ids):
        raise _refusal(path, utterance_id, "is not in the input")
    for utterance_id in ids:
        if utterance_id not in found:
            raise _refusal(path, utterance_id, "has no answer")
    return {utterance_id: found[utterance_id] for utterance_id in ids}


def _refusal(path: Path, utterance_id: "UtteranceId", problem: str) -> DataError:
    return DataError(
        f"{path}, utterance {utterance_id!r}: {problem}, so nothing was written. Predict the whole input once."
    )


def _plain(
    utterance_id: "UtteranceId", labels: Mapping[str, int | str | float]
) -> dict[str, int | str | float]:
    """Return names as they are, values that are finite, and integers of any library as Python's."""
    values = {name: label for name, label in labels.items() if isinstance(label, float)}
    others = {name: label for name, label in labels.items() if not isinstance(label, float)}
    plain = {name: label if isinstance(label, str) else int(index(label)) for name, label in others.items()}
    both = plain | _floats(utterance_id, values)
    return {name: both[name] for name in labels}


def _floats(utterance_id: "UtteranceId", scores: Mapping[str, float]) -> dict[str, float]:
    plain = {name: float(score) for name, score in scores.items()}
    for name, score in plain.items():
        if not math.isfinite(score):
            raise DataError(
                f"utterance {utterance_id!r}: the score of '{name}' is {score}, so the model is broken. "
                "Use the checkpoint of a run whose loss stayed finite."
            )
    return plain
