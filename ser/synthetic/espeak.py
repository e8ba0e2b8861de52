"""Synthesise speech with espeak-ng, for demonstration data and for `ser align`.

Licence note: espeak-ng and the package `espeakng-loader`, which contains it, are GPL-3. They are not dependencies of
`ser`: the extras `demo` and `align` install them, and only this module imports them.
"""

import bisect
import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.errors import ConfigError, DataError, install_command

SAMPLE_RATE = 22050
_SYNCHRONOUS, _DEFAULT_BUFFER = 2, 0  # AUDIO_OUTPUT_SYNCHRONOUS; length of the audio buffer
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4  # espeak_PARAMETER
_UTF8 = 1  # espeakCHARS_UTF8
_END_OF_EVENTS, _WORD = 0, 1  # espeak_EVENT_TYPE


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h; a list of them ends with an event of type 0."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, the first is 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, eq=False)
class SpokenWords:
    """Speech with the start of each word.

    Args:
        waveform: Waveform [samples], float32 in -1..1 at 22050 Hz.
        starts: Start of each word in seconds, in ascending order.
        is_exact: Whether each start is espeak-ng's own, rather than shared out among words that it joins.
    """

    waveform: np.ndarray
    starts: tuple[float, ...]
    is_exact: tuple[bool, ...]

    @property
    def duration_s(self) -> float:
        """Return the duration in seconds."""
        return len(self.waveform) / SAMPLE_RATE


def require_espeak() -> tuple[str, Path]:
    """Return the paths of espeak-ng's library and of its data folder.

    Raises:
        ConfigError: The package that contains espeak-ng is not installed.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise ConfigError(
            "The package espeakng-loader, which synthesises the demonstration data, is not installed. "
            f"Use data of your own, or run: {install_command('demo')}"
        ) from error
    return espeakng_loader.get_library_path(), Path(espeakng_loader.get_data_path())


class Synthesizer:
    """Interface to espeak-ng in this process.

    espeak-ng carries state from one utterance to the next: the same text sounds slightly different the second time.
    Reproducible speech needs a fresh process, one synthesizer in it, a fixed order of calls, and a fixed seed for the
    noise of breathy voices, which espeak-ng itself seeds from the clock.

    Raises:
        ConfigError: espeak-ng is not installed.
        DataError: Its library or its data cannot be loaded.
    """

    def __init__(self) -> None:
        library, self._data = require_espeak()
        try:
            self._espeak = ctypes.CDLL(library)
        except OSError as error:
            raise DataError(
                f"{library}: cannot be loaded ({error}). Run: {install_command('demo', '--force-reinstall')}"
            ) from error
        data = str(self._data).encode()
        if self._espeak.espeak_Initialize(_SYNCHRONOUS, _DEFAULT_BUFFER, data, 0) != SAMPLE_RATE:
            raise DataError(
                f"{self._data}: espeak-ng cannot read its data. "
                f"Run: {install_command('demo', '--force-reinstall')}"
            )
        self._espeak.espeak_ng_SetRandSeed(ctypes.c_long(0))
        self._chunks: list[np.ndarray] = []
        self._words: list[tuple[int, int]] = []  # position in the text, sample
        self._callback = _Callback(
            self._collect
        )  # stored, because ctypes would free it while espeak-ng calls it
        self._espeak.espeak_SetSynthCallback(self._callback)

    def synthesize(
        self, text: str, *, voice: str, pitch: float, pitch_range: float, rate: float
    ) -> np.ndarray:
        """Synthesise a text: [samples], float32 in -1..1 at 22050 Hz, without silence around it.

        Args:
            text: Text in the voice's language; its last character (. , ?) sets the intonation.
            voice: Language and variant, such as "en+f3".
            pitch: Pitch, 0..99; 50 is the voice's own.
            pitch_range: Pitch range, 0..99; 0 is monotonous, 50 is the voice's own.
            rate: Words per minute, 80..450.

        Raises:
            ConfigError: espeak-ng has no such voice.
        """
        self._select(voice)
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_PITCH_RANGE, pitch_range)):
            self._espeak.espeak_SetParameter(parameter, round(value), 0)
        self._chunks.clear()
        self._words.clear()
        encoded = text.encode() + b"\0"
        self._espeak.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 1, 0, _UTF8, None, None)
        return np.concatenate([np.zeros(0, np.int16), *self._chunks]).astype(np.float32) / 32768

    def synthesize_words(
        self,
        words: Sequence[str],
        *,
        voice: str,
        pitch: float = 50,
        pitch_range: float = 50,
        rate: float = 175,
    ) -> SpokenWords:
        """Synthesise a text, and return the starts of its words; see `synthesize`.

        espeak-ng joins some neighbours, such as "of the", and speaks no word of punctuation alone. Words that it
        joins share the time from the first of them to the next word, in proportion to their letters.

        Args:
            words: Words without white space, one at least; with the punctuation that sets the intonation.
            voice: Language and variant, such as "en+f3".
            pitch: Pitch, 0..99.
            pitch_range: Pitch range, 0..99.
            rate: Words per minute, 80..450.

        Raises:
            ConfigError: espeak-ng has no such voice.
        """
        waveform = self.synthesize(
            " ".join(words), voice=voice, pitch=pitch, pitch_range=pitch_range, rate=rate
        )
        places = [1]  # of the first character of each word, as espeak-ng counts
        for word in words[:-1]:
            places.append(places[-1] + len(word) + 1)
        known: dict[int, float] = {}
        for position, sample in self._words:
            known.setdefault(bisect.bisect_right(places, position) - 1, sample / SAMPLE_RATE)
        is_exact = tuple(index in known for index in range(len(words)))
        known.setdefault(0, 0.0)
        starts = _fill_starts(known, [len(word) for word in words], len(waveform) / SAMPLE_RATE)
        return SpokenWords(waveform, tuple(starts), is_exact)

    def _select(self, voice: str) -> None:
        # espeak-ng silently ignores a variant that does not exist.
        variant = voice.partition("+")[2]
        missing = variant and not (self._data / "voices" / "!v" / variant).is_file()
        if missing or self._espeak.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ConfigError(
                f"voice '{voice}': espeak-ng does not have it. Use a language and a variant of its list, "
                "such as 'en+f3' or 'de+m5'."
            )

    def _collect(
        self, samples: "ctypes._Pointer[ctypes.c_int16]", count: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events and events[index].type != _END_OF_EVENTS:
            if events[index].type == _WORD:
                self._words.append((events[index].text_position, events[index].sample))
            index += 1
        return 0


def list_languages() -> list[str]:
    """Return the languages that espeak-ng speaks, such as "en" and "pt-BR".

    Raises:
        ConfigError: espeak-ng is not installed.
    """
    return sorted(path.name for path in (require_espeak()[1] / "lang").rglob("*") if path.is_file())


def _fill_starts(known: Mapping[int, float], letters: Sequence[int], end: float) -> list[float]:
    """Return the start of each word, those without one in proportion to letters.

    Args:
        known: Index of a word -> its start in seconds; the first word has one.
        letters: Number of letters of each word.
        end: End of the last word in seconds.
    """
    fixed = sorted(known)
    starts = np.maximum.accumulate([known[index] for index in fixed])
    passed = np.concatenate([[0], np.cumsum(letters)])
    return [
        float(start)
        for start in np.interp(passed[:-1], [*passed[fixed], passed[-1]], [*starts, max(end, starts[-1])])
    ]


def resample(waveform: np.ndarray, rate: int, *, whole_s: float) -> np.ndarray:
    """Resample a waveform of espeak-ng in its spectrum, without aliasing.

    Args:
        waveform: Waveform [samples] at 22050 Hz.
        rate: New rate in Hz, a multiple of 100: 441 samples become rate / 50.
        whole_s: Seconds of which the length of the transform is a multiple; such lengths are fast.
    """
    block = rate // 50
    unit = round(50 * whole_s)  # blocks of 441 samples
    blocks = unit * -(
        -(len(waveform) + 441) // (441 * unit)
    )  # one more, so that the end does not wrap around
    spectrum = np.fft.rfft(waveform, 441 * blocks)[: block // 2 * blocks + 1]
    fade = np.linspace(1, 0, len(spectrum) // 20)  # over the highest twentieth, so that clicks do not ring
    spectrum[-len(fade) :] *= fade
    found: np.ndarray = np.fft.irfft(spectrum, block * blocks) * (block / 441)
    return found[: len(waveform) * block // 441]


def sloping_noise(samples: int, rate: int, *, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Generate noise [samples] whose power falls as frequency ** -slope from 50 Hz on."""
    frequencies = np.fft.rfftfreq(samples, 1 / rate)
    real, imaginary = rng.normal(size=(2, len(frequencies)))
    envelope = np.maximum(frequencies, 50.0) ** (-slope / 2) * (frequencies > 0)
    noise: np.ndarray = np.fft.irfft(envelope * (real + 1j * imaginary), samples)
    return noise
