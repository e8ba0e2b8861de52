"""Detect speech by energy, with the same result in training, prediction, streaming and scoring.

A frame whose energy exceeds a threshold is sound. Sounds too short to be speech become silence, pauses too short to
be silence become speech, and speech is then extended on both sides, so that faint beginnings and ends of words are
kept. Source: Rabiner and Sambur, "An algorithm for determining the endpoints of isolated utterances", Bell System
Technical Journal 54, 1975; hang-over: Benyassine et al., "ITU-T Recommendation G.729 Annex B", 1997.

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
_BLOCK = 4096  # frames, 41 s, that are computed in float64 at a time, so that hours need little memory
_STEPS_AT_A_TIME = 1 << 18  # steps of another framing, which may be samples: 2 MB of indices
ROUNDING = 1e-12  # share of a frame's mean square: a smaller variance is rounding, and the frame is constant
_SAMPLES = Framing(1, 1)
_Places = TypeVar("_Places", int, Tensor)


class SilenceDetector(nn.Module):
    """Separate speech from silence in frames of 25 ms every 10 ms.

    With `absolute_db` alone, the decision for a frame depends only on the sound within `reach_s` of it, so that a
    stream can be decided `smoothing.look_ahead` frames late at most; `relative_db` needs the whole utterance.

    Args:
        sample_rate: Sample rate in Hz.
        relative_db: Threshold relative to the utterance's loudest frame, in dB, negative; None for none. A recording
            of noise alone counts as speech, because it has a loudest frame, too; after one loud bang, speech may
            count as silence.
        absolute_db: Threshold in dB relative to a full-scale square wave (a full-scale sine has -3 dB); None for
            none. If both thresholds are given, speech exceeds both.
        min_silence_s: Shortest silence in seconds; shorter pauses count as speech, also at the ends of an utterance.
        min_speech_s: Shortest speech in seconds; shorter sounds, such as clicks, count as silence. As a frame lasts
            25 ms, sounds appear longer and pauses shorter by up to 20 ms.
        hang_over_s: Seconds around each stretch of speech that count as speech, too.

    Raises:
        ConfigError: There is no threshold, a threshold is not in -200..0 dB, or a duration is negative.
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
        """Detect speech in waveforms [B, samples, 1]: [B, samples] bool, false on silence and padding."""
        return self.speech_at_steps(self.frames(waveforms), _SAMPLES, waveforms)

    @torch.no_grad()
    def frames(self, waveforms: Padded) -> Padded:
        """Detect speech in waveforms [B, samples, 1]: frames [B, N, 1] bool, false on silence and padding."""
        steps = self.framing.num_frames(waveforms.lengths)
        energies = _frame_energies(waveforms, int(steps.max()), self.framing, self.precise)
        real = torch.arange(energies.shape[1], device=steps.device) < steps[:, None]
        return Padded(self.smoothing(self.exceeds_thresholds(energies * real), real).unsqueeze(-1), steps)

    def speech_at_steps(self, frames: Padded, framing: Framing, steps: Padded) -> Tensor:
        """Transfer the decisions of frames to the steps of another framing: [B, T] bool.

        A step takes the decision of the frame whose cell contains the step's centre. The cell of a frame is the 10 ms
        around its centre; the first and the last cell extend to the ends.

        Args:
            frames: Decisions of the detector [B, N, 1] bool.
            framing: Framing of the steps; frames of one sample are the samples themselves.
            steps: Steps [B, T, F]; only their number matters.
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
        """Return the index of the frame whose cell contains a sample; negative before the first cell.

        Args:
            places: Sample indices, an int or int64 of any shape.
        """
        return (places - (self.framing.length - self.framing.shift) // 2) // self.framing.shift

    def detect_sounds(self, samples: Tensor, count: int | None = None) -> list[bool]:
        """Return which frames in samples [n] of a stream exceed the absolute threshold.

        Args:
            samples: Samples of complete frames, from the start of the first one.
            count: Samples of one frame, the last of a stream, that are not padding; None for complete frames.
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
        """Apply the thresholds to a frame's mean and mean square, with the rounding of `exceeds_thresholds`."""
        energy = power - mean * mean
        return energy > ROUNDING * power and energy > self._lowest

    def exceeds_thresholds(self, energies: Tensor) -> Tensor:
        """Compare energies [B, N] with the thresholds: [B, N] bool."""
        sound = energies > self._lowest
        if self.relative_db is not None:
            sound &= energies > energies.amax(1, keepdim=True) * _db_to_energy_ratio(self.relative_db)
        return sound


class Silence(nn.Module):
    """Treatment of silence.

    Args:
        detector: Detector of silence.
        mode: `keep` changes nothing. `remove` drops silent steps of the features; an utterance without any speech is
            kept whole. `mute` replaces pauses in the waveform by zeros before features are extracted. `mask` and
            `class` keep the features; silent frames are excluded from training and scores (mask), or form a class of
            their own (class).

    Raises:
        ConfigError: The mode is unknown.
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
        """Replace pauses in waveforms [B, samples, 1] by zeros if the mode is `mute`.

        Args:
            waveforms: Waveforms as recorded.
            frames: Decisions of the detector [B, N, 1] bool.
        """
        if self.mode != "mute":
            return waveforms
        speech = self.detector.speech_at_steps(frames, _SAMPLES, waveforms)
        return waveforms.with_values(waveforms.values.where(speech.unsqueeze(-1), 0))

    def remove_silence(self, features: Padded, speech: Tensor) -> tuple[Padded, Tensor]:
        """Remove silent steps if the mode is `remove`; return features [B, T', F] and the mask of speech [B, T'].

        Args:
            features: Features [B, T, F].
            speech: Whether each step is speech [B, T] bool, false on padding.
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
        """Refuse settings that need future samples.

        Raises:
            ConfigError: Pauses are muted, or the threshold is relative.
        """
        if self.mode == "mute":
            raise ConfigError(
                "features.silence.mode=mute: pauses are silenced before features are made, and a stream knows them "
                "only later. Train with features.silence.mode=keep, mask, class or remove."
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
    """Compute the variance of the samples in each frame [B, steps], so that a constant offset has no energy.

    float64 holds the squares of float32 exactly. So the mean can be subtracted after summing, and an offset hides
    only what is more than 120 dB below it. In float32 the mean is subtracted before squaring, which takes longer and
    differs in the last bits. Each frame is summed alone and in one order, so its energy does not depend on padding or
    batch mates, not even in the last bit.
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
        blocks.append(energy.where(energy > ROUNDING * power, 0))
    return torch.cat(blocks, dim=1)


def _select_steps(steps: Tensor, kept: Tensor) -> Tensor:
    """Select the kept steps [n, F] by slices, because a boolean index needs 16 bytes for each step."""
    edges = 1 + (kept[1:] != kept[:-1]).nonzero().flatten()
    pieces = steps.tensor_split(edges.tolist())
    return torch.cat(pieces[0 if kept[0] else 1 :: 2])


def _db_to_energy_ratio(decibels: float) -> float:
    """Convert decibels to a ratio of energies."""
    return float(10 ** (decibels / 10))


_DETECTOR = "features.silence.detector"
"""Key of a detector's settings in a config."""


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
