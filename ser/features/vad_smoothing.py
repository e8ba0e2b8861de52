"""From frames with sound to frames of speech: for whole recordings, and for streams, which get the same answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class SmoothingState(NamedTuple):
    """What a stream remembers, however long it is.

    Args:
        heard: frames taken in.
        decided: frames answered.
        run: frames with sound in a row at the end, counted up to the shortest speech.
        speech_end: one past the last frame that is known to be speech before hang-over; 0 where there is none.
    """

    heard: int = 0
    decided: int = 0
    run: int = 0
    speech_end: int = 0


@dataclass(frozen=True)
class Smoothing:
    """Sounds too short are no speech, then pauses too short are speech, then speech hangs over on both sides.

    Args:
        min_speech: frames; shorter sounds are silence.
        min_silence: frames; shorter pauses are speech, also at the ends, unless nothing is said at all.
        hang_over: frames around each stretch of speech that are speech too.
    """

    min_speech: int
    min_silence: int
    hang_over: int

    @property
    def look_ahead(self) -> int:
        """How many more frames a stream needs at most before it answers for one.

        A pause is known for one when it is long enough, or when the frames that speech would hang over to it are
        heard; and whether the last of these frames is speech is known when a sound is long enough. The most is
        needed at a beginning in silence; after speech, the frames it hangs over to are answered at once.
        """
        return max(self.min_speech - 1, 0) + max(self.min_silence - 1, self.hang_over)

    def __call__(self, sound: Tensor, real: Tensor) -> Tensor:
        """Sounds [B, N] bool -> speech [B, N] bool.

        Args:
            sound: of whole recordings.
            real: [B, N] bool, false on padding, which is no pause, and silence in what is returned.
        """
        speech = sound & real & (_run_lengths(sound, real) >= self.min_speech)
        spoken = speech.any(1, keepdim=True)
        speech |= spoken & real & (_run_lengths(speech, real) < self.min_silence)
        width = 2 * self.hang_over + 1
        widened = functional.max_pool1d(speech.float()[:, None], width, stride=1, padding=self.hang_over)
        return (widened[:, 0] > 0) & real

    def initial_state(self) -> SmoothingState:
        """Nothing heard."""
        return SmoothingState()

    def step(self, sounds: Iterable[bool], state: SmoothingState) -> tuple[list[bool], SmoothingState]:
        """The answers that are certain now, for the frames from `state.decided` on, and the state from then on.

        Args:
            sounds: of the next frames.
            state: after those before; it is left as it was.
        """
        heard, decided, run, speech_end = state
        enough, hang_over = max(self.min_speech, 1), self.hang_over
        answers: list[bool] = []
        for sound in sounds:
            heard += 1
            run = min(run + 1, enough) if sound else 0
            silent = speech = 0  # how many frames are answered so, in this order where both are
            if run == enough:
                begin = heard - enough
                if begin - speech_end >= self.min_silence:
                    silent = max(begin - hang_over - decided, 0)
                speech, speech_end = heard - decided - silent, heard
                answers += [False] * silent + [True] * speech
            else:
                if speech_end:
                    speech = max(min(speech_end + hang_over, heard) - decided, 0)
                known = heard - run
                if known - speech_end >= self.min_silence:
                    silent = max(known - hang_over - decided - speech, 0)
                answers += [True] * speech + [False] * silent
            decided += silent + speech
        return answers, SmoothingState(heard, decided, run, speech_end)

    def finish(self, state: SmoothingState) -> list[bool]:
        """The answers for the frames from `state.decided` to the last one heard."""
        is_pause_speech = state.speech_end > 0 and state.heard - state.speech_end < self.min_silence
        return [is_pause_speech] * (state.heard - state.decided)


def _run_lengths(mask: Tensor, real: Tensor) -> Tensor:
    """[B, N] int64, how many equal values in a row each value of the mask [B, N] is one of; padding is apart."""
    state = torch.where(real, mask, 2)
    runs = functional.pad((state[:, 1:] != state[:, :-1]).cumsum(1), (1, 0))
    sizes = torch.zeros_like(runs).scatter_add_(1, runs, torch.ones_like(runs))
    return sizes.gather(1, runs)
