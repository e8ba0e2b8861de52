"""Losses of one view: logits and labels in, a number an utterance out."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.errors import ConfigError
from ser.precision import KeepsPrecision
from ser.targets.classification import Target


class CrossEntropy(nn.Module):
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
        """Logits [B, C], labels [B] -> [B]."""
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
        """Logits [B, C], labels [B] -> [B]."""
        known = logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        # What is known for sure would have, for a gamma below 1, an infinite slope times a loss of 0.
        unknown = (1 - known).clamp_min(torch.finfo(known.dtype).eps / 2)
        return unknown**self.gamma * super().forward(logits, labels)


class Objective(KeepsPrecision):
    """The loss of a target: each view's criterion, weighted by class and by view.

    Args:
        target: says which views there are.
        criterion: loss of one view, in float32 whatever the precision of training.
        class_counts: view name -> utterances of each class in the training split.
    """

    def __init__(
        self,
        target: Target,
        criterion: CrossEntropy,
        class_counts: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.target = target
        self.criterion = criterion
        for name, counts in class_counts.items():
            weights = (
                inverse_frequency(counts)
                if criterion.class_weights == "balanced"
                else torch.ones(len(counts))
            )
            self.register_buffer(f"weights_{name}", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits [B, out_dim], labels [B] -> loss of each utterance [B]."""
        total = torch.zeros(len(labels), dtype=torch.float32, device=logits.device)
        for view in self.target.views(logits.float(), labels):
            weights = self.get_buffer(f"weights_{view.name}")[view.labels]
            total = total + view.weight * weights * self.criterion(view.logits, view.labels)
        return total


def inverse_frequency(counts: Tensor) -> Tensor:
    """Counts [C] -> weights [C], N / (C * count), whose mean over utterances is 1; 0 for absent classes."""
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp_min(1))
    return torch.where(present, weights, 0.0).float()
