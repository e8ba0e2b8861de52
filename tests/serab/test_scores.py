"""Scores and tables of the benchmark, against the published table and scikit-learn."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ser.serab import scores, tables
from ser.serab.published import published
from ser.serab.reports import Report
from ser.serab.results import CorpusResults, Result
from ser.serab.scores import Interval, bootstrap, means

metrics = pytest.importorskip("sklearn.metrics")

MISPRINT = "BYOL-A 512"


@pytest.mark.parametrize("model", published().accuracies)
def test_published_means_follow_from_their_rows(model: str) -> None:
    table = published()
    found = means([*table.accuracies[model].values()], [*table.sizes.values()])
    printed = table.means[model]
    if model == MISPRINT:
        assert found == pytest.approx((71.4, 69.5, 69.8), abs=0.05)
        assert found.um < printed.um - 1
        return
    assert found == pytest.approx(printed, abs=0.1)


def test_the_published_table_has_thirteen_models_and_nine_corpora() -> None:
    table = published()
    assert len(table.accuracies) == 13
    names = ["aesdd", "cafe", "crema_d", "emodb", "emovo", "iemocap", "ravdess", "savee", "shemo"]
    assert [*table.corpora] == names
    assert sum(table.sizes.values()) == 4161
    assert table.accuracies["BYOL-S 512"]["ravdess"] == 77.3


@pytest.mark.parametrize("name", [name for name in published().corpora if name not in ("iemocap", "shemo")])
def test_published_accuracies_are_shares_of_the_test_utterances(name: str) -> None:
    table = published()
    for model, row in table.accuracies.items():
        right = round(row[name] * table.sizes[name] / 100)
        if (model, name) != ("openSMILE", "aesdd"):  # 145 of 207 is 70.05: printed 70.0
            assert abs(100 * right / table.sizes[name] - row[name]) < 0.0501, model


def test_means_of_known_numbers() -> None:
    assert means([40.0, 90.0], [300, 100]) == pytest.approx((65.0, 52.5, 60.0))
    assert means([0.0, 90.0], [1, 1]).gm == 0


def test_uar_is_balanced_accuracy() -> None:
    generator = np.random.default_rng(0)
    truth, predicted = generator.choice(list("abc"), (2, 200), p=[0.6, 0.3, 0.1])
    predicted[:5] = "d"  # a class that is not there
    assert scores.uar(predicted, truth) == pytest.approx(
        metrics.recall_score(truth, predicted, average="macro", labels=[*"abc"], zero_division=0)
    )
    assert scores.accuracy(predicted, truth) == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert scores.majority_floor(np.array([*"aab"])) == pytest.approx(2 / 3)


def test_an_interval_over_speakers_is_wider_than_one_over_utterances() -> None:
    generator = np.random.default_rng(0)
    speakers = np.repeat(np.arange(10), 20).astype(str)
    correct = generator.random(200) < np.repeat(generator.choice([0.3, 0.9], 10), 20)
    by_speaker = bootstrap(correct, speakers)
    by_utterance = bootstrap(correct, np.arange(200))
    assert by_speaker.low < by_utterance.low < correct.mean() < by_utterance.high < by_speaker.high
    assert bootstrap(correct, speakers) == by_speaker
    error = np.sqrt(correct.mean() * (1 - correct.mean()) / 200)
    assert by_utterance.high - by_utterance.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_an_interval_over_speakers_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(1)
    speakers, correct = generator.integers(6, size=500), generator.random(500) < 0.7
    sums = [np.bincount(speakers, weights=values) for values in (correct, np.ones(500))]
    expected = stats.bootstrap(
        sums, lambda right, total, axis: right.sum(axis) / total.sum(axis), paired=True, vectorized=True,
        n_resamples=10_000, method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert bootstrap(correct, speakers) == pytest.approx((expected.low, expected.high), abs=5e-3)


def test_two_speakers_never_get_less_than_the_binomial_interval() -> None:
    speakers = np.repeat(["08", "10"], [29, 32])
    correct = np.ones(61, bool)
    correct[[0, 1, 2, 29, 30]] = False  # 26 of 29, 30 of 32
    drawn = bootstrap(correct, speakers)
    found = scores.interval(correct, speakers)
    expected = pytest.importorskip("scipy.stats").binomtest(56, 61).proportion_ci(method="wilson")
    assert scores.wilson(56, 61) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert found == scores.wilson(56, 61)
    assert found.low < drawn.low < drawn.high < found.high


def test_speakers_who_differ_keep_their_wider_interval() -> None:
    speakers = np.repeat([*"abcd"], 30)
    correct = np.repeat([True, False, True, True], 30)
    assert scores.interval(correct, speakers, seed=3) == bootstrap(correct, speakers, seed=3)


def test_an_interval_over_many_speakers_is_that_of_speakers() -> None:
    speakers = np.repeat(np.arange(scores.FEW_SPEAKERS), 5)
    correct = np.tile([True, True, True, True, False], scores.FEW_SPEAKERS)
    assert scores.interval(correct, speakers) == bootstrap(correct, speakers) == Interval(0.8, 0.8)


@pytest.mark.parametrize(("right", "total"), [(0, 20), (20, 20), (7, 20)])
def test_a_binomial_interval_holds_its_share_and_stays_in_bounds(right: int, total: int) -> None:
    low, high = scores.wilson(right, total)
    assert 0 <= low <= right / total <= high <= 1
    assert high - low > 0.1


def test_one_speaker_leaves_no_interval_over_speakers() -> None:
    assert bootstrap(np.array([True, False]), np.array(["a", "a"])) == Interval(0.5, 0.5)


def result(validation: float, correct: int, total: int) -> Result:
    return Result(
        validation_accuracy=validation,
        validation_uar=validation,
        test_accuracy=correct / total,
        test_uar=correct / total,
        test_correct=correct,
        test_total=total,
        interval=Interval(0.1, 0.9),
        settings={"C": 1e-5},
        remarks={"did not converge": 3},
        candidates=22,
    )


def corpus(name: str, *, is_partial: bool = False, total: int = 300) -> CorpusResults:
    by_classifier = {"lda": result(0.7, total // 2, total), "svc": result(0.7, 2 * total // 3, total)}
    floors = {"validation": 0.2, "test": 0.25}
    utterances = {"train": 3 * total, "validation": total, "test": total}
    return CorpusResults(
        name=name,
        by_classifier=by_classifier,
        floors=floors,
        utterances=utterances,
        test_speakers=5,
        is_partial=is_partial,
    )


def report(*results: CorpusResults, **settings: object) -> Report:
    return Report(**{"extractor": "byol_s", "results": results, "select": "validation", **settings})


def test_of_equals_the_first_is_chosen() -> None:
    assert corpus("ravdess").chosen("validation") == "lda"
    assert corpus("ravdess").chosen("test") == "svc"


def test_means_over_some_corpora_never_bear_the_plain_name() -> None:
    told = report(corpus("ravdess"), corpus("savee", total=120), corpus("emodb4", total=61))
    head, *rows = tables.comparison([told])
    assert head[-3:] == ["UM, 2 of 9", "WM, 2 of 9", "GM, 2 of 9"]
    assert not {"UM", "WM", "GM"} & {*head}
    ours = dict(zip(head, rows[-2], strict=True))
    assert ours["model"] == "byol_s, chosen by validation"
    assert (ours["ravdess"], ours["emodb"], ours["emodb4"]) == ("50.0", "-", "49.2")
    published_row = dict(zip(head, rows[0], strict=True))
    assert published_row["UM, 2 of 9"] == f"{(52.3 + 54.2) / 2:.1f}"
    assert published_row["emodb4"] == "-"


def test_with_all_nine_the_printed_means_stand_beside_ours() -> None:
    table = published()
    told = report(*(corpus(name, total=table.sizes[name]) for name in table.corpora), select="test")
    head, *rows = tables.comparison([told])
    assert head[-3:] == ["UM", "WM", "GM"]
    assert rows[0][-3:] == ["55.1", "55.8", "54.0"]
    assert rows[-2][0] == "byol_s, chosen by test: optimistic, as published"
    assert float(rows[-2][-3]) == pytest.approx(66.7, abs=0.3)


def test_partial_corpora_are_marked_and_do_not_count() -> None:
    told = report(corpus("ravdess", is_partial=True), stamps=["ravdess is PARTIAL: 3 of 1440 utterances"])
    text = tables.markdown(told)
    assert "ravdess\\*" in text or "ravdess*" in text
    assert "PARTIAL" in text
    assert "there is nothing to compare" in text
    assert not told.of_the_nine


def test_every_table_is_written_and_stamped(tmp_path: Path) -> None:
    told = report(corpus("ravdess"), stamps=["LEAK: of speakers"], remarks=["a remark"], method=["so"])
    tables.write(tmp_path, told)
    for name in ("serab.csv", "classifiers.csv"):
        with (tmp_path / name).open(newline="") as file:
            assert {row["notes"] for row in csv.DictReader(file)} == {"LEAK: of speakers"}
    kept = json.loads((tmp_path / "results.json").read_text())["ravdess"]
    assert list(kept) == ["lda", "svc"]
    assert kept["svc"]["test_correct"] == 200
    assert kept["svc"]["test_total"] == 300
    assert kept["svc"]["settings"] == {"C": 1e-5}
    text = (tmp_path / "serab.md").read_text()
    assert text.index("chosen by validation".capitalize()) < text.index("Chosen by test: optimistic")
    assert "3 of 22" in text
    assert "| ravdess | LDA | 50.0 | 10.0 to 90.0 | 50.0 | 150 of 300 | 5 | 25.0 |" in text
    assert (tmp_path / "heat_map.png").read_bytes().startswith(b"\x89PNG")
