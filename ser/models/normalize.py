"""Normalise features; statistics are computed on the training split only."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ser.batch import Padded

SMALLEST_STD = 1e-5  # a constant feature would divide by zero; its normalised value is then 0


class Normalizer(nn.Module):
    """Return features unchanged (frontend.normalize=none); base class of the other normalisers."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim

    def fit(self, frames: Iterable[Tensor]) -> None:
        """Compute statistics from chunks of frames [N, F] of the training split."""

    def forward(self, audio: Padded) -> Padded:
        """Normalise features [B, T, F]."""
        return audio.with_values(self.normalize_steps(audio.values))

    def normalize_steps(self, values: Tensor) -> Tensor:
        """Normalise steps [..., F] independently of each other, as in streams."""
        return values


class GlobalNormalizer(Normalizer):
    """Compute z-scores with the mean and standard deviation of the training split."""

    mean: Tensor
    std: Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__(feature_dim)
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))

    def fit(self, frames: Iterable[Tensor]) -> None:
        """Compute the statistics in float64, as sums of log-mels exceed the precision of float32 on a large corpus."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for chunk in frames:
            chunk = chunk.double()
            count += len(chunk)
            total = total + chunk.sum(0)
            squares = squares + chunk.square().sum(0)
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(SMALLEST_STD))

    def normalize_steps(self, values: Tensor) -> Tensor:
        """Normalise steps [..., F]."""
        return (values - self.mean) / self.std


class UtteranceNormalizer(Normalizer):
    """Compute z-scores with the utterance's own mean and deviation, which removes loudness and channel."""

    def forward(self, audio: Padded) -> Padded:
        """Normalise features [B, T, F]."""
        mask = audio.mask.unsqueeze(-1)
        count = audio.lengths[:, None, None]
        mean = (audio.values * mask).sum(1, keepdim=True) / count
        centred = (audio.values - mean) * mask
        std = (centred.square().sum(1, keepdim=True) / count).sqrt().clamp_min(SMALLEST_STD)
        return audio.with_values(centred / std)


class SpeakerNormalizer(Normalizer):
    """Return features unchanged that are already normalised by speaker, see ser.splits.speaker_normalize."""


NORMALIZERS = {
    "global": GlobalNormalizer,
    "utterance": UtteranceNormalizer,
    "speaker": SpeakerNormalizer,
    "none": Normalizer,
}
