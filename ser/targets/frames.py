"""Targets that give an answer for every frame: what live use asks for."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ser.batch import Batch
from ser.features.vad import Mode
from ser.targets.base import Compare, Resolution
from ser.targets.classification import Classes

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


def _rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """The class index of each frame's utterance [R], and whether the frame is speech [R]."""
    return batch.labels.repeat_interleave(batch.audio.lengths), _flags(batch)


def _flags(batch: Batch) -> Tensor:
    return (batch.audio.mask if batch.speech is None else batch.speech)[batch.audio.mask]
