"""Tests of the difference between two runs on the same items, and their correction for several pairs."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ser.comparison.scores import Score

ALPHA = 0.05
"""Level of significance."""
_MOST_EXACT = 15  # speakers: 16,384 different exchanges
_DRAWS = 20_000  # exchanges that are drawn where there are more
_CHUNK = 8_000_000  # values of a block of exchanges: 64 MB
_SAME = 1e-9  # scores that differ by less are equal: sums of floats in another order


def exchange_tests(sums: np.ndarray, pairs: Sequence[tuple[int, int]], score: Score) -> np.ndarray:
    """Return the p-value of each pair of runs: how often exchanging the runs for some speakers makes such a difference.

    If two runs are equally good, each speaker's sums could as well be those of the other run. All 2^S exchanges are
    enumerated for up to 15 speakers, else 20,000 are drawn with a fixed seed. Two-sided.

    Args:
        sums: Sums [R, S, 2, C] of R runs for each of S speakers.
        pairs: Numbers of two runs each.
        score: Score of sums.

    Source: Good, "Permutation, parametric and bootstrap tests of hypotheses", 2005.
    """
    runs, clusters = sums.shape[:2]
    totals = sums.sum(1)
    values = score(totals)
    found = np.zeros(len(pairs))
    draws = 0
    for chosen in _choose(clusters):
        moved = (chosen @ sums.reshape(runs, clusters, -1)).reshape(runs, len(chosen), *sums.shape[2:])
        draws += len(chosen)
        for number, (one, other) in enumerate(pairs):
            change = moved[other] - moved[one]
            difference = score(totals[one] + change) - score(totals[other] - change)
            found[number] += (np.abs(difference) >= abs(values[one] - values[other]) - _SAME).sum()
    is_exact = clusters <= _MOST_EXACT
    return np.asarray(found / draws if is_exact else (found + 1) / (draws + 1))


def _choose(clusters: int) -> Iterator[np.ndarray]:
    """Yield blocks [B, S] of exchanges: 1 where the runs are exchanged for a speaker.

    The last speaker is never exchanged in the enumeration, because the opposite exchange has the same difference.
    """
    if clusters <= _MOST_EXACT:
        numbers = np.arange(2 ** (clusters - 1))
        yield (numbers[:, None] >> np.arange(clusters) & 1).astype(np.float64)
        return
    random = np.random.default_rng(0)
    rows = max(1, _CHUNK // clusters)
    for start in range(0, _DRAWS, rows):
        size = min(rows, _DRAWS - start), clusters
        yield random.integers(0, 2, size, dtype=np.int8).astype(np.float64)


def smallest_p(clusters: int) -> float:
    """Return the smallest p-value that `exchange_tests` can return for a number of speakers."""
    return 2 / 2**clusters if clusters <= _MOST_EXACT else 1 / (_DRAWS + 1)


def mcnemar(better: int, worse: int) -> float:
    """Return the exact two-sided p-value of McNemar's test, in which items are independent, also those of a speaker.

    Args:
        better: Number of items that only the first run predicts correctly.
        worse: Number of items that only the second run predicts correctly.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", 1947.
    """
    total, least = better + worse, min(better, worse)
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(least + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(value - total * math.log(2)) for value in logs))


def holm(values: Sequence[float]) -> np.ndarray:
    """Return p-values corrected for their number.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    given = np.asarray(values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    steps = given[order] * np.arange(len(given), 0, -1)
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
