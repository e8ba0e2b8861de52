"""Words of equal duration: over the whole row, or over the speech in it alone."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ser.alignment.base import SAMPLE_RATE, Aligner, Span, speech_places
from ser.features.vad import FRAME_SHIFT_S


class Uniform(Aligner):
    """Words of equal duration over the whole row; it always succeeds."""

    name = "uniform"

    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> list[Span]:
        """Divide the duration of the waveform by the number of words."""
        edges = np.linspace(0, len(waveform) / SAMPLE_RATE, len(tokens) + 1).tolist()
        return [*pairwise(edges)]


class Energy(Aligner):
    """Words of equal duration over the speech, so that no word lies in a pause."""

    name = "energy"

    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> list[Span]:
        """Divide the duration of the speech by the number of words; a word that spans a pause contains it."""
        places = speech_places(waveform)
        edges = np.linspace(0, len(places), len(tokens) + 1)
        # Frame i is what is around its centre at i frame shifts.
        starts = np.interp(edges[:-1], np.arange(len(places)), places) - 0.5
        ends = np.interp(edges[1:] - 1, np.arange(len(places)), places) + 0.5
        seconds = np.array([starts, np.maximum(starts, ends)]) * FRAME_SHIFT_S
        first, last = seconds.clip(0, len(waveform) / SAMPLE_RATE).tolist()
        return [*zip(first, last, strict=True)]
