"""Scores of a labelled corpus, against scikit-learn and against their definitions."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ser.data.store import Store
from ser.evaluation.corpus import LabelledCorpus
from ser.evaluation.report import ReportFacts, write_evaluation
from ser.evaluation.score_rows import score_table
from ser.evaluation.scores import Evaluation, evaluate_answers
from ser.targets import Classes, MultiTask, Regression

TARGET = Classes(["a", "b", "c", "d"], "emotion")


def corpus_of(labels: np.ndarray, names: tuple[str, ...], speakers: list[str | None]) -> LabelledCorpus:
    store = Store(
        ids=[*range(len(labels))],
        audio=np.zeros((len(labels), 1), np.float32),
        offsets=np.arange(len(labels) + 1),
        labels=labels,
        label_names=names,
        layout="object",
        fingerprint="",
    )
    sexes = ["m" if place % 3 else "f" for place in range(len(labels))]
    return LabelledCorpus("here", store, speakers, {"speaker": speakers, "sex": sexes})


def scored(*, silent: int = 0, known: bool = True) -> tuple[np.ndarray, torch.Tensor, Evaluation]:
    """60 utterances of six speakers with three of the four classes, some without a decision."""
    random = np.random.default_rng(0)
    labels = np.array(["a", "b", "c"])[random.choice(3, 60, p=[0.6, 0.3, 0.1])]
    answers = torch.from_numpy(random.dirichlet(np.ones(4), 60)).float()
    answers[:silent] = torch.nan
    speakers: list[str | None] = [f"s{place % 6}" if known else None for place in range(60)]
    return (
        labels,
        answers,
        evaluate_answers(corpus_of(labels[:, None], ("emotion",), speakers), answers, TARGET),
    )


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, answers, found = scored()
    predicted = [TARGET.class_names[place] for place in answers.argmax(1).tolist()]
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert found.metrics["uar"] == pytest.approx(
            metrics.balanced_accuracy_score(labels, predicted), abs=1e-6
        )
    assert found.metrics["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted), abs=1e-6)
    assert found.metrics["macro_f1"] == pytest.approx(
        metrics.f1_score(labels, predicted, average="macro"), abs=1e-6
    )
    assert found.metrics["uar_floor"] == pytest.approx(1 / 3)
    assert found.absent == ["d"]


def test_rows_add_up_to_the_metrics_of_all_and_of_groups() -> None:
    _, _, found = scored(silent=5)
    assert len(found.rows) == found.metrics["utterances"] == 55
    right = [row["label"] == row["prediction"] for row in found.rows]
    assert found.metrics["accuracy"] == pytest.approx(np.mean(right), abs=1e-6)
    for group in found.groups["speaker"]:
        own = [hit for hit, row in zip(right, found.rows, strict=True) if row["speaker"] == group.value]
        assert group.metrics["accuracy"] == pytest.approx(np.mean(own), abs=1e-6)
        assert (group.utterances, group.speakers) == (len(own), 1)
    assert sum(group.utterances for group in found.groups["sex"]) == 55


def test_utterances_without_speech_are_left_out_and_named() -> None:
    labels, _, found = scored(silent=2)
    assert [(each.id, each.label, each.reason) for each in found.left_out] == [
        (0, labels[0], "no speech, so no decision"),
        (1, labels[1], "no speech, so no decision"),
    ]
    assert found.metrics["left_out"] == 2


def test_the_interval_is_the_jackknife_over_speakers() -> None:
    labels, answers, found = scored()
    right = np.array(TARGET.class_names)[answers.argmax(1).numpy()] == labels
    value = right.mean()
    without = np.array([right[np.arange(60) % 6 != speaker].mean() for speaker in range(6)])
    error = math.sqrt(5 / 6 * ((without - without.mean()) ** 2).sum())
    single = np.array([np.delete(right, place).mean() for place in range(60)])
    error = max(error, math.sqrt(59 / 60 * ((single - single.mean()) ** 2).sum()))
    half = 2.5705818366 * error / (value * (1 - value))  # Student's t with 5 degrees of freedom
    logit = math.log(value / (1 - value))
    expected = [1 / (1 + math.exp(-bound)) for bound in (logit - half, logit + half)]
    assert [*found.intervals["accuracy"]] == pytest.approx(expected, abs=1e-5)
    assert found.metrics["accuracy_low"] == found.intervals["accuracy"].low
    assert found.clustered_by == "speakers"


def test_unknown_speakers_give_an_interval_over_utterances() -> None:
    _, _, found = scored(known=False)
    assert found.clustered_by == "utterances"
    assert "speakers" not in found.metrics
    assert {*found.intervals} == {"accuracy", "uar"}
    assert [*found.groups] == ["sex"]


def test_values_are_scored_by_ccc_with_an_interval() -> None:
    random = np.random.default_rng(1)
    truth = random.normal(size=(40, 1))
    answers = torch.from_numpy(truth + random.normal(size=(40, 1))).float()
    speakers: list[str | None] = [f"s{place % 5}" for place in range(40)]
    labels = np.array([[f"{value:.6f}"] for value in truth[:, 0]])
    labels[3] = ""
    found = evaluate_answers(corpus_of(labels, ("arousal",), speakers), answers, Regression(["arousal"]))
    x, y = np.delete(truth[:, 0], 3), np.delete(answers[:, 0].double().numpy(), 3)
    expected = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert found.metrics["ccc"] == pytest.approx(expected, abs=1e-5)
    low, high = found.intervals["ccc"]
    assert low < expected < high
    assert [(each.id, each.reason) for each in found.left_out] == [(3, "no label")]
    assert {"label_arousal", "prediction_arousal"} < found.rows[0].keys()


def test_each_of_several_tasks_has_the_intervals_and_floors_that_it_has_alone() -> None:
    random = np.random.default_rng(2)
    words = random.choice(["a", "b", "c"], 60)
    values = random.normal(size=60)
    classes = torch.from_numpy(random.dirichlet(np.ones(4), 60)).float()
    guesses = torch.from_numpy(values + random.normal(size=60)).float()[:, None]
    arousal = Regression(["arousal"], mean=[0.5], std=[2.0])
    both = MultiTask({"emotion": {"target": TARGET}, "arousal": {"target": arousal}})
    texts = np.array([f"{value:.6f}" for value in values])
    texts[:6] = ""  # not labelled for the second task
    speakers: list[str | None] = [f"s{place % 6}" for place in range(60)]
    labels = np.stack([words, texts], 1)
    found = evaluate_answers(
        corpus_of(labels, ("emotion", "arousal"), speakers), torch.cat([classes, guesses], 1), both
    )
    alone = {
        "emotion": evaluate_answers(corpus_of(labels[:, :1], ("emotion",), speakers), classes, TARGET),
        "arousal": evaluate_answers(
            corpus_of(labels[6:, 1:], ("arousal",), speakers[6:]), guesses[6:], arousal
        ),
    }
    assert {*found.intervals} == {"emotion/accuracy", "emotion/uar", "arousal/ccc"}
    for name, interval in found.intervals.items():
        task, _, metric = name.partition("/")
        assert [*interval] == pytest.approx([*alone[task].intervals[metric]], abs=1e-6)
    assert found.metrics["emotion/uar_floor"] == pytest.approx(1 / 3)
    assert found.metrics["arousal/mse_floor"] == pytest.approx(((values[6:] - 0.5) ** 2).mean(), abs=1e-5)
    assert found.metrics["arousal/mae_floor_arousal"] == pytest.approx(abs(values[6:] - 0.5).mean(), abs=1e-5)
    assert found.absent == ["emotion/d"]
    rows = {row[0]: row[1:] for row in score_table(found)[1]}
    assert rows["emotion: UAR"][1] != ""
    assert rows["emotion: UAR"][2] == "33.3%"
    assert rows["arousal: MAE"][2] == f"{found.metrics['arousal/mae_floor']:.3f}"


def test_an_evaluation_removes_the_files_of_the_former_one_and_no_others(tmp_path: Path) -> None:
    facts = ReportFacts("run on here", "here", "ser evaluate", [], [], [])
    labels, _, found = scored()
    corpus = corpus_of(labels[:, None], ("emotion",), [None] * 60)
    assert write_evaluation(tmp_path, found, corpus, facts) == tmp_path / "report.md"
    former = {each.name for each in tmp_path.iterdir()}
    assert "confusion.png" in former
    for name in ("report.html", "notes.txt", "mine.png"):
        (tmp_path / name).touch()
    values = np.random.default_rng(0).normal(size=(60, 1))
    texts = np.array([[f"{value:.6f}"] for value in values[:, 0]])
    corpus = corpus_of(texts, ("arousal",), [None] * 60)
    found = evaluate_answers(corpus, torch.from_numpy(values).float(), Regression(["arousal"]))
    write_evaluation(tmp_path, found, corpus, facts)
    left = {each.name for each in tmp_path.iterdir()}
    assert {"notes.txt", "mine.png", "metrics.json", "groups.csv"} < left
    assert not left & {"confusion.png", "report.html"}
