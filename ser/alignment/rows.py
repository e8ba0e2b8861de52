"""Align the rows of a transcript with a recording, by the chosen method or those that it falls back to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ser.alignment.base import SAMPLE_RATE, Aligner, CannotAlignError, Span
from ser.alignment.dtw import Dtw
from ser.alignment.sphinx import PocketSphinx
from ser.alignment.uniform import Energy, Uniform
from ser.audio.reader import OVERSHOOT_S
from ser.errors import DataError
from ser.text.transcripts import Row, Transcript, is_tag
from ser.text.word_vectors import clean_word
from ser.text.words import Word

_SHORTEST_S = 0.05

Method = Literal["given", "uniform", "energy", "dtw", "pocketsphinx"]


@dataclass(frozen=True)
class AlignedRow:
    """Words of a row with their times.

    Args:
        words: Words with times from the start of the recording.
        method: Name of the method that aligned them.
        reasons: Why each method before it could not, such as "dtw: no speech".
    """

    words: tuple[Word, ...]
    method: str
    reasons: tuple[str, ...] = ()


def make_aligners(method: Method, language: str | None) -> list[Aligner]:
    """Create the aligner of a method, and those that it falls back to; the last one never fails.

    Args:
        method: Any but `given`, which aligns nothing.
        language: Language of the text.

    Raises:
        ConfigError: A package is not installed, or the language is not known.
    """
    if method == "pocketsphinx":
        return [PocketSphinx(language), Dtw(language or "en"), Uniform()]
    chosen: dict[str, list[Aligner]] = {"energy": [Energy()], "uniform": []}
    return [*(chosen[method] if method in chosen else [Dtw(language)]), Uniform()]


def align_rows(
    waveform: np.ndarray, transcript: Transcript, aligners: Sequence[Aligner], *, place: str
) -> Iterator[AlignedRow]:
    """Align each row of a transcript.

    Args:
        waveform: Waveform [samples] of the whole recording, float32, at `SAMPLE_RATE`.
        transcript: Its transcript.
        aligners: Methods; the next one aligns a row if those before cannot.
        place: Name of the recording, for messages.

    Raises:
        DataError: A row lies beyond the recording.
    """
    duration = len(waveform) / SAMPLE_RATE
    for number, row in enumerate(transcript.rows, 1):
        if row.start >= duration or (row.end or 0) > duration + OVERSHOOT_S:
            raise DataError(
                f"{transcript.path}, row {number}: lasts from {row.start:g} s to {row.end or duration:g} s, but "
                f"{place} is {duration:.2f} s long. Correct the times, or give the recording that it is of."
            )
    texts = [_spoken(row.tokens, aligners[0]) for row in transcript.rows]
    aligners[0].prepare([*filter(None, texts)])
    for sentence, row in enumerate(transcript.rows):
        end = duration if row.end is None else min(row.end, duration)
        part = waveform[round(row.start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        yield _align_row(part, row, sentence, aligners)


def _align_row(waveform: np.ndarray, row: Row, sentence: int, aligners: Sequence[Aligner]) -> AlignedRow:
    reasons = []
    for aligner in aligners:
        try:
            if len(waveform) < _SHORTEST_S * SAMPLE_RATE and aligner is not aligners[-1]:
                raise CannotAlignError(f"less than {_SHORTEST_S} s")
            spans = _align_tokens(waveform, row.tokens, aligner)
        except CannotAlignError as error:
            reasons.append(f"{aligner.name}: {error}")
            continue
        words = tuple(
            Word(clean_word(token), row.start + start, row.start + end, sentence)
            for token, (start, end) in zip(row.tokens, spans, strict=True)
        )
        return AlignedRow(words, aligner.name, tuple(reasons))
    raise AssertionError("the last aligner never fails")


def _spoken(tokens: Sequence[str], aligner: Aligner) -> list[str]:
    return [token for token in tokens if aligner.hears_tags or not is_tag(token)]


def _align_tokens(waveform: np.ndarray, tokens: Sequence[str], aligner: Aligner) -> list[Span]:
    """Align words; tags that the aligner does not hear share what is between the words around them."""
    spoken = _spoken(tokens, aligner)
    if not spoken:
        raise CannotAlignError("no words")
    known = iter(aligner.align(waveform, spoken))
    spans = [next(known) if aligner.hears_tags or not is_tag(token) else None for token in tokens]
    return _fill_gaps(spans, len(waveform) / SAMPLE_RATE)


def _fill_gaps(spans: Sequence[Span | None], duration: float) -> list[Span]:
    filled: list[Span] = []
    for index, span in enumerate(spans):
        if span is None:
            begin = filled[-1][1] if filled else 0.0
            rest = [*spans[index:], (duration, duration)]
            count = next(place for place, other in enumerate(rest) if other is not None)
            end = (rest[count] or (duration, duration))[0]
            span = (begin, begin + max(end - begin, 0) / count)
        filled.append(span)
    return filled
