"""Files of predictions in a run folder: for each scored utterance its label, the prediction and probabilities."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser.errors import REPEAT_RUN, DataError
from ser.files import read_text
from ser.runs.tables import write_csv

TRAINING, NEW = "training", "new"
"""Column that tells whether a model was trained on an utterance of a further corpus, and its value if it was not."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of classes for the N utterances of a split.

    Args:
        ids: Utterance ids.
        speakers: Speakers; None where they are unknown.
        classes: Names of the C classes.
        labels: Class indices of the labels [N].
        predicted: Class indices of the predictions [N]; -1 where there is none, as for a recording without speech.
        probabilities: Probabilities [N, C]; NaN where there is no prediction.
    """

    ids: Sequence[str]
    speakers: Sequence[str | None]
    classes: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray


def predictions_path(run_dir: Path, split: str) -> Path:
    """Return the path of the predictions for a split in the folder of a run."""
    return run_dir / f"predictions_{split}.csv"


def write_predictions(run_dir: Path, split: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the predictions for a split, one row for each utterance or, where steps have labels, for each step.

    Args:
        run_dir: Folder of the run.
        split: Name of the split.
        rows: See `write_rows`.

    Raises:
        DataError: The file cannot be written.
    """
    write_rows(predictions_path(run_dir, split), rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table of predictions.

    Args:
        path: File to write.
        rows: Columns of each row: `id`, `speaker`, those of labels, those of predictions; None is an empty cell.

    Raises:
        DataError: The file cannot be written.
    """
    cells = [[_format(value) for value in row.values()] for row in rows]
    write_csv(path, [*rows[0]] if rows else [], cells)


def answer_columns(labels: Mapping[str, Any], predicted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row, in which predictions are told from labels by their names."""
    renamed = {"label": "prediction"}
    others = {
        renamed.get(name, name if name.startswith("p_") else f"prediction_{name}"): value
        for name, value in predicted.items()
    }
    return {**labels, **others}


def class_columns(columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the columns of probabilities by what they answer: task -> class -> column, such as `p_emotion_joy`.

    The task is empty where there is one alone; fields of values are left out. A column belongs to the task with the
    longest name: `p_emotion_fine_joy` to `emotion_fine`, and not to `emotion`.

    Args:
        columns: Names of all columns of a table of predictions.
    """
    tasks = [name.removeprefix("prediction").removeprefix("_") for name in columns if _is_answer(name)]
    starts = {f"p_{task}_" if task else "p_": task for task in tasks}
    found: dict[str, dict[str, str]] = {}
    for column in columns:
        if own := [start for start in starts if column.startswith(start)]:
            start = max(own, key=len)
            found.setdefault(starts[start], {})[column.removeprefix(start)] = column
    return found


def _is_answer(column: str) -> bool:
    return column == "prediction" or column.startswith("prediction_")


def _format(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def read_predictions(path: Path) -> Predictions:
    """Read predictions of classes.

    Raises:
        DataError: The file cannot be read, is damaged, or holds predictions of values or of several tasks.
    """
    rows = [*csv.reader(io.StringIO(read_text(path), newline=""))]
    head = rows[0] if rows else []
    classes = tuple(name.removeprefix("p_") for name in head if name.startswith("p_"))
    if missing := [name for name in ("id", "speaker", "label", "prediction") if name not in head]:
        raise DataError(
            f"{path}: has no column '{missing[0]}', so it holds no predictions of classes. "
            "Give a run whose target has classes."
        )
    place = {name: head.index(name) for name in head}
    index = {name: number for number, name in enumerate(classes)}
    try:
        columns = {name: [row[place[name]] for row in rows[1:]] for name in head}
        labels = [index[name] for name in columns["label"]]
        predicted = [index[name] if name else -1 for name in columns["prediction"]]
        scores = [[float(cell) if cell else np.nan for cell in columns[f"p_{name}"]] for name in classes]
    except (LookupError, ValueError) as error:
        raise DataError(f"{path}: is damaged ({error}). To write it again, {REPEAT_RUN}.") from error
    return Predictions(
        ids=columns["id"],
        speakers=[name or None for name in columns["speaker"]],
        classes=classes,
        labels=np.array(labels, dtype=np.int64),
        predicted=np.array(predicted, dtype=np.int64),
        probabilities=np.array(scores, dtype=np.float64).reshape(len(classes), -1).T,
    )
