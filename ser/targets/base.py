"""The protocol of everything that can be predicted: classes, frames, values, several tasks at once.

A target owns all in which tasks differ. Nothing else asks for its class or its name, so that a new target is one class.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ser.batch import Batch
from ser.config.settings import option_of
from ser.curves import Match
from ser.errors import ConfigError
from ser.targets.labels import Labels
from ser.targets.metrics import Scores

Resolution = Literal["utterance", "frame"]
Quantity = Literal["classes", "values"]


class Compare(Protocol):
    """The run's loss, with class weights where the run asks for them."""

    def __call__(
        self, outputs: Tensor, labels: Tensor, name: str = "", criterion: nn.Module | None = None
    ) -> Tensor:
        """Compare outputs [R, ...] with labels [R, ...] and return losses [R].

        Args:
            outputs: Logits or values.
            labels: Class indices, distributions or values.
            name: Which of the target's questions it is, a key of `counts`.
            criterion: Loss of this question; None = the run's.
        """
        ...


class TaskAnswers(NamedTuple):
    """Answers of one task to the R utterances that are labelled for it.

    Args:
        name: Name of the task; empty where there is one.
        target: Its target.
        rows: Which of all utterances these are [R].
        answers: Its answers [R, A].
        targets: Encoded labels [R, ...].
    """

    name: str
    target: "Target"
    rows: Tensor
    answers: Tensor
    targets: Tensor


class Target(ABC):
    """Base class of what can be predicted.

    A target of one's own derives from `ClassTarget` or `ValueTarget`, where a constructor is enough. One that derives
    from this class has all attributes without a value and all abstract methods.
    """

    out_dim: int
    """Numbers that the head has to put out."""
    label_names: tuple[str, ...]
    """Label fields that are read."""
    logit_names: tuple[str, ...]
    """Name of each output: heads of other targets are compared by it."""
    label_width: int = 0
    """Numbers that an encoded label has; 0 where it is one class index, without a dimension of its own."""
    requested_fields: tuple[str, ...] = ()
    """Label fields that a corpus has to read for it; none where the corpus's own are meant."""
    class_names: tuple[str, ...] = ()
    """Names of the classes; none where there are no classes, and then nothing can be balanced."""
    resolution: ClassVar[Resolution] = "utterance"
    """What is answered: whole utterances, or each of their frames."""
    labelled_at: ClassVar[Resolution] = "utterance"
    """What has a label: an utterance, or each of its frames."""
    predicts: ClassVar[Quantity] = "values"
    """What a loss has to measure; a loss says so in `measures`."""
    silence: str | None = None
    """What becomes of frames without speech, of targets of frames; None = there are no answers to frames."""
    delay_s: float | Literal["estimate"] = 0.0
    """Seconds by which labels over time come late; they are moved back for training."""
    match: Match = "none"
    """What is fitted to the training labels after training; see `ser.curves.fit_match`."""
    monitor: str
    """Metric of validation by which a checkpoint is chosen."""
    mode: ClassVar[Literal["max", "min"]] = "max"
    """Whether larger or smaller values of it are better."""

    @property
    def plain_logit_names(self) -> tuple[str, ...]:
        """Names of the outputs without that of their task, where there are several."""
        return self.logit_names

    accuracy_names: tuple[str, ...] = ()
    """Accuracies that are logged in training, such as `accuracy`; none where answers are not right or wrong."""
    opposite_logit_names: tuple[str, ...] = ()
    """Names of the outputs with the opposite sign, where they have one."""

    @classmethod
    def complete(cls, spec: Mapping[str, Any], labels: Mapping[str, Labels]) -> dict[str, Any]:  # noqa: ARG003
        """Return the spec of this target with what its config leaves open and the data tells, such as class names.

        Args:
            spec: `_target_` and settings, plain containers.
            labels: Split -> labels of its utterances; of labelled splits alone.

        Raises:
            SerError: The data lacks what the target needs.
        """
        return dict(spec)

    @classmethod
    def example(cls, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return a spec of this target that can be built before the data is read."""
        return dict(spec)

    @abstractmethod
    def encode(self, labels: np.ndarray) -> Tensor:
        """Encode labels [N, K] in the order of `label_names` as [N, ...].

        Raises:
            LabelError: A label cannot be read.
        """

    @abstractmethod
    def is_labelled(self, targets: Tensor) -> Tensor:
        """Return which of the encoded utterances [N, ...] can be learnt from and scored, [N] bool."""

    @abstractmethod
    def scores(self, outputs: Tensor) -> Tensor:
        """Turn outputs [..., out_dim] into what is answered [..., A]: probabilities, or values."""

    @abstractmethod
    def metrics(self) -> Scores:
        """Build a metric of what `metric_inputs` returns."""

    @abstractmethod
    def predictions(self, answers: Tensor) -> list[dict[str, Any]]:
        """Return the columns that are written of answers [N, A]; None in all of them where an answer is NaN."""

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """Names of those columns of `predictions` that are probabilities."""
        return ()

    @abstractmethod
    def labels_of(self, answers: Tensor) -> list[dict[str, Any]]:
        """Return the answer in the label fields for answers [N, A], plain numbers or names."""

    def label_columns(self, targets: Tensor) -> list[dict[str, Any]]:
        """Return the columns that are written of encoded labels [N, ...]; None for a label that is missing."""
        return [{"label": self.describe_label(each[None])} for each in targets]

    @abstractmethod
    def describe(self, answer: Sequence[float]) -> str:
        """Describe one answer [A] in a few words, such as `anger 81.3%`."""

    def describe_label(self, targets: Tensor) -> str:
        """Describe the label of one utterance, encoded as [1, ...]."""
        return ", ".join(f"{value:g}" for value in targets.flatten().tolist())

    def loss(self, outputs: Tensor, batch: Batch, compare: Compare) -> Tensor:
        """Return the losses [R] of what a batch has to learn; their mean is minimised.

        A loss of the whole batch, such as CCC, stands in each of its rows.
        """
        return compare(outputs, batch.labels)

    def metric_inputs(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what a metric is updated with: answers [R, A] and the truth [R, ...]."""
        return self.scores(outputs), batch.labels

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the answers [B, A] to whole utterances; NaN where nothing can be said of one."""
        return self.scores(outputs)

    def curves(self, outputs: Tensor, lengths: Tensor) -> list[Tensor]:
        """Return the answers [T, A] to all frames of each sequence, of targets that are labelled at frames.

        Args:
            outputs: Outputs of all frames [R, out_dim].
            lengths: Number of frames of each sequence [B].
        """
        return [*torch.split(self.scores(outputs), lengths.tolist())]

    def correct(self, answers: Tensor, truth: Tensor) -> Mapping[str, Tensor]:
        """Return which answers are right [R] bool, for each of `accuracy_names`."""
        return {}

    def class_index(self, targets: Tensor) -> Tensor:
        """Return the class index [N] of encoded utterances, of targets with `class_names`."""
        return targets

    def is_speech(self, outputs: Tensor, speech: Tensor) -> Tensor:
        """Return which frames a decision about the recording uses, [R] bool, of targets of frames.

        Args:
            outputs: Outputs [R, out_dim].
            speech: Frames in which voice activity detection found speech, [R] bool.
        """
        return speech

    def truth(self, targets: Tensor) -> Tensor:
        """Return what metrics compare answers with: class indices [N] where there are classes, else the values."""
        return self.class_index(targets) if self.class_names else targets

    def counts(self, targets: Tensor, frames: Tensor, spoken: Tensor) -> Mapping[str, Tensor]:
        """Return how often each class is learnt [C], for each question by name.

        Args:
            targets: Encoded utterances [N, ...] of the training split.
            frames: [N] of each.
            spoken: [N] those of speech.
        """
        return {}

    def floors(self, train: Tensor, targets: Tensor) -> dict[str, float]:
        """Return metrics of the best answer that looks at no input, where the metric itself cannot tell them.

        Args:
            train: Encoded utterances of the training split.
            targets: Encoded utterances that are scored.
        """
        return {}

    def floors_of_train(self, targets: Tensor) -> dict[str, float]:
        """Return the floors that what is kept of the training split tells, where it is not at hand.

        Args:
            targets: Encoded utterances that are scored.
        """
        return {}

    def task_answers(self, answers: Tensor, targets: Tensor) -> list[TaskAnswers]:
        """Return each task with its answers: this target, where it is not of several.

        Args:
            answers: Answers [N, A].
            targets: Encoded utterances [N, ...].
        """
        return [TaskAnswers("", self, torch.arange(len(targets)), answers, targets)]

    def summary(self, targets: Tensor) -> dict[str, str]:
        """Return rows of the table of splits about encoded utterances, beside class counts."""
        return {}

    def remarks(self, targets: Tensor, ids: Sequence[object]) -> list[str]:
        """Return sentences about encoded utterances that a user has to know, such as ties between classes."""
        return []

    def check_loss(self, criterion: nn.Module, *, mixup: bool = False) -> None:
        """Refuse a loss that does not fit.

        Args:
            criterion: The run's loss.
            mixup: Whether utterances are mixed, for which the loss has to be one of utterances.

        Raises:
            ConfigError: It measures something else, or takes a whole batch that is mixed.
        """
        check_loss(criterion, self.predicts, "loss", mixup=mixup)


def check_loss(criterion: Any, predicts: Quantity, key: str, *, mixup: bool) -> None:
    """Refuse a loss that measures something else than is predicted, or a whole batch that is mixed.

    Raises:
        ConfigError: With losses that fit.
    """
    name = f"{key}={option_of('loss', type(criterion))}"
    if criterion.measures != predicts:
        fitting = {"classes": "cross_entropy or focal", "values": "ccc, mse or l1"}[predicts]
        of_run = f"Use loss={fitting.split(',')[0].split()[0]}; those that fit are {fitting}."
        remedy = of_run if key == "loss" else f"Set {key}=null, or name the class of {fitting} there."
        raise ConfigError(
            f"{name}: measures {criterion.measures}, but the target predicts {predicts}. {remedy}"
        )
    if mixup and not criterion.is_per_utterance:
        raise ConfigError(
            f"augment.mixup: {name} is of a whole batch, so the labels of two utterances "
            "cannot be mixed. Set augment.mixup=0."
        )
