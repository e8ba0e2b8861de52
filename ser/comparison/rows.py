"""Group runs that differ only in seeds and folds to one row each, whose predictions are pooled or averaged."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ser.comparison.runs import Item, Run
from ser.errors import ConfigError, DataError, counted
from ser.files import short
from ser.runs.sweep_tables import REPEATS

_FOLDS = ("data.split.fold", "data.split.speaker", "data.split.group")
"""Those REPEATS whose runs test different items."""
_NO_RESULT = (
    *(
        "resume",
        "experiment_name",
        "trust",
        "sweep",
        "report",
        "logger",
        "test_sets",
        "test_settings",
        "data.cache_dir",
        "batching.num_workers",
    ),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary"),
)
"""Settings and nodes that change no score."""
_SHOWN = 3  # items in a message


@dataclass(frozen=True)
class Row:
    """Runs with the same settings except for seeds and folds.

    Args:
        runs: The runs, one or more.
    """

    runs: Sequence[Run]

    @property
    def first(self) -> Run:
        """Return the run that messages name."""
        return self.runs[0]

    @cached_property
    def correct(self) -> dict[Item, float]:
        """Return how often each item was predicted correctly, 0..1: the mean over the runs that test it."""
        found: dict[Item, list[bool]] = {}
        for run in self.runs:
            for item, right in run.correct.items():
                found.setdefault(item, []).append(right)
        return {item: sum(rights) / len(rights) for item, rights in found.items()}

    @property
    def folds(self) -> int:
        """Return the number of folds."""
        return len({tuple(run.settings.get(key) for key in _FOLDS) for run in self.runs})

    @property
    def seeds(self) -> int:
        """Return the number of repetitions, each with all folds."""
        return len(self._by_seed)

    @property
    def spread(self) -> float | None:
        """Return the sample standard deviation over seeds of the accuracy pooled over folds; None for one seed."""
        by_seed = self._by_seed.values()
        means = [np.mean([right for run in runs for right in run.correct.values()]) for runs in by_seed]
        return float(np.std(means, ddof=1)) if len(means) > 1 else None

    @property
    def parameters(self) -> int | None:
        """Return the number of parameters of a run; that of the largest, if folds differ."""
        known = [run.parameters for run in self.runs if run.parameters is not None]
        return max(known, default=None)

    @property
    def duration_s(self) -> float | None:
        """Return the mean duration of a run in s; None if one is unknown."""
        known = [run.duration_s for run in self.runs if run.duration_s is not None]
        return float(np.mean(known)) if len(known) == len(self.runs) else None

    @property
    def _by_seed(self) -> dict[tuple[Any, ...], list[Run]]:
        found: dict[tuple[Any, ...], list[Run]] = {}
        for run in self.runs:
            key = tuple(json.dumps(run.settings.get(name)) for name in REPEATS if name not in _FOLDS)
            found.setdefault(key, []).append(run)
        return found


def group_runs(runs: Sequence[Run]) -> list[Row]:
    """Group runs whose settings are equal except for seeds and folds, in the order of the first run of each.

    Raises:
        DataError: Two runs have the same settings, seed and fold.
    """
    groups: dict[str, dict[str, Run]] = {}
    for run in runs:
        kept = {key: value for key, value in run.settings.items() if not _is_free(key)}
        same = groups.setdefault(_digest({k: v for k, v in kept.items() if k not in REPEATS}), {})
        twin = same.setdefault(_digest(kept), run)
        if twin is not run:
            raise DataError(
                f"{short(run.folder)}: has the settings, the seed and the fold of {short(twin.folder)}. Leave one of "
                "them out."
            )
    return [Row([*same.values()]) for same in groups.values()]


def name_rows(rows: Sequence[Row]) -> list[str]:
    """Return the settings of each row in which rows differ, as typed; `all settings` for a single row."""
    keys = dict.fromkeys(key for row in rows for key in row.first.overrides if key not in REPEATS)
    cells = {key: [_value_of(row.first, key) for row in rows] for key in keys}
    varied = {key: values for key, values in cells.items() if len({*values}) > 1}
    names = [
        " ".join(f"{key}={values[place]}" for key, values in varied.items()) for place in range(len(rows))
    ]
    if len(rows) == 1:
        return ["all settings"]
    return [
        f"{name} {short(row.first.folder)}".strip() if names.count(name) > 1 else name
        for name, row in zip(names, rows, strict=True)
    ]


def check_alike(rows: Sequence[Row]) -> None:
    """Refuse runs with other classes, items, labels or speakers than the first one.

    Raises:
        ConfigError: Classes or items differ.
        DataError: An item has another label or speaker.
    """
    first = rows[0].first
    for run in (run for row in rows for run in row.runs):
        if {*run.classes} != {*first.classes}:
            other = {*run.classes} ^ {*first.classes}
            raise ConfigError(
                f"{short(run.folder)}: has other classes than {short(first.folder)}: only one of them has "
                f"{', '.join(sorted(other))}. Compare runs with the same labels and label map."
            )
    for row in rows[1:]:
        _check_items(row, rows[0])
    labels: dict[Item, tuple[str, Run]] = {}
    speakers: dict[Item, tuple[str | None, Run]] = {}
    for run in (run for row in rows for run in row.runs):
        named = {item: run.classes[label] for item, label in run.labels.items()}
        _check_same(run, "label", named, labels)
        _check_same(run, "speaker", run.speakers, speakers)


def _check_items(row: Row, first: Row) -> None:
    only, missing = row.correct.keys() - first.correct.keys(), first.correct.keys() - row.correct.keys()
    if not only and not missing:
        return
    parts = [
        f"{len(items)} item{'s are' if len(items) != 1 else ' is'} only in {where} ({_list_items(items)})"
        for items, where in ((only, "this one"), (missing, "the other"))
        if items
    ]
    counts = [counted(len(one.runs), "run") for one in (row, first)]
    raise ConfigError(
        f"{short(row.first.folder)} ({counts[0]}): scored other items than {short(first.first.folder)} ({counts[1]}): "
        f"{' and '.join(parts)}. Compare runs of the same data, split and folds; repeat a sweep in its folder to add "
        "jobs that failed."
    )


def _check_same(run: Run, name: str, given: Mapping[Item, Any], known: dict[Item, tuple[Any, Run]]) -> None:
    """Refuse a run in which an item has another label or speaker than in a run before; remember those of new items."""
    other = [item for item, value in given.items() if known.setdefault(item, (value, run))[0] != value]
    if other:
        before = known[other[0]][1]
        raise DataError(
            f"{short(run.folder)}: {_count(other)} another {name} in {short(before.folder)} ({_list_items(other)}). "
            "Compare runs of the same data."
        )


def _count(items: Collection[Item]) -> str:
    return f"{len(items)} item{'s have' if len(items) != 1 else ' has'}"


def _list_items(items: Collection[Item]) -> str:
    names = sorted({name for name, _ in items})
    return f"{', '.join(map(repr, names[:_SHOWN]))}{', ...' * (len(names) > _SHOWN)}"


def _value_of(run: Run, key: str) -> str:
    """Return the value of a setting as typed, else from the config; of a node, the name of its class."""
    if key in run.overrides:
        return run.overrides[key]
    if key in run.settings:
        return str(run.settings[key])
    return str(run.settings.get(f"{key}._target_", "default")).rpartition(".")[2]


def _digest(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _NO_RESULT)
