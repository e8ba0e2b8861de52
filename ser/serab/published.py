"""The published table: accuracies of thirteen models on nine corpora, with the numbers of test utterances."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ser.serab.scores import Means

_FILE = Path(__file__).with_name("published.csv")
_SIZES = "n_test"
_MEANS = ("UM", "WM", "GM")


@dataclass(frozen=True)
class Published:
    """Table as printed, with accuracies in percent.

    Args:
        corpora: Names of the nine corpora, in the order of the columns.
        sizes: Number of test utterances of each corpus.
        accuracies: Test accuracy by model and corpus.
        means: Means of each model as printed, including misprints.
    """

    corpora: tuple[str, ...]
    sizes: Mapping[str, int]
    accuracies: Mapping[str, Mapping[str, float]]
    means: Mapping[str, Means]


@cache
def published() -> Published:
    """Read the table; its file names the source."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(line for line in file if not line.startswith("#"))]
    corpora = tuple(name for name in rows[0] if name not in ("model", *_MEANS))
    sizes = next(row for row in rows if row["model"] == _SIZES)
    models = {row["model"]: row for row in rows if row["model"] != _SIZES}
    return Published(
        corpora=corpora,
        sizes={name: int(sizes[name]) for name in corpora},
        accuracies={model: {name: float(row[name]) for name in corpora} for model, row in models.items()},
        means={model: Means(*(float(row[name]) for name in _MEANS)) for model, row in models.items()},
    )
