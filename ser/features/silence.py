"""Where speech is, by energy: one deterministic answer for training, prediction, streams and their scores.

A frame whose energy exceeds a threshold is sound. Sounds too short to be speech are dropped, pauses too short to
be silence are speech, and speech is then widened, so that the faint beginnings and ends of words survive.
Source: Rabiner and Sambur, "An algorithm for determining the endpoints of isolated utterances", Bell System
Technical Journal 54, 1975; hang-over: Benyassine et al., "ITU-T Recommendation G.729 Annex B", 1997.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError

FRAME_LENGTH_S, FRAME_SHIFT_S = 0.025, 0.010
_BLOCK = 4096  # frames, 41 s: what is computed in float64 at a time, so that hours need little memory
_ROUNDING = 1e-12  # of a frame's mean square: a variance below is rounding, and the frame is constant


class SilenceDetector(nn.Module):
    """Tells speech from silence at every sample.

    With `absolute_db` alone, what is said of a sample depends on the sound within `reach_s` of it and on nothing
    else, so that a stream can be answered; `relative_db` needs the whole utterance.

    Args:
        sample_rate: in Hz.
        relative_db: threshold below the utterance's loudest frame, in dB, negative; None for none. Noise alone
            is speech to it, as it has a loudest frame too, and after one loud bang speech may be silence.
        absolute_db: threshold in dB of a full-scale square wave, so that a full-scale sine has -3; None for none.
            Where both are given, speech exceeds both.
        min_silence_s: shorter pauses are speech, also at the ends of an utterance.
        min_speech_s: shorter sounds, clicks, are silence. A frame sees what is in 25 ms: it makes sounds look
            longer and pauses shorter, by up to 20 ms.
        hang_over_s: so much around each stretch of speech is speech too.

    Raises:
        ConfigError: no threshold, one that nothing or everything exceeds, or a negative duration.
    """

    def __init__(
        self,
        sample_rate: int,
        *,
        relative_db: float | None = -40.0,
        absolute_db: float | None = None,
        min_silence_s: float = 0.3,
        min_speech_s: float = 0.05,
        hang_over_s: float = 0.1,
    ) -> None:
        super().__init__()
        _check_thresholds(relative_db, absolute_db)
        _check_durations(min_silence_s=min_silence_s, min_speech_s=min_speech_s, hang_over_s=hang_over_s)
        self.frame_length = round(sample_rate * FRAME_LENGTH_S)
        self.frame_shift = round(sample_rate * FRAME_SHIFT_S)
        self.relative_db = relative_db
        self.absolute_db = absolute_db
        rate = sample_rate / self.frame_shift
        self.min_silence = round(min_silence_s * rate)  # this and what follows in frames
        self.min_speech = round(min_speech_s * rate)
        self.hang_over = round(hang_over_s * rate)
        self.reach_s = (self.min_silence + self.min_speech + self.hang_over) / rate + FRAME_LENGTH_S

    @torch.no_grad()
    def forward(self, waveforms: Padded) -> Tensor:
        """[B, samples, 1] -> [B, samples] bool, true on speech, false on silence and padding."""
        beyond = (waveforms.lengths - self.frame_length).clamp_min(0)
        steps = 1 + (beyond + self.frame_shift - 1) // self.frame_shift
        energies = _frame_energies(
            waveforms, int(steps.max()), length=self.frame_length, shift=self.frame_shift
        )
        real = torch.arange(energies.shape[1], device=steps.device) < steps[:, None]
        speech = self._smooth(self._exceeds(energies * real), real)
        return self._spread(speech, steps, waveforms.values.shape[1]) & waveforms.mask

    def _exceeds(self, energies: Tensor) -> Tensor:
        """Energies [B, N] -> [B, N] bool."""
        sound = energies > 0
        if self.relative_db is not None:
            sound &= energies > energies.amax(1, keepdim=True) * _ratio(self.relative_db)
        if self.absolute_db is not None:
            sound &= energies > _ratio(self.absolute_db)
        return sound

    def _smooth(self, sound: Tensor, real: Tensor) -> Tensor:
        """Drop clicks, fill pauses, hang over: [B, N] bool -> [B, N] bool, of no meaning where not `real`."""
        speech = sound & (_run_lengths(sound, real) >= self.min_speech)
        spoken = speech.any(1, keepdim=True)  # where nothing is said, nothing is a pause
        speech |= spoken & (_run_lengths(speech, real) < self.min_silence)
        width = 2 * self.hang_over + 1
        widened = functional.max_pool1d(speech.float()[:, None], width, stride=1, padding=self.hang_over)
        return widened[:, 0] > 0

    def _spread(self, speech: Tensor, steps: Tensor, samples: int) -> Tensor:
        """Frames [B, N] -> [B, samples]: each speaks for the shift around its centre, the outer ones to the end."""
        frames = torch.arange(speech.shape[1] + 1, device=speech.device)
        cells = speech.gather(1, torch.minimum(frames, steps[:, None] - 1))
        margin = (self.frame_length - self.frame_shift) // 2
        first = cells[:, :1].expand(-1, margin)
        spread = torch.cat([first, cells.repeat_interleave(self.frame_shift, dim=1)], dim=1)
        return functional.pad(spread, (0, samples - spread.shape[1]))  # or cut, where that is negative


class Silence(nn.Module):
    """What becomes of silence in waveforms.

    Args:
        detector: tells what is silence.
        mode: `keep` changes nothing, `remove` cuts silence out, `mask` sets it to zero. An utterance without any
            speech is not emptied but stays whole when silence is removed; masked, it is all zeros.
    """

    def __init__(self, detector: SilenceDetector, mode: Literal["keep", "remove", "mask"] = "keep") -> None:
        super().__init__()
        self.detector = detector
        self.mode = mode
        self._treat = {"keep": None, "remove": _remove, "mask": _mask}[mode]

    @torch.no_grad()
    def forward(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, samples', 1]."""
        return waveforms if self._treat is None else self._treat(waveforms, self.detector(waveforms))


def speech_frames(
    speech: Tensor, lengths: Tensor, num_frames: Tensor, *, frame_length: int, frame_shift: int
) -> Tensor:
    """[B, N] bool, true on frames of which at least half the samples are speech.

    Frame i covers the samples from i * frame_shift to before i * frame_shift + frame_length; of one that reaches
    beyond the end, the samples that are there count.

    Args:
        speech: [B, samples] bool, as a detector returns it.
        lengths: [B] int64, samples of each utterance.
        num_frames: [B] int64, frames of each utterance; N is the largest.
        frame_length: in samples.
        frame_shift: in samples.
    """
    before = functional.pad(speech.cumsum(1, dtype=torch.int32), (1, 0))  # as large as the waveforms
    frames = torch.arange(int(num_frames.max()), device=speech.device)
    begins = torch.minimum(frames * frame_shift, lengths[:, None])
    ends = torch.minimum(frames * frame_shift + frame_length, lengths[:, None])
    spoken = before.gather(1, ends) - before.gather(1, begins)
    return (2 * spoken >= ends - begins) & (begins < ends) & (frames < num_frames[:, None])


def _frame_energies(waveforms: Padded, steps: int, *, length: int, shift: int) -> Tensor:
    """[B, steps] float64, the variance of the samples in each frame: a constant offset has no energy.

    In float64, which holds the squares of float32 exactly: the mean can then be subtracted after summing, and an
    offset hides nothing that is less than 120 dB below it. Each frame is summed alone and in one order, so its
    energy does not depend on padding or batch mates, not even in the last bit.
    """
    samples, lengths = waveforms.values[..., 0], waveforms.lengths[:, None]
    blocks = []
    for first in range(0, steps, _BLOCK):
        starts = torch.arange(first, min(first + _BLOCK, steps), device=samples.device) * shift
        begin, end = first * shift, int(starts[-1]) + length
        block = samples[:, begin:end].double()
        block = block.where(torch.arange(begin, begin + block.shape[1], device=samples.device) < lengths, 0)
        block = functional.pad(block, (0, end - begin - block.shape[1]))
        count = (lengths - starts).clamp(1, length)
        power = block.square().unfold(1, length, shift).sum(-1) / count
        energy = power - (block.unfold(1, length, shift).sum(-1) / count).square()
        blocks.append(energy.where(energy > _ROUNDING * power, 0))
    return torch.cat(blocks, dim=1)


def _run_lengths(mask: Tensor, real: Tensor) -> Tensor:
    """[B, N] int64, how many equal values in a row each value of the mask [B, N] is one of; padding is apart."""
    state = torch.where(real, mask, 2)
    runs = functional.pad((state[:, 1:] != state[:, :-1]).cumsum(1), (1, 0))
    sizes = torch.zeros_like(runs).scatter_add_(1, runs, torch.ones_like(runs))
    return sizes.gather(1, runs)


def _mask(waveforms: Padded, speech: Tensor) -> Padded:
    return waveforms.with_values(waveforms.values.where(speech.unsqueeze(-1), 0))


def _remove(waveforms: Padded, speech: Tensor) -> Padded:
    kept = speech.where(speech.any(1, keepdim=True), waveforms.mask)
    return Padded.collate([_cut(*utterance) for utterance in zip(waveforms.values, kept, strict=True)])


def _cut(waveform: Tensor, kept: Tensor) -> Tensor:
    """The kept samples [n, 1], in pieces: indexing by the mask would need 16 bytes for each sample."""
    edges = 1 + (kept[1:] != kept[:-1]).nonzero().flatten()
    pieces = waveform.tensor_split(edges.tolist())
    return torch.cat(pieces[0 if kept[0] else 1 :: 2])


def _ratio(decibels: float) -> float:
    """Of two energies so many dB apart."""
    return float(10 ** (decibels / 10))


def _check_thresholds(relative_db: float | None, absolute_db: float | None) -> None:
    if relative_db is None and absolute_db is None:
        raise ConfigError(
            "relative_db=null and absolute_db=null: without a threshold all is speech. "
            "Give one, for instance relative_db=-40."
        )
    for name, value in {"relative_db": relative_db, "absolute_db": absolute_db}.items():
        if value is not None and not -200 <= value < 0:
            raise ConfigError(f"{name}={value}: expected decibels below 0, and above -200. Write -40 or so.")


def _check_durations(**durations: float) -> None:
    for name, value in durations.items():
        if not 0 <= value < float("inf"):
            raise ConfigError(f"{name}={value}: expected seconds, 0 or more. Correct the duration.")
