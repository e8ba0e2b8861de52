"""Score the predictions of a split for each corpus."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ser.files import read_text
from ser.runs.predictions_file import class_columns, predictions_path
from ser.targets.metrics import accuracy, majority_floor, uar
from ser.targets.value_metrics import measures

Row = Mapping[str, str]
CorpusScores = Mapping[str, Mapping[str, float]]
"""Corpus -> metric -> value; the metrics of classes are accuracy, uar, majority_floor and utterances."""


def score_corpora(run_dir: Path, split: str) -> CorpusScores:
    """Compute the scores of each corpus from the predictions that a run wrote for a split.

    Returns:
        Scores, empty if there are no predictions or they name no corpora.
    """
    path = predictions_path(run_dir, split)
    if not path.is_file():
        return {}
    rows = [*csv.DictReader(io.StringIO(read_text(path), newline=""))]
    parts: dict[str, list[Row]] = {}
    for row in rows:
        if row.get("corpus"):
            parts.setdefault(row["corpus"], []).append(row)
    return {name: score_rows(part) for name, part in parts.items()}


def score_rows(rows: Sequence[Row]) -> dict[str, float]:
    """Compute scores of predictions: of classes, or of each field of values; rows without a label do not count.

    Args:
        rows: Rows of predictions_<split>.csv.
    """
    columns = {"prediction": "label"} if "prediction" in rows[0] else {}
    if not columns:
        fields = (name.removeprefix("prediction_") for name in rows[0] if name.startswith("prediction_"))
        columns = {f"prediction_{field}": field for field in fields if field in rows[0]}
    found: dict[str, float] = {}
    for predicted, label in columns.items():
        pairs = [(row[label], row[predicted]) for row in rows if row[label] and row[predicted]]
        if predicted == "prediction":
            found |= _score_classes(pairs)
        else:
            has_classes = label in class_columns([*rows[0]])
            scores = _score_classes(pairs) if has_classes else _score_values(pairs)
            found |= {f"{name}_{label}": value for name, value in scores.items()}
    return found | {"utterances": float(len(rows))}


Pairs = Sequence[tuple[str, str]]
"""Label and prediction of utterances."""


def _score_classes(pairs: Pairs) -> dict[str, float]:
    """Score classes by accuracy and UAR; empty without any."""
    if not pairs:
        return {}
    names = sorted({name for pair in pairs for name in pair})
    places = np.array([[names.index(name) for name in pair] for pair in pairs])
    confusion = torch.zeros(len(names), len(names), dtype=torch.long)
    np.add.at(confusion.numpy(), (places[:, 0], places[:, 1]), 1)
    scores = {"accuracy": accuracy, "uar": uar, "majority_floor": majority_floor}
    return {name: float(score(confusion)) for name, score in scores.items()}


def _score_values(pairs: Pairs) -> dict[str, float]:
    """Score values by CCC; empty where it is not defined."""
    if not pairs:
        return {}
    values = torch.tensor([[float(cell) for cell in pair] for pair in pairs], dtype=torch.float64)
    ccc = float(measures(values[:, 0], values[:, 1])["ccc"])
    return {} if math.isnan(ccc) else {"ccc": ccc}


def flat_scores(by_split: Mapping[str, CorpusScores]) -> dict[str, float]:
    """Return the scores by flat names such as `test/ravdess/uar`."""
    return {
        f"{split}/{corpus}/{name}": value
        for split, corpora in by_split.items()
        for corpus, scores in corpora.items()
        for name, value in scores.items()
        if name != "utterances"
    }


_TITLES = {"accuracy": "accuracy", "majority_floor": "majority floor", "uar": "UAR", "ccc": "CCC"}


def score_cells(corpora: CorpusScores) -> list[list[str]]:
    """Return a table: a header, a row for each corpus, and the mean over the corpora."""
    names = [*dict.fromkeys(name for scores in corpora.values() for name in scores if name != "utterances")]
    order = [key for title in _TITLES for key in names if key == title or key.startswith(f"{title}_")]
    rows = [["corpus", "utterances", *map(_title, order)]]
    for corpus, scores in corpora.items():
        rows.append(
            [corpus, f"{scores['utterances']:.0f}", *(_show(name, scores.get(name)) for name in order)]
        )
    means = {name: [scores[name] for scores in corpora.values() if name in scores] for name in order}
    rows.append(["mean", "", *(_show(name, float(np.mean(values))) for name, values in means.items())])
    return rows


def _title(name: str) -> str:
    metric = next(key for key in _TITLES if name == key or name.startswith(f"{key}_"))
    field = name.removeprefix(metric).lstrip("_")
    return f"{_TITLES[metric]} of {field}" if field else _TITLES[metric]


def _show(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if name.startswith("ccc") else f"{value:.1%}"
