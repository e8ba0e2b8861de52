"""Baseline without training: statistics of log-mels over time."""

import torch
from torch import Tensor

from ser.batch import Padded
from ser.embeddings.base import SERAB, Embedder


class LogMelStatistics(Embedder):
    """Mean, standard deviation and maximum of each of 64 log-mels: D = 192."""

    def __init__(self) -> None:
        super().__init__(SERAB, 3 * SERAB["num_mel_bins"])

    def encode(self, features: Padded) -> Tensor:
        """Compute 64 means, 64 deviations and 64 maxima [B, 192] of log-mels [B, T, 64]."""
        real = features.mask.unsqueeze(-1)
        count = features.lengths[:, None]
        values = features.values.double()  # in float32, the rounding of long sums would depend on padding
        mean = values.where(real, 0).sum(1) / count
        squares = (values - mean[:, None]).square().where(real, 0).sum(1)
        largest = values.where(real, -torch.inf).amax(1)
        return torch.cat([mean, (squares / count).sqrt(), largest], dim=-1).float()
