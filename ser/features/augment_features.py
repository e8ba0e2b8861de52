"""Augment log-mel features in batches on any device; the random numbers depend on the utterance key only.

Each augmentation maps (Padded [B, T, F], keys [B]) to Padded. Values are log energies as stored, not normalised.
"""

import math

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.errors import ConfigError
from ser.randomness import uniform


class Augment(nn.Module):
    """Apply time stretch, frequency warp, gain, masks and mixup, in this order; a setting of 0 disables one.

    Args:
        time_stretch: Largest relative change of speed, 0..0.5.
        frequency_warp: Largest relative change of scale of the mel axis, 0..0.3.
        gain_db: Largest change of loudness, in dB; meant for natural-log energies.
        time_masks: Number of time spans that are replaced by the mean, each at most a tenth of the utterance.
        frequency_masks: Number of bands that are replaced by the mean, each at most 4 mel bins wide.
        mixup: Largest share of the neighbour in the batch, 0..0.5.

    Raises:
        ConfigError: A setting is out of its range.
    """

    def __init__(
        self,
        *,
        time_stretch: float = 0.0,
        frequency_warp: float = 0.0,
        gain_db: float = 0.0,
        time_masks: int = 0,
        frequency_masks: int = 0,
        mixup: float = 0.0,
    ) -> None:
        super().__init__()
        _check_range(0.5, "a share", time_stretch=time_stretch, mixup=mixup)
        _check_range(0.3, "a share", frequency_warp=frequency_warp)
        _check_range(100, "decibels", gain_db=gain_db)
        _check_range(100, "a number", time_masks=time_masks, frequency_masks=frequency_masks)
        self.pieces = nn.ModuleList()
        if time_stretch:
            self.pieces.append(TimeStretch(time_stretch))
        if frequency_warp:
            self.pieces.append(FrequencyWarp(frequency_warp))
        if gain_db:
            self.pieces.append(Gain(gain_db))
        if time_masks or frequency_masks:
            self.pieces.append(SpecAugment(time_masks, frequency_masks=frequency_masks))
        self.mixup = Mixup(mixup) if mixup else None

    @torch.no_grad()
    def forward(self, audio: Padded, keys: Tensor) -> tuple[Padded, Tensor]:
        """Augment [B, T, F] to [B, T', F]; also return the share [B] of the neighbour `roll(1)` in each utterance."""
        for piece in self.pieces:
            audio = piece(audio, keys)
        if self.mixup is None:
            return audio, torch.zeros(len(keys), device=keys.device)
        mixed: tuple[Padded, Tensor] = self.mixup(audio, keys)
        return mixed


class TimeStretch(nn.Module):
    """Change the speed without changing the pitch, by linear interpolation between frames.

    Args:
        max_change: Largest relative change, 0..0.5; the speed is uniform in 1 - max_change .. 1 + max_change.
    """

    def __init__(self, max_change: float = 0.2) -> None:
        super().__init__()
        self.max_change = max_change

    def forward(self, audio: Padded, keys: Tensor) -> Padded:
        """Stretch [B, T, F] to [B, T', F]."""
        speed = 1 + self.max_change * (2 * uniform(keys, "stretch") - 1)
        lengths = (audio.lengths / speed[:, 0]).round().long().clamp_min(1)
        steps = torch.arange(int(lengths.max()), device=audio.values.device)
        position = torch.minimum(steps * speed, (audio.lengths - 1)[:, None].float())
        return Padded(_interpolate(audio.values, position), lengths)


class FrequencyWarp(nn.Module):
    """Stretch the mel axis, as a longer or shorter vocal tract would.

    Args:
        max_change: Largest relative change, 0..0.3; the scale is uniform in 1 - max_change .. 1 + max_change.

    Source: Jaitly and Hinton, "Vocal tract length perturbation improves speech recognition", 2013.
    """

    def __init__(self, max_change: float = 0.1) -> None:
        super().__init__()
        self.max_change = max_change

    def forward(self, audio: Padded, keys: Tensor) -> Padded:
        """Warp the features [B, T, F]."""
        bands = torch.arange(audio.values.shape[2], device=audio.values.device)
        scale = 1 + self.max_change * (2 * uniform(keys, "warp") - 1)
        position = (bands * scale).clamp_max(len(bands) - 1)
        warped = _interpolate(audio.values.transpose(1, 2), position).transpose(1, 2)
        return audio.with_values(warped)


class Gain(nn.Module):
    """Change the loudness of the whole utterance.

    Args:
        max_db: Largest change in dB; it is uniform in -max_db..max_db.
    """

    def __init__(self, max_db: float = 5.0) -> None:
        super().__init__()
        self.max_change = max_db * math.log(10) / 10  # decibels of power, in natural logarithm

    def forward(self, audio: Padded, keys: Tensor) -> Padded:
        """Add a gain to the log energies [B, T, F]."""
        change = self.max_change * (2 * uniform(keys, "gain") - 1)
        return audio.with_values(audio.values + change.unsqueeze(-1))


class SpecAugment(nn.Module):
    """Replace time spans and frequency bands by the utterance's mean.

    Args:
        time_masks: Number of time spans.
        max_time_share: Longest span as a share of the utterance, 0..1.
        frequency_masks: Number of frequency bands.
        max_bands: Widest band, in mel bins.

    Source: Park et al., "SpecAugment", Interspeech 2019.
    """

    def __init__(
        self,
        time_masks: int = 1,
        max_time_share: float = 0.1,
        frequency_masks: int = 1,
        max_bands: int = 4,
    ) -> None:
        super().__init__()
        self.time_masks = time_masks
        self.max_time_share = max_time_share
        self.frequency_masks = frequency_masks
        self.max_bands = max_bands

    def forward(self, audio: Padded, keys: Tensor) -> Padded:
        """Mask the features [B, T, F]."""
        _, steps, bands = audio.values.shape
        length = audio.lengths[:, None].float()
        hidden = _draw_spans(keys, "time", self.time_masks, self.max_time_share * length, length, steps)[
            :, :, None
        ]
        width = torch.full_like(length, self.max_bands)
        height = torch.full_like(length, bands)
        hidden = hidden | _draw_spans(keys, "freq", self.frequency_masks, width, height, bands)[:, None]
        total = (audio.values * audio.mask.unsqueeze(-1)).sum((1, 2), keepdim=True)
        mean = total / (length.unsqueeze(-1) * bands)
        return audio.with_values(torch.where(hidden, mean, audio.values))


class Mixup(nn.Module):
    """Mix each utterance with its neighbour in the batch, as if both were played at once.

    Energies are added, not their logarithms. After the neighbour's end, nothing is added.

    Args:
        max_share: Largest share of the neighbour, 0..0.5; the share is uniform in 0..max_share.

    Source: Zhang et al., "mixup: Beyond empirical risk minimization", 2018; adding energies: Niizumi et al.,
    "BYOL for audio", 2021.
    """

    def __init__(self, max_share: float = 0.5) -> None:
        super().__init__()
        self.max_share = max_share

    @torch.no_grad()
    def forward(self, audio: Padded, keys: Tensor) -> tuple[Padded, Tensor]:
        """Return the mixture [B, T, F] and the share [B] of the neighbour, which is `roll(1)`."""
        share = self.max_share * uniform(keys, "mixup")
        mine = audio.values + torch.log1p(-share).unsqueeze(-1)
        theirs = audio.values.roll(1, 0) + share.log().unsqueeze(-1)
        both = (audio.mask & audio.mask.roll(1, 0)).unsqueeze(-1)
        mixed = torch.where(both, torch.logaddexp(mine, theirs), mine)
        return audio.with_values(mixed), share[:, 0]


def _draw_spans(keys: Tensor, salt: str, count: int, widest: Tensor, extent: Tensor, size: int) -> Tensor:
    """Draw `count` random spans, each at most `widest` [B, 1] long, within `extent` [B, 1]; bool [B, size]."""
    positions = torch.arange(size, device=keys.device)
    hidden = torch.zeros(len(keys), size, dtype=torch.bool, device=keys.device)
    draws = uniform(keys, salt, 2 * count).reshape(len(keys), count, 2)
    for draw in draws.unbind(1):
        width = draw[:, :1] * widest
        start = draw[:, 1:] * (extent - width)
        hidden |= (positions >= start) & (positions < start + width)
    return hidden


def _interpolate(values: Tensor, position: Tensor) -> Tensor:
    """Interpolate values [B, N, F] at fractional positions [B, M] on the second axis, 0..N-1: [B, M, F]."""
    lower = position.floor()
    weight = (position - lower).unsqueeze(-1)
    index = lower.long().unsqueeze(-1).expand(-1, -1, values.shape[2])
    upper = (index + 1).clamp_max(values.shape[1] - 1)
    return torch.lerp(values.gather(1, index), values.gather(1, upper), weight)


def _check_range(most: float, what: str, **settings: float) -> None:
    for name, value in settings.items():
        if not 0 <= value <= most:
            raise ConfigError(f"augment.{name}={value}: expected {what} from 0 to {most}. Set 0 for none.")
