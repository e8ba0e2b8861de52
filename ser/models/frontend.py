"""Normalise features and append deltas, as a part of the model that is stored in the checkpoint."""

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.errors import ConfigError, did_you_mean
from ser.precision import KeepsPrecision

Align = Literal["centered", "causal"]

SMALLEST_STD = 1e-5  # a constant feature would divide by zero; its normalised value is then 0
_CONSTANT = 1e-6  # of the mean; sums in float64 leave a smaller deviation than this to a constant feature
_LARGEST_STD = 1e12  # finite, as averages of weights are taken
_REACH = 2  # steps on each side of the middle one, for the slope
_NORM = 2 * sum(n * n for n in range(1, _REACH + 1))


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
        std = (squares / count - mean.square()).clamp_min(0).sqrt()
        # What does not vary in training, such as a dead unit of a frozen encoder, may vary elsewhere, where it would
        # outweigh everything else: it becomes 0.
        is_constant = std <= _CONSTANT * mean.abs()
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(SMALLEST_STD).where(~is_constant, _LARGEST_STD))

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


class GroupNormalizer(Normalizer):
    """Return features unchanged that are already normalised by group, see ser.splits.speaker_normalize."""


NORMALIZERS = {
    "global": GlobalNormalizer,
    "utterance": UtteranceNormalizer,
    "speaker": GroupNormalizer,
    "corpus": GroupNormalizer,
    "none": Normalizer,
}


class Frontend(KeepsPrecision):
    """Apply a floor, normalise features, and append deltas.

    Args:
        feature_dim: Number of values of a stored frame, F.
        normalize: Statistics of the z-scores: of the training split (`global`) or of the utterance (`utterance`), or
            `none`; `speaker` and `corpus` expect features that are floored and normalised by speaker or corpus already,
            see ser.splits.speaker_normalize.
        floor: Smallest log-mel, in the unit of the stored features; lower values are raised to it. None for no floor.
            Digital silence is stored as -36 and would dominate the z-scores.
        delta_scale: Factor of deltas, which are appended as a second channel; 0 for no deltas. Deltas of normalised
            log-mels have a deviation of about 1/3, so a factor of 3 gives both channels the same scale.
        delta_align: Steps over which the slope is computed: around the step (centered), or the step and the four
            before it (causal), for streams.
    """

    def __init__(
        self,
        feature_dim: int,
        *,
        normalize: Literal["global", "utterance", "speaker", "corpus", "none"] = "global",
        floor: float | None = None,
        delta_scale: float = 0.0,
        delta_align: Align = "centered",
    ) -> None:
        super().__init__()
        if delta_align not in get_args(Align):
            raise ConfigError(
                f"frontend.delta_align={delta_align}: no such alignment. "
                f"{did_you_mean(delta_align, get_args(Align))}"
            )
        self.normalize = normalize
        self.delta_align = delta_align
        self.normalizer = NORMALIZERS[normalize](feature_dim)
        self.floor = None if isinstance(self.normalizer, GroupNormalizer) else floor
        self.delta_scale = delta_scale
        self.num_channels = 2 if delta_scale else 1
        self.out_dim = feature_dim * self.num_channels

    def fit(self, frames: Iterable[Tensor]) -> None:
        """Compute the normaliser's statistics from chunks of training frames [N, F]."""
        self.normalizer.fit(self._apply_floor(chunk) for chunk in frames)

    def forward(self, stored: Padded) -> Padded:
        """Map features [B, T, F] to [B, T, num_channels * F], channel by channel; padding is 0."""
        audio: Padded = self.normalizer(stored.with_values(self._apply_floor(stored.values)))
        if self.delta_scale:
            audio = audio.with_values(
                self._append_deltas(audio.values, deltas(audio, align=self.delta_align).values)
            )
        return audio.zeroed()

    def initial_state(self, batch_size: int = 1) -> Tensor:
        """Return the state before the first step, see `step`.

        Raises:
            ConfigError: A setting needs future frames.
        """
        self.check_streamable()
        return torch.empty(batch_size, 0, self.normalizer.feature_dim)

    def step(self, chunk: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Process the next steps as `forward` does, and return the new state.

        Args:
            chunk: The next steps [B, n, F] of B streams, any n.
            state: Up to four normalised steps before these [B, k, F]; it is not modified.

        Returns:
            Features [B, n, num_channels * F] and the new state.
        """
        values = self.normalizer.normalize_steps(self._apply_floor(chunk))
        if not self.delta_scale:
            return values, state
        if not chunk.shape[1]:
            return chunk.new_empty(len(chunk), 0, self.out_dim), state
        earlier = state if state.shape[1] else values[:, :1].expand(-1, 2 * _REACH, -1)
        known = torch.cat([earlier, values], dim=1)
        count = values.shape[1]
        slope = torch.zeros_like(values)
        for n in range(1, _REACH + 1):
            ahead, behind = _REACH + n, _REACH - n
            slope = slope + n * (known[:, ahead : ahead + count] - known[:, behind : behind + count])
        return self._append_deltas(values, slope / _NORM), known[:, count:]

    def check_streamable(self) -> None:
        """Refuse settings that need future frames.

        Raises:
            ConfigError: Normalisation is by utterance, speaker or corpus, or deltas are centered.
        """
        if self.normalize in ("utterance", "speaker", "corpus"):
            raise ConfigError(
                f"frontend.normalize={self.normalize}: the statistics of the {self.normalize} are known only at the "
                "end. Train with frontend.normalize=global."
            )
        if self.delta_scale and self.delta_align == "centered":
            raise ConfigError(
                f"frontend.delta_align=centered: deltas need {_REACH} future steps. "
                "Train with frontend.delta_align=causal, or frontend.delta_scale=0."
            )

    def _append_deltas(self, values: Tensor, slope: Tensor) -> Tensor:
        return torch.cat([values, self.delta_scale * slope], dim=-1)

    def _apply_floor(self, values: Tensor) -> Tensor:
        return values if self.floor is None else values.clamp_min(self.floor)


def deltas(audio: Padded, *, align: Align = "centered") -> Padded:
    """Compute deltas: the slope of a line fitted to five steps; beyond an end, the last step is repeated.

    Source: Young et al., "The HTK Book", equation 5.16.

    Args:
        audio: Features [B, T, F].
        align: Position of the step among the five: in the middle (centered), or last (causal).
    """
    middle = torch.arange(audio.values.shape[1], device=audio.values.device)
    if align == "causal":
        middle = middle - _REACH
    last = (audio.lengths - 1)[:, None]
    slope = torch.zeros_like(audio.values)
    for n in range(1, _REACH + 1):
        ahead = torch.minimum((middle + n).clamp_min(0).expand(last.shape[0], -1), last)
        behind = torch.minimum((middle - n).clamp_min(0).expand(last.shape[0], -1), last)
        slope = slope + n * (_take(audio.values, ahead) - _take(audio.values, behind))
    return audio.with_values(slope / _NORM)


def _take(values: Tensor, steps: Tensor) -> Tensor:
    """Select the steps [B, T'] of each sequence from values [B, T, F]."""
    return values.gather(1, steps.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
