"""Scores of each corpus, from the predictions of a run."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from ser.mix.scores import flat_scores, score_cells, score_corpora, score_rows
from ser.runs.predictions_file import write_predictions


def write(folder: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Predictions of 40 utterances of two corpora, of which one has two of the three classes."""
    random = np.random.default_rng(0)
    pairs = {}
    rows = []
    for corpus, classes in {"one": "abc", "two": "ab"}.items():
        labels = [str(name) for name in random.choice([*classes], 20)]
        predicted = [str(name) for name in random.choice([*"abc"], 20)]
        pairs[corpus] = labels, predicted
        rows += [
            {"id": f"{corpus}/{n}", "speaker": None, "corpus": corpus, "label": label, "prediction": answer}
            for n, (label, answer) in enumerate(zip(labels, predicted, strict=True))
        ]
    write_predictions(folder, "test", rows)
    return pairs


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_scores_of_a_corpus_are_those_of_scikit_learn(tmp_path: Path) -> None:
    pairs = write(tmp_path)
    found = score_corpora(tmp_path, "test")
    assert [*found] == ["one", "two"]
    for corpus, (labels, predicted) in pairs.items():
        assert found[corpus]["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
        assert found[corpus]["uar"] == pytest.approx(balanced_accuracy_score(labels, predicted))
        most = max(labels.count(name) for name in labels) / 20
        assert found[corpus]["majority_floor"] == pytest.approx(most)
    assert flat_scores({"test": found})["test/two/uar"] == found["two"]["uar"]


def test_the_table_ends_with_the_mean_over_corpora(tmp_path: Path) -> None:
    write(tmp_path)
    header, *rows = score_cells(score_corpora(tmp_path, "test"))
    assert header == ["corpus", "utterances", "accuracy", "majority floor", "UAR"]
    assert [row[0] for row in rows] == ["one", "two", "mean"]
    accuracies = [float(row[2].rstrip("%")) for row in rows]
    assert accuracies[2] == pytest.approx(np.mean(accuracies[:2]), abs=0.1)


def test_values_are_scored_by_ccc_and_gaps_do_not_count() -> None:
    truth = np.array([0.1, 0.5, -0.3, 0.8])
    answers = truth * 0.5 + 0.1
    rows = [
        {"arousal": str(value), "prediction_arousal": str(answer)}
        for value, answer in zip([*truth, ""], [*answers, 0.2], strict=True)
    ]
    mean = (truth.mean() - answers.mean()) ** 2
    expected = 2 * np.cov(truth, answers, ddof=0)[0, 1] / (truth.var() + answers.var() + mean)
    found = score_rows(rows)
    assert found["ccc_arousal"] == pytest.approx(expected)
    assert found["utterances"] == 5


def test_classes_named_by_numbers_are_scored_as_classes() -> None:
    rows = [{"label": "1", "prediction": "1"}, {"label": "2", "prediction": "1"}]
    assert score_rows(rows) == {"accuracy": 0.5, "uar": 0.5, "majority_floor": 0.5, "utterances": 2.0}


def test_numbered_classes_of_one_of_several_tasks_have_a_uar() -> None:
    rows = [
        {
            "grade": label,
            "arousal": "0.1",
            "prediction_grade": "1",
            "p_grade_1": "1",
            "prediction_arousal": "0.3",
        }
        for label in ("1", "2")
    ]
    found = score_rows(rows)
    assert (found["uar_grade"], found["accuracy_grade"]) == (0.5, 0.5)
    assert "ccc_grade" not in found


def test_values_whose_name_begins_a_task_are_scored_as_values() -> None:
    rows = [
        {
            "fear": value,
            "prediction_fear": value,
            "fear_kind": "a",
            "prediction_fear_kind": "b",
            "p_fear_kind_a": "0.4",
        }
        for value in ("0.1", "0.5", "0.7")
    ]
    found = score_rows(rows)
    assert found["ccc_fear"] == pytest.approx(1)
    assert found["accuracy_fear_kind"] == 0


def test_a_run_of_one_corpus_has_no_scores_of_corpora(tmp_path: Path) -> None:
    assert score_corpora(tmp_path, "test") == {}
    write_predictions(tmp_path, "test", [{"id": "1", "speaker": None, "label": "a", "prediction": "a"}])
    assert score_corpora(tmp_path, "test") == {}
