"""Compute the statistics by which a head normalises pooled vectors, in a pass over all recordings."""

import torch

from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import EvaluationSampler
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.models.classifier import Classifier


@torch.no_grad()
def fit_head(
    model: Classifier,
    dataset: UtteranceDataset,
    to_features: OnTheFlyFeatures,
    *,
    device: torch.device,
    max_frames: int,
    max_utterances: int,
) -> int | None:
    """Set the statistics of the groups of a dataset; it does nothing for heads that need none.

    Args:
        model: Model in evaluation mode.
        dataset: Recordings, without a group all of one.
        to_features: Feature extraction, if the dataset holds waveforms.
        device: Device of the computation.
        max_frames: Maximum number of padded frames in a batch.
        max_utterances: Maximum number of utterances in a batch.

    Returns:
        Number of recordings of the smallest group; None if no statistics are needed.
    """
    if model.head.by_group is None:
        return None
    vectors, groups = [], []
    for draw in EvaluationSampler(dataset.lengths, max_frames=max_frames, max_utterances=max_utterances):
        batch = dataset[draw].to(device)
        vectors.append(model.embed(to_features(batch.audio)).float())
        none = torch.zeros(len(batch), dtype=torch.long, device=device)
        groups.append(none if batch.groups is None else batch.groups)
    together = torch.cat(groups)
    model.head.by_group.fit(torch.cat(vectors), together)
    counts = torch.bincount(together)
    return int(counts[counts > 0].min())
