"""The picture of the sound: log-mels in whole decibels, of a recording or of a stream.

It is computed here rather than in the browser, so that every format that can be predicted can be seen, at the rate that
the model hears.
"""

import base64
from typing import Any

import numpy as np
import torch

from ser.features.extractors import LogMel
from ser.features.streaming import FeatureState, FeatureStream

_BINS = 56
_FFT = 1024  # fine enough for the lowest bins at 16 kHz
_LOWEST_DB, _HIGHEST_DB = -100, 27  # of an int8


class Spectrogram:
    """Compute log-mels of waveforms at one rate; one object serves all streams, each with a state of its own.

    Args:
        sample_rate: Rate of the waveforms in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        frame = round(sample_rate * 0.025)
        fft = max(_FFT, 1 << (frame - 1).bit_length())
        extractor = LogMel(sample_rate=sample_rate, num_mel_bins=_BINS, fft_length=fft, log="decibel")
        self.stream = FeatureStream(extractor.eval())
        self.shift_s = extractor.frame_shift_s
        self.highest_hz = sample_rate / 2

    def initial_state(self) -> FeatureState:
        """Return the state before the first sample."""
        return self.stream.initial_state()

    @torch.inference_mode()
    def push(self, samples: np.ndarray, state: FeatureState) -> tuple[dict[str, Any], FeatureState]:
        """Return the columns that the next samples [n] complete, and the new state."""
        frames, after = self.stream.push(torch.from_numpy(samples), state)
        return self._describe(frames.values.numpy(), state.steps * self.shift_s, 1), after

    def whole(self, waveform: np.ndarray, max_columns: int) -> dict[str, Any]:
        """Return the picture of a waveform [samples], the loudest of neighbouring frames in each column."""
        frames, _ = self.stream.push(torch.from_numpy(waveform), self.initial_state())
        values = frames.values.numpy()
        joined = -(-len(values) // max_columns) or 1
        starts = np.arange(0, len(values), joined)
        columns = np.maximum.reduceat(values, starts) if len(values) else values
        return self._describe(columns, 0.0, joined)

    def _describe(self, columns: np.ndarray, start_s: float, joined: int) -> dict[str, Any]:
        """Return columns [n, bins] as JSON: bytes of signed decibels, column after column."""
        decibels = np.clip(np.rint(columns), _LOWEST_DB, _HIGHEST_DB).astype(np.int8)
        return {
            "start_s": round(start_s, 4),
            "step_s": self.shift_s * joined,
            "bins": _BINS,
            "highest_hz": self.highest_hz,
            "decibels": base64.b64encode(decibels.tobytes()).decode(),
        }
