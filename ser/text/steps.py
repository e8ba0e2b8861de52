"""Put words, turns and waveforms on a grid of steps of 0.1 s.

Step i begins at i * 0.1 s and has 2,205 samples at 22,050 Hz. A span covers all steps from round(start, 1) * 10 to
round(end, 1) * 10, both included, with the rounding of Python: 0.25 is nearer to 0.2, as it is even, and 0.35 to 0.3,
as its float is below. So a word of 40 ms covers one step or two.

Source: the layout of AVEC 2017 as used by Tzirakis, Nguyen, Zafeiriou, Schuller, "Speech emotion recognition using
semantic information", ICASSP 2021.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SAMPLE_RATE = 22_050
STEP_S = 0.1
SAMPLES_PER_STEP = 2_205
WAVE_DIM = 2 * SAMPLES_PER_STEP
"""Number of values of a step: samples of the subject, then of the interlocutor."""

Span = tuple[float, float]
"""Start and end of a word or a turn, in s."""


def count_steps(num_samples: int) -> int:
    """Return the number of steps of a waveform; the last one may be shorter."""
    return -(-num_samples // SAMPLES_PER_STEP)


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


def gather_vectors(vectors: Tensor, index: Tensor) -> Tensor:
    """Return the vector at each step [T, D]; zeros where there is none.

    Args:
        vectors: Vectors [N, D] of the N words.
        index: Index of the word at each step [T], -1 for none.
    """
    if not len(vectors):
        return vectors.new_zeros(len(index), vectors.shape[1])
    return vectors[index.clamp_min(0)] * (index >= 0)[:, None]


def cut_waveform(
    waveform: Tensor, is_subject: Tensor, *, times: Sequence[float] | Tensor | None = None
) -> Tensor:
    """Cut a waveform into steps of two halves [T, 4410]; that of the person who speaks is filled, the other is zero.

    Args:
        waveform: Samples [N] at 22,050 Hz; zeros follow where a step goes beyond its end.
        is_subject: Whether the subject speaks at each step [T] bool.
        times: Start of each step in s [T]; None = 0, 0.1, 0.2 and so on.
    """
    num_steps = len(is_subject)
    if times is None:
        samples = waveform[: num_steps * SAMPLES_PER_STEP]
        missing = num_steps * SAMPLES_PER_STEP - len(samples)
        cut = torch.nn.functional.pad(samples, (0, missing)).reshape(num_steps, SAMPLES_PER_STEP)
    else:
        # 0.7 * 22050 is 15434.999999999998, whose whole part would begin one sample early.
        starts = (torch.as_tensor(times, dtype=torch.float64) * SAMPLE_RATE + 1e-6).long()
        padded = torch.nn.functional.pad(waveform, (0, SAMPLES_PER_STEP))
        places = (starts[:, None] + torch.arange(SAMPLES_PER_STEP)).clamp_max(len(padded) - 1)
        cut = padded[places]
    frames = cut.new_zeros(num_steps, 2, SAMPLES_PER_STEP)
    frames[torch.arange(num_steps), (~is_subject).long()] = cut
    return frames.flatten(1)


def _steps_of(start: float, end: float) -> tuple[int, int]:
    """Return the first and the last step of a span."""
    return round(10 * round(start, 1)), round(10 * round(end, 1))
