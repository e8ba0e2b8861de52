"""Models that normalise by speaker or corpus: the statistics of pooled vectors, in a pass over all recordings."""

import torch

from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import EvaluationSampler
from ser.checkpoints.checkpoint import Trained
from ser.errors import ConfigError, setting
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.models.classifier import Classifier
from ser.splits.speaker_normalize import group_of


@torch.no_grad()
def fit_head(
    model: Classifier,
    dataset: UtteranceDataset,
    to_features: OnTheFlyFeatures,
    *,
    device: torch.device,
    max_frames: int,
    max_utterances: int,
) -> list[int]:
    """Set the statistics of the groups of a dataset; it does nothing for heads that need none.

    Args:
        model: Model in evaluation mode.
        dataset: Recordings, without a group all of one.
        to_features: Feature extraction, if the dataset holds waveforms.
        device: Device of the computation.
        max_frames: Maximum number of padded frames in a batch.
        max_utterances: Maximum number of utterances in a batch.

    Returns:
        Number of recordings of each group; empty if no statistics are needed.
    """
    if model.head.by_group is None:
        return []
    vectors, groups = [], []
    for draw in EvaluationSampler(dataset.lengths, max_frames=max_frames, max_utterances=max_utterances):
        batch = dataset[draw].to(device)
        vectors.append(model.embed(to_features(batch.audio)).float())
        none = torch.zeros(len(batch), dtype=torch.long, device=device)
        groups.append(none if batch.groups is None else batch.groups)
    together = torch.cat(groups)
    model.head.by_group.fit(torch.cat(vectors), together)
    counts = torch.bincount(together)
    return [int(count) for count in counts[counts > 0]]


def refuse_groups(trained: Trained, reason: str) -> None:
    """Refuse models whose answer for a recording depends on others.

    Args:
        trained: The model.
        reason: Why the others are not known, a clause for the message.

    Raises:
        ConfigError: Features or pooled vectors are normalised by speaker or corpus.
    """
    for key, group, remedy in (
        ("frontend.normalize", group_of(trained.frontend), "global"),
        ("head.normalize", trained.model.head.group, "batch"),
    ):
        if group is not None:
            raise ConfigError(
                f"{setting('ckpt', trained.path)}: was trained with {key}={group}, so that an answer depends on all "
                f"recordings of a {group}, and {reason}. Train with {key}={remedy}."
            )
