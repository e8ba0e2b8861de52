"""Compare rows of runs on the same items: scores with intervals, and a test for each pair."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ser.comparison import intervals, significance
from ser.comparison.intervals import Interval
from ser.comparison.rows import Row, check_alike, name_rows
from ser.comparison.scored import Scored
from ser.comparison.scores import SCORES
from ser.errors import ConfigError, DataError, did_you_mean
from ser.files import short


@dataclass(frozen=True)
class Entry:
    """A row with its scores.

    Args:
        letter: Name in this comparison, such as A.
        name: Settings in which rows differ.
        row: The runs.
        values: Score of all items, 0..1, by name.
        intervals: Interval of each score.
    """

    letter: str
    name: str
    row: Row
    values: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class Pair:
    """The difference between two entries.

    Args:
        better: Entry with the higher or an equal score.
        worse: The other entry.
        difference: Difference of their scores, 0 or more.
        interval: Interval of the difference.
        p: P-value of exchanging the runs of speakers.
        corrected: The same after Holm's correction for all pairs.
        only_better: Number of items that the better entry predicts correctly more often.
        only_worse: Number of items that the worse entry predicts correctly more often.
        mcnemar: P-value of McNemar's test.
        mcnemar_corrected: The same after Holm's correction.
    """

    better: Entry
    worse: Entry
    difference: float
    interval: Interval
    p: float
    corrected: float
    only_better: int
    only_worse: int
    mcnemar: float
    mcnemar_corrected: float

    @property
    def is_shown(self) -> bool:
        """Return whether the difference is more than chance, after Holm's correction."""
        return self.corrected < significance.ALPHA


@dataclass(frozen=True)
class Comparison:
    """Rows, best first, and all pairs of them.

    Args:
        split: Split that was scored.
        metric: Score by which rows are sorted and pairs are tested.
        entries: The rows.
        pairs: All pairs.
        items: Number of items.
        clusters: Number of speakers, or of utterances if speakers are unknown.
        has_speakers: Whether speakers are known.
        floor: Share of the most frequent class.
    """

    split: str
    metric: str
    entries: Sequence[Entry]
    pairs: Sequence[Pair]
    items: int
    clusters: int
    has_speakers: bool
    floor: float

    @property
    def clustered_by(self) -> str:
        """Return what is independent: speakers, or utterances if speakers are unknown."""
        return "speakers" if self.has_speakers else "utterances"


def compare(rows: Sequence[Row], *, split: str, metric: str) -> Comparison:
    """Score rows, and test all pairs of them.

    Args:
        rows: Rows of runs on the same items.
        split: Split that was scored.
        metric: Score by which rows are sorted and pairs are tested.

    Raises:
        ConfigError: There is no such score, or rows have other classes or items.
        DataError: Items have other labels or speakers, or there are fewer than two speakers.
    """
    if metric not in SCORES:
        raise ConfigError(f"--metric {metric}: no such score. {did_you_mean(metric, SCORES)}")
    check_alike(rows)
    scored = _align(rows)
    order = np.argsort(-SCORES[metric](scored.sums.sum(1)), kind="stable")
    scored = replace(scored, correct=scored.correct[order])
    names = name_rows(rows)
    entries = _make_entries([rows[place] for place in order], [names[place] for place in order], scored)
    return Comparison(
        split=split,
        metric=metric,
        entries=entries,
        pairs=_make_pairs(entries, scored, metric),
        items=len(scored.labels),
        clusters=scored.size,
        has_speakers=scored.has_speakers,
        floor=float(np.bincount(scored.labels).max() / len(scored.labels)),
    )


def _align(rows: Sequence[Row]) -> Scored:
    """Arrange the predictions of rows for the same items.

    Raises:
        DataError: There are fewer than two speakers.
    """
    items = sorted(rows[0].correct)
    runs = rows[0].runs
    labels = {item: run.classes[label] for run in runs for item, label in run.labels.items()}
    speakers = {item: speaker for run in runs for item, speaker in run.speakers.items()}
    has_speakers = None not in speakers.values()
    clusters = [speakers[item] if has_speakers else item[0] for item in items]
    if len({*clusters}) < 2:
        raise DataError(
            f"{short(rows[0].first.folder)}: one speaker was scored ({clusters[0]}), which says nothing about other "
            "speakers. Score more of them, for instance with a sweep over folds."
        )
    return Scored(
        correct=np.array([[row.correct[item] for item in items] for row in rows]),
        labels=np.unique([labels[item] for item in items], return_inverse=True)[1],
        clusters=np.unique(np.array(clusters), return_inverse=True)[1],
        has_speakers=has_speakers,
    )


def _make_entries(rows: Sequence[Row], names: Sequence[str], scored: Scored) -> list[Entry]:
    values = {metric: score(scored.sums.sum(1)) for metric, score in SCORES.items()}
    found = scored.intervals()
    return [
        Entry(
            letter=letter(place),
            name=names[place],
            row=row,
            values={metric: float(values[metric][place]) for metric in SCORES},
            intervals={metric: found[metric][place] for metric in SCORES},
        )
        for place, row in enumerate(rows)
    ]


def _make_pairs(entries: Sequence[Entry], scored: Scored, metric: str) -> list[Pair]:
    places = [*itertools.combinations(range(len(entries)), 2)]
    if not places:
        return []
    better, worse = np.array(places).T
    identity = np.eye(len(entries))
    errors = scored.errors(metric, identity[better] - identity[worse])
    p = significance.exchange_tests(scored.sums, places, SCORES[metric])
    more = [int((scored.correct[one] > scored.correct[other]).sum()) for one, other in places]
    less = [int((scored.correct[one] < scored.correct[other]).sum()) for one, other in places]
    mcnemar = [significance.mcnemar(*counts) for counts in zip(more, less, strict=True)]
    corrected, mcnemar_corrected = significance.holm(p.tolist()), significance.holm(mcnemar)
    pairs = []
    for number, (one, other) in enumerate(places):
        difference = entries[one].values[metric] - entries[other].values[metric]
        pairs.append(
            Pair(
                better=entries[one],
                worse=entries[other],
                difference=difference,
                interval=intervals.difference_interval(difference, float(errors[number]), scored.size),
                p=float(p[number]),
                corrected=float(corrected[number]),
                only_better=more[number],
                only_worse=less[number],
                mcnemar=mcnemar[number],
                mcnemar_corrected=float(mcnemar_corrected[number]),
            )
        )
    return pairs


def letter(place: int) -> str:
    """Return the letter of an entry: A to Z, AA to AZ and so on."""
    rest, last = divmod(place, 26)
    return (letter(rest - 1) if rest else "") + chr(ord("A") + last)
