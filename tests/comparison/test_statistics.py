"""Intervals and tests against scipy, against slow references, and in simulations."""

import itertools

import numpy as np
import pytest

from ser.comparison import intervals, significance
from ser.comparison.scores import SCORES, accuracy, add_by_cluster, count_classes, uar

stats = pytest.importorskip("scipy.stats")
metrics = pytest.importorskip("sklearn.metrics")

SPEAKERS, CLASSES = 12, 4


def draw(
    random: np.random.Generator, runs: int = 2, items: int = 120, speakers: int = SPEAKERS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correct predictions [R, N], labels [N] and speakers [N], in an order that means nothing."""
    labels = np.arange(items) % CLASSES
    owners = random.permutation(np.arange(items) % speakers)
    return (random.random((runs, items)) < 0.6).astype(float), labels, owners


def simulate(random: np.random.Generator, sizes: np.ndarray, *, gain: float = 0.0) -> np.ndarray:
    """Sums [2, S, 2, 1] of two runs whose accuracies differ by speaker as on RAVDESS; `gain` in logits."""
    speaker = random.normal(0.8, 0.5, len(sizes))
    own = random.normal(0, 0.3, (2, len(sizes))) + np.array([[gain], [0.0]])
    right = random.binomial(sizes, 1 / (1 + np.exp(-speaker - own)))
    return np.stack([right, np.broadcast_to(sizes, right.shape)], -1)[..., None].astype(float)


def test_scores_equal_those_of_scikit_learn() -> None:
    correct, labels, _ = draw(np.random.default_rng(0), runs=1)
    predicted = np.where(correct[0] > 0, labels, (labels + 1) % CLASSES)
    sums = count_classes(correct, labels, CLASSES + 1).sum(1)  # one class has no items
    assert accuracy(sums) == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert uar(sums) == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))


def test_sums_by_speaker_equal_a_loop() -> None:
    correct, labels, owners = draw(np.random.default_rng(1))
    counts = count_classes(correct, labels, CLASSES)
    expected = np.stack([counts[:, owners == speaker].sum(1) for speaker in range(SPEAKERS)], 1)
    np.testing.assert_allclose(add_by_cluster(counts, owners), expected)


@pytest.mark.parametrize("degrees", [1, 2, 3, 11, 200, 201, 5000])
def test_student_quantiles_equal_those_of_scipy(degrees: int) -> None:
    assert intervals.student_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-6)


def test_error_equals_that_of_the_mean_for_equal_speakers() -> None:
    sums = simulate(np.random.default_rng(2), np.full(SPEAKERS, 40))
    means = sums[0, :, 0, 0] / 40
    found = intervals.standard_error(intervals.leave_one_out(sums, accuracy))[0]
    assert found == pytest.approx(stats.sem(means))


@pytest.mark.parametrize("metric", SCORES)
def test_error_is_near_that_of_scipys_bootstrap(metric: str) -> None:
    correct, labels, owners = draw(np.random.default_rng(3), runs=1, items=960, speakers=24)
    sums = add_by_cluster(count_classes(correct, labels, CLASSES), owners)
    score = SCORES[metric]
    drawn = stats.bootstrap(
        (np.arange(24),),
        lambda chosen, axis: score(sums[0][chosen].sum(axis - 2)),
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(0),
        vectorized=True,
    )
    found = intervals.standard_error(intervals.leave_one_out(sums, score))[0]
    assert found == pytest.approx(drawn.standard_error * np.sqrt(24 / 23), rel=0.07)


def test_an_interval_stays_within_its_range() -> None:
    interval = intervals.share_interval(0.99, 0.02, 5)
    assert 0 < interval.low < 0.99 < interval.high < 1
    assert np.isnan(intervals.share_interval(1.0, 0.0, 5)).all()
    assert intervals.difference_interval(0.5, 0.9, 2) == (-1.0, 1.0)


@pytest.mark.parametrize("metric", SCORES)
def test_exchanges_equal_a_loop_over_all_of_them(metric: str) -> None:
    correct, labels, owners = draw(np.random.default_rng(4), items=60, speakers=6)
    sums = add_by_cluster(count_classes(correct, labels, CLASSES), owners)
    score = SCORES[metric]
    observed = abs(score(sums[0].sum(0)) - score(sums[1].sum(0)))
    as_large = 0
    for exchanged in itertools.product([False, True], repeat=6):
        first, second = correct.copy()
        for speaker in np.flatnonzero(exchanged):
            chosen = owners == speaker
            first[chosen], second[chosen] = correct[1, chosen], correct[0, chosen]
        values = [score(count_classes(one, labels, CLASSES).sum(0)) for one in (first, second)]
        as_large += abs(values[0] - values[1]) >= observed - 1e-12
    assert significance.exchange_tests(sums, [(0, 1)], score)[0] == pytest.approx(as_large / 2**6)


@pytest.mark.parametrize(("speakers", "tolerance"), [(10, 1e-12), (24, 0.015)])
def test_p_values_equal_those_of_scipys_permutation_test(speakers: int, tolerance: float) -> None:
    sums = simulate(np.random.default_rng(5), np.full(speakers, 40), gain=0.15)
    rights = sums[:, :, 0, 0]
    expected = stats.permutation_test(
        (rights[0], rights[1]),
        lambda first, second, axis: first.mean(axis) - second.mean(axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(1),
    )
    found = significance.exchange_tests(sums, [(0, 1), (1, 0)], accuracy)
    np.testing.assert_allclose(found, expected.pvalue, atol=tolerance)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (3, 9), (12, 12), (400, 310)])
def test_mcnemar_equals_the_binomial_test_of_scipy(counts: tuple[int, int]) -> None:
    expected = stats.binomtest(counts[0], sum(counts)).pvalue if sum(counts) else 1.0
    assert significance.mcnemar(*counts) == pytest.approx(expected)


def test_holm_corrects_as_published() -> None:
    found = significance.holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(significance.holm([0.9, 0.8]), [1.0, 1.0])


def test_intervals_cover_95_percent_with_twelve_speakers() -> None:
    random, hits, repetitions = np.random.default_rng(6), 0, 1000
    truth = np.mean(1 / (1 + np.exp(-random.normal(0.8, np.hypot(0.5, 0.3), 400_000))))
    for _ in range(repetitions):
        sums = simulate(random, np.full(SPEAKERS, 60))[:1]
        value = float(accuracy(sums.sum(1))[0])
        error = float(intervals.standard_error(intervals.leave_one_out(sums, accuracy))[0])
        low, high = intervals.share_interval(value, error, SPEAKERS)
        hits += low <= truth <= high
    assert 0.93 <= hits / repetitions <= 0.97


def test_equal_runs_differ_in_at_most_6_percent() -> None:
    random, alarms, found = np.random.default_rng(7), 0, 0
    for _ in range(400):
        sums = simulate(random, np.full(SPEAKERS, 60))
        alarms += significance.exchange_tests(sums, [(0, 1)], accuracy)[0] < significance.ALPHA
        better = simulate(random, np.full(SPEAKERS, 60), gain=0.8)
        found += significance.exchange_tests(better, [(0, 1)], accuracy)[0] < significance.ALPHA
    assert alarms / 400 <= 0.075  # 0.05 and two and a half standard deviations of 400 simulations
    assert found / 400 >= 0.9


def test_the_smallest_p_is_that_of_speakers_who_all_agree() -> None:
    for speakers in (4, 20):
        sums = np.zeros((2, speakers, 2, 1))
        sums[:, :, 1], sums[0, :, 0] = 10, 9
        found = significance.exchange_tests(sums, [(0, 1)], accuracy)[0]
        assert found == pytest.approx(significance.smallest_p(speakers), abs=1e-4)
