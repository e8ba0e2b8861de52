"""Section about the probabilities of an answer: how often are those of 0.8 right?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ser.calibration.measures import BINS, accuracy_by_coverage
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
    ticks: dict[str, Any] = {"ticks": (0, 0.25, 0.5, 0.75, 1), "form": percent}
    reliability = Plot(
        Axis("probability of the predicted class", 0, 1, **ticks), Axis("accuracy", 0, 1, **ticks)
    )
    reliability.line([(0, 0), (1, 1)], "faint", dash=True)
    for color, probabilities in ((0, task.probabilities), (1, scaled)):
        points = _reliability(probabilities, task.labels)
        reliability.line(points, color)
        reliability.points(points, color)
    accuracies = accuracy_by_coverage(scaled, task.labels)
    curve = thin(np.stack([np.arange(1, len(accuracies) + 1) / len(accuracies), accuracies], 1), 200)
    coverage = Plot(
        Axis("share of utterances that are answered", 0, 1, **ticks), Axis("accuracy", 0, 1, **ticks)
    )
    coverage.level(float(accuracies[-1]))
    coverage.line([*map(tuple, curve.tolist())], 1)
    legend = [Mark("as trained", 0), Mark("scaled", 1), Mark("calibrated", "faint", "dash")]
    covered = [
        Mark("the most confident answers", 1),
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
