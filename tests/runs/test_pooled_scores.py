"""Scores pooled over folds: against scikit-learn, and what is left out is named."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import recall_score

from ser.runs.pooled_scores import Job, pool_folds, score_rows, write_folds
from ser.runs.predictions_file import write_predictions
from ser.runs.sweep import record_status
from ser.runs.sweep_tables import summarize

CLASSES = ("anger", "joy", "sadness")


def write_fold(folder: Path, speakers: str, seed: int = 0, hits: float = 0.6) -> tuple[list[str], list[str]]:
    """Predictions for four utterances of each speaker; labels and predictions by number of class."""
    generator = np.random.default_rng([seed, *map(ord, speakers)])
    labels = [CLASSES[generator.choice(3, p=[0.5, 0.3, 0.2])] for _ in range(4 * len(speakers))]
    predicted = [name if generator.random() < hits else CLASSES[generator.integers(3)] for name in labels]
    rows = [
        {
            "id": f"{speakers[number // 4]}{number % 4}",
            "speaker": speakers[number // 4],
            "label": label,
            "prediction": answer,
            **{f"p_{name}": float(name == answer) for name in CLASSES},
        }
        for number, (label, answer) in enumerate(zip(labels, predicted, strict=True))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder, "test", rows)
    return labels, predicted


def read_table(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(path.read_text().splitlines())]


def job_of(folder: Path, completed: bool = True, **repeats: str) -> Job:
    names = {"fold": "data.split.fold"}
    return Job(folder, {names.get(key, key): value for key, value in repeats.items()}, completed)


def test_a_pooled_score_is_that_of_all_predictions_together(tmp_path: Path) -> None:
    answers = [write_fold(tmp_path / str(fold), names) for fold, names in enumerate(("ab", "c", "def"))]
    (pool,) = pool_folds([job_of(tmp_path / str(fold), fold=str(fold)) for fold in range(3)])
    labels, predicted = (np.array([name for pair in answers for name in pair[side]]) for side in (0, 1))
    scores = score_rows(pool.rows)
    assert scores["accuracy"] == pytest.approx(np.mean(labels == predicted))
    assert scores["uar"] == pytest.approx(recall_score(labels, predicted, average="macro"))
    assert scores["majority_floor"] == pytest.approx(np.unique(labels, return_counts=True)[1].max() / 24)
    assert [*pool.by_speaker] == [*"abcdef"]
    assert {len(rows) for rows in pool.by_speaker.values()} == {4}


def test_folds_are_pooled_for_each_seed_alone(tmp_path: Path) -> None:
    jobs = []
    for seed in range(2):
        for fold, names in enumerate(("ab", "cd")):
            folder = tmp_path / f"{seed}{fold}"
            write_fold(folder, names, seed)
            jobs.append(job_of(folder, seed=str(seed), fold=str(fold)))
    pools = pool_folds(jobs)
    assert [(pool.name, len(pool.rows), pool.repeated) for pool in pools] == [
        ("seed=0", 16, 0),
        ("seed=1", 16, 0),
    ]
    assert pool_folds(jobs[::2]) == []  # one fold, two seeds


def test_values_are_pooled_by_their_concordance(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels, answers = generator.normal(size=(2, 40))
    answers += labels + 1
    for fold in range(2):
        chosen = range(20 * fold, 20 * fold + 20)
        rows = [
            {"id": str(n // 5), "speaker": "a", "label_arousal": labels[n], "prediction_arousal": answers[n]}
            for n in chosen
        ]
        (tmp_path / str(fold)).mkdir()
        write_predictions(tmp_path / str(fold), "test", [*rows, {**rows[0], "label_arousal": None}])
    (pool,) = pool_folds([job_of(tmp_path / str(fold), fold=str(fold)) for fold in range(2)])
    slope = 2 * np.mean((labels - labels.mean()) * (answers - answers.mean()))
    expected = slope / (labels.var() + answers.var() + (labels.mean() - answers.mean()) ** 2)
    assert score_rows(pool.rows) == {"ccc_arousal": pytest.approx(expected, abs=1e-4)}


def test_missing_folds_and_repeated_utterances_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fold(tmp_path / "0", "ab")
    write_fold(tmp_path / "1", "bc")
    jobs = [job_of(tmp_path / str(fold), completed=fold < 2, fold=str(fold)) for fold in range(3)]
    pools = pool_folds(jobs)
    write_folds(tmp_path, {"model=cnn": pools})
    printed = " ".join(capsys.readouterr().out.split())
    assert "model=cnn: 1 of 3 folds have no predictions and are left out: data.split.fold=2." in printed
    assert "model=cnn: 4 utterances are tested by several folds, which are not pooled." in printed
    assert "pooled" not in {row["part"] for row in read_table(tmp_path / "folds.csv")}


def test_a_sweep_over_folds_ends_with_pooled_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (model, fold) in enumerate((m, f) for m in ("cnn", "lstm") for f in (0, 1)):
        folder = tmp_path / str(number)
        write_fold(folder, ("ab", "cd")[fold], hits=1.0 if model == "lstm" else 0.0)
        (folder / "metrics.json").write_text(json.dumps({"validation/accuracy": 0.5}))
        words = [f"model={model}", f"data.split.fold={fold}"]
        record_status(folder, "running", overrides=words, settings=str(number))
        record_status(folder, "completed", value=0.5 + number, monitor="validation/accuracy", mode="max")
    assert summarize(tmp_path, ["python", "train.py"]) == 0
    assert "Pooled over folds" in capsys.readouterr().out
    rows = read_table(tmp_path / "folds.csv")
    pooled = {row["setting"]: row for row in rows if row["part"] == "pooled"}
    assert float(pooled["model=lstm"]["accuracy"]) == 1.0
    assert pooled["model=cnn"]["utterances"] == "16"
    assert [row["name"] for row in rows if row["setting"] == "model=lstm" and row["part"] == "speaker"] == [
        *"abcd"
    ]
    assert "| model=lstm | 1 | 2 | 16 | 100.0% | 100.0% |" in (tmp_path / "folds.md").read_text()


def test_values_whose_name_begins_a_task_are_scored_as_values() -> None:
    rows = [
        {
            "label_fear": f"{value}",
            "prediction_fear": f"{value}",
            "label_fear_kind": "a",
            "prediction_fear_kind": "b",
        }
        | {"p_fear_kind_a": "0.4", "p_fear_kind_b": "0.6"}
        for value in range(3)
    ]
    found = score_rows(rows)
    assert found["ccc_fear"] == pytest.approx(1)
    assert found["accuracy_fear_kind"] == 0
    assert "accuracy_fear" not in found
