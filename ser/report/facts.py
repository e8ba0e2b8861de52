"""All that is known of a run at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ser.data.summary import SplitSummary
from ser.splits.leaks import Leak
from ser.targets.base import Result


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """All that a report tells; the training script fills it in.

    Args:
        title: what was trained on what, such as `cnn on challenge`.
        command: the command line, quoted for a shell.
        seed: of the run.
        duration_s: of the whole run, in seconds.
        num_parameters: trainable ones.
        epochs: trained, so epochs count from 1.
        best_epoch: the one whose checkpoint was chosen, 1..epochs; None for an ensemble, whose members have their own.
        monitor: metric that chose it, such as `validation/accuracy`.
        mode: `max` where a larger value of it is better, else `min`.
        checkpoint: path of the chosen one.
        metrics: flat name such as `test/uar` -> value, of the chosen checkpoint.
        results: split -> what is shown of each task, the main one first.
        unit: what is scored.
        splits: what the data holds.
        lengths: split -> [N] frames of each utterance.
        curves: metric -> epoch -> value, for the learning curves; empty for none.
        overrides: settings that were typed for the run, which the suggested sweep repeats.
        stamps: warnings to every reader, such as `generated speech: a demonstration, not a result`.
        leaks: what splits share; None where nothing is known to look for.
        cross_validation: settings of a sweep that tests every speaker once; empty where there is none, or it is one.
    """

    title: str
    command: str
    seed: int
    duration_s: float
    num_parameters: int
    epochs: int
    best_epoch: int | None
    monitor: str
    mode: str
    checkpoint: Path
    metrics: Mapping[str, float]
    results: Mapping[str, Sequence[Result]]
    splits: Sequence[SplitSummary]
    lengths: Mapping[str, np.ndarray]
    curves: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    stamps: Sequence[str] = ()
    leaks: Sequence[Leak] | None = None
    cross_validation: Sequence[str] = ()
    unit: Literal["utterance", "frame"] = "utterance"

    @property
    def has_few_speakers(self) -> bool:
        """Whether one or two speakers are scored, and cross-validation would score more."""
        scored = next((split for split in self.splits if split.name == self.headline_split), None)
        return bool(self.cross_validation) and scored is not None and (scored.speakers or 3) < 3

    @property
    def headline_split(self) -> str:
        """The split whose accuracy is the result: test, or validation where nothing was tested."""
        return "test" if "test" in self.results else "validation"
