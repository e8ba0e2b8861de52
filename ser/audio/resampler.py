"""Resample a stream chunk by chunk; the samples are those of the whole recording."""

from typing import Any

import numpy as np


class Resampler:
    """Resample chunks of a waveform from one rate to another.

    Args:
        source: Rate of the chunks in Hz.
        target: Rate of the result in Hz.
    """

    def __init__(self, source: int, target: int) -> None:
        self._stream: Any = None
        if source != target:
            import soxr  # of the extra `audio`

            self._stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")

    def push(self, chunk: np.ndarray, *, last: bool = False) -> np.ndarray:
        """Return the samples [m] float32 that a chunk [n] float32 completes.

        Args:
            chunk: The next samples; n may be 0.
            last: Whether no samples follow, so that the remaining ones are returned.
        """
        if self._stream is None:
            return chunk
        resampled: np.ndarray = self._stream.resample_chunk(chunk, last=last)
        return resampled
