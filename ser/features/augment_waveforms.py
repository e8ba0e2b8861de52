"""Augmentation of waveforms: batched, on the batch's device, random by utterance key alone.

Each piece maps (Padded [B, samples, 1], keys [B]) to Padded. What it makes of an utterance depends neither on
padding, which it leaves zero, nor on batch mates. Loud utterances may exceed -1..1; nothing is clipped.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError
from ser.randomness import uniform

_ZERO_CROSSINGS = 16  # of the sinc on each side: at 16 kHz, 1 kHz becomes 1.1 kHz with an error of -99 dB
_ROLLOFF = 0.95  # its cut-off, as a share of the highest frequency that the waveform holds before and after
_SILENT = (
    1e-20  # an energy, 30 dB below that of a sample of 24 bits: raising it to that of speech may overflow
)


class WaveformAugment(nn.Module):
    """Speed, room, noise, level, polarity, in this order, as they come about; 0 or None switches a piece off.

    Args:
        speed: speed and pitch change by at most this share, 0.01..0.5, in steps of 0.01.
        speed_probability: 0..1, share of the utterances whose speed changes.
        impulses: impulse responses of rooms to speak in.
        impulse_probability: 0..1, share of the utterances spoken in one of them.
        noise_snr_db: [low, high], the signal-to-noise ratio is uniform between, in dB.
        noises: recordings of noise; None for white noise.
        noise_probability: 0..1, share of the utterances with noise.
        gain_db: the level changes by at most so many decibels.
        flip_probability: 0..1, share of the utterances turned upside down, as by a microphone of other polarity.

    Raises:
        ConfigError: a setting out of its range, or noises without a signal-to-noise ratio.
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
        """[B, samples, 1] -> [B, samples', 1]."""
        for piece in self.pieces:
            waveforms = piece(waveforms, keys)
        return waveforms


class WaveformBank(nn.Module):
    """Recordings to draw from, in memory, as one tensor so that a whole batch is read at once.

    Args:
        waveforms: 1-D float tensors, none empty, at the sample rate of the speech.
    """

    samples: Tensor
    lengths: Tensor
    firsts: Tensor

    def __init__(self, waveforms: Sequence[Tensor]) -> None:
        super().__init__()
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        # Not persistent: a checkpoint need not hold the noises that a model was trained with.
        self.register_buffer("samples", torch.cat(list(waveforms)), persistent=False)
        self.register_buffer("lengths", lengths, persistent=False)
        self.register_buffer("firsts", lengths.cumsum(0) - lengths, persistent=False)

    def __len__(self) -> int:
        return len(self.lengths)

    def draw_recordings(self, keys: Tensor, salt: str) -> Padded:
        """A random recording for each key [B], all of it: [B, samples, 1], padded with zeros."""
        chosen = (uniform(keys, salt)[:, 0] * len(self)).long()
        lengths = self.lengths[chosen]
        steps = torch.arange(int(lengths.max()), device=keys.device)
        places = self.firsts[chosen, None] + torch.minimum(steps, lengths[:, None] - 1)
        return Padded(self.samples[places].unsqueeze(-1), lengths).zeroed()

    def draw_segments(self, keys: Tensor, salt: str, count: int) -> Tensor:
        """[B, count] samples of a random recording for each key [B], from anywhere, and round again at its end."""
        choice, place = uniform(keys, salt, 2).unbind(1)
        chosen = (choice * len(self)).long()
        lengths = self.lengths[chosen]
        steps = (place * lengths).long()[:, None] + torch.arange(count, device=keys.device)
        return self.samples[self.firsts[chosen, None] + steps % lengths[:, None]]


class Speed(nn.Module):
    """Play faster or slower, as on a tape: pitch and formants move with the tempo.

    Args:
        max_change: the speed is one of 1 - max_change, ..., 1 + max_change in steps of 0.01; 0.01..0.5.
        probability: 0..1, of a change.

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
        """[B, samples, 1] -> [B, samples', 1]."""
        choices = 2 * self.max_percent + 1
        change = (uniform(keys, "wspeed")[:, 0] * choices).long() - self.max_percent
        return change_speed(waveforms, 100 + change * _draw_mask(keys, "?wspeed", self.probability)[:, 0])


class Reverberation(nn.Module):
    """Let the utterance be heard in a room, as loud and as early as without.

    The impulse response's highest peak, the direct path, stands for no delay, and what rings on after the
    utterance's end is cut.

    Args:
        impulses: impulse responses.
        probability: 0..1, of a room.

    Source: Ko et al., "A study on data augmentation of reverberant speech", ICASSP 2017.
    """

    def __init__(self, impulses: WaveformBank, *, probability: float = 1.0) -> None:
        super().__init__()
        self.impulses = impulses
        self.probability = _check_probability("impulse_probability", probability)

    def forward(self, waveforms: Padded, keys: Tensor) -> Padded:
        """[B, samples, 1] -> [B, samples, 1]."""
        dry = waveforms.zeroed().values[..., 0]
        impulses = self.impulses.draw_recordings(keys, "wroom").values[..., 0]
        delays = impulses.abs().argmax(1, keepdim=True)
        steps = torch.arange(dry.shape[1], device=dry.device)
        wet = _convolve(dry, impulses).gather(1, steps + delays) * waveforms.mask
        wet = wet * _level_ratio(dry, wet)
        heard = wet.where(_draw_mask(keys, "?wroom", self.probability), dry)
        return waveforms.with_values(heard.unsqueeze(-1))


class Noise(nn.Module):
    """Add noise at a random signal-to-noise ratio, of all energies over the whole utterance.

    To silence none is added: there is no ratio to it.

    Args:
        snr_db: [low, high], the ratio is uniform between, in dB.
        noises: recordings; None for white Gaussian noise.
        probability: 0..1, of any noise.
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
        """[B, samples, 1] -> [B, samples, 1]."""
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
    """Make the whole utterance louder or softer.

    Args:
        max_db: the change is uniform in -max_db..max_db.
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
        """[B, samples, 1] -> [B, samples, 1]."""
        change = _db_to_amplitude(self.max_db * (2 * uniform(keys, "wgain") - 1))
        return waveforms.with_values(waveforms.values * change.unsqueeze(-1))


class Polarity(nn.Module):
    """Turn waveforms upside down, which nobody hears.

    Args:
        probability: 0..1.
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        self.probability = _check_probability("flip_probability", probability)

    def forward(self, waveforms: Padded, keys: Tensor) -> Padded:
        """[B, samples, 1] -> [B, samples, 1]."""
        flipped = _draw_mask(keys, "?wflip", self.probability).unsqueeze(-1)
        return waveforms.with_values(waveforms.values * torch.where(flipped, -1.0, 1.0))


def white_noise(keys: Tensor, salt: str, count: int) -> Tensor:
    """[B, count] independent Gaussian numbers of deviation 1 for keys [B]; the first ones are the same for any count.

    Source: Box and Muller, "A note on the generation of random normal deviates", 1958.
    """
    pairs = uniform(keys, salt, count + count % 2).reshape(len(keys), -1, 2)
    radius = (-2 * torch.log1p(-pairs[..., 0])).sqrt()
    angle = 2 * math.pi * pairs[..., 1]
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten(1)[:, :count]


def change_speed(waveforms: Padded, percent: Tensor) -> Padded:
    """[B, samples, 1] played at so many percent of its speed: [B, samples', 1], interpolated by a windowed sinc.

    What would lie above the highest frequency afterwards is filtered out instead of being folded down.

    Args:
        waveforms: [B, samples, 1].
        percent: [B] int64, positive; 110 makes 1.1 kHz of 1 kHz, and 10 s of 11 s.
    """
    samples = waveforms.zeroed().values[..., 0]
    lengths = ((100 * waveforms.lengths + percent // 2) // percent).clamp_min(1)
    changed = samples.new_zeros(len(samples), int(lengths.max()))
    for value in sorted(set(percent.tolist())):  # one product of matrices for all utterances of a speed
        rows = (percent == value).nonzero()[:, 0]
        count = int(lengths[rows].max())
        changed[rows, :count] = _resample(samples[rows], value, count)
    return Padded(changed.unsqueeze(-1), lengths).zeroed()


def _resample(samples: Tensor, percent: int, count: int) -> Tensor:
    """Samples [B, T] read at `count` places, percent / 100 apart: [B, count]."""
    if percent == 100:
        return samples[:, :count]
    kernel, reach = _interpolation_kernel(percent, samples.device)
    blocks = math.ceil(count / 100)  # 100 outputs from `percent` inputs each
    needed = (blocks - 1) * percent + len(kernel)
    padded = functional.pad(samples, (reach, needed - reach - samples.shape[1]))
    with torch.autocast(samples.device.type, enabled=False):  # in bfloat16 it would add noise at -50 dB
        return (padded.unfold(1, len(kernel), percent) @ kernel).flatten(1)[:, :count]


def _interpolation_kernel(percent: int, device: torch.device) -> tuple[Tensor, int]:
    """Weights [taps, 100] of the inputs around a block for its 100 outputs, and how many taps precede the block.

    Source: Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/, with a Hann window.
    """
    cutoff = _ROLLOFF * min(1.0, 100 / percent)
    half_width = _ZERO_CROSSINGS / cutoff
    reach = math.ceil(half_width)
    outputs = torch.arange(100, device=device) * percent
    taps = torch.arange(-reach, percent + reach, device=device)
    # Whole samples are subtracted as integers, so that float32 is enough for the rest.
    distance = (outputs // 100 - taps[:, None]) + (outputs % 100) / 100
    window = torch.cos(math.pi * distance / (2 * half_width)).square() * (distance.abs() < half_width)
    kernel = torch.sinc(cutoff * distance) * window
    return kernel / kernel.sum(0), reach


def _convolve(waveforms: Tensor, impulses: Tensor) -> Tensor:
    """[B, T] and [B, H] -> [B, T + H - 1], or longer by zeros."""
    size = waveforms.shape[1] + impulses.shape[1] - 1
    power = 2 ** math.ceil(math.log2(size))
    fast = 3 * power // 4 if 3 * power // 4 >= size else power
    product = torch.fft.rfft(waveforms, fast) * torch.fft.rfft(impulses, fast)
    convolved: Tensor = torch.fft.irfft(product, fast)
    return convolved


def _level_ratio(ours: Tensor, theirs: Tensor) -> Tensor:
    """[B, 1], what to multiply theirs [B, T] by to make it as loud as ours [B, T]; 0 where theirs is silent."""
    energy = theirs.square().sum(1, keepdim=True)
    ratio = ours.square().sum(1, keepdim=True) / energy
    return ratio.sqrt().where(energy > _SILENT, 0)


def _db_to_amplitude(decibels: Tensor) -> Tensor:
    """The factor that so many decibels are."""
    return torch.pow(10, decibels / 20)


def _draw_mask(keys: Tensor, salt: str, probability: float) -> Tensor:
    """[B, 1] bool, true with this probability."""
    return uniform(keys, salt) < probability


def _check_probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(
            f"waveform_augment.{name}={value}: expected a share from 0 to 1. "
            f"Set waveform_augment.{name}=0.5 for every other utterance."
        )
    return value
