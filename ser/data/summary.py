"""Summarise the splits of a run: size, lengths and class counts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from ser.errors import DataError
from ser.runs.tables import format_markdown


@dataclass(frozen=True)
class SplitSummary:
    """Size of a split.

    Args:
        name: Name of the split.
        utterances: Number of utterances.
        frames_mean: Mean number of frames of an utterance.
        frames_std: Standard deviation of the number of frames, of the population.
        frames_min: Smallest number of frames, at least 1.
        frames_max: Largest number of frames.
        class_counts: Number of utterances of each class name, in the order of class indices; None without labels.
        speakers: Number of speakers; None if unknown.
        minutes: Minutes of speech; None if only frames are known.
        labels: Description of labels that are not classes, by row of the table.
        corpora: Number of utterances of each corpus, where there are several.
    """

    name: str
    utterances: int
    frames_mean: float
    frames_std: float
    frames_min: int
    frames_max: int
    class_counts: dict[str, int] | None
    speakers: int | None = None
    minutes: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    corpora: Mapping[str, int] = field(default_factory=dict)

    @property
    def majority_floor(self) -> float | None:
        """Return the share of the most frequent class, the accuracy without any input. None without labels."""
        if self.class_counts is None:
            return None
        return max(self.class_counts.values()) / self.utterances

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON, including the majority floor; without corpora if there is but one."""
        plain = asdict(self) | {"majority_floor": self.majority_floor}
        return plain if self.corpora else {key: value for key, value in plain.items() if key != "corpora"}


def summarize(
    name: str,
    lengths: np.ndarray,
    classes: np.ndarray | None,
    class_names: Sequence[str],
    *,
    speakers: int | None = None,
    minutes: float | None = None,
    labels: Mapping[str, str] | None = None,
    corpora: Mapping[str, int] | None = None,
) -> SplitSummary:
    """Summarise a split.

    Args:
        name: Name of the split.
        lengths: Number of frames of each utterance [N].
        classes: Class indices [N]; None without labels.
        class_names: Class names [C].
        speakers: Number of speakers, if known.
        minutes: Minutes of speech, if known.
        labels: See SplitSummary.
        corpora: See SplitSummary.

    Raises:
        DataError: The split has no utterances.
    """
    if not len(lengths):
        raise DataError(f"split '{name}': has no utterances. Give a file with at least one.")
    counts = None
    if classes is not None:
        counts = np.bincount(classes, minlength=len(class_names)).tolist()
    return SplitSummary(
        name=name,
        utterances=len(lengths),
        frames_mean=float(np.mean(lengths)),
        frames_std=float(np.std(lengths)),
        frames_min=int(np.min(lengths)),
        frames_max=int(np.max(lengths)),
        class_counts=None if counts is None else dict(zip(class_names, counts, strict=True)),
        speakers=speakers,
        minutes=minutes,
        labels=dict(labels or {}),
        corpora=dict(corpora or {}),
    )


def table(summaries: Sequence[SplitSummary]) -> Table:
    """Return the splits side by side, as a table for the console."""
    header, *rows = summary_rows(summaries)
    grid = Table(box=box.SIMPLE_HEAD, title="Splits", title_justify="left", title_style="bold")
    grid.add_column(header[0])
    for name in header[1:]:
        grid.add_column(name, justify="right")
    for row in rows:
        grid.add_row(*row)
    return grid


def markdown(summaries: Sequence[SplitSummary]) -> str:
    """Return the splits side by side, as a table in Markdown."""
    header, *rows = summary_rows(summaries)
    return format_markdown(header, rows)


def summary_rows(summaries: Sequence[SplitSummary]) -> list[list[str]]:
    """Return one column per split: there are few splits, but may be many classes."""
    rows = [
        ["", *(split.name for split in summaries)],
        ["utterances", *(str(split.utterances) for split in summaries)],
        ["speakers", *("-" if split.speakers is None else str(split.speakers) for split in summaries)],
        ["minutes", *("-" if split.minutes is None else f"{split.minutes:.1f}" for split in summaries)],
        ["frames, mean", *(f"{split.frames_mean:.1f}" for split in summaries)],
        ["frames, std", *(f"{split.frames_std:.1f}" for split in summaries)],
        ["frames, min", *(str(split.frames_min) for split in summaries)],
        ["frames, max", *(str(split.frames_max) for split in summaries)],
    ]
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    corpora = dict.fromkeys(name for split in summaries for name in split.corpora)
    rows += [
        [f"of {name}", *(_share(split.corpora.get(name, 0), split.utterances) for split in summaries)]
        for name in corpora
    ]
    names = dict.fromkeys(name for split in summaries for name in split.class_counts or ())
    rows += [[name, *(_count(split, name) for split in summaries)] for name in names]
    notes = dict.fromkeys(name for split in summaries for name in split.labels)
    rows += [[name, *(split.labels.get(name, "-") for split in summaries)] for name in notes]
    if all(split.class_counts is None for split in summaries):
        return rows
    floors = [split.majority_floor for split in summaries]
    return [*rows, ["majority floor", *("-" if floor is None else f"{floor:.1%}" for floor in floors)]]


def _count(split: SplitSummary, name: str) -> str:
    """Format a class's number of utterances and its share, so that shares in a column are aligned."""
    if split.class_counts is None:
        return "-"
    return _share(split.class_counts.get(name, 0), split.utterances)


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:5.1%})"
