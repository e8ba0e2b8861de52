"""report.html of `ser evaluate`: what it shows beside report.md."""

import csv
from pathlib import Path

import pytest

from ser.calibration.measures import brier_score
from ser.calibration.temperature import apply_temperature
from ser.html_report.answers import sort_answers
from tests.html_report.evaluations import write_evaluated
from tests.html_report.page_reader import Reader


def test_groups_stand_by_their_score_the_lowest_first(evaluated: Path) -> None:
    head, *rows = Reader(evaluated.read_text()).table("Scores by speaker, the lowest first")
    shares = [float(row[head.index("accuracy")][:-1]) for row in rows]
    assert shares == sorted(shares)
    assert rows[0][0] == "s3"
    text = (evaluated.parent / "report.md").read_text().partition("## By speaker")[2]
    assert text.index("s3") < text.index("s0")


def test_probabilities_are_compared_with_those_that_the_training_scales(evaluated: Path) -> None:
    rows = [*csv.DictReader((evaluated.parent / "predictions.csv").read_text().splitlines())]
    (task,) = sort_answers(rows).classes
    section = Reader(evaluated.read_text()).section("Calibration")
    texts = [node.text for node in section if node.tag == "p"]
    scaled = apply_temperature(task.probabilities, 1.7)
    for text, probabilities in zip(texts, (task.probabilities, scaled), strict=True):
        assert text.endswith(f"the Brier score {brier_score(probabilities, task.labels):.3f}.")
    assert texts[1].startswith("With the temperature 1.70 of the training")


def test_answers_that_are_scaled_already_have_one_curve(tmp_path: Path) -> None:
    section = Reader(write_evaluated(tmp_path, {}, None).read_text()).section("Calibration")
    assert len([node for node in section if node.tag == "p"]) == 1
    assert "scaled" not in "".join(node.text for node in section if node.tag == "li")


def test_an_evaluation_names_its_environment(evaluated: Path) -> None:
    rows = dict(row for row in Reader(evaluated.read_text()).table("Environment") if len(row) == 2)
    assert rows["torch"] == pytest.importorskip("torch").__version__
    assert rows["hash of table.csv"] == "0" * 64
    assert {"commit", "time", "Python", "devices"} <= {*rows}
