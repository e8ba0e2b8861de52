"""Smooth decisions on frames from sound to speech, with the same result for whole recordings and streams."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class SmoothingState(NamedTuple):
    """State of the smoothing of a stream.

    Args:
        received: Number of frames received.
        decided: Number of frames decided.
        run: Number of consecutive sound frames at the end, counted up to the shortest speech.
        speech_end: Index after the last frame known to be speech before hang-over; 0 if there is none.
    """

    received: int = 0
    decided: int = 0
    run: int = 0
    speech_end: int = 0


@dataclass(frozen=True)
class Smoothing:
    """Turn short sounds into silence, then short pauses into speech, then extend speech on both sides.

    Args:
        min_speech: Shortest speech in frames; shorter sounds become silence.
        min_silence: Shortest silence in frames; shorter pauses become speech, also at the ends, unless there is no
            speech.
        hang_over: Frames before and after each stretch of speech that become speech, too.
    """

    min_speech: int
    min_silence: int
    hang_over: int

    @property
    def look_ahead(self) -> int:
        """Return how many further frames a stream needs at most before it decides a frame.

        A frame is known to be silence when the pause is long enough, or when all frames whose hang-over could reach
        it are known; and whether the last of these is speech is known when a sound is long enough. The maximum is
        needed at a beginning in silence; after speech, the frames of its hang-over are decided at once.
        """
        return max(self.min_speech - 1, 0) + max(self.min_silence - 1, self.hang_over)

    def __call__(self, sound: Tensor, real: Tensor) -> Tensor:
        """Smooth sound frames [B, N] bool to speech frames [B, N] bool.

        Args:
            sound: Whether each frame of whole recordings is sound.
            real: Mask [B, N] bool, false on padding; padding is not a pause, and is silence in the result.
        """
        speech = sound & real & (_run_lengths(sound, real) >= self.min_speech)
        spoken = speech.any(1, keepdim=True)
        speech |= spoken & real & (_run_lengths(speech, real) < self.min_silence)
        width = 2 * self.hang_over + 1
        widened = functional.max_pool1d(speech.float()[:, None], width, stride=1, padding=self.hang_over)
        return (widened[:, 0] > 0) & real

    def initial_state(self) -> SmoothingState:
        """Return the state before the first frame."""
        return SmoothingState()

    def step(self, sounds: Iterable[bool], state: SmoothingState) -> tuple[list[bool], SmoothingState]:
        """Process the next frames; return the decisions that are certain now, and the new state.

        Args:
            sounds: Whether each of the next frames is sound.
            state: State after the frames before; it is not modified.
        """
        received, decided, run, speech_end = state
        enough, hang_over = max(self.min_speech, 1), self.hang_over
        answers: list[bool] = []
        for sound in sounds:
            received += 1
            run = min(run + 1, enough) if sound else 0
            silent = speech = 0  # numbers of frames that are decided now
            if run == enough:
                begin = received - enough
                if begin - speech_end >= self.min_silence:
                    silent = max(begin - hang_over - decided, 0)
                speech, speech_end = received - decided - silent, received
                answers += [False] * silent + [True] * speech
            else:
                if speech_end:
                    speech = max(min(speech_end + hang_over, received) - decided, 0)
                known = received - run
                if known - speech_end >= self.min_silence:
                    silent = max(known - hang_over - decided - speech, 0)
                answers += [True] * speech + [False] * silent
            decided += silent + speech
        return answers, SmoothingState(received, decided, run, speech_end)

    def finish(self, state: SmoothingState) -> list[bool]:
        """Decide the remaining frames, from `state.decided` to the last one."""
        is_pause_speech = state.speech_end > 0 and state.received - state.speech_end < self.min_silence
        return [is_pause_speech] * (state.received - state.decided)


def _run_lengths(mask: Tensor, real: Tensor) -> Tensor:
    """Return for each value of the mask [B, N] the length of its run of equal values; padding is a run of its own."""
    state = torch.where(real, mask, 2)
    runs = functional.pad((state[:, 1:] != state[:, :-1]).cumsum(1), (1, 0))
    sizes = torch.zeros_like(runs).scatter_add_(1, runs, torch.ones_like(runs))
    return sizes.gather(1, runs)
