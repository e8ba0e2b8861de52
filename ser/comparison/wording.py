"""Describe a comparison in sentences."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from ser.comparison.compare import Comparison, Pair
from ser.comparison.intervals import Interval
from ser.comparison.significance import ALPHA, smallest_p
from ser.errors import counted
from ser.files import short

TITLES = {"accuracy": "accuracy", "uar": "UAR"}
"""Titles of scores."""
_MANY = 4  # rows of which the best would be chosen
_NAMED = 5  # runs that are left out, in a note


def describe_pair(pair: Pair, comparison: Comparison) -> str:
    """Return a sentence on the difference of a pair."""
    better, worse = (f"{entry.letter} ({entry.name})" for entry in (pair.better, pair.worse))
    points = f"{100 * pair.difference:.1f} points of {TITLES[comparison.metric]}"
    numbers = (
        f"(95% {format_interval(pair.interval)}), {format_p(pair.corrected, name='p')}, "
        f"{comparison.clusters:,} {comparison.clustered_by}"
    )
    if pair.is_shown:
        return f"{better} beats {worse} by {points} {numbers}."
    return (
        f"No difference shown between {better} and {worse}: {pair.better.letter} has {points} more {numbers}."
    )


def describe_notes(comparison: Comparison, left_out: Mapping[Path, str]) -> Iterator[str]:
    """Yield what a reader must know: how it was tested, what is missing, what the numbers do not show."""
    pairs, entries = len(comparison.pairs), comparison.entries
    yield _describe_items(comparison)
    if pairs:
        yield _describe_tests(comparison)
    if pairs and not _can_differ(comparison):
        least = smallest_p(comparison.clusters) * pairs
        yield (
            f"With {comparison.clusters} {comparison.clustered_by} and {counted(pairs, 'pair')}, no difference "
            f"can be shown: {format_p(min(least, 1.0), name='p')} is the smallest that is possible. Test more speakers."
        )
    if any(entry.row.seeds > 1 for entry in entries):
        yield "Scores are means over seeds; the p-values are about other speakers, not about other seeds."
    if len({entry.row.seeds for entry in entries}) > 1:
        seeds = ", ".join(f"{entry.letter} {entry.row.seeds}" for entry in entries)
        yield f"Rows have different numbers of seeds: {seeds}."
    if comparison.split == "test" and len(entries) >= _MANY:
        yield (
            f"The best of {len(entries)} rows on test is too good, as chance has chosen it, too: choose on validation "
            "with --split validation, and report the test score of that row."
        )
    if comparison.split == "validation":
        yield "The epoch of each run was chosen on validation, so that its scores there are somewhat too good."
    without = [entry.letter for entry in entries if math.isnan(entry.intervals[comparison.metric].low)]
    if without:
        yield f"{', '.join(without)}: no interval, as all predictions are correct or none is."
    if left_out:
        yield _describe_left_out(left_out)


def format_interval(interval: Interval) -> str:
    """Format an interval in percent."""
    if math.isnan(interval.low):
        return "unknown"
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def format_p(value: float, *, name: str = "") -> str:
    """Format a p-value with three digits; with a name, as `p = .031`."""
    is_small = value < 0.001
    text = ".001" if is_small else f"{value:.3f}".removeprefix("0")
    if name:
        return f"{name} {'<' if is_small else '='} {text}"
    return f"<{text}" if is_small else text


def _describe_items(comparison: Comparison) -> str:
    counted = f"All rows were scored on the same {comparison.items:,} items"
    if comparison.has_speakers:
        return f"{counted} of {comparison.clusters:,} speakers. Intervals and p-values are about other such speakers."
    return (
        f"{counted}, {comparison.clusters:,} utterances. Speakers are unknown, so that utterances count as "
        "independent: if speakers have several, intervals are too narrow and p-values too small."
    )


def _describe_tests(comparison: Comparison) -> str:
    pairs, unit = len(comparison.pairs), comparison.clustered_by
    corrected = f", corrected for {pairs} pairs by Holm's method" * (pairs > 1)
    return (
        f"p: how often exchanging two rows for some of the {unit} changes {TITLES[comparison.metric]} that "
        f"much{corrected}; a difference is shown if p < {f'{ALPHA:g}'.removeprefix('0')}. McNemar's test takes all "
        "items as independent, also those of a speaker, so that its p-values are too small."
    )


def _can_differ(comparison: Comparison) -> bool:
    return smallest_p(comparison.clusters) * len(comparison.pairs) < ALPHA


def _describe_left_out(left_out: Mapping[Path, str]) -> str:
    named = [f"{short(path)} ({reason})" for path, reason in left_out.items()]
    more = f" and {len(named) - _NAMED} more" * (len(named) > _NAMED)
    return f"Left out: {counted(len(named), 'run')} without a result: {', '.join(named[:_NAMED])}{more}."
