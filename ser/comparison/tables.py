"""Tables of a comparison: rows with their scores, and pairs."""

from collections.abc import Sequence

from ser.comparison.compare import Comparison, Entry
from ser.comparison.wording import TITLES, format_interval, format_p

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Header and rows."""

ENTRY_COLUMNS = (
    *("letter", "settings", "accuracy", "accuracy_low", "accuracy_high", "uar", "uar_low", "uar_high"),
    *("accuracy_sd_over_seeds", "floor", "seeds", "folds", "parameters", "duration_s", "folders"),
)
PAIR_COLUMNS = (
    *("better", "worse", "score", "difference", "low", "high", "p", "p_holm", "shown", "speakers"),
    *("only_better", "only_worse", "mcnemar_p", "mcnemar_p_holm"),
)


def entry_table(comparison: Comparison) -> Table:
    """Return a row for each entry, for people: shares in percent, columns without content left out."""
    cells = [_describe_entry(entry, comparison) for entry in comparison.entries]
    head = [title for title in cells[0] if any(row[title] for row in cells)]
    return head, [[row[title] for title in head] for row in cells]


def _describe_entry(entry: Entry, comparison: Comparison) -> dict[str, str]:
    row = entry.row
    scores = {
        f"{title} (95%)": f"{100 * entry.values[metric]:.1f} ({format_interval(entry.intervals[metric])})"
        for metric, title in TITLES.items()
    }
    return {
        "row": entry.letter,
        "setting": entry.name,
        **scores,
        "sd over seeds": "" if row.spread is None else f"{100 * row.spread:.1f}",
        "floor": f"{100 * comparison.floor:.1f}",
        "seeds": str(row.seeds),
        "folds": str(row.folds),
        "parameters": "" if row.parameters is None else f"{row.parameters:,}",
        "duration": format_duration(row.duration_s),
    }


def entry_cells(comparison: Comparison) -> Table:
    """Return a row for each entry, for programs: shares in 0..1."""
    rows = []
    for entry in comparison.entries:
        scores = [value for metric in TITLES for value in (entry.values[metric], *entry.intervals[metric])]
        row = entry.row
        numbers = [
            *scores,
            row.spread,
            comparison.floor,
            row.seeds,
            row.folds,
            row.parameters,
            row.duration_s,
        ]
        folders = " ".join(str(run.folder) for run in row.runs)
        rows.append([entry.letter, entry.name, *map(format_number, numbers), folders])
    return ENTRY_COLUMNS, rows


def pair_table(comparison: Comparison) -> Table:
    """Return a row for each pair, for people."""
    rows = [
        [
            f"{pair.better.letter} - {pair.worse.letter}",
            f"{100 * pair.difference:.1f}",
            format_interval(pair.interval),
            format_p(pair.p),
            format_p(pair.corrected),
            f"{pair.only_better} : {pair.only_worse}",
            format_p(pair.mcnemar),
            format_p(pair.mcnemar_corrected),
        ]
        for pair in comparison.pairs
    ]
    head = ["pair", f"{TITLES[comparison.metric]} points", "95%", "p", "p, Holm"]
    return [*head, "better : worse items", "McNemar p", "McNemar p, Holm"], rows


def pair_cells(comparison: Comparison) -> Table:
    """Return a row for each pair, for programs."""
    rows = []
    for pair in comparison.pairs:
        scores = [pair.difference, *pair.interval, pair.p, pair.corrected]
        counts = [pair.only_better, pair.only_worse, pair.mcnemar, pair.mcnemar_corrected]
        names = [pair.better.letter, pair.worse.letter, comparison.metric]
        shown = [str(pair.is_shown).lower(), str(comparison.clusters) if comparison.has_speakers else ""]
        rows.append([*names, *map(format_number, scores), *shown, *map(format_number, counts)])
    return PAIR_COLUMNS, rows


def format_number(value: float | None) -> str:
    """Format a number for programs; empty if it is unknown."""
    return (
        "" if value is None or value != value else f"{value:.6g}" if isinstance(value, float) else str(value)
    )


def format_duration(seconds: float | None) -> str:
    """Format a duration with its unit; empty if it is unknown."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
