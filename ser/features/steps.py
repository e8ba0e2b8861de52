"""Steps of 0.1 s: where words and turns lie among them, and features of the audio of each step.

A step has values of the subject, then of the interlocutor; those of the person who does not speak are silence.
Step i begins at i * 0.1 s and has 2,205 samples at 22,050 Hz. A span covers all steps from round(start, 1) * 10 to
round(end, 1) * 10, both included, with the rounding of Python: 0.25 is nearer to 0.2, as it is even, and 0.35 to 0.3,
as its float is below. So a word of 40 ms covers one step or two.

Source: the layout of AVEC 2017 as used by Tzirakis, Nguyen, Zafeiriou, Schuller, "Speech emotion recognition using
semantic information", ICASSP 2021.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ser.batch import Padded
from ser.errors import ConfigError
from ser.features.extractors import Extractor, LogMel
from ser.features.framing import Framing, Window

STEP_S = 0.1
_STEPS_AT_A_TIME = (
    600  # a minute; the roles of an hour take 0.5 GB, and parts of them all at once as much again
)

Span = tuple[float, float]
"""Start and end of a word or a turn, in s."""


def count_steps(duration_s: float) -> int:
    """Return the number of steps of a recording; the last one may be shorter."""
    return math.ceil(round(duration_s / STEP_S, 6))


def index_spans(spans: Sequence[Span], num_steps: int) -> Tensor:
    """Return the index of the span at each step [T] int64, -1 where there is none; later spans overwrite earlier ones.

    What lies beyond the last step is left out, see `count_outside`.

    Args:
        spans: Start and end of each word in s.
        num_steps: Number of steps, T.
    """
    index = torch.full((num_steps,), -1)
    for place, (start, end) in enumerate(spans):
        first, last = _steps_of(start, end)
        index[max(first, 0) : max(last + 1, 0)] = place
    return index


def count_outside(spans: Sequence[Span], num_steps: int) -> int:
    """Return how many spans lie wholly beyond the last step, or before the first one."""
    reached = [_steps_of(*span) for span in spans]
    return sum(first >= num_steps or last < 0 for first, last in reached)


def is_subject_turn(turns: Sequence[Span] | None, num_steps: int) -> Tensor:
    """Return whether the subject speaks at each step [T] bool, and not the interlocutor; all true if turns are None."""
    if turns is None:
        return torch.ones(num_steps, dtype=torch.bool)
    return index_spans(turns, num_steps) >= 0


def split_roles(waveform: Tensor, turns: Sequence[Span] | None, sample_rate: int) -> Tensor:
    """Put a waveform [samples] into a channel for each role [samples, 2]: the subject's turns, and all the rest.

    Args:
        waveform: Samples of the recording.
        turns: Start and end of each turn of the subject in s; None = the subject alone speaks.
        sample_rate: Sample rate in Hz.
    """
    size = round(sample_rate * STEP_S)
    is_subject = is_subject_turn(turns, -(-len(waveform) // size))
    roles = waveform.new_zeros(len(waveform), 2)
    for first in range(0, len(is_subject), _STEPS_AT_A_TIME):
        part = slice(first * size, (first + _STEPS_AT_A_TIME) * size)
        own = is_subject[first : first + _STEPS_AT_A_TIME].repeat_interleave(size)[: len(waveform[part])]
        roles[part, 0] = waveform[part] * own
        roles[part, 1] = waveform[part] * ~own
    return roles


class StepExtractor(Extractor):
    """Base class of features of the audio of a step of 0.1 s, from a channel for each role.

    Args:
        sample_rate: Sample rate in Hz.
        feature_dim: Number of values of a step, F, of both roles together.
    """

    num_roles: ClassVar[int] = 2

    def __init__(self, *, sample_rate: int, feature_dim: int) -> None:
        self.step_samples = round(sample_rate * STEP_S)
        super().__init__(
            sample_rate=sample_rate,
            feature_dim=feature_dim,
            framing=Framing(self.step_samples, self.step_samples, "causal_padded"),
        )

    def extract_frames(self, block: Tensor) -> Tensor:
        """Refuse frames, which streams are made of."""
        raise NotImplementedError

    def check_streamable(self) -> None:
        """Refuse to be streamed, as the words of a stream are not known; an exported model takes a stream."""
        raise ConfigError(
            "features: steps of 0.1 s have the words of a transcript, which a stream has not, so that their models are "
            "neither streamed nor exported. Predict whole recordings, without a stream."
        )


class StepWaveform(StepExtractor):
    """The samples of each step as they are, as the published network takes them: 4,410 values at 22,050 Hz.

    Args:
        sample_rate: Sample rate in Hz.
    """

    def __init__(self, *, sample_rate: int = 22_050) -> None:
        super().__init__(sample_rate=sample_rate, feature_dim=2 * round(sample_rate * STEP_S))

    def extract(self, waveforms: Padded) -> Padded:
        """Cut waveforms [B, samples, 1 or 2] into steps [B, T, 2 * step_samples]."""
        samples, size = _zeroed(waveforms).values, self.step_samples
        lengths = self.num_frames(waveforms.lengths)
        steps = samples.new_zeros(len(samples), int(lengths.max()), self.num_roles, size)
        full = min(samples.shape[1] // size, steps.shape[1])
        for role, channel in enumerate(samples.unbind(-1)):
            steps[:, :full, role] = channel[:, : full * size].reshape(len(samples), full, size)
            rest = channel[:, full * size :] if full < steps.shape[1] else channel[:, :0]
            steps[:, full : full + 1, role, : rest.shape[1]] = rest[:, None]
        return Padded(steps.flatten(2), lengths)


class StepLogMel(StepExtractor):
    """Mean and deviation of log-mel energies over the frames of each step: 4 values a mel bin.

    A step has the frames whose middle lies in it. Order: mean and deviation of the subject, then of the interlocutor.

    Args:
        sample_rate: Sample rate in Hz.
        num_mel_bins: Number of mel filters.
        frame_length_ms: Length of a frame and of its window.
        frame_shift_ms: Distance from the start of one frame to the start of the next, which has to divide a step.
        window: Window of a frame, see LogMel.
        min_frequency: Lower end of the first filter, in Hz.
        max_frequency: Upper end of the last filter, in Hz; None for half the sample rate.
        floor: Smallest energy.

    Raises:
        ConfigError: The shift of frames does not divide a step.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        num_mel_bins: int = 40,
        frame_length_ms: float = 25.0,
        frame_shift_ms: float = 10.0,
        window: Window = "hann",
        min_frequency: float = 0.0,
        max_frequency: float | None = None,
        floor: float = 1e-10,
    ) -> None:
        super().__init__(sample_rate=sample_rate, feature_dim=4 * num_mel_bins)
        self.log_mel = LogMel(
            sample_rate=sample_rate,
            num_mel_bins=num_mel_bins,
            frame_length_ms=frame_length_ms,
            frame_shift_ms=frame_shift_ms,
            window=window,
            align="centered_padded",
            min_frequency=min_frequency,
            max_frequency=max_frequency,
            floor=floor,
        )
        shift = self.log_mel.framing.shift
        if self.step_samples % shift:
            raise ConfigError(
                f"features.frame_shift_ms: {shift} samples do not divide a step of 0.1 s, {self.step_samples} samples "
                f"at {sample_rate} Hz. Set features.frame_shift_ms=10.0"
            )
        self.step_frames = self.step_samples // shift

    def extract(self, waveforms: Padded) -> Padded:
        """Compute features [B, T, F] from waveforms [B, samples, 1 or 2]."""
        samples = _zeroed(waveforms).values
        lengths = self.num_frames(waveforms.lengths)
        roles = [self._summarize(channel, lengths) for channel in samples.unbind(-1)]
        if len(roles) < self.num_roles:
            silence = self.log_mel.extract_frames(samples.new_zeros(self.log_mel.framing.length))
            roles.append(torch.cat([silence, 0 * silence]).expand_as(roles[0]))
        features = Padded(torch.cat(roles, -1), lengths)
        return features.zeroed()

    def _summarize(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """Return mean and deviation [B, T, 2 * num_mel_bins] of the frames of each step of samples [B, N]."""
        whole = Padded(samples[..., None], lengths * self.step_samples)  # zeros follow the end of a waveform
        frames = self.log_mel.extract(whole).values[:, : int(lengths.max()) * self.step_frames]
        steps = frames.reshape(len(frames), -1, self.step_frames, frames.shape[-1])
        return torch.cat([steps.mean(2), steps.std(2, correction=0)], -1)

    def unit(self) -> str:
        """Return that values are means and deviations, which no gain is a sum of."""
        return f"mean, deviation of {self.log_mel.unit()}"


def _steps_of(start: float, end: float) -> tuple[int, int]:
    """Return the first and the last step of a span."""
    return round(10 * round(start, 1)), round(10 * round(end, 1))


def _zeroed(waveforms: Padded) -> Padded:
    """Return waveforms whose padding is 0, without a copy of those that have none, which may last hours."""
    if bool((waveforms.lengths == waveforms.values.shape[1]).all()):
        return waveforms
    return waveforms.with_values(waveforms.values.masked_fill(~waveforms.mask.unsqueeze(-1), 0))
