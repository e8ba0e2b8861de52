"""Scores of utterances from trained models: plain torch, no trainer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ser.batch import Batch
from ser.checkpoint import Trained
from ser.data.bucketing import EvaluationSampler
from ser.data.dataset import UtteranceDataset
from ser.data.store import Store
from ser.errors import ConfigError, DataError
from ser.targets import Target

# Against batches of 64 in file order, a CNN predicts 4.9 times as fast on a CPU with 16,000 padded frames, whose
# activations stay in the cache, and 2.6 times with 64,000. A GPU wants large batches.
_FRAMES_ON_CPU, _FRAMES_ON_GPU = 16_000, 64_000


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is a GPU where there is one.

    Raises:
        ConfigError: the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name}: not available here. Use device=cpu or device=auto.") from error


@torch.inference_mode()
def class_scores(
    models: Sequence[Trained],
    store: Store,
    *,
    device: torch.device,
    max_frames: int | None = None,
    max_utterances: int = 256,
) -> Tensor:
    """Probabilities [N, C] of a store's utterances, in its order, averaged over the models.

    Batches of like length, longest first; no answer depends on them.

    Args:
        models: one, or several that answer the same question.
        store: features as the models were trained on.
        device: where to compute.
        max_frames: padded frames of a batch, at most; None = what is fastest on the device.
        max_utterances: utterances of a batch, at most.

    Raises:
        DataError: the features have another width than a model's.
        ConfigError: the models predict different things.
    """
    for trained in models:
        _check_fit(trained, models[0], store)
        trained.model.to(device)
    dataset = UtteranceDataset(store, None)
    max_frames = max_frames or (_FRAMES_ON_CPU if device.type == "cpu" else _FRAMES_ON_GPU)
    scores = torch.zeros(len(store), len(models[0].target.class_names))
    for draw in EvaluationSampler(dataset.lengths, max_frames=max_frames, max_utterances=max_utterances):
        batch: Batch = dataset[draw].to(device)
        for trained in models:
            answer = trained.target.scores(trained.model(batch.audio).float())
            scores[draw.indices] += answer.cpu() / len(models)
    return scores


def _check_fit(trained: Trained, first: Trained, store: Store) -> None:
    if trained.feature_dim != store.feature_dim:
        raise DataError(
            f"the input has {store.feature_dim} values in a frame, but {trained.path} was trained on "
            f"{trained.feature_dim}. Give features made like the training data's, or another checkpoint."
        )
    if trained.target.class_names != first.target.class_names:
        raise ConfigError(
            f"ckpt: {trained.path} and {first.path} predict different things. Average models of one target only."
        )


def evaluate(scores: Tensor, labels: Tensor, target: Target) -> dict[str, float]:
    """The target's metrics of scores [N, C] against class indices [N], in 0..1."""
    metric = target.metrics()
    metric.update(scores, labels)
    return {name: float(value) for name, value in metric.compute().items() if value.ndim == 0}
