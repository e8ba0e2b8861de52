"""Ensembles of finished runs, and calibration of a run, from files of predictions."""

import json
from pathlib import Path

import numpy as np
import pytest

from ser.calibration.ensemble import combine_runs
from ser.calibration.members import FILE, Member, read_members, write_members
from ser.calibration.run import calibrate_run, read_temperature
from ser.errors import CheckpointError, ConfigError
from ser.html_report.answers import read_answers
from ser.html_report.scores import found_intervals
from ser.runs.predictions_file import predictions_path, read_predictions, write_predictions
from ser.scripts.ensemble import ensemble
from tests.calibration.test_measures import drawn, softmax
from tests.html_report.page_reader import Reader

CLASSES = ("anger", "calm", "joy", "sadness")


def write_run(
    folder: Path,
    *,
    seed: int,
    sharpness: float = 1.0,
    count: int = 400,
    order: int = 1,
    classes: tuple[str, ...] = CLASSES,
    silent: int = 0,
) -> Path:
    """A folder with predictions of validation and test: logits of the labels' distribution, with noise.

    The first `silent` utterances of test have no answer, as recordings in which all frames are silence.
    """
    folder.mkdir(parents=True)
    for split, labels_seed in (("validation", 1), ("test", 2)):
        logits, labels = drawn(count, seed=labels_seed)
        noise = np.random.default_rng(seed).standard_normal(logits.shape)
        scores = softmax(sharpness * (logits + noise))
        rows = [
            {
                "id": f"u{number}",
                "speaker": f"s{number % 7}",
                "label": classes[labels[number]],
                "prediction": classes[scores[number].argmax()],
                **{f"p_{name}": float(value) for name, value in zip(classes, scores[number], strict=True)},
            }
            for number in range(count)
        ]
        for row in rows[: silent if split == "test" else 0]:
            row |= {name: "" for name in row if name == "prediction" or name.startswith("p_")}
        write_predictions(folder, split, rows[::order])
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"")
    return folder


def test_calibration_of_an_overconfident_run_is_fitted_on_validation(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", seed=0, sharpness=4)
    (sentence,) = calibrate_run(run)
    content = json.loads((run / "calibration.json").read_text())
    assert content["temperature"] == read_temperature(run, "leave out calibrate=true") > 2
    for split in ("validation", "test"):
        assert content[split]["scaled"]["ece"] < content[split]["as_trained"]["ece"] / 2
        assert content[split]["scaled"]["brier"] < content[split]["as_trained"]["brier"]
        assert content[split]["count"] == 400
    shares = content["test"]["accuracy_at_coverage"]
    assert shares["0.5"] > shares["0.8"] > shares["1"]
    assert "fitted on validation, the expected calibration error on test is" in sentence
    assert (run / "calibration.png").is_file()


def test_calibration_needs_ten_predictions(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", seed=0, count=9)
    assert calibrate_run(run) == []
    assert not (run / "calibration.json").exists()


def test_ensemble_weighs_the_better_run_and_beats_it(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", seed=3), write_run(tmp_path / "b", seed=4, order=-1)]
    members, scored, sentences = combine_runs(runs, tmp_path / "both", fitted=True)
    assert sum(each.weight for each in members) == pytest.approx(1, abs=1e-6)
    first, second, mean = (own["test"]["accuracy"] for own in scored)
    assert mean > max(first, second)
    found = read_predictions(predictions_path(tmp_path / "both", "test"))
    right = (found.predicted == found.labels).mean()
    assert right == pytest.approx(mean)
    metrics = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert metrics["test/accuracy"] == pytest.approx(right)
    assert len(sentences) == 1


def test_equal_weights_average_the_probabilities(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", seed=3), write_run(tmp_path / "b", seed=4, order=-1)]
    combine_runs(runs, tmp_path / "both", fitted=False)
    tables = [read_predictions(predictions_path(run, "test")) for run in (*runs, tmp_path / "both")]
    first, second, mean = (dict(zip(each.ids, each.probabilities, strict=True)) for each in tables)
    for name in ("u0", "u17", "u399"):
        np.testing.assert_allclose(mean[name], (first[name] + second[name]) / 2, atol=1e-5)


def test_ensemble_of_other_utterances_names_them(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", seed=3), write_run(tmp_path / "b", seed=4)]
    table = predictions_path(runs[1], "validation")
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(ConfigError, match=r"b: 2 utterances of validation are not those of .*first 'u398'"):
        combine_runs(runs, tmp_path / "both", fitted=True)
    assert not (tmp_path / "both").exists()


def test_ensemble_of_other_classes_names_them(tmp_path: Path) -> None:
    other = ("anger", "calm", "fear", "sadness")
    runs = [write_run(tmp_path / "a", seed=3), write_run(tmp_path / "b", seed=4, classes=other)]
    with pytest.raises(ConfigError, match=r"b: has the classes anger, calm, fear, sadness, but .*a has"):
        combine_runs(runs, tmp_path / "both", fitted=True)


def test_ensemble_command_prints_members_and_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(write_run(tmp_path / name, seed=seed)) for seed, name in enumerate("ab")]
    assert ensemble([*runs, "--output", str(tmp_path / "both")]) == 0
    printed = capsys.readouterr().out
    assert "Weights fitted on validation" in printed
    assert f"ser predict ckpt={tmp_path / 'both'} input=FILE" in printed
    assert ensemble([*runs, "--output", str(tmp_path / "both")]) == 1
    assert "holds a run or an ensemble already" in capsys.readouterr().err


def test_an_ensemble_has_a_page_with_the_scores_of_its_mean(tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / name, seed=seed, count=120)) for seed, name in enumerate(("a", "b"))]
    assert ensemble([*runs, "--output", str(tmp_path / "both")]) == 0
    page = Reader((tmp_path / "both" / "report.html").read_text())
    metrics = json.loads((tmp_path / "both" / "metrics.json").read_text())
    answers = read_answers(predictions_path(tmp_path / "both", "test"))
    low, high = found_intervals(answers)["accuracy"]
    rows = {row[0]: row[1:] for row in page.table("Scores of the mean on test")}
    assert rows["accuracy"] == [f"{metrics['test/accuracy']:.1%}", f"{low:.1%} to {high:.1%}"]
    assert rows["UAR"][0] == f"{metrics['test/uar']:.1%}"
    matrix = np.array([row[1:] for row in page.table("Confusion of test")[1:]], dtype=int)
    assert (matrix.sum(), matrix.trace()) == (120, round(120 * metrics["test/accuracy"]))
    titles = [node.text for node in page.all("h2")]
    assert titles[2:] == [
        *("By speaker", "Calibration", "The most confident wrong answers", "Command and environment")
    ]
    assert page.all("audio") == page.all("img") == []


@pytest.mark.parametrize("silent", [20, 60])
def test_a_page_has_no_interval_where_utterances_have_no_answer(tmp_path: Path, silent: int) -> None:
    runs = [
        str(write_run(tmp_path / name, seed=seed, count=60, silent=silent)) for seed, name in enumerate("ab")
    ]
    assert ensemble([*runs, "--output", str(tmp_path / "both")]) == 0
    text = (tmp_path / "both" / "report.html").read_text()
    page = Reader(text)
    metrics = json.loads((tmp_path / "both" / "metrics.json").read_text())
    rows = {row[0]: row[1:] for row in page.table("Scores of the mean on test")}
    assert rows["accuracy"] == [f"{metrics['test/accuracy']:.1%}", ""]
    assert rows["UAR"] == [f"{metrics['test/uar']:.1%}", ""]
    assert f"Without an answer: {silent} utterances, counted as wrong in these scores." in text
    assert "95%: " not in text
    titles = [node.text for node in page.all("h2")]
    assert ("Classes of test" in titles, "Calibration" in titles) == (silent < 60, silent < 60)
    assert titles[-1] == "Command and environment"


def test_ensemble_command_refuses_one_run_and_unfinished_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "a", seed=0)
    assert ensemble([str(run), "--output", str(tmp_path / "both")]) == 1
    assert "is one run, which needs no ensemble" in capsys.readouterr().err
    (run / "checkpoints" / "best.ckpt").unlink()
    assert ensemble([str(run), str(run), "--output", str(tmp_path / "both")]) == 1
    assert "has no checkpoints/best.ckpt" in capsys.readouterr().err


def test_members_are_found_after_all_folders_moved(tmp_path: Path) -> None:
    for name in ("a", "b", "both"):
        (tmp_path / "old" / name).mkdir(parents=True)
    members = [Member(tmp_path / "old" / "a", 0.25), Member(tmp_path / "old" / "b", 0.75)]
    write_members(tmp_path / "old" / "both", members)
    (tmp_path / "old").rename(tmp_path / "new")
    found = read_members(tmp_path / "new" / "both")
    assert [each.run.resolve() for each in found] == [tmp_path / "new" / "a", tmp_path / "new" / "b"]
    assert [each.weight for each in found] == [0.25, 0.75]
    assert read_members(tmp_path / "new" / "a") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is damaged"),
        ('{"members": [{"run": "../a", "weight": 0.4}]}', "expected weights of 0 or more with the sum 1"),
        ('{"members": []}', "expected weights"),
        ('{"members": [{"run": "../gone", "weight": 1}]}', "which is not there"),
    ],
)
def test_damaged_members_are_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / FILE).write_text(content)
    with pytest.raises(CheckpointError, match=words):
        read_members(tmp_path / "both")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no temperature is known"), ("{}", "is damaged"), ('{"temperature": 0}', "expected 0.05 to 20")],
)
def test_a_temperature_that_is_not_there_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "calibration.json").write_text(content)
    with pytest.raises(CheckpointError, match=rf"{words}.*, or leave out calibrate=true\.$"):
        read_temperature(tmp_path, "leave out calibrate=true")
