"""Section about the probabilities of an answer: how often are those of 0.8 right?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ser.calibration.measures import BINS, accuracy_by_coverage, brier_score, calibration_error
from ser.calibration.temperature import apply_temperature
from ser.html_report.answers import ClassAnswers
from ser.html_report.elements import Chart, Charts, Mark, Section, Text
from ser.html_report.svg import Axis, Plot, percent, thin


def calibration_section(
    task: ClassAnswers | None, temperature: float | None, sentences: Sequence[str]
) -> list[Section]:
    """Return reliability and accuracy by coverage of the main task; none if there is no temperature.

    Args:
        task: Answers of the main task.
        temperature: Temperature that was fitted on validation.
        sentences: What the report says about it.
    """
    if task is None or temperature is None:
        return []
    scaled = apply_temperature(task.probabilities, temperature)
    return _draw(task, {"as trained": task.probabilities, "scaled": scaled}, sentences)


def calibration_elsewhere(task: ClassAnswers | None, temperature: float | None) -> list[Section]:
    """Return the same of answers to another corpus, with the temperature of the training; none without classes.

    Args:
        task: Answers of the main task.
        temperature: Temperature of the training; None if it is unknown, or the answers are scaled already.
    """
    if task is None:
        return []
    sentences = [_measure("The", task.probabilities, task.labels)]
    if temperature is None:
        return _draw(task, {"as answered": task.probabilities}, sentences)
    scaled = apply_temperature(task.probabilities, temperature)
    sentences.append(
        _measure(f"With the temperature {temperature:.2f} of the training, the", scaled, task.labels)
    )
    return _draw(task, {"as answered": task.probabilities, "scaled": scaled}, sentences)


def _measure(start: str, probabilities: np.ndarray, labels: np.ndarray) -> str:
    error, brier = calibration_error(probabilities, labels), brier_score(probabilities, labels)
    return f"{start} expected calibration error is {error:.3f}, the Brier score {brier:.3f}."


def _draw(task: ClassAnswers, curves: Mapping[str, np.ndarray], sentences: Sequence[str]) -> list[Section]:
    """Draw the reliability of each curve, and the accuracy by coverage of the last.

    Args:
        task: Answers.
        curves: Name -> probabilities [N, C].
        sentences: What the section says above the charts.
    """
    ticks: dict[str, Any] = {"ticks": (0, 0.25, 0.5, 0.75, 1), "form": percent}
    reliability = Plot(
        Axis("probability of the predicted class", 0, 1, **ticks), Axis("accuracy", 0, 1, **ticks)
    )
    reliability.line([(0, 0), (1, 1)], "faint", dash=True)
    for color, probabilities in enumerate(curves.values()):
        points = _reliability(probabilities, task.labels)
        reliability.line(points, color)
        reliability.points(points, color)
    last = len(curves) - 1
    accuracies = accuracy_by_coverage([*curves.values()][last], task.labels)
    curve = thin(np.stack([np.arange(1, len(accuracies) + 1) / len(accuracies), accuracies], 1), 200)
    coverage = Plot(
        Axis("share of utterances that are answered", 0, 1, **ticks), Axis("accuracy", 0, 1, **ticks)
    )
    coverage.level(float(accuracies[-1]))
    coverage.line([*map(tuple, curve.tolist())], last)
    legend = [*(Mark(name, color) for color, name in enumerate(curves)), Mark("calibrated", "faint", "dash")]
    covered = [
        Mark("the most confident answers", last),
        Mark(f"all answers: {accuracies[-1]:.1%}", "faint", "dash"),
    ]
    charts = [
        Chart("Reliability", reliability.render("Accuracy by probability"), legend),
        Chart("Accuracy by coverage", coverage.render("Accuracy of the most confident answers"), covered),
    ]
    return [Section("Calibration", [*map(Text, sentences), Charts(charts)])]


def _reliability(probabilities: np.ndarray, labels: np.ndarray) -> list[tuple[float, float]]:
    """Return mean confidence and accuracy of each bin that holds answers."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (float(confidence[bins == each].mean()), float(right[bins == each].mean()))
        for each in np.unique(bins)
    ]
