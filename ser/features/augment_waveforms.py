"""Augment waveforms in batches on any device; the random numbers depend on the utterance key only.

Each augmentation maps (Padded [B, samples, 1], keys [B]) to Padded. Its result depends neither on padding, which
stays 0, nor on batch mates. Loud utterances may exceed -1..1; nothing is clipped.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError
from ser.randomness import uniform

_ZERO_CROSSINGS = 16  # on each side of the sinc: at 16 kHz, 1 kHz becomes 1.1 kHz with an error of -99 dB
_ROLLOFF = 0.95  # cut-off of the sinc, as a share of the lower of the two Nyquist frequencies
_SILENT = 1e-20  # an energy 30 dB below the last bit of 24: scaling it to the level of speech may overflow


class WaveformAugment(nn.Module):
    """Change speed, room, noise, level and polarity, in this order; 0 or None disables one of them.

    Args:
        speed: Largest relative change of speed and pitch, 0.01..0.5, in steps of 0.01.
        speed_probability: Share of the utterances whose speed changes, 0..1.
        impulses: Room impulse responses; None for no reverberation.
        impulse_probability: Share of the utterances with reverberation, 0..1.
        noise_snr_db: [low, high] in dB; the signal-to-noise ratio is uniform between them. None for no noise.
        noises: Noise recordings; None for white noise.
        noise_probability: Share of the utterances with noise, 0..1.
        gain_db: Largest change of level, in dB.
        flip_probability: Share of the utterances whose sign is inverted, 0..1.

    Raises:
        ConfigError: A setting is out of its range, or noises are given without a signal-to-noise ratio.
    """

    def __init__(
        self,
        *,
        speed: float = 0.0,
        speed_probability: float = 1.0,
        impulses: "WaveformBank | None" = None,
        impulse_probability: float = 1.0,
        noise_snr_db: Sequence[float] | None = None,
        noises: "WaveformBank | None" = None,
        noise_probability: float = 1.0,
        gain_db: float = 0.0,
        flip_probability: float = 0.0,
    ) -> None:
        super().__init__()
        self.pieces = nn.ModuleList()
        if speed:
            self.pieces.append(Speed(speed, probability=speed_probability))
        if impulses is not None:
            self.pieces.append(Reverberation(impulses, probability=impulse_probability))
        if noise_snr_db is not None:
            self.pieces.append(Noise(noise_snr_db, noises, probability=noise_probability))
        elif noises is not None:
            raise ConfigError(
                "waveform_augment.noises: are given, but waveform_augment.noise_snr_db=null adds none. "
                "Set waveform_augment.noise_snr_db=[10,30] or waveform_augment.noises=null."
            )
        if gain_db:
            self.pieces.append(WaveformGain(gain_db))
        if flip_probability:
            self.pieces.append(Polarity(flip_probability))

    @torch.no_grad()
    def forward(self, waveforms: Padded, keys: Tensor) -> Padded:
        """Augment waveforms [B, samples, 1] to [B, samples', 1]."""
        for piece in self.pieces:
            waveforms = piece(waveforms, keys)
        return waveforms


class WaveformBank(nn.Module):
    """Recordings to draw from, held in memory as one tensor, so that one operation reads a whole batch.

    Args:
        waveforms: 1-D float tensors, none empty, at the sample rate of the speech.
    """

    samples: Tensor
    lengths: Tensor
    firsts: Tensor

    def __init__(self, waveforms: Sequence[Tensor]) -> None:
        super().__init__()
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        # Not persistent: a checkpoint does not need the noises of the training.
        self.register_buffer("samples", torch.cat(list(waveforms)), persistent=False)
        self.register_buffer("lengths", lengths, persistent=False)
        self.register_buffer("firsts", lengths.cumsum(0) - lengths, persistent=False)

    def __len__(self) -> int:
        return len(self.lengths)

    def draw_recordings(self, keys: Tensor, salt: str) -> Padded:
        """Draw a whole recording for each key [B]: [B, samples, 1], padded with zeros."""
        chosen = (uniform(keys, salt)[:, 0] * len(self)).long()
        lengths = self.lengths[chosen]
        steps = torch.arange(int(lengths.max()), device=keys.device)
        places = self.firsts[chosen, None] + torch.minimum(steps, lengths[:, None] - 1)
        return Padded(self.samples[places].unsqueeze(-1), lengths).zeroed()

    def draw_segments(self, keys: Tensor, salt: str, count: int) -> Tensor:
        """Draw `count` samples for each key: [B, count], from a random place; a recording repeats at its end."""
        choice, place = uniform(keys, salt, 2).unbind(1)
        chosen = (choice * len(self)).long()
        lengths = self.lengths[chosen]
        steps = (place * lengths).long()[:, None] + torch.arange(count, device=keys.device)
        return self.samples[self.firsts[chosen, None] + steps % lengths[:, None]]


class Speed(nn.Module):
    """Change speed and pitch together, as a tape does.

    Args:
        max_change: Largest relative change, 0.01..0.5; the speed is 1 - max_change .. 1 + max_change in steps of
            0.01.
        probability: Share of the utterances whose speed changes, 0..1.

    Source: Ko et al., "Audio augmentation for speech recognition", Interspeech 2015.
    """

    def __init__(self, max_change: float = 0.1, *, probability: float = 1.0) -> None:
        super().__init__()
        if not 0.01 <= max_change <= 0.5:
            raise ConfigError(
                f"waveform_augment.speed={max_change}: expected 0.01 to 0.5, or 0 for none. "
                "Set waveform_augment.speed=0.1 for +-10 %."
            )
        self.max_percent = round(100 * max_change)
        self.probability = _check_probability("speed_probability", probability)

    def forward(self, waveforms: Padded, keys: Tensor) -> Padded:
        """Change the speed of [B, samples, 1] to [B, samples', 1]."""
        choices = 2 * self.max_percent + 1
        change = (uniform(keys, "wspeed")[:, 0] * choices).long() - self.max_percent
        return change_speed(waveforms, 100 + change * _draw_mask(keys, "?wspeed", self.probability)[:, 0])


class Reverberation(nn.Module):
    """Add the reverberation of a room; loudness and delay stay as they were.

    The highest peak of the impulse response, the direct path, gets a delay of 0. Reverberation after the utterance's
    end is cut off.

    Args:
        impulses: Room impulse responses.
        probability: Share of the utterances with reverberation, 0..1.

    Source: Ko et al., "A study on data augmentation of reverberant speech", ICASSP 2017.
    """

    def __init__(self, impulses: WaveformBank, *, probability: float = 1.0) -> None:
        super().__init__()
        self.impulses = impulses
        self.probability = _check_probability("impulse_probability", probability)

    def forward(self, waveforms: Padded, keys: Tensor) -> Padded:
        """Convolve waveforms [B, samples, 1] with impulse responses."""
        dry = waveforms.zeroed().values[..., 0]
        impulses = self.impulses.draw_recordings(keys, "wroom").values[..., 0]
        delays = impulses.abs().argmax(1, keepdim=True)
        steps = torch.arange(dry.shape[1], device=dry.device)
        wet = _convolve(dry, impulses).gather(1, steps + delays) * waveforms.mask
        wet = wet * _level_ratio(dry, wet)
        mixed = wet.where(_draw_mask(keys, "?wroom", self.probability), dry)
        return waveforms.with_values(mixed.unsqueeze(-1))


class Noise(nn.Module):
    """Add noise at a random signal-to-noise ratio; both energies are those of the whole utterance.

    A silent utterance gets no noise, as its ratio would be undefined.

    Args:
        snr_db: [low, high] in dB; the ratio is uniform between them.
        noises: Noise recordings; None for white Gaussian noise.
        probability: Share of the utterances with noise, 0..1.
    """

    def __init__(
        self, snr_db: Sequence[float], noises: WaveformBank | None = None, *, probability: float = 1.0
    ) -> None:
        super().__init__()
        if len(snr_db) != 2 or not -100 <= snr_db[0] <= snr_db[1] <= 100:
            raise ConfigError(
                f"waveform_augment.noise_snr_db={[*snr_db]}: expected low and high in dB, low first, -100 to 100. "
                "Set waveform_augment.noise_snr_db=[10,30]."
            )
        self.low, self.high = snr_db
        self.noises = noises
        self.probability = _check_probability("noise_probability", probability)

    def forward(self, waveforms: Padded, keys: Tensor) -> Padded:
        """Add noise to waveforms [B, samples, 1]."""
        clean = waveforms.zeroed().values[..., 0]
        noise = self._noise(keys, clean.shape[1]) * waveforms.mask
        snr_db = self.low + (self.high - self.low) * uniform(keys, "wsnr")
        level = (
            _level_ratio(clean, noise)
            * _db_to_amplitude(-snr_db)
            * _draw_mask(keys, "?wnoise", self.probability)
        )
        return waveforms.with_values((clean + level * noise).unsqueeze(-1))

    def _noise(self, keys: Tensor, count: int) -> Tensor:
        if self.noises is None:
            return white_noise(keys, "wnoise", count)
        return self.noises.draw_segments(keys, "wnoise", count)


class WaveformGain(nn.Module):
    """Change the level of the whole utterance.

    Args:
        max_db: Largest change in dB; it is uniform in -max_db..max_db.
    """

    def __init__(self, max_db: float = 6.0) -> None:
        super().__init__()
        if not 0 <= max_db <= 100:
            raise ConfigError(
                f"waveform_augment.gain_db={max_db}: expected decibels from 0 to 100. "
                "Set waveform_augment.gain_db=6 for +-6 dB."
            )
        self.max_db = max_db

    def forward(self, waveforms: Padded, keys: Tensor) -> Padded:
        """Scale waveforms [B, samples, 1]."""
        change = _db_to_amplitude(self.max_db * (2 * uniform(keys, "wgain") - 1))
        return waveforms.with_values(waveforms.values * change.unsqueeze(-1))


class Polarity(nn.Module):
    """Invert the sign of waveforms, which is inaudible.

    Args:
        probability: Share of the utterances that are inverted, 0..1.
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        self.probability = _check_probability("flip_probability", probability)

    def forward(self, waveforms: Padded, keys: Tensor) -> Padded:
        """Invert waveforms [B, samples, 1]."""
        flipped = _draw_mask(keys, "?wflip", self.probability).unsqueeze(-1)
        return waveforms.with_values(waveforms.values * torch.where(flipped, -1.0, 1.0))


def white_noise(keys: Tensor, salt: str, count: int) -> Tensor:
    """Draw Gaussian noise [B, count] of deviation 1 for keys [B]; a smaller count gives the same first samples.

    Source: Box and Muller, "A note on the generation of random normal deviates", 1958.
    """
    pairs = uniform(keys, salt, count + count % 2).reshape(len(keys), -1, 2)
    radius = (-2 * torch.log1p(-pairs[..., 0])).sqrt()
    angle = 2 * math.pi * pairs[..., 1]
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten(1)[:, :count]


def change_speed(waveforms: Padded, percent: Tensor) -> Padded:
    """Change the speed of waveforms [B, samples, 1] to `percent`: [B, samples', 1], by windowed-sinc interpolation.

    A low-pass filter removes what would alias.

    Args:
        waveforms: Waveforms [B, samples, 1].
        percent: Speed in percent [B] int64, positive; 110 turns 1 kHz into 1.1 kHz, and 11 s into 10 s.
    """
    samples = waveforms.zeroed().values[..., 0]
    lengths = ((100 * waveforms.lengths + percent // 2) // percent).clamp_min(1)
    changed = samples.new_zeros(len(samples), int(lengths.max()))
    for value in sorted(set(percent.tolist())):  # one matrix product for all utterances of the same speed
        rows = (percent == value).nonzero()[:, 0]
        count = int(lengths[rows].max())
        changed[rows, :count] = _resample(samples[rows], value, count)
    return Padded(changed.unsqueeze(-1), lengths).zeroed()


def _resample(samples: Tensor, percent: int, count: int) -> Tensor:
    """Interpolate samples [B, T] at `count` positions that are percent / 100 apart: [B, count]."""
    if percent == 100:
        return samples[:, :count]
    kernel, reach = _interpolation_kernel(percent, samples.device)
    blocks = math.ceil(count / 100)  # 100 outputs from `percent` inputs each
    needed = (blocks - 1) * percent + len(kernel)
    padded = functional.pad(samples, (reach, needed - reach - samples.shape[1]))
    with torch.autocast(samples.device.type, enabled=False):  # in bfloat16 it would add noise at -50 dB
        return (padded.unfold(1, len(kernel), percent) @ kernel).flatten(1)[:, :count]


@lru_cache(maxsize=128)  # a batch of 16 takes 457 operators instead of 646, which counts on a GPU
def _interpolation_kernel(percent: int, device: torch.device) -> tuple[Tensor, int]:
    """Return the weights [taps, 100] from input samples to a block of 100 outputs, and the taps before the block.

    Source: Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/, with a Hann window.
    """
    cutoff = _ROLLOFF * min(1.0, 100 / percent)
    half_width = _ZERO_CROSSINGS / cutoff
    reach = math.ceil(half_width)
    outputs = torch.arange(100, device=device) * percent
    taps = torch.arange(-reach, percent + reach, device=device)
    # Whole samples are subtracted as integers, so that float32 is precise enough for the fraction.
    distance = (outputs // 100 - taps[:, None]) + (outputs % 100) / 100
    window = torch.cos(math.pi * distance / (2 * half_width)).square() * (distance.abs() < half_width)
    kernel = torch.sinc(cutoff * distance) * window
    return kernel / kernel.sum(0), reach


def _convolve(waveforms: Tensor, impulses: Tensor) -> Tensor:
    """Convolve [B, T] with [B, H] by FFT: [B, T + H - 1], or longer with zeros at the end."""
    size = waveforms.shape[1] + impulses.shape[1] - 1
    power = 2 ** math.ceil(math.log2(size))
    fast = 3 * power // 4 if 3 * power // 4 >= size else power
    product = torch.fft.rfft(waveforms, fast) * torch.fft.rfft(impulses, fast)
    convolved: Tensor = torch.fft.irfft(product, fast)
    return convolved


def _level_ratio(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the factor [B, 1] that gives `theirs` [B, T] the energy of `ours` [B, T]; 0 where `theirs` is silent."""
    energy = theirs.square().sum(1, keepdim=True)
    ratio = ours.square().sum(1, keepdim=True) / energy
    return ratio.sqrt().where(energy > _SILENT, 0)


def _db_to_amplitude(decibels: Tensor) -> Tensor:
    """Convert decibels to an amplitude factor."""
    return torch.pow(10, decibels / 20)


def _draw_mask(keys: Tensor, salt: str, probability: float) -> Tensor:
    """Draw a mask [B, 1] that is true with the given probability."""
    return uniform(keys, salt) < probability


def _check_probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(
            f"waveform_augment.{name}={value}: expected a share from 0 to 1. "
            f"Set waveform_augment.{name}=0.5 for every other utterance."
        )
    return value
