"""Losses: outputs and labels in, a number a row out. `measures` says of what, `is_per_utterance` whether rows mix."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from ser.batch import Batch
from ser.errors import ConfigError
from ser.precision import KeepsPrecision
from ser.targets.base import Quantity, Target

_TINY = 1e-8
"""Keeps a batch of constants from dividing by 0; labels have a deviation of about 1."""


class Loss(nn.Module):
    """Base class of losses: outputs [R, ...] and labels [R, ...] in, a number a row out."""

    measures: ClassVar[Quantity] = "classes"
    """What it compares: logits with class indices or distributions over classes, or values with values."""
    is_per_utterance: ClassVar[bool] = True
    """Whether a row's loss depends on that row alone; else mixup is refused."""
    class_weights: str = "none"
    """`balanced` weighs each class by its inverse frequency in the training split."""


class CrossEntropy(Loss):
    """Cross-entropy.

    Args:
        label_smoothing: share of the label's mass spread over all classes, 0..1.
        class_weights: `balanced` weights a class by its inverse frequency, with mean 1 over the utterances of
            the training split; `none` treats every utterance alike.

    Raises:
        ConfigError: the share is not within 0..1.
    """

    def __init__(
        self, label_smoothing: float = 0.0, class_weights: Literal["none", "balanced"] = "none"
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ConfigError(
                f"loss.label_smoothing={label_smoothing}: is a share of a label's mass, 0 to 1. Write 0.1 or 0."
            )
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits [B, C], class indices [B] or distributions [B, C] -> [B]."""
        return functional.cross_entropy(
            logits, labels, label_smoothing=self.label_smoothing, reduction="none"
        )


class Focal(CrossEntropy):
    """Cross-entropy that turns away from what is already known.

    Args:
        gamma: how much; each utterance is weighted by (1 - p)**gamma, p the probability of its label. 0 is
            cross-entropy.
        label_smoothing: as in CrossEntropy.
        class_weights: as in CrossEntropy.

    Source: Lin et al., "Focal loss for dense object detection", ICCV 2017.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        label_smoothing: float = 0.0,
        class_weights: Literal["none", "balanced"] = "none",
    ) -> None:
        super().__init__(label_smoothing, class_weights)
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits [B, C], class indices [B] or distributions [B, C] -> [B]."""
        probabilities = logits.softmax(-1)
        if labels.is_floating_point():
            known = (probabilities * labels).sum(-1)
        else:
            known = probabilities.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        # What is known for sure would have, for a gamma below 1, an infinite slope times a loss of 0.
        unknown = (1 - known).clamp_min(torch.finfo(known.dtype).eps / 2)
        return unknown**self.gamma * super().forward(logits, labels)


class SquaredError(Loss):
    """Squared error of values; each labelled value counts alike."""

    measures: ClassVar[Quantity] = "values"

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Outputs [B, K] and values [B, K], NaN where one is not labelled -> [B]."""
        return labelled_errors(outputs, labels).square().mean(-1)


class AbsoluteError(Loss):
    """Absolute error of values; each labelled value counts alike."""

    measures: ClassVar[Quantity] = "values"

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Outputs [B, K] and values [B, K], NaN where one is not labelled -> [B]."""
        return labelled_errors(outputs, labels).abs().mean(-1)


class ConcordanceLoss(Loss):
    """1 - CCC over the batch; a field with fewer than two labels in a batch is left out.

    Where several processes train, the batch is that of all of them: their sums are added, with gradients. A batch has
    to be large enough to estimate a correlation: 16 or more.

    Args:
        weights: `mean` of the fields, or `upstream`: their sum with the weights 1, 1/2, 1/3 and so on, in the order of
            the fields, as in the published code of emotion from audio and words.

    Source: Trigeorgis et al., "Adieu features? End-to-end speech emotion recognition using a deep convolutional
    recurrent network", ICASSP 2016.
    """

    measures: ClassVar[Quantity] = "values"
    is_per_utterance: ClassVar[bool] = False

    def __init__(self, weights: Literal["mean", "upstream"] = "mean") -> None:
        super().__init__()
        self.weights = weights

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Outputs [B, K] and values [B, K], NaN where one is not labelled -> [B], the same number in each row.

        Sequences [S, T, K] give [S, T], where each sequence is a batch of its own, and not added over processes.
        """
        known = ~labels.isnan()
        # Not in evaluation: processes may have unlike numbers of batches, and would wait for each other.
        is_training = torch.is_grad_enabled() and outputs.requires_grad
        is_shared = is_training and distributed.is_available() and distributed.is_initialized()
        add = sum_over_processes if is_shared and outputs.ndim == 2 else _unchanged
        counts = add(known.sum(-2, keepdim=True).to(outputs.dtype))
        share = known / counts.clamp_min(1)
        truth = labels.where(known, 0.0)
        means = add(torch.stack([(outputs * share).sum(-2, True), (truth * share).sum(-2, True)]))
        own, other = (outputs - means[0]), (truth - means[1])
        products = torch.stack([own * other, own.square() + other.square()])
        covariance, variances = add((products * share).sum(-2, True))
        distance = (means[0] - means[1]).square()
        concordance = 2 * covariance / (variances + distance + _TINY)
        usable = counts > 1
        losses = (1 - concordance) * usable
        if self.weights == "upstream":
            losses = losses / torch.arange(1, losses.shape[-1] + 1, device=losses.device)
            divisor = torch.ones_like(counts[..., 0])
        else:
            divisor = usable.sum(-1).clamp_min(1)
        loss: Tensor = losses.sum(-1) / divisor
        return loss.expand(outputs.shape[:-1])


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes; each of them gets the gradients of all. The one of torch.distributed.nn is deprecated."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:  # noqa: ARG004
        """Add the tensors of all processes."""
        total = mine.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        """Add the gradients of all processes."""
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def sum_over_processes(mine: Tensor) -> Tensor:
    """Sum a tensor over processes; each of them gets the gradients of all."""
    total: Tensor = _SumOverProcesses.apply(mine)  # type: ignore[no-untyped-call]
    return total


def _unchanged(mine: Tensor) -> Tensor:
    return mine


class Objective(KeepsPrecision):
    """The loss of a target, with class weights where a criterion asks for them.

    Args:
        target: says which outputs are compared with which labels.
        criterion: the run's loss, in float32 whatever the precision of training.
        class_counts: question of the target -> utterances of each class in the training split.
    """

    def __init__(self, target: Target, criterion: nn.Module, class_counts: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.target = target
        self.criterion = criterion
        self._places = {name: f"weights_{place}" for place, name in enumerate(class_counts)}
        for name, counts in class_counts.items():
            self.register_buffer(self._places[name], inverse_frequency(counts), persistent=False)

    def forward(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Outputs of a model for a batch -> losses [R] of what is learnt."""
        return self.target.loss(outputs.float(), batch, self.compare)

    def class_weights(self, name: str) -> Tensor:
        """Return the weight of each class [C] in a question of the target."""
        return self.get_buffer(self._places[name])

    def compare(
        self, outputs: Tensor, labels: Tensor, name: str = "", criterion: nn.Module | None = None
    ) -> Tensor:
        """Compare outputs [R, ...] with labels [R, ...] and return losses [R], see `ser.targets.base.Compare`."""
        chosen: Any = criterion or self.criterion
        losses: Tensor = chosen(outputs, labels)
        if name not in self._places or chosen.class_weights != "balanced":
            return losses
        weights = self.class_weights(name)
        return losses * (labels @ weights if labels.is_floating_point() else weights[labels])


def labelled_errors(outputs: Tensor, labels: Tensor) -> Tensor:
    """Subtract labels from outputs; 0, also in gradients, where a label is NaN."""
    return (outputs - labels.nan_to_num()) * ~labels.isnan()


def inverse_frequency(counts: Tensor) -> Tensor:
    """Counts [C] -> weights [C], N / (C * count), whose mean over utterances is 1; 0 for absent classes."""
    present = counts > 0
    weights = counts.sum() / (present.sum() * torch.where(present, counts, 1))
    return torch.where(present, weights, 0.0).float()
