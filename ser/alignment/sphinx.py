"""Align English with PocketSphinx: its acoustic model and dictionary are inside the wheel (BSD licence)."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ser.alignment.base import SAMPLE_RATE, Aligner, CannotAlignError, Span
from ser.errors import ConfigError, install_command
from ser.text.word_vectors import clean_word

_FRAME_S = 0.01
_NAMED = 20  # words that a report lists
# Default beams of 1e-48 lose some recordings altogether; these take 1.1 times as long.
_BEAMS = {"beam": 1e-80, "pbeam": 1e-80, "wbeam": 1e-60}
_NO_WORD = ("<", "[", "(")  # <sil>, [NOISE]


class PocketSphinx(Aligner):
    """Forced alignment with hidden Markov models.

    Args:
        language: None or English, the language of the model.

    Raises:
        ConfigError: The package is not installed, or the language is another one.
    """

    name = "pocketsphinx"
    hears_tags = False

    def __init__(self, language: str | None) -> None:
        if language is not None and language.partition("-")[0] != "en":
            raise ConfigError(
                f"language={language}: pocketsphinx has an English model only. Set method=dtw for other languages."
            )
        try:
            from pocketsphinx import Decoder
        except (ImportError, OSError) as error:
            raise ConfigError(
                f"method=pocketsphinx: the package pocketsphinx cannot be imported ({error}). "
                f"Run: {install_command('align')}"
            ) from error
        # Cepstral means of the utterance itself, so that no recording depends on those before it.
        self._decoder = Decoder(lm=None, loglevel="FATAL", cmn="batch", **_BEAMS)
        self._unknown = Counter[str]()

    def describe_unknown_words(self) -> str | None:
        """Return the words that the dictionary lacks, the most frequent ones first."""
        if not self._unknown:
            return None
        named = ", ".join(f"{word} {count}" for word, count in self._unknown.most_common(_NAMED))
        more = f" and {len(self._unknown) - _NAMED} more" if len(self._unknown) > _NAMED else ""
        return f"{len(self._unknown)} words are not in the dictionary of pocketsphinx: {named}{more}."

    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> list[Span]:
        """Find the most probable path through the words, with silence between them."""
        words = [self._dictionary_form(token) for token in tokens]
        missing = [clean_word(token) for token, word in zip(tokens, words, strict=True) if word is None]
        self._unknown.update(missing)
        if missing:
            raise CannotAlignError(f"the dictionary lacks {', '.join(dict.fromkeys(missing))}")
        spans = self._decode(waveform, [word for word in words if word is not None])
        if len(spans) != len(tokens):
            raise CannotAlignError("no path through the words")
        return spans

    def _dictionary_form(self, token: str) -> str | None:
        """Return a word as the dictionary has it, with its apostrophe if it has one; None if it is not there."""
        stripped = token.lower().replace("\u2019", "'").strip("\"'.,;:!?()-\u2026\u201c\u201d")
        candidates = (word for word in (stripped, clean_word(token)) if word)
        return next((word for word in candidates if self._decoder.lookup_word(word)), None)

    def _decode(self, waveform: np.ndarray, words: Sequence[str]) -> list[Span]:
        pcm = (waveform * 32767).clip(-32768, 32767).astype(np.int16).tobytes()
        self._decoder.set_align_text(" ".join(words))
        self._decoder.start_utt()
        try:
            self._decoder.process_raw(pcm, full_utt=True)
        finally:
            self._decoder.end_utt()
        longest = len(waveform) / SAMPLE_RATE
        return [
            (segment.start_frame * _FRAME_S, min((segment.end_frame + 1) * _FRAME_S, longest))
            for segment in self._decoder.seg() or ()
            if not segment.word.startswith(_NO_WORD)
        ]
