"""Scores of a labelled corpus, against scikit-learn and against their definitions."""

import math

import numpy as np
import pytest
import torch

from ser.data.store import Store
from ser.evaluation.corpus import LabelledCorpus
from ser.evaluation.scores import Evaluation, evaluate_answers
from ser.targets import Classes, Regression

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
