"""All facts about a run at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ser.data.summary import SplitSummary
from ser.mix.scores import CorpusScores
from ser.splits.leaks import Leak
from ser.targets.metrics import Result


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Content of a report, from the training script.

    Args:
        title: What was trained on what, such as `cnn on challenge`.
        command: Command line, quoted for a shell.
        seed: Seed of the run.
        duration_s: Duration of the whole run, in seconds.
        num_parameters: Number of trainable parameters.
        epochs: Number of epochs; epochs count from 1.
        best_epoch: Epoch of the selected checkpoint, 1..epochs; None for an ensemble, whose members have their own.
        monitor: Metric that selected it, such as `validation/accuracy`; None without a validation split, where it is
            the last epoch.
        mode: `max` if a larger value of it is better, else `min`.
        checkpoint: Path of the selected checkpoint.
        metrics: Metrics of the selected checkpoint, by flat names such as `test/uar`.
        results: Results of each task in each split, the main task first.
        unit: Unit that is scored.
        labelled_at: What has a label: an utterance, or each of its frames.
        corpora: Scores of each corpus in each split; empty if there is but one corpus.
        test_sets: Header and rows of the scores of further corpora; empty for none.
        takes_words: Whether the model reads words beside the audio.
        splits: Summary of each split.
        lengths: Number of frames of each utterance [N] in each split.
        curves: Value by epoch of each metric, for the learning curves; empty for none.
        overrides: Settings typed for the run, which the suggested sweep repeats.
        trust: Word that lets other commands import the user's packages of this run; none if it uses none.
        watch: Commands that show the curves, as words quoted for a shell.
        stamps: Warnings to every reader, such as `generated speech: a demonstration, not a result`.
        leaks: Leaks between splits; None if it is unknown.
        cross_validation: Settings of a sweep that tests every speaker once; empty if there is none, or the run is
            part of one.
        calibration: Sentences about the probabilities; empty if no classes are predicted.
    """

    title: str
    command: str
    seed: int
    duration_s: float
    num_parameters: int
    epochs: int
    best_epoch: int | None
    monitor: str | None
    mode: str
    checkpoint: Path
    metrics: Mapping[str, float]
    results: Mapping[str, Sequence[Result]]
    splits: Sequence[SplitSummary]
    lengths: Mapping[str, np.ndarray]
    curves: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    trust: Sequence[str] = ()
    watch: Sequence[Sequence[str]] = ()
    stamps: Sequence[str] = ()
    leaks: Sequence[Leak] | None = None
    cross_validation: Sequence[str] = ()
    calibration: Sequence[str] = ()
    unit: Literal["utterance", "frame"] = "utterance"
    labelled_at: Literal["utterance", "frame"] = "utterance"
    takes_words: bool = False
    corpora: Mapping[str, CorpusScores] = field(default_factory=dict)
    test_sets: Sequence[Sequence[str]] = ()

    @property
    def has_few_speakers(self) -> bool:
        """Return whether one or two speakers are scored, and cross-validation would score more."""
        scored = next((split for split in self.splits if split.name == self.headline_split), None)
        return bool(self.cross_validation) and scored is not None and (scored.speakers or 3) < 3

    @property
    def headline_results(self) -> Sequence[Result]:
        """Return the results of the headline split; none if no split is scored."""
        return self.results.get(self.headline_split, ())

    @property
    def headline_split(self) -> str:
        """Return the split whose score is the result: test, or validation if there is no test."""
        return "test" if "test" in self.results else "validation"
