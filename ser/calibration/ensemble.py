"""Put finished runs of classes together: fit their weights on validation, and score their mean."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser.calibration.members import Member, write_members
from ser.calibration.run import calibrate_run
from ser.calibration.weights import average, fit_weights
from ser.comparison.scores import accuracy, count_classes, uar
from ser.errors import ConfigError
from ser.files import write_atomic
from ser.runs.predictions_file import Predictions, predictions_path, read_predictions, write_predictions

Scores = dict[str, dict[str, float]]
"""Split -> name of a score -> value."""


def combine_runs(
    runs: Sequence[Path], output: Path, *, fitted: bool
) -> tuple[list[Member], list[Scores], list[str]]:
    """Write an ensemble: ensemble.json, predictions and scores of its mean, calibration.json, calibration.png.

    Args:
        runs: Folders of two or more runs with predictions for the same utterances.
        output: Folder to write, which must not hold a run.
        fitted: Whether the weights are fitted on validation; else they are equal.

    Returns:
        The members with their weights; the scores of each, and last those of the mean; sentences about calibration.

    Raises:
        ConfigError: The runs predict other classes or utterances.
        DataError: A run has no predictions, or a file cannot be written.
    """
    tables = {"validation": [read_predictions(predictions_path(run, "validation")) for run in runs]}
    if all(predictions_path(run, "test").is_file() for run in runs):
        tables["test"] = [read_predictions(predictions_path(run, "test")) for run in runs]
    for split, found in tables.items():
        for run, each in zip(runs[1:], found[1:], strict=True):
            _check_alike(split, (runs[0], found[0]), (run, each))
        tables[split] = [_reorder(each, found[0].ids) for each in found]
    weights = np.full(len(runs), 1 / len(runs))
    if fitted:
        known = _has_all(tables["validation"])
        members = [each.probabilities[known] for each in tables["validation"]]
        weights = fit_weights(members, tables["validation"][0].labels[known])
    output.mkdir(parents=True, exist_ok=True)
    combined = {split: _combine(found, weights) for split, found in tables.items()}
    for split, mean in combined.items():
        write_predictions(output, split, _rows(mean))
    scored = [{split: score(found[place]) for split, found in tables.items()} for place in range(len(runs))]
    scored.append({split: score(mean) for split, mean in combined.items()})
    flat = {f"{split}/{name}": value for split, own in scored[-1].items() for name, value in own.items()}
    write_atomic(output / "metrics.json", json.dumps(flat, indent=2, sort_keys=True) + "\n")
    named = [Member(run, float(weight)) for run, weight in zip(runs, weights, strict=True)]
    write_members(output, named)
    return named, scored, calibrate_run(output)


def _check_alike(split: str, first: tuple[Path, Predictions], other: tuple[Path, Predictions]) -> None:
    """Refuse runs with other classes, utterances or labels."""
    (run, found), (own, each) = first, other
    if each.classes != found.classes:
        raise ConfigError(
            f"{own}: has the classes {', '.join(each.classes)}, but {run} has {', '.join(found.classes)}. "
            "Give runs with the same classes."
        )
    labels = [dict(zip(one.ids, one.labels.tolist(), strict=True)) for one in (found, each)]
    if labels[0] != labels[1]:
        differing = [
            name for name in {**labels[0], **labels[1]} if labels[0].get(name) != labels[1].get(name)
        ]
        raise ConfigError(
            f"{own}: {len(differing)} utterances of {split} are not those of {run}, or have another label: first "
            f"{differing[0]!r}. Give runs with the same split."
        )


def _reorder(found: Predictions, ids: Sequence[str]) -> Predictions:
    """Return predictions in the order of other ids."""
    place = {name: number for number, name in enumerate(found.ids)}
    order = [place[name] for name in ids]
    speakers = [found.speakers[number] for number in order]
    arrays = (each[order] for each in (found.labels, found.predicted, found.probabilities))
    return Predictions(ids, speakers, found.classes, *arrays)


def _has_all(found: Sequence[Predictions]) -> np.ndarray:
    """Return which utterances [N] bool every run has predicted."""
    known: np.ndarray = np.all([each.predicted >= 0 for each in found], axis=0)
    return known


def _combine(found: Sequence[Predictions], weights: np.ndarray) -> Predictions:
    """Average the predictions of runs; where one has none, there is none."""
    first, mean = found[0], average([each.probabilities for each in found], weights)
    known = ~np.isnan(mean).any(1)
    predicted = np.full(len(mean), -1)
    predicted[known] = mean[known].argmax(1)
    return Predictions(first.ids, first.speakers, first.classes, first.labels, predicted, mean)


def score(found: Predictions) -> dict[str, float]:
    """Compute accuracy, UAR and majority floor; a missing prediction is wrong."""
    right = (found.predicted == found.labels).astype(float)
    sums = count_classes(right, found.labels, len(found.classes)).sum(0)
    floor = np.bincount(found.labels).max() / len(found.labels)
    return {"accuracy": float(accuracy(sums)), "uar": float(uar(sums)), "majority_floor": float(floor)}


def _rows(found: Predictions) -> list[dict[str, Any]]:
    """Return the rows of predictions_<split>.csv."""
    rows = []
    parts = zip(found.ids, found.speakers, found.labels, found.predicted, found.probabilities, strict=True)
    for name, speaker, label, predicted, scores in parts:
        known = predicted >= 0
        columns = {
            f"p_{one}": float(value) if known else None
            for one, value in zip(found.classes, scores, strict=True)
        }
        answer = found.classes[predicted] if known else None
        rows.append(
            {"id": name, "speaker": speaker, "label": found.classes[label], "prediction": answer, **columns}
        )
    return rows
