"""Where speech is, by energy: one deterministic answer for training, prediction, streams and their scores.

A frame whose energy exceeds a threshold is sound. Sounds too short to be speech are dropped, pauses too short to
be silence are speech, and speech is then widened, so that the faint beginnings and ends of words survive.
Source: Rabiner and Sambur, "An algorithm for determining the endpoints of isolated utterances", Bell System
Technical Journal 54, 1975; hang-over: Benyassine et al., "ITU-T Recommendation G.729 Annex B", 1997.
"""

from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError, did_you_mean
from ser.features.framing import Framing
from ser.features.vad_smoothing import Smoothing

Mode = Literal["keep", "remove", "mute", "mask", "class"]

FRAME_LENGTH_S, FRAME_SHIFT_S = 0.025, 0.010
_BLOCK = 4096  # frames, 41 s: what is computed in float64 at a time, so that hours need little memory
_STEPS_AT_A_TIME = 1 << 18  # of another framing, which may be samples: 2 MB of numbers
_ROUNDING = 1e-12  # of a frame's mean square: a variance below is rounding, and the frame is constant
_SAMPLES = Framing(1, 1)
_Places = TypeVar("_Places", int, Tensor)


class SilenceDetector(nn.Module):
    """Tells speech from silence in frames of 25 ms every 10 ms, and from them at any place.

    With `absolute_db` alone, what is said of a frame depends on the sound within `reach_s` of it and on nothing
    else, so that a stream can be answered, `smoothing.look_ahead` frames late at most; `relative_db` needs the
    whole utterance.

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
        self.framing = Framing(
            round(sample_rate * FRAME_LENGTH_S), round(sample_rate * FRAME_SHIFT_S), "causal_padded"
        )
        self.relative_db = relative_db
        self.absolute_db = absolute_db
        self.precise = torch.float64
        self._lowest = 0.0 if absolute_db is None else _db_to_energy_ratio(absolute_db)
        rate = sample_rate / self.framing.shift
        durations = (min_speech_s, min_silence_s, hang_over_s)
        self.smoothing = Smoothing(*(round(seconds * rate) for seconds in durations))
        reach = self.smoothing.min_speech + self.smoothing.min_silence + self.smoothing.hang_over
        self.reach_s = reach / rate + FRAME_LENGTH_S

    def forward(self, waveforms: Padded) -> Tensor:
        """[B, samples, 1] -> [B, samples] bool, true on speech, false on silence and padding."""
        return self.speech_at_steps(self.frames(waveforms), _SAMPLES, waveforms)

    @torch.no_grad()
    def frames(self, waveforms: Padded) -> Padded:
        """[B, samples, 1] -> [B, N, 1] bool, true on frames of speech, false on silence and padding."""
        steps = self.framing.num_frames(waveforms.lengths)
        energies = _frame_energies(waveforms, int(steps.max()), self.framing, self.precise)
        real = torch.arange(energies.shape[1], device=steps.device) < steps[:, None]
        return Padded(self.smoothing(self._exceeds_thresholds(energies * real), real).unsqueeze(-1), steps)

    def speech_at_steps(self, frames: Padded, framing: Framing, steps: Padded) -> Tensor:
        """[B, T] bool, what frames say of the steps of another framing: a step is as the cell its centre lies in.

        The cell of a frame are the 10 ms around its centre; the first and the last cell reach to the ends.

        Args:
            frames: [B, N, 1] bool, of the detector.
            framing: of the steps; frames of one sample are the samples themselves.
            steps: [B, T, F], what is asked about; only their number counts.
        """
        known = torch.arange(frames.values.shape[1], device=frames.values.device)
        held = frames.values[..., 0].gather(1, torch.minimum(known, frames.lengths[:, None] - 1))
        speech = torch.empty(steps.values.shape[:2], dtype=torch.bool, device=held.device)
        for first in range(0, speech.shape[1], _STEPS_AT_A_TIME):
            part = speech[:, first : first + _STEPS_AT_A_TIME]
            numbers = torch.arange(first, first + part.shape[1], device=held.device)
            cells = self.frame_at(framing.centre + numbers * framing.shift).clamp(0, len(known) - 1)
            torch.logical_and(held[:, cells], numbers < steps.lengths[:, None], out=part)
        return speech

    def frame_at(self, places: _Places) -> _Places:
        """The number of the frame around whose centre a sample lies, negative before the first.

        Args:
            places: of samples, an int or int64 of any shape.
        """
        return (places - (self.framing.length - self.framing.shift) // 2) // self.framing.shift

    def detect_sounds(self, samples: Tensor, count: int | None = None) -> list[bool]:
        """Which of the frames in [n] samples of a stream exceed the absolute threshold.

        Args:
            samples: from the beginning of a frame on, as many as full frames need.
            count: how many samples of one frame, the last of a stream, are no padding; None for all of each.
        """
        length, shift = self.framing.length, self.framing.shift
        block = samples.double()
        sums = block.unfold(0, length, shift).sum(-1).tolist()
        squares = block.square().unfold(0, length, shift).sum(-1).tolist()
        size = length if count is None else count
        return [
            self._is_sound(total / size, square / size) for total, square in zip(sums, squares, strict=True)
        ]

    def _is_sound(self, mean: float, power: float) -> bool:
        """What `_exceeds_thresholds` says of a frame with this mean and mean square, computed alike to the last bit."""
        energy = power - mean * mean
        return energy > _ROUNDING * power and energy > self._lowest

    def _exceeds_thresholds(self, energies: Tensor) -> Tensor:
        """Energies [B, N] -> [B, N] bool."""
        sound = energies > self._lowest
        if self.relative_db is not None:
            sound &= energies > energies.amax(1, keepdim=True) * _db_to_energy_ratio(self.relative_db)
        return sound


class Silence(nn.Module):
    """What becomes of silence.

    Args:
        detector: tells what is silence.
        mode: `keep` changes nothing. `remove` drops the steps of features that are silent; an utterance without any
            speech is not emptied but stays whole. `mute` puts zeros in place of pauses before features are made.
            `mask` and `class` leave features as they are, too: frames that are silent are neither learnt from nor
            scored, or are of a class of their own.

    Raises:
        ConfigError: an unknown mode.
    """

    def __init__(self, detector: SilenceDetector, mode: Mode = "keep") -> None:
        super().__init__()
        if mode not in get_args(Mode):
            raise ConfigError(
                f"features.silence.mode={mode}: no such treatment. {did_you_mean(mode, get_args(Mode))}"
            )
        self.detector = detector
        self.mode = mode

    def mute_pauses(self, waveforms: Padded, frames: Padded) -> Padded:
        """The waveforms [B, samples, 1] that features are made of.

        Args:
            waveforms: as recorded.
            frames: [B, N, 1] bool, what the detector says of them.
        """
        if self.mode != "mute":
            return waveforms
        speech = self.detector.speech_at_steps(frames, _SAMPLES, waveforms)
        return waveforms.with_values(waveforms.values.where(speech.unsqueeze(-1), 0))

    def remove_silence(self, features: Padded, speech: Tensor) -> tuple[Padded, Tensor]:
        """Features [B, T', F] and speech [B, T'] that are left.

        Args:
            features: [B, T, F].
            speech: [B, T] bool, false on padding.
        """
        if self.mode != "remove":
            return features, speech
        spoken = speech.any(1).tolist()
        own = zip(features.values, speech, features.lengths.tolist(), spoken, strict=True)
        left = [
            _select_steps(steps[:n], kept[:n]) if is_spoken else steps[:n]
            for steps, kept, n, is_spoken in own
        ]
        answers = [
            speech.new_full((len(steps), 1), is_spoken) for steps, is_spoken in zip(left, spoken, strict=True)
        ]
        return Padded.collate(left), Padded.collate(answers).values[..., 0]

    def check_streamable(self) -> None:
        """Refuse what needs more than has been heard.

        Raises:
            ConfigError: pauses are muted, or the threshold is relative.
        """
        if self.mode == "mute":
            raise ConfigError(
                "features.silence.mode=mute: pauses are silenced before features are made, and a stream knows them "
                "only later. Train with silence=keep, mask, class or remove."
            )
        if self.detector.relative_db is not None:
            raise ConfigError(
                f"features.silence.detector.relative_db={self.detector.relative_db}: needs the whole recording, "
                "whose loudest frame no stream knows. Set features.silence.detector.relative_db=null "
                "and features.silence.detector.absolute_db=-45."
            )


def _frame_energies(
    waveforms: Padded, steps: int, framing: Framing, dtype: torch.dtype = torch.float64
) -> Tensor:
    """[B, steps], the variance of the samples in each frame: a constant offset has no energy.

    In float64, which holds the squares of float32 exactly, the mean can be subtracted after summing, and an offset
    hides nothing that is less than 120 dB below it. In float32 it is subtracted before squaring, which takes longer
    and differs in the last bits. Each frame is summed alone and in one order, so its energy does not depend on
    padding or batch mates, not even in the last bit.
    """
    length, shift = framing.length, framing.shift
    samples, lengths = waveforms.values[..., 0], waveforms.lengths[:, None]
    blocks = []
    for first in range(0, steps, _BLOCK):
        starts = torch.arange(first, min(first + _BLOCK, steps), device=samples.device) * shift
        begin, end = first * shift, int(starts[-1]) + length
        block = samples[:, begin:end].to(dtype)
        block = block.where(torch.arange(begin, begin + block.shape[1], device=samples.device) < lengths, 0)
        block = functional.pad(block, (0, end - begin - block.shape[1]))
        count = (lengths - starts).clamp(1, length)
        power = block.square().unfold(1, length, shift).sum(-1) / count
        mean = block.unfold(1, length, shift).sum(-1) / count
        if dtype == torch.float64:
            energy = power - mean.square()
        else:
            real = torch.arange(length, device=samples.device) < count[..., None]
            centred = (block.unfold(1, length, shift) - mean[..., None]).where(real, 0)
            energy = centred.square().sum(-1) / count
        blocks.append(energy.where(energy > _ROUNDING * power, 0))
    return torch.cat(blocks, dim=1)


def _select_steps(steps: Tensor, kept: Tensor) -> Tensor:
    """The kept steps [n, F], in pieces: indexing by the mask would need 16 bytes for each step."""
    edges = 1 + (kept[1:] != kept[:-1]).nonzero().flatten()
    pieces = steps.tensor_split(edges.tolist())
    return torch.cat(pieces[0 if kept[0] else 1 :: 2])


def _db_to_energy_ratio(decibels: float) -> float:
    """Of two energies so many dB apart."""
    return float(10 ** (decibels / 10))


_DETECTOR = "features.silence.detector"
"""Where the settings of a detector stand in a config."""


def _check_thresholds(relative_db: float | None, absolute_db: float | None) -> None:
    if relative_db is None and absolute_db is None:
        raise ConfigError(
            f"{_DETECTOR}.relative_db=null, {_DETECTOR}.absolute_db=null: without a threshold all is speech. "
            f"Set one, such as {_DETECTOR}.relative_db=-40."
        )
    for name, value in {"relative_db": relative_db, "absolute_db": absolute_db}.items():
        if value is not None and not -200 <= value < 0:
            raise ConfigError(
                f"{_DETECTOR}.{name}={value}: expected decibels below 0, and above -200. "
                f"Set {_DETECTOR}.{name}=-40."
            )


def _check_durations(**durations: float) -> None:
    for name, value in durations.items():
        if not 0 <= value < float("inf"):
            raise ConfigError(
                f"{_DETECTOR}.{name}={value}: expected seconds, 0 or more. Correct the duration."
            )
