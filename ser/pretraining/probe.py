"""Linear probe: how well a logistic regression on frozen embeddings predicts labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ser.batch import Padded
from ser.batching.samplers import EvaluationSampler
from ser.data.store import Store
from ser.pretrained.log_mel import LogMelNetwork

_BATCH = {"max_frames": 4_000, "max_utterances": 64}
_SHRINK = 1e-3
"""Weight of the squared coefficients in the loss."""


@dataclass(frozen=True)
class Probe:
    """Labelled recordings of train and validation.

    Args:
        stores: Features of the labelled recordings of both splits, of which none is too short.
        classes: Class index of each of them [N].
        names: Names of the classes, all of which are in train.
    """

    stores: Mapping[str, Store]
    classes: Mapping[str, Tensor]
    names: Sequence[str]

    def score(self, encoder: LogMelNetwork, mean: float, std: float) -> dict[str, float]:
        """Return accuracy and UAR on validation of a regression trained on train, of whole recordings."""
        was_training = encoder.training
        encoder.eval()
        found = {name: embed(encoder, store, mean, std) for name, store in self.stores.items()}
        encoder.train(was_training)
        answers = predict_classes(found["train"], self.classes["train"], found["validation"])
        right = answers == self.classes["validation"]
        recalls = [float(right[self.classes["validation"] == c].float().mean()) for c in self.scored]
        return {"probe/accuracy": float(right.float().mean()), "probe/uar": sum(recalls) / len(recalls)}

    @property
    def scored(self) -> list[int]:
        """Return the classes that validation has."""
        return sorted({*self.classes["validation"].tolist()})

    @property
    def majority(self) -> float:
        """Return the share of the most frequent class of validation."""
        return float(torch.bincount(self.classes["validation"]).max() / len(self.classes["validation"]))


@torch.no_grad()
def embed(encoder: LogMelNetwork, store: Store, mean: float, std: float) -> Tensor:
    """Embed the recordings [N, D] of a store, whole, with an encoder in evaluation mode."""
    device = next(encoder.parameters()).device
    rows = torch.empty(len(store), encoder.out_dim)
    for draw in EvaluationSampler(store.lengths, **_BATCH):
        indices = np.asarray(draw.indices)
        lengths = store.lengths[indices]
        frames = store.gather(indices, np.zeros_like(indices), lengths)
        audio = Padded((frames - mean) / std, torch.from_numpy(lengths)).to(device)
        rows[indices] = encoder.embed(audio).float().cpu()
    return rows


def predict_classes(train: Tensor, classes: Tensor, others: Tensor) -> Tensor:
    """Fit a logistic regression to embeddings [N, D] and classes [N]; return the classes of others [M]."""
    center, scale = train.mean(0), train.std(0).clamp_min(1e-6)
    train, others = (train - center) / scale, (others - center) / scale
    weight = torch.zeros(train.shape[1], int(classes.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(train @ weight + bias, classes) + _SHRINK * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return (others @ weight + bias).argmax(1)
