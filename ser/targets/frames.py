"""Targets that give an answer for every frame: what live use asks for."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ser.batch import Batch, Padded
from ser.curves import Match, PostProcessing
from ser.errors import ConfigError
from ser.features.vad import Mode
from ser.targets.base import Compare, Resolution
from ser.targets.classification import Classes
from ser.targets.regression import Regression
from ser.targets.value_metrics import ValueScores

_log = logging.getLogger(__name__)

_UNIT = 2.0**36
"""Probabilities are summed as whole numbers of this: 8 million frames exactly, on devices without float64, too."""


class FrameClasses(Classes):
    """One of several named classes at every frame: the utterance's, wherever somebody speaks.

    Logits are rows [R, out_dim], one a frame, utterance after utterance, as `pooling=none` leaves them. What counts as
    speech is what the detector in `features.silence` finds; without one, all of it. Scores are over frames of speech
    whatever the mode, so that modes can be compared.

    Args:
        class_names: as in Classes.
        field: as in Classes.
        silence: what becomes of frames without speech. `mask`: they are not learnt from. `class`: they are learnt as
            a class of their own, the last one, which an answer leaves out. `keep`, `mute` and `remove`: they are
            learnt as the utterance's class, as far as the features still have them.

    Raises:
        ConfigError: as Classes.
    """

    resolution: ClassVar[Resolution] = "frame"

    def __init__(
        self,
        class_names: Sequence[str | float] | None = None,
        field: str | None = None,
        *,
        silence: Mode = "keep",
    ) -> None:
        super().__init__(class_names, field)
        self.silence: Mode = silence
        self.out_dim = len(self.class_names) + (silence == "class")
        self.logit_names = (*self.class_names, *["(silence)"] * (silence == "class"))

    def scores(self, outputs: Tensor) -> Tensor:
        """[..., out_dim] -> [..., C], of the named classes alone."""
        return outputs[..., : len(self.class_names)].softmax(-1)

    def loss(self, outputs: Tensor, batch: Batch, compare: Compare) -> Tensor:
        """Return the losses [R] of the frames that are learnt."""
        return self.label_loss(*self.training_outputs(outputs, batch), compare)

    def training_outputs(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Select the logits that enter the loss, of all frames or those of speech, with their class indices."""
        owners, speech = _rows(batch)
        if self.silence == "mask":
            return logits[speech], owners[speech]
        if self.silence == "class":
            owners = owners.where(speech, len(self.class_names))
        return logits, owners

    def metric_inputs(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the probabilities of the frames of speech, and their class indices."""
        owners, speech = _rows(batch)
        return self.scores(outputs[speech]), owners[speech]

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean over an utterance's frames of speech."""
        logits, lengths = outputs, batch.audio.lengths
        heard = self.is_speech(logits, _flags(batch))
        owner = torch.arange(len(lengths), device=logits.device).repeat_interleave(lengths)
        scores = self.scores(logits[heard].float())
        sums = torch.zeros(len(lengths), len(self.class_names), dtype=torch.int64, device=logits.device)
        sums.index_add_(0, owner[heard], (scores.nan_to_num() * _UNIT).long())
        lost = torch.zeros(len(lengths), device=logits.device)
        lost.index_add_(0, owner[heard], scores.sum(-1).isnan().float())
        means = sums / torch.bincount(owner[heard], minlength=len(lengths))[:, None] / _UNIT
        return means.where(lost[:, None] == 0, torch.nan)

    def is_speech(self, logits: Tensor, speech: Tensor) -> Tensor:
        """[R] bool, the frames that a decision is made of: those of speech, or that the model hears as no silence.

        Args:
            logits: [R, out_dim].
            speech: [R] bool, what a detector says.
        """
        return logits.argmax(-1) < len(self.class_names) if self.silence == "class" else speech

    def counts(self, targets: Tensor, frames: Tensor, spoken: Tensor) -> Mapping[str, Tensor]:
        """Frames of each class that are learnt."""
        learnt = frames if self.silence in ("keep", "mute", "remove") else spoken
        counts = torch.bincount(targets, weights=learnt.double(), minlength=self.out_dim)
        if self.silence == "class":
            counts[-1] = (frames - spoken).sum()
        return {self.label_names[0]: counts.long()}


class StepRegression(Regression):
    """A value in each of several label fields at every step; NaN is not labelled.

    Outputs are rows [R, K], one a step, sequence after sequence, as `pooling=none` leaves them. `batch.targets` are
    Padded [B, T, K] with the lengths of the audio; splits are encoded as rows [R, K] of all their steps. Scores are
    over all labelled steps of a split. Where a head ends in tanh, mean 0 and std 1 keep its range that of the labels.

    Args:
        fields: As in Regression.
        mean: As in Regression.
        std: As in Regression.
        per: `batch` = the loss is over all steps of a batch, as published; `sequence` = over the steps of each, and
            sequences count alike.
        delay_s: Delay of the annotators in seconds, by which labels are moved back in training and predictions forth
            again; `estimate` = estimated on the training split.
        smoothing_s: Window of the smoothing of predictions in seconds; 0 = none.
        match: `moments` = predictions get the mean and the deviation of the training labels, `centre` the mean alone,
            as fitted on predictions of the training split after training; `none`.
        scale: Factors that `match` has found; None before.
        offset: Numbers to add that `match` has found; None before.

    Raises:
        ConfigError: As Regression, or a time is negative.
    """

    resolution: ClassVar[Resolution] = "frame"
    labelled_at: ClassVar[Resolution] = "frame"
    silence = "keep"

    def __init__(
        self,
        fields: Sequence[str],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        per: Literal["batch", "sequence"] = "batch",
        delay_s: float | Literal["estimate"] = 0.0,
        smoothing_s: float = 0.0,
        match: Match = "none",
        scale: Sequence[float] | None = None,
        offset: Sequence[float] | None = None,
    ) -> None:
        super().__init__(fields, mean, std)
        for name, seconds in {"delay_s": delay_s, "smoothing_s": smoothing_s}.items():
            if seconds != "estimate" and not 0 <= seconds < math.inf:
                raise ConfigError(
                    f"target.{name}={seconds}: expected seconds, 0 or more. Set target.{name}=0"
                )
        self.per = per
        self.delay_s = delay_s
        self.match = match
        self.post = PostProcessing(
            smoothing_s=smoothing_s,
            scale=tuple(scale or ()),
            offset=tuple(offset or ()),
            delay_s=0.0 if delay_s == "estimate" else delay_s,
        )

    @classmethod
    def moments_of_train(cls, field: str, known: Tensor, others: Sequence[str]) -> tuple[float, float]:
        """Return mean and deviation; 1 for a constant, with a warning, as corpora have stretches of one value.

        Raises:
            ConfigError: The field has no value.
        """
        if len(known) and bool((known == known[0]).all()):
            _log.warning(
                "target.fields: %r has the value %g alone in train, so its CCC is 0 and nothing is learnt of it",
                field,
                known[0],
            )
            return float(known[0]), 1.0
        return super().moments_of_train(field, known, others)

    def loss(self, outputs: Tensor, batch: Batch, compare: Compare) -> Tensor:
        """Return the losses of steps [R], or of sequences that have two labelled steps or more."""
        targets = _padded_targets(batch)
        labels = self.standardize(targets.values)
        if self.per == "batch":
            return compare(outputs, labels[targets.mask])
        mask = targets.mask
        steps = torch.zeros_like(labels).masked_scatter(mask[..., None], outputs.to(labels.dtype))
        losses = compare(steps, labels.where(mask[..., None], torch.nan))
        means = (losses * mask).sum(1) / targets.lengths
        return means[(self.is_labelled(labels) & mask).sum(1) > 1]

    def metric_inputs(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return predictions [R, K] and values [R, K] of the labelled steps."""
        targets = _padded_targets(batch)
        truth = targets.values[targets.mask]
        known = self.is_labelled(truth)
        return torch.cat(self.curves(outputs, targets.lengths))[known], truth[known]

    def curves(self, outputs: Tensor, lengths: Tensor) -> list[Tensor]:
        """Return the predictions [T, K] of each sequence, smoothed, matched and delayed as the settings say.

        Args:
            outputs: Outputs of all steps [R, K].
            lengths: Number of steps of each sequence [B].
        """
        return [self.post(own) for own in torch.split(self.scores(outputs), lengths.tolist())]

    def metrics(self) -> ValueScores:
        """CCC, PCC, MSE and MAE over all labelled steps."""
        return StepScores(self.label_names)

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean over the steps of each sequence [B, K]."""
        return torch.stack([own.mean(0) for own in self.curves(outputs.float(), batch.audio.lengths)])

    def describe_label(self, targets: Tensor) -> str:
        """Return the means over the labelled steps."""
        return super().describe_label(targets.reshape(-1, self.out_dim).nanmean(0)[None])


class StepScores(ValueScores):
    """Scores over steps; `ccc_mean` is another name of `ccc`, by which published results are compared.

    Args:
        fields: [K].
    """

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(fields)
        self.names = (*self.names, "ccc_mean")

    def compute(self) -> dict[str, Tensor]:
        """Return name -> value, and the `points` themselves, see ValueScores."""
        values = super().compute()
        return {**values, "ccc_mean": values["ccc"]}


def _padded_targets(batch: Batch) -> Padded:
    targets = batch.targets
    assert isinstance(targets, Padded)
    assert torch.equal(targets.lengths, batch.audio.lengths)
    return targets


def _rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """The class index of each frame's utterance [R], and whether the frame is speech [R]."""
    return batch.labels.repeat_interleave(batch.audio.lengths), _flags(batch)


def _flags(batch: Batch) -> Tensor:
    return (batch.audio.mask if batch.speech is None else batch.speech)[batch.audio.mask]
