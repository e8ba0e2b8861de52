"""Distributions over classes as labels: given as probabilities, or counted from the votes of several raters."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ser.batch import Batch
from ser.errors import ConfigError
from ser.names import is_missing, normalize_name
from ser.targets.base import Compare
from ser.targets.classification import ClassTarget
from ser.targets.labels import LabelError, Labels, encode_labels, label_columns

_TOLERANCE = 0.02
"""How far from 1 probabilities that were rounded may sum up; they are scaled to 1."""
_NAMED = 5  # votes for other classes, in a message

_log = logging.getLogger(__name__)


class SoftClasses(ClassTarget):
    """One of several named classes, learnt from a distribution over them.

    The loss is the cross-entropy against the distribution. Scores count the most likely class; where several are
    equally likely, the one that `class_names` names first.

    Args:
        class_names: C names, by class index. Without `raters`, the label fields are `p_<class>`. None in a config with
            raters, which is completed from the data: all classes that they name, in alphabetical order.
        raters: label fields with one class name each, such as [rater_1,rater_2]; an empty cell is no vote. None where
            the data has probabilities.

    Raises:
        ConfigError: there are less than two names, or one occurs twice.
    """

    def __init__(
        self, class_names: Sequence[str | float] | None = None, raters: Sequence[str] | None = None
    ) -> None:
        names = tuple(normalize_name(str(name)) for name in class_names or ())
        if not 1 < len(names) == len({*names}):
            raise ConfigError(
                f"target.class_names={class_names}: expected two names or more, each once. Name the classes of the "
                "columns p_<class>, such as target.class_names=[anger,joy], or the raters with target.raters."
            )
        self.class_names = names
        self.raters = tuple(normalize_name(str(name)) for name in raters or ())
        self.label_names = self.raters or tuple(f"p_{name}" for name in names)
        self.requested_fields = self.label_names
        self.label_width = len(names)
        self.out_dim = len(names)
        self.logit_names = names

    @property
    def answer_fields(self) -> tuple[str, ...]:
        """Return none: an answer stands in `label` alone."""
        return ()

    @classmethod
    def example(cls, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return a spec with two classes, where raters name them.

        Raises:
            ConfigError: neither classes nor raters are named.
        """
        if spec.get("class_names") is None and not spec.get("raters"):
            cls()  # refuses it
        return {**spec, "class_names": spec.get("class_names") or ["a", "b"]}

    @classmethod
    def complete(cls, spec: Mapping[str, Any], labels: Mapping[str, Labels]) -> dict[str, Any]:
        """Return the spec with the classes that the raters name.

        Raises:
            SerError: there is one class only, or train lacks one.
        """
        names = spec.get("class_names")
        if raters := cls(**_settings(cls.example(spec))).raters:
            votes: Counter[str] = Counter()
            for one in labels.values():
                votes.update(normalize_name(str(cell)) for cell in label_columns(raters, one).flat)
            votes = Counter({name: count for name, count in votes.items() if not is_missing(name)})
            names = names or sorted(votes)
            known = {normalize_name(str(name)) for name in names}
            if others := [(name, count) for name, count in votes.most_common() if name not in known]:
                _log.warning(
                    "%d votes are for none of %s, and are left out: %s",
                    *(sum(count for _, count in others), ", ".join(map(str, names))),
                    ", ".join(f"{count} {name!r}" for name, count in others[:_NAMED]),
                )
        completed = {**spec, "class_names": list(names or ())}
        target = cls(**_settings(completed))
        masses = encode_labels(target, labels["train"]).nansum(0).tolist()
        if absent := [name for name, mass in zip(target.class_names, masses, strict=True) if not mass]:
            raise ConfigError(
                f"target.class_names: train has no label with a share of {absent[0]!r}, so that it cannot be learnt. "
                "Leave it out, or choose another split."
            )
        return completed

    def encode(self, labels: np.ndarray) -> Tensor:
        """Read probabilities or votes [N, K] as distributions [N, C]; a row of NaN where there are none."""
        read = self._read_votes if self.raters else self._read_probabilities
        rows = [read([str(cell) for cell in cells], row) for row, cells in enumerate(labels.tolist())]
        return torch.tensor(rows, dtype=torch.float32).reshape(-1, len(self.class_names))

    def _read_votes(self, cells: Sequence[str], row: int) -> list[float]:
        names = [normalize_name(cell) for cell in cells]
        counts = [names.count(name) for name in self.class_names]
        total = sum(counts)
        return [count / total if total else np.nan for count in counts]

    def _read_probabilities(self, cells: Sequence[str], row: int) -> list[float]:
        if all(map(is_missing, cells)):
            return [np.nan] * len(cells)
        try:
            values = [0.0 if is_missing(cell) else float(cell) for cell in cells]
        except ValueError:
            wrong = next(cell for cell in cells if not is_missing(cell) and not _is_number(cell))
            field = self.label_names[cells.index(wrong)]
            raise LabelError(row, f"{field} is {wrong!r}, expected a number", "Correct it.") from None
        total = sum(values)
        if min(values) < 0 or not abs(total - 1) <= _TOLERANCE:
            listed = ", ".join(self.label_names)
            found = f"{listed} sum to {total:g}" if min(values) >= 0 else f"{listed} hold {min(values):g}"
            raise LabelError(
                row,
                f"{found}, expected probabilities that sum to 1",
                "Correct them, or leave all of them empty.",
            )
        return [value / total for value in values]

    def is_labelled(self, targets: Tensor) -> Tensor:
        """Return where there is a distribution."""
        return ~targets.isnan().any(-1)

    def class_index(self, targets: Tensor) -> Tensor:
        """Return the most likely class, the first of those that are equally likely."""
        return targets.argmax(-1)

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the losses of one question: how likely each class is."""
        return compare(outputs, labels, "soft")

    def metric_inputs(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return probabilities [B, C] and the most likely true class [B]."""
        return self.scores(outputs), self.class_index(batch.labels)

    def counts(self, targets: Tensor, frames: Tensor, spoken: Tensor) -> Mapping[str, Tensor]:
        """Return the sum of the shares of each class."""
        return {"soft": targets.double().sum(0)}

    def decode(self, classes: Tensor) -> list[dict[str, Any]]:
        """Return `{"label": "anger"}` each."""
        return [{"label": self.class_names[index]} for index in classes.tolist()]

    def remarks(self, targets: Tensor, ids: Sequence[object]) -> list[str]:
        """Count the utterances that have no single most likely class, and name the first."""
        is_best = targets >= targets.amax(-1, keepdim=True) - 1e-6
        ties = (is_best.sum(-1) > 1).nonzero().flatten().tolist()
        if not ties:
            return []
        names = " and ".join(
            name for name, best in zip(self.class_names, is_best[ties[0]].tolist(), strict=True) if best
        )
        return [
            f"{len(ties)} of {len(targets)} utterances have no single most likely class, the first is "
            f"{ids[ties[0]]!r} ({names}); they are scored as the one that target.class_names names first"
        ]


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != "_target_"}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
