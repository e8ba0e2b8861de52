"""Calibration of a run: fit its temperature on validation, and write calibration.json and calibration.png."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser.calibration.measures import accuracy_at, brier_score, calibration_error, log_loss
from ser.calibration.plots import draw_calibration
from ser.calibration.temperature import HIGHEST, LOWEST, apply_temperature, fit_temperature
from ser.errors import CheckpointError
from ser.files import write_atomic
from ser.report import figures
from ser.runs.predictions_file import Predictions, predictions_path, read_predictions

FILE = "calibration.json"
_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
_LEAST = 10  # utterances of validation; of fewer, no temperature is fitted


@dataclass(frozen=True)
class Measured:
    """Measures of a split, before and after temperature scaling."""

    count: int
    as_trained: dict[str, float]
    scaled: dict[str, float]
    accuracy_at_coverage: dict[str, float]


def calibrate_run(folder: Path) -> list[str]:
    """Fit the temperature of a run of classes on validation, and write calibration.json and calibration.png.

    Returns:
        Sentences for the report; none if there are fewer than 10 predictions on validation.

    Raises:
        DataError: A file cannot be read or written.
    """
    splits = {
        split: _decided(read_predictions(path))
        for split in ("validation", "test")
        if (path := predictions_path(folder, split)).is_file()
    }
    if "validation" not in splits or len(splits["validation"].labels) < _LEAST:
        return []
    fitted = splits["validation"]
    temperature = fit_temperature(fitted.probabilities, fitted.labels)
    scored = {split: _measure(each, temperature) for split, each in splits.items() if len(each.labels)}
    content = {"temperature": temperature, **{split: vars(each) for split, each in scored.items()}}
    write_atomic(folder / FILE, json.dumps(content, indent=2) + "\n")
    split = "test" if "test" in scored else "validation"
    shown = splits[split]
    picture = draw_calibration(
        shown.probabilities,
        apply_temperature(shown.probabilities, temperature),
        shown.labels,
        f"{split}: {len(shown.labels):,} utterances",
    )
    figures.save(picture, folder / "calibration.png")
    return [_describe(temperature, split, scored[split])]


def _decided(found: Predictions) -> Predictions:
    """Select the utterances that have a prediction."""
    known = found.predicted >= 0
    kept: list[int] = np.flatnonzero(known).tolist()
    return Predictions(
        [found.ids[place] for place in kept],
        [found.speakers[place] for place in kept],
        found.classes,
        found.labels[known],
        found.predicted[known],
        found.probabilities[known],
    )


def _measure(found: Predictions, temperature: float) -> Measured:
    labels, scaled = found.labels, apply_temperature(found.probabilities, temperature)
    return Measured(
        len(labels),
        _measures(found.probabilities, labels),
        _measures(scaled, labels),
        {f"{share:g}": accuracy_at(share, scaled, labels) for share in _COVERAGES},
    )


def _measures(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {
        "ece": calibration_error(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "log_loss": log_loss(probabilities, labels),
    }


def _describe(temperature: float, split: str, found: Measured) -> str:
    bound = " (the limit)" * (not LOWEST * 1.01 < temperature < HIGHEST / 1.01)
    own = " The temperature was fitted to the same utterances." * (split == "validation")
    before, after = found.as_trained, found.scaled
    some = found.accuracy_at_coverage["0.8"]
    return (
        f"With temperature {temperature:.2f}{bound}, fitted on validation, the expected calibration error on {split} "
        f"is {after['ece']:.3f} instead of {before['ece']:.3f}, the Brier score {after['brier']:.3f} instead of "
        f"{before['brier']:.3f}. The 80% most confident predictions have an accuracy of {some:.1%}, all of them "
        f"{found.accuracy_at_coverage['1']:.1%}.{own}"
    )


def read_temperature(folder: Path, remedy: str) -> float:
    """Read the temperature of a run or an ensemble.

    Args:
        folder: Folder of the run.
        remedy: What makes it needless, for messages, such as "leave out calibrate=true".

    Raises:
        CheckpointError: There is none, or it cannot be used.
    """
    path = folder / FILE
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        temperature = float(content["temperature"])
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file, so no temperature is known. Give the folder of a run that predicts classes, or "
            f"{remedy}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: is damaged ({error}). Copy it again, or {remedy}.") from error
    if not LOWEST <= temperature <= HIGHEST:
        raise CheckpointError(
            f"{path}: temperature is {temperature}, expected {LOWEST} to {HIGHEST}. Copy the file again, or {remedy}."
        )
    return temperature
