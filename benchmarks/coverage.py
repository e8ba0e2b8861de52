"""Simulate how often 95% intervals hold the truth, and how often tests are wrong, for few speakers.

python -m benchmarks.coverage            1,000 simulations of each kind: 3 minutes
python -m benchmarks.coverage 200

Accuracies of speakers differ by a standard deviation of 10 to 11 points; those of the 24 speakers of RAVDESS differ by
10.3 with a fine-tuned encoder and by 14.5 with a frozen one. scipy has the bootstrap intervals over speakers.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ser.comparison import intervals, significance
from ser.comparison.intervals import Interval
from ser.comparison.scores import SCORES, accuracy
from ser.runs.tables import format_markdown

CLASSES = 4
_SPEAKER, _OWN, _CLASS = (
    0.5,
    0.3,
    0.4,
)  # standard deviations in logits: of speakers, runs and classes for a speaker
_BY_CLASS = np.linspace(-0.6, 0.6, CLASSES)
_DRAWS = 1_000


@dataclass(frozen=True)
class Setup:
    """A test split.

    Args:
        speakers: Number of speakers.
        is_uneven: Whether speakers and classes have different numbers of items, else 60 and equal ones.
        logit: Mean accuracy in logits.
    """

    speakers: int
    is_uneven: bool
    logit: float

    def draw(self, random: np.random.Generator, *, gain: float = 0.0) -> np.ndarray:
        """Draw the sums [2, S, 2, C] of two runs on the same speakers; the first is better by `gain` logits."""
        sizes = np.full(self.speakers, 60)
        if self.is_uneven:
            sizes = np.maximum(12, random.lognormal(4, 0.6, self.speakers).astype(int))
        totals = np.stack([random.multinomial(size, self.shares) for size in sizes])
        speaker = random.normal(self.logit, _SPEAKER, (self.speakers, 1)) + _BY_CLASS
        speaker = speaker + random.normal(0, _CLASS, totals.shape)
        own = random.normal(0, _OWN, (2, self.speakers, 1)) + np.reshape([gain, 0.0], (2, 1, 1))
        right = random.binomial(totals, 1 / (1 + np.exp(-speaker - own)))
        return np.stack([right, np.broadcast_to(totals, right.shape)], -2).astype(np.float64)

    @property
    def shares(self) -> np.ndarray:
        """Return the share of each class [C]."""
        weights = np.linspace(1, 3, CLASSES) if self.is_uneven else np.ones(CLASSES)
        return np.asarray(weights / weights.sum())

    def truth(self) -> dict[str, float]:
        """Return the scores for infinitely many speakers."""
        spread = np.sqrt(_SPEAKER**2 + _OWN**2 + _CLASS**2)
        logits = self.logit + spread * stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
        recalls = (1 / (1 + np.exp(-logits[:, None] - _BY_CLASS))).mean(0)
        return {"accuracy": float(recalls @ self.shares), "uar": float(recalls.mean())}

    def __str__(self) -> str:
        kind = "uneven" if self.is_uneven else "even"
        return f"{self.speakers} speakers, {kind}, accuracy {100 * self.truth()['accuracy']:.0f}"


def our_interval(sums: np.ndarray, metric: str) -> Interval:
    """Return the interval of `ser compare` from sums [S, 2, C], without its bound by independent items."""
    score = SCORES[metric]
    error = float(intervals.standard_error(intervals.leave_one_out(sums, score)))
    return intervals.share_interval(float(score(sums.sum(0))), error, len(sums))


def scipy_interval(method: str) -> Callable[[np.ndarray, str], Interval]:
    """Return a function that computes an interval by scipy's bootstrap over speakers."""

    def interval(sums: np.ndarray, metric: str) -> Interval:
        def score(chosen: np.ndarray, axis: int) -> np.ndarray:
            return SCORES[metric](sums[chosen].sum(chosen.ndim - 1 if axis < 0 else axis))

        found = stats.bootstrap(
            (np.arange(len(sums)),), score, n_resamples=_DRAWS, method=method, rng=np.random.default_rng(0)
        ).confidence_interval
        return Interval(float(found.low), float(found.high))

    return interval


METHODS = {
    "jackknife, t, logit": our_interval,
    "percentile bootstrap": scipy_interval("percentile"),
    "BCa bootstrap": scipy_interval("BCa"),
}


def coverage(setup: Setup, simulations: int) -> Iterator[list[str]]:
    """Yield a row for each score: how often the intervals of each method hold the truth, in percent."""
    truth = setup.truth()
    for metric in SCORES:
        random = np.random.default_rng(0)
        hits = dict.fromkeys(METHODS, 0)
        for _ in range(simulations):
            sums = setup.draw(random)[0]
            for name, method in METHODS.items():
                low, high = method(sums, metric)
                hits[name] += low <= truth[metric] <= high
        yield [f"{setup}", metric, *(f"{100 * count / simulations:.1f}" for count in hits.values())]


def alarms(setup: Setup, simulations: int, *, gain: float) -> list[str]:
    """Return a row: how often each test finds a difference, in percent."""
    random = np.random.default_rng(0)
    exchange = items = 0
    for _ in range(simulations):
        sums = setup.draw(random, gain=gain)
        exchange += significance.exchange_tests(sums, [(0, 1)], accuracy)[0] < significance.ALPHA
        right, totals = (sums[:, :, part].sum(-1) for part in (0, 1))
        both = random.hypergeometric(
            right[0].astype(int), (totals - right)[0].astype(int), right[1].astype(int)
        )
        better, worse = (int((right[place] - both).sum()) for place in (0, 1))
        items += significance.mcnemar(better, worse) < significance.ALPHA
    kind = "equal runs" if gain == 0 else f"{gain} logits better"
    return [f"{setup}", kind, *(f"{100 * count / simulations:.1f}" for count in (exchange, items))]


def main() -> None:
    """Print both tables."""
    simulations = int(sys.argv[1]) if sys.argv[1:] else 1_000
    setups = [
        Setup(*kind)
        for kind in ((12, False, 0.8), (12, True, 0.8), (12, False, 3.0), (5, False, 0.8), (24, True, 0.8))
    ]
    print(f"Intervals of 95% that hold the truth, of {simulations:,} simulations, in percent\n")
    rows = [row for setup in setups for row in coverage(setup, simulations)]
    print(format_markdown(["test split", "score", *METHODS], rows), flush=True)
    print("\nPairs of runs with p < .05, in percent\n")
    rows = [alarms(setup, simulations, gain=gain) for gain in (0.0, 0.6) for setup in setups[:2]]
    print(format_markdown(["test split", "runs", "exchanges of speakers", "McNemar"], rows))


if __name__ == "__main__":
    main()
