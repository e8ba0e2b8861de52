"""Predictions by task, and their intervals."""

import tracemalloc

import numpy as np
import pytest
import torch
from torchmetrics.functional import concordance_corrcoef

from ser.html_report.answers import ClassAnswers, ValueAnswers, sort_answers


def test_tasks_are_told_apart_by_their_columns() -> None:
    row = {
        "id": "a",
        "speaker": "",
        "label_emotion": "joy",
        "label_arousal": "0.5",
        "prediction_emotion": "fear",
        "p_emotion_fear": "0.7",
        "p_emotion_joy": "0.3",
        "prediction_arousal": "0.25",
    }
    found = sort_answers([row, {**row, "id": "b", "label_emotion": ""}])
    (task,), (field,) = found.classes, found.values
    assert (task.task, task.ids, task.classes, task.speakers) == ("emotion", ["a"], ["fear", "joy"], [None])
    assert (task.labels.tolist(), task.predicted.tolist()) == ([1], [0])
    assert (field.field, field.truth.tolist(), field.predicted.tolist()) == (
        "arousal",
        [0.5, 0.5],
        [0.25, 0.25],
    )


def test_utterances_without_an_answer_are_counted() -> None:
    row = {"id": "a", "speaker": "s", "label": "x", "prediction": "x", "p_x": "0.6", "p_y": "0.4"}
    found = sort_answers([row, {**row, "prediction": "", "p_x": "", "p_y": ""}])
    assert found.unanswered == 1
    assert found.classes[0].ids == ["a"]
    assert sort_answers([]).main is None


def answers(speakers: list[str | None], right: np.ndarray) -> ClassAnswers:
    labels = np.arange(len(right)) % 2
    shares = np.eye(2)[np.where(right, labels, 1 - labels)]
    return ClassAnswers("", [*map(str, range(len(right)))], speakers, ["x", "y"], labels, shares)


def test_the_interval_of_few_speakers_is_wider_than_that_of_utterances() -> None:
    right = np.repeat([True, True, True, False], 25) ^ (np.arange(100) % 7 == 0)
    speakers: list[str | None] = [f"s{place // 25}" for place in range(100)]
    (low, high), (alone_low, alone_high) = (
        answers(own, right).intervals()["accuracy"] for own in (speakers, [None] * 100)
    )
    assert low < right.mean() < high
    assert high - low > 1.5 * (alone_high - alone_low)


@pytest.mark.parametrize("speakers", [["a"] * 10, [*"abcdefghij"]])
def test_there_is_no_interval_of_one_speaker_or_of_right_answers_alone(speakers: list[str | None]) -> None:
    assert answers(speakers, np.ones(10, dtype=bool)).intervals() == {}


def test_the_score_of_values_is_that_of_torchmetrics() -> None:
    truth, noise = np.random.default_rng(0).normal(size=(2, 90))
    predicted = truth + 0.5 * noise
    speakers: list[str | None] = [f"s{place % 9}" for place in range(90)]
    field = ValueAnswers("arousal", [*map(str, range(90))], speakers, truth, predicted, np.zeros(90))
    expected = float(concordance_corrcoef(torch.from_numpy(predicted), torch.from_numpy(truth)))
    assert field.scores(np.arange(90))["CCC"] == pytest.approx(expected, abs=0.01)  # which divides by N - 1
    interval = field.interval()
    assert interval is not None
    assert interval.low < expected < interval.high


def test_the_interval_of_values_takes_memory_of_the_utterances_alone() -> None:
    count = 600
    truth, noise = np.random.default_rng(0).normal(size=(2, count))
    field = ValueAnswers(
        "arousal", [""] * count, [*map(str, range(count))], truth, truth + noise, np.zeros(count)
    )
    tracemalloc.start()
    try:
        assert field.interval() is not None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < count * count * 8 / 4  # the rows without each speaker, in int64, are 2.9 MB


def test_steps_are_averaged_over_each_utterance() -> None:
    ids, speakers = ["b", "b", "a"], ["s", "s", None]
    truth, predicted = np.array([1.0, 3.0, 5.0]), np.array([0.0, 1.0, 2.0])
    found = ValueAnswers("arousal", ids, speakers, truth, predicted, np.array([0, 1, 0])).mean_over_steps()
    assert (found.ids, found.speakers) == (["a", "b"], [None, "s"])
    assert (found.truth.tolist(), found.predicted.tolist()) == ([5.0, 2.0], [2.0, 0.5])
