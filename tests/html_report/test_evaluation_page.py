"""report.html of `ser evaluate`: what it shows beside report.md."""

import csv
import json
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


def test_scores_are_drawn_where_they_are_and_not_as_they_are_printed(evaluated: Path) -> None:
    metrics = json.loads((evaluated.parent / "metrics.json").read_text())
    section = Reader(evaluated.read_text()).section("Scores")
    drawn = [str(node.given["style"]) for node in section if node.given.get("class") == "value"]
    expected = [100 * metrics[name] for name in ("accuracy", "uar", "macro_f1")]
    found = [float(style.removeprefix("left:").removesuffix("%")) for style in drawn]
    assert found == pytest.approx(expected, abs=0.0051)
    assert max(abs(round(share, 1) - share) for share in expected) > 0.01


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
