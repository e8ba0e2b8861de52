"""Align by warping speech of the same text, whose word times are known, onto the recording.

espeak-ng speaks the text; MFCCs of both are warped in time, and the path maps the word times. This is the method of
aeneas (https://www.readbeyond.it/aeneas), with parts that install on current Pythons.
"""

import importlib.util
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

from ser.alignment.base import SAMPLE_RATE, Aligner, CannotAlignError, Span, find_speech
from ser.alignment.warping import warp
from ser.batch import Padded
from ser.errors import ConfigError, did_you_mean, install_command
from ser.features.extractors import MFCC
from ser.features.vad import FRAME_SHIFT_S
from ser.synthetic import espeak
from ser.synthetic.spoken_words import speak_words

_DELTA_REACH = 3  # frames on each side of the regression line that gives a delta
_DELTA_WEIGHT = 6.0  # deltas mark the edges of sounds, and depend on the voice less than MFCCs do
_QUIET_PERCENT = 10
_LOUD = (
    47.0  # first coefficients of generated speech that are this far below the largest one are pauses: -40 dB
)
_MOST_TEMPO = 4.0  # ratio of the durations of the recording and of the spoken text


class Dtw(Aligner):
    """Dynamic time warping against espeak-ng.

    Args:
        language: Language of espeak-ng, such as "de".

    Raises:
        ConfigError: espeak-ng is not installed, or does not speak the language.
    """

    name = "dtw"
    hears_tags = False

    def __init__(self, language: str | None) -> None:
        if importlib.util.find_spec("espeakng_loader") is None:
            raise ConfigError(
                "method=dtw: the package espeakng-loader, which speaks the text, is not installed. "
                f"Run: {install_command('align')}"
            )
        known = espeak.list_languages()
        if language is None:
            raise ConfigError(
                "language=null: the text is spoken in its language. Set language=en, or another one."
            )
        if language not in known:
            short = language[:2]  # of codes of three letters: the name nearest to deu would be eu, Basque
            hint = did_you_mean(short if short in known else language, known)
            raise ConfigError(f"language={language}: espeak-ng does not speak it. {hint}")
        self.language = language
        self._spoken: dict[tuple[str, ...], espeak.SpokenWords] = {}

    def prepare(self, texts: Sequence[Sequence[str]]) -> None:
        """Speak the texts in one process; those of the last call stay known, as corpora repeat sentences."""
        wanted = [*dict.fromkeys(map(tuple, texts))]
        kept = {text: self._spoken[text] for text in wanted if text in self._spoken}
        new = [text for text in wanted if text not in kept]
        self._spoken = (
            kept | dict(zip(new, speak_words(new, voice=self.language), strict=True)) if new else kept
        )

    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> list[Span]:
        """Warp the spoken text onto the speech, and end words where speech pauses."""
        if tuple(tokens) not in self._spoken:
            self.prepare([tokens])
        spoken = self._spoken[tuple(tokens)]
        is_speech = find_speech(waveform)
        places = np.flatnonzero(is_speech)
        _check_tempo(len(places) * FRAME_SHIFT_S, spoken.duration_s)
        first, end = int(places[0]), int(places[-1]) + 1
        recorded, quiet = _recorded_features(waveform, is_speech, first, end)
        generated = _generated_features(spoken.waveform)
        path = warp(recorded, np.concatenate([quiet, generated, quiet]))
        starts = np.array(spoken.starts) / _extractor(espeak.SAMPLE_RATE).frame_shift_s
        frames = first + _map_frames(path, starts)
        return _end_at_pauses(frames, places, len(waveform) / SAMPLE_RATE)


def _check_tempo(speech_s: float, spoken_s: float) -> None:
    if not spoken_s / _MOST_TEMPO < speech_s < spoken_s * _MOST_TEMPO:
        raise CannotAlignError(f"{speech_s:.1f} s of speech for a text that takes {spoken_s:.1f} s to speak")


def _map_frames(path: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Map starts of words from generated to recorded frames.

    Args:
        path: Pairs of recorded and generated frames; generated frame 0 is quiet.
        starts: Starts in generated frames, of which the first is 1.
    """
    generated = np.arange(path[-1, 1] + 1)
    # The last recorded frame, as a pause before a word matches the word's first frame as well.
    last = path[np.searchsorted(path[:, 1], generated, "right") - 1, 0]
    frames: np.ndarray = np.interp(starts + 1, generated, last)
    frames[0] = path[np.searchsorted(path[:, 1], 1, "left"), 0]  # here, quiet sounds match the pause
    return np.maximum.accumulate(frames)


def _end_at_pauses(starts: np.ndarray, speech: np.ndarray, duration: float) -> list[Span]:
    """End each word at the start of the next one, or where the speech before it ends.

    Args:
        starts: Starts in frames.
        speech: Indices of the frames that are speech.
        duration: Duration of the recording in seconds.
    """
    following = np.append(starts[1:], speech[-1] + 1)
    last = speech[(np.searchsorted(speech, following, "left") - 1).clip(0)] + 1
    ends = np.minimum(np.maximum(last, starts), following)
    seconds = (np.array([starts, np.maximum(starts, ends)]) * FRAME_SHIFT_S).clip(0, duration)
    return [*zip(*seconds.tolist(), strict=True)]


@cache
def _extractor(sample_rate: int) -> MFCC:
    return MFCC(
        sample_rate=sample_rate,
        num_coefficients=13,
        num_mel_bins=26,
        max_frequency=8000.0,
        preemphasis=0.97,
        window="hamming",
        align="centered_padded",
        frame_length_ms=25.0,
        frame_shift_ms=1000 * FRAME_SHIFT_S,
    )


def _recorded_features(
    waveform: np.ndarray, is_speech: np.ndarray, first: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute features of a recording from a frame to an end [T, F], and those of its quiet sounds [1, F].

    Breath and noise around the text match the quiet sounds. They are the quietest tenth between first and last speech:
    the mean of all quiet frames is noise, which is too far from breath. On RAVDESS, 95 % rather than 88 % of word
    starts then differ from those of pocketsphinx by 90 ms or less.
    """
    coefficients = _coefficients(waveform, SAMPLE_RATE)
    coefficients = coefficients[first:end] - coefficients[is_speech].mean(0)
    energy = coefficients[:, 0]
    quiet = coefficients[energy <= np.percentile(energy, _QUIET_PERCENT)].mean(0, keepdims=True)
    return _with_deltas(coefficients), np.concatenate([quiet, np.zeros_like(quiet)], 1)


def _generated_features(waveform: np.ndarray) -> np.ndarray:
    """Compute features of generated speech [T, F]."""
    coefficients = _coefficients(waveform, espeak.SAMPLE_RATE)
    energy = coefficients[:, 0]
    # The first coefficient is a sum of logarithms of 26 bands, scaled by the orthonormal cosine transform.
    loud = energy > energy.max() - _LOUD
    return _with_deltas(coefficients - coefficients[loud].mean(0))


def _coefficients(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    samples = torch.from_numpy(np.ascontiguousarray(waveform))[:, None]
    coefficients: np.ndarray = _extractor(sample_rate)(Padded.collate([samples])).values[0].numpy()
    return coefficients


def _with_deltas(coefficients: np.ndarray) -> np.ndarray:
    """Append weighted deltas [T, 2 F]: the slopes of regression lines."""
    padded = np.pad(coefficients, ((_DELTA_REACH, _DELTA_REACH), (0, 0)), mode="edge")
    reach, count = range(1, _DELTA_REACH + 1), len(coefficients)
    slopes = sum(
        step * (padded[_DELTA_REACH + step :][:count] - padded[_DELTA_REACH - step :][:count])
        for step in reach
    )
    deltas = slopes / (2 * sum(step * step for step in reach))
    return np.concatenate([coefficients, _DELTA_WEIGHT * deltas], 1)
