"""The matrix of corpora: scores of cells against scikit-learn, and what is missing is named."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score

from ser.matrix.matrix import read_matrix
from ser.matrix.tables import markdown, summarize
from ser.runs.predictions_file import predictions_path, write_rows
from ser.runs.sweep import record_status

CLASSES = ("anger", "joy", "sadness")
SETS = "test_sets=[a:A,b:B]"


def answers(corpus: str, count: int, seed: int, *, prefix: bool = False) -> list[dict[str, Any]]:
    """Predictions for utterances of four speakers; labels depend on the corpus alone."""
    labels = np.random.default_rng([*map(ord, corpus)]).integers(3, size=60)
    generator = np.random.default_rng([seed, *map(ord, corpus)])
    start = f"{corpus}/" if prefix else ""
    return [
        {
            "id": f"{start}{number}",
            "speaker": f"{start}s{number % 4}",
            "label": CLASSES[labels[number]],
            "prediction": CLASSES[labels[number] if generator.random() < 0.6 else generator.integers(3)],
        }
        for number in range(count)
    ]


def write_job(sweep: Path, *corpora: str, seed: int = 0, more: tuple[str, ...] = ()) -> Path:
    """A finished training: a fourth of the utterances of its corpora, all of the others."""
    folder = sweep / f"{'_'.join(corpora)}_{seed}{len(more)}"
    words = [f"data.corpora=[{','.join(corpora)}]", SETS, f"seed={seed}", *more]
    record_status(folder, "completed", overrides=words, number=len(corpora), value=0.5)
    own = [row for corpus in corpora for row in answers(corpus, 15, seed, prefix=True)]
    write_rows(predictions_path(folder, "test"), own)
    for corpus in {"a", "b"} - {*corpora}:
        write_rows(predictions_path(folder, corpus), answers(corpus, 60, seed + 7))
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for corpora in (("a",), ("b",), ("a", "b")):
        write_job(tmp_path, *corpora)
    return tmp_path


def table(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    rows = [*csv.DictReader(path.read_text().splitlines())]
    return {(row["trained_on"], row["tested_on"]): row for row in rows}


def test_cells_have_the_scores_of_scikit_learn(sweep: Path) -> None:
    assert summarize(sweep, {}) == 0
    found = table(sweep / "matrix.csv")
    assert [*found] == [(row, column) for row in ("a", "b", "a+b") for column in "ab"]
    for (row, column), cell in found.items():
        own = column in row.split("+")
        rows = answers(column, 15 if own else 60, 0 if own else 7)
        truth, predicted = [each["label"] for each in rows], [each["prediction"] for each in rows]
        assert cell["part"] == ("test split" if own else "whole corpus")
        assert (cell["utterances"], cell["speakers"]) == (str(len(rows)), "4")
        uar = recall_score(truth, predicted, average="macro", labels=[*{*truth}])
        assert float(cell["uar"]) == pytest.approx(uar, abs=1e-5)
        assert float(cell["accuracy"]) == pytest.approx(accuracy_score(truth, predicted), abs=1e-5)
        assert float(cell["uar_low"]) < uar < float(cell["uar_high"])
        most = max(truth.count(name) for name in CLASSES) / len(truth)
        assert float(cell["accuracy_floor"]) == pytest.approx(most, abs=1e-5)


def test_a_column_is_also_scored_on_the_same_utterances(sweep: Path) -> None:
    summarize(sweep, {})
    found = table(sweep / "matrix.csv")
    rows = answers("b", 60, 7)[:15]  # those of the test split of b
    truth, predicted = [each["label"] for each in rows], [each["prediction"] for each in rows]
    expected = recall_score(truth, predicted, average="macro", labels=[*{*truth}])
    assert float(found["a", "b"]["uar_on_test_split"]) == pytest.approx(expected, abs=1e-5)
    assert found["b", "b"]["uar_on_test_split"] == found["b", "b"]["uar"]


def test_seeds_of_a_row_are_averaged_by_utterance(sweep: Path) -> None:
    write_job(sweep, "a", seed=1)
    summarize(sweep, {})
    cell = table(sweep / "matrix.csv")["a", "b"]
    right = [[row["label"] == row["prediction"] for row in answers("b", 60, seed)] for seed in (7, 8)]
    assert (cell["jobs"], cell["utterances"]) == ("2", "60")
    assert float(cell["accuracy"]) == pytest.approx(np.mean(right), abs=1e-5)


def test_settings_in_which_rows_differ_name_them(sweep: Path) -> None:
    write_job(sweep, "a", more=("model=lstm",))
    assert {"a", "a model=lstm"} <= {*read_matrix(sweep).names}


def test_a_training_that_failed_is_named_with_its_reason(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data.corpora=[b]", SETS, "seed=0"]
    record_status(sweep / "b_00", "running", overrides=words)
    record_status(sweep / "b_00", "failed", error="nothing left", reason="error")
    assert summarize(sweep, {}) == 1
    printed = capsys.readouterr().out
    assert "Missing: b: failed: nothing left (b_00)." in printed
    assert f"hydra.sweep.dir={sweep}, which runs what failed or never started" in printed
    assert "- b: failed: nothing left (b_00)" in (sweep / "matrix.md").read_text()
    assert {row for row, _ in table(sweep / "matrix.csv")} == {"a", "a+b"}


def test_trainings_that_never_started_are_named(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = {("a",): 1, ("b",): 3, ("c",): 2}
    assert summarize(sweep, planned) == 2
    printed = capsys.readouterr().out
    assert (
        "Missing: b: 2 of 3 trainings never started.\nMissing: c: 2 of 2 trainings never started." in printed
    )
    assert "- c: 2 of 2 trainings never started" in (sweep / "matrix.md").read_text()


def test_a_fact_before_a_list_is_the_reason(sweep: Path) -> None:
    record_status(sweep / "b_00", "running", overrides=["data.corpora=[b]", SETS, "seed=0"])
    error = "DIR: 2 files are not named as in emodb:\n  x.wav\n  y.wav\nMove them out of it."
    record_status(sweep / "b_00", "failed", error=error, reason="error")
    (line,) = read_matrix(sweep).describe_missing()
    assert line == "b: failed: DIR: 2 files are not named as in emodb (b_00)"


def test_a_cell_without_predictions_is_named(sweep: Path) -> None:
    predictions_path(sweep / "a_00", "b").unlink()
    assert summarize(sweep, {}) == 1
    lines = read_matrix(sweep).describe_missing()
    assert lines[0].startswith("a on b: 1 of 1 finished trainings have no predictions")


def test_unknown_speakers_are_named(sweep: Path) -> None:
    rows = [{**row, "speaker": None} for row in answers("b", 60, 7)]
    write_rows(predictions_path(sweep / "a_00", "b"), rows)
    matrix = read_matrix(sweep)
    assert "b: the speakers are unknown" in markdown(matrix, [])
    assert matrix.cells[0, "b"].speakers is None


def test_values_are_scored_by_their_mean_ccc(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(40, 2))
    predicted = truth + generator.normal(size=(40, 2))
    rows = [
        {
            "id": str(number),
            "speaker": f"s{number % 4}",
            "label_arousal": own[0],
            "label_valence": own[1],
            "prediction_arousal": other[0],
            "prediction_valence": other[1],
        }
        for number, (own, other) in enumerate(zip(truth, predicted, strict=True))
    ]
    record_status(tmp_path / "x", "completed", overrides=["data.corpora=[a]", SETS], value=0.5)
    write_rows(predictions_path(tmp_path / "x", "b"), rows)
    cell = read_matrix(tmp_path).cells[0, "b"]
    expected = [
        2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        for x, y in zip(truth.T, predicted.T, strict=True)
    ]
    assert cell.scores["ccc"] == pytest.approx(np.mean(expected), abs=1e-5)
    assert cell.scores["ccc_low"] < cell.scores["ccc"] < cell.scores["ccc_high"]


def test_utterances_of_a_test_set_that_were_trained_on_are_left_out(sweep: Path) -> None:
    path = predictions_path(sweep / "a_00", "b")
    rows = [{**row, "training": "trained on" if row["id"] < "3" else "new"} for row in answers("b", 60, 7)]
    write_rows(path, rows)
    summarize(sweep, {})
    left = sum(row["training"] == "new" for row in rows)
    assert 0 < left < 60
    assert table(sweep / "matrix.csv")["a", "b"]["utterances"] == str(left)
    assert f"a on b: left out are {60 - left} utterances on which" in (sweep / "matrix.md").read_text()


def test_speakers_that_a_training_and_a_whole_corpus_share_are_named(sweep: Path) -> None:
    scores = {"test_sets/b/shared_speakers": 3, "test_sets/c/shared_speakers": 0}
    path = sweep / "a_00" / "metrics.json"
    path.write_text(json.dumps({**scores, "test_sets/b/same_speakers": 2}))
    assert read_matrix(sweep).describe_seen() == [
        "a on b: LEAK: 2 speakers of the training data: the scores are better than for new speakers.",
        "a on b: 1 speaker with names of speakers of this training: a LEAK if they are the same people.",
    ]
    path.write_text(json.dumps(scores))
    assert read_matrix(sweep).describe_seen() == [
        "a on b: 3 speakers with names of speakers of this training: a LEAK if they are the same people."
    ]
