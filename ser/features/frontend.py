"""From the stored features to what an encoder sees; part of the model, so it travels in the checkpoint."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.features.normalize import NORMALIZERS


class Frontend(nn.Module):
    """Floor, normalise, add deltas.

    Args:
        feature_dim: F, values of a stored frame.
        normalize: `global` z-scores with statistics of the training split, `utterance` with its own; `speaker`
            expects features that are raised to the floor and z-scored with the speaker's, see ser.data.speakers.
        floor: log-mels below are raised to it, in the unit of the stored features; None leaves them. Digital
            silence is stored as -36 and would dominate the z-score.
        delta_scale: deltas times this are added as a second channel; 0 adds none. Deltas of normalised
            log-mels have a deviation near 1/3, so 3 brings both channels to one scale.
    """

    def __init__(
        self,
        feature_dim: int,
        *,
        normalize: Literal["global", "utterance", "speaker", "none"] = "global",
        floor: float | None = None,
        delta_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.normalizer = NORMALIZERS[normalize](feature_dim)
        self.floor = None if normalize == "speaker" else floor
        self.delta_scale = delta_scale
        self.num_channels = 2 if delta_scale else 1
        self.out_dim = feature_dim * self.num_channels

    def fit(self, frames: Iterable[Tensor]) -> None:
        """Learn the normaliser's statistics from chunks of training frames [N, F]."""
        self.normalizer.fit(self._floored(chunk) for chunk in frames)

    def forward(self, stored: Padded) -> Padded:
        """[B, T, F] -> [B, T, num_channels * F], channel by channel, padding zeroed."""
        audio: Padded = self.normalizer(stored.with_values(self._floored(stored.values)))
        if self.delta_scale:
            channels = [audio.values, self.delta_scale * deltas(audio).values]
            audio = audio.with_values(torch.cat(channels, dim=-1))
        return audio.zeroed()

    def _floored(self, values: Tensor) -> Tensor:
        return values if self.floor is None else values.clamp_min(self.floor)


def deltas(audio: Padded, *, reach: int = 2) -> Padded:
    """The slope of a straight line through 2 * reach + 1 steps; beyond an end, its last step is repeated.

    Source: Young et al., "The HTK Book", equation 5.16.
    """
    steps = torch.arange(audio.values.shape[1], device=audio.values.device)
    last = (audio.lengths - 1)[:, None]
    slope = torch.zeros_like(audio.values)
    for n in range(1, reach + 1):
        ahead = torch.minimum((steps + n).expand(len(last), -1), last)
        behind = torch.minimum((steps - n).clamp_min(0).expand(len(last), -1), last)
        slope = slope + n * (_take(audio.values, ahead) - _take(audio.values, behind))
    return audio.with_values(slope / (2 * sum(n * n for n in range(1, reach + 1))))


def _take(values: Tensor, steps: Tensor) -> Tensor:
    """Values [B, T, F] at the steps [B, T'] of each sequence."""
    return values.gather(1, steps.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
