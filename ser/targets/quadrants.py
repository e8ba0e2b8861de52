"""The challenge's four classes, valence x activation, from four, two or six logits."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ser.errors import DataError
from ser.targets.base import Compare
from ser.targets.classification import ClassTarget
from ser.targets.metrics import QuadrantScores, Scores

QUADRANTS = ("sadness", "anger", "pleasure", "joy")
"""Class names by index 2 * valence + activation. Activation is the challenge's word for arousal."""


class Quadrant(ClassTarget):
    """The challenge's four classes, valence x activation, from four logits."""

    out_dim = 4
    label_names = ("valence", "activation")
    class_names = QUADRANTS
    logit_names: tuple[str, ...] = QUADRANTS

    def __init__(self) -> None:
        """Take no settings."""

    def encode(self, labels: np.ndarray) -> Tensor:
        """Valence and activation bits [N, 2], as numbers or texts -> class index [N]; -1 where one is "", unknown.

        Raises:
            DataError: a label is neither 0 nor 1.
        """
        if labels.dtype.kind == "U" and (unknown := (labels == "").any(1)).any():
            return self.encode(np.where(unknown[:, None], "0", labels)).where(~torch.from_numpy(unknown), -1)
        strange = sorted({*map(str, np.unique(labels))} - {"0", "1"})
        if strange:
            raise DataError(
                f"{', '.join(self.label_names)}: found {strange[0]!r}, expected 0 or 1. "
                "Correct the labels, or translate them with data.label_map."
            )
        bits = torch.from_numpy(labels.astype(np.int64))
        return 2 * bits[:, 0] + bits[:, 1]

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the losses of one question: which quadrant."""
        return compare(outputs, labels, "quadrant")

    def scores(self, outputs: Tensor) -> Tensor:
        """[B, out_dim] -> [B, 4]."""
        return outputs[:, :4].softmax(-1)

    def decode(self, classes: Tensor) -> list[dict[str, Any]]:
        """[B] -> `{"valence": 0 or 1, "activation": 0 or 1}` each."""
        return [{"valence": index // 2, "activation": index % 2} for index in classes.tolist()]

    def metrics(self) -> Scores:
        """Accuracy with both bits right, and what goes with it."""
        return QuadrantScores(self.class_names)


class TwoBinary(Quadrant):
    """The same four classes from two independent logits, valence and activation."""

    out_dim = 2
    logit_names = ("valence", "activation")

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the sums of the losses of two questions, one a bit."""
        valence, activation = _bit_losses(outputs, labels, compare)
        return valence + activation

    def scores(self, outputs: Tensor) -> Tensor:
        """[B, 2] -> [B, 4], the products of the bits' probabilities."""
        valence, activation = outputs.sigmoid().unbind(-1)
        pairs = [(1 - valence) * (1 - activation), (1 - valence) * activation]
        pairs += [valence * (1 - activation), valence * activation]
        return torch.stack(pairs, -1)


class MultiView(Quadrant):
    """Four classes, and both bits as helpers that shape the embedding; the answer is the four classes'.

    Args:
        bit_weight: weight of each bit's loss beside the four classes' 1, 0 or more.

    Source: Neumann and Vu, "Attentive convolutional neural network based speech emotion recognition", 2017.
    """

    out_dim = 6
    logit_names = (*QUADRANTS, "valence", "activation")

    def __init__(self, bit_weight: float = 0.5) -> None:
        self.bit_weight = bit_weight

    def label_loss(self, outputs: Tensor, labels: Tensor, compare: Compare) -> Tensor:
        """Return the weighted sums of the losses of three questions: the quadrant, and each bit."""
        valence, activation = _bit_losses(outputs[:, 4:], labels, compare)
        quadrant = compare(outputs[:, :4], labels, "quadrant")
        return quadrant + self.bit_weight * valence + self.bit_weight * activation


def _bit_losses(logits: Tensor, labels: Tensor, compare: Compare) -> tuple[Tensor, Tensor]:
    """Losses of valence and activation, logits [B, 2]; one logit z is the pair (0, z) of the two classes of its bit."""
    pairs = functional.pad(logits.unsqueeze(-1), (1, 0))
    return compare(pairs[:, 0], labels // 2, "valence"), compare(pairs[:, 1], labels % 2, "activation")
