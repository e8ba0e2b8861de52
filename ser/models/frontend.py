"""From the stored features to what an encoder sees; part of the model, so it travels in the checkpoint."""

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor

from ser.batch import Padded
from ser.errors import ConfigError, did_you_mean
from ser.models.normalize import NORMALIZERS
from ser.precision import KeepsPrecision

Align = Literal["centered", "causal"]

_REACH = 2  # steps on each side of the one in the middle of a slope
_NORM = 2 * sum(n * n for n in range(1, _REACH + 1))


class Frontend(KeepsPrecision):
    """Floor, normalise, add deltas.

    Args:
        feature_dim: F, values of a stored frame.
        normalize: `global` z-scores with statistics of the training split, `utterance` with its own; `speaker`
            expects features that are raised to the floor and z-scored with the speaker's, see
            ser.splits.speaker_normalize.
        floor: log-mels below are raised to it, in the unit of the stored features; None leaves them. Digital
            silence is stored as -36 and would dominate the z-score.
        delta_scale: deltas times this are added as a second channel; 0 adds none. Deltas of normalised
            log-mels have a deviation near 1/3, so 3 brings both channels to one scale.
        delta_align: a step's delta is the slope around it (centered), or over it and the four before (causal),
            which a stream can compute.
    """

    def __init__(
        self,
        feature_dim: int,
        *,
        normalize: Literal["global", "utterance", "speaker", "none"] = "global",
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
        self.floor = None if normalize == "speaker" else floor
        self.delta_scale = delta_scale
        self.num_channels = 2 if delta_scale else 1
        self.out_dim = feature_dim * self.num_channels

    def fit(self, frames: Iterable[Tensor]) -> None:
        """Learn the normaliser's statistics from chunks of training frames [N, F]."""
        self.normalizer.fit(self._apply_floor(chunk) for chunk in frames)

    def forward(self, stored: Padded) -> Padded:
        """[B, T, F] -> [B, T, num_channels * F], channel by channel, padding zeroed."""
        audio: Padded = self.normalizer(stored.with_values(self._apply_floor(stored.values)))
        if self.delta_scale:
            audio = audio.with_values(
                self._append_deltas(audio.values, deltas(audio, align=self.delta_align).values)
            )
        return audio.zeroed()

    def initial_state(self, batch_size: int = 1) -> Tensor:
        """What a stream remembers before its first step, see `step`.

        Raises:
            ConfigError: a setting needs more than has been heard.
        """
        self.check_streamable()
        return torch.empty(batch_size, 0, self.normalizer.feature_dim)

    def step(self, chunk: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` makes of the next steps, and the state from then on.

        Args:
            chunk: [B, n, F], any number of steps of B streams.
            state: [B, k, F], up to four normalised steps before these; it is left as it was.

        Returns:
            [B, n, num_channels * F], and the state.
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
        """Refuse what needs more than has been heard.

        Raises:
            ConfigError: statistics of a whole utterance or speaker, or deltas that look ahead.
        """
        if self.normalize in ("utterance", "speaker"):
            raise ConfigError(
                f"frontend.normalize={self.normalize}: the statistics of all that the {self.normalize} says are known "
                "at the end only. Train with frontend.normalize=global."
            )
        if self.delta_scale and self.delta_align == "centered":
            raise ConfigError(
                f"frontend.delta_align=centered: deltas need {_REACH} steps that are still to come. "
                "Train with frontend.delta_align=causal, or frontend.delta_scale=0."
            )

    def _append_deltas(self, values: Tensor, slope: Tensor) -> Tensor:
        return torch.cat([values, self.delta_scale * slope], dim=-1)

    def _apply_floor(self, values: Tensor) -> Tensor:
        return values if self.floor is None else values.clamp_min(self.floor)


def deltas(audio: Padded, *, align: Align = "centered") -> Padded:
    """The slope of a straight line through five steps; beyond an end, its last step is repeated.

    Source: Young et al., "The HTK Book", equation 5.16.

    Args:
        audio: [B, T, F].
        align: the step is in the middle of the five (centered), or the last of them (causal).
    """
    middle = torch.arange(audio.values.shape[1], device=audio.values.device)
    if align == "causal":
        middle = middle - _REACH
    last = (audio.lengths - 1)[:, None]
    slope = torch.zeros_like(audio.values)
    for n in range(1, _REACH + 1):
        ahead = torch.minimum((middle + n).clamp_min(0).expand(len(last), -1), last)
        behind = torch.minimum((middle - n).clamp_min(0).expand(len(last), -1), last)
        slope = slope + n * (_take(audio.values, ahead) - _take(audio.values, behind))
    return audio.with_values(slope / _NORM)


def _take(values: Tensor, steps: Tensor) -> Tensor:
    """Values [B, T, F] at the steps [B, T'] of each sequence."""
    return values.gather(1, steps.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
