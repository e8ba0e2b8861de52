"""Predictions of rows for the same items, with the sums, errors and intervals of their scores."""

from dataclasses import dataclass

import numpy as np

from ser.comparison import intervals
from ser.comparison.intervals import Interval
from ser.comparison.scores import SCORES, add_by_cluster, count_classes


@dataclass(frozen=True)
class Scored:
    """Predictions of R rows for the same N items.

    Args:
        correct: How often each row predicts each item correctly [R, N], 0..1.
        labels: Class indices [N], 0..C-1; each has an item.
        clusters: Speaker of each item [N], 0..S-1, or its utterance if speakers are unknown.
        has_speakers: Whether speakers are known.
    """

    correct: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray
    has_speakers: bool

    @property
    def size(self) -> int:
        """Return the number of clusters S."""
        return int(self.clusters.max()) + 1

    @property
    def counts(self) -> np.ndarray:
        """Return the counts [R, N, 2, C] of each item."""
        return count_classes(self.correct, self.labels, int(self.labels.max()) + 1)

    @property
    def sums(self) -> np.ndarray:
        """Return the sums [R, S, 2, C] of each cluster."""
        return add_by_cluster(self.counts, self.clusters)

    def errors(self, metric: str, factors: np.ndarray) -> np.ndarray:
        """Compute standard errors [P] of weighted sums of scores, each at least that of independent items.

        Two speakers with equal scores would give an error of almost 0, however few their items are.

        Args:
            metric: Name of the score.
            factors: Factor of the score of each row in each sum [P, R].
        """
        without = [intervals.leave_one_out(part, SCORES[metric]) for part in (self.sums, self.counts)]
        by_cluster, by_item = (intervals.standard_error(factors @ values) for values in without)
        return np.asarray(np.maximum(by_cluster, by_item))

    def intervals(self) -> dict[str, list[Interval]]:
        """Compute the 95% interval of each score of each row, by the name of the score."""
        found = {}
        for metric, score in SCORES.items():
            values = score(self.sums.sum(1)).tolist()
            errors = self.errors(metric, np.eye(len(self.correct))).tolist()
            pairs = zip(values, errors, strict=True)
            found[metric] = [intervals.share_interval(*pair, self.size) for pair in pairs]
        return found
