"""Generate the four demonstration files for language identification with espeak-ng, once.

Voices, settings and noise are drawn once and used for a clip of every language, so that only the language
distinguishes the classes. All speech is from one synthesiser: suitable for trying every command, unsuitable as
evidence about real speech.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser.corpora.arrays import CLASS_NAMES, ArrayCorpus, inputs_name, targets_name
from ser.errors import ConfigError
from ser.splits.base import Splits
from ser.synthetic import sentences
from ser.synthetic.espeak import SAMPLE_RATE, Synthesizer, resample, sloping_noise
from ser.synthetic.generator import (
    STAMP,
    GeneratedFolder,
    check_generator,
    hash_generator_code,
    run_in_parts,
    run_part,
)
from ser.synthetic.prosody import CHARACTERS_PER_SECOND, NORMAL_RATE, VARIANTS, draw_prosody

CLIPS = (1000, 200)  # clips of each language for training and test
RATE, SAMPLES = 8_000, 40_000  # Hz, and length of a clip: 5 s
PART_SIZE = 1200  # clips per process: 6 parts by default; a start takes as long as 100 clips
FEWEST = 4  # clips of a language
FILES = tuple(
    name
    for split in ("train", "test")
    for name in (inputs_name(split), targets_name(split), f"speakers_{split}.json", f"texts_{split}.json")
)

_SOURCES = {"train": ("train", "dev"), "test": ("ser_test_1", "ser_test_2")}  # splits of voices and phrases
_SPOKEN_S = 6.3  # minimum of the plan: voices differ in speed, and 5.0 s must be filled; the rest is cut off
_PAUSE_S = 0.25
_LEVELS_DB = (-40.0, -20.0)  # mean square of a clip, relative to full scale
_SNR_DB = (10.0, 30.0)
_STEEPEST = 2.0  # largest slope of noise: its power falls with the square of the frequency


class LanguageDemoCorpus(ArrayCorpus):
    """Generated speech in the assignment's format: a demonstration, not a result.

    Args:
        root: Folder in which the files are generated, once.
        seed: Seed of the generator.
        clips: Number of clips of each language for training and for test.
        gain_by_language: Whether each language has its own loudness, and another one in test, so that a model that
            uses loudness fails there.
        settings: Further arguments of ArrayCorpus.
    """

    stamps = (STAMP,)

    def __init__(
        self,
        root: str,
        *,
        seed: int = 0,
        clips: Sequence[int] = CLIPS,
        gain_by_language: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(root, **settings)
        self.seed = seed
        self.clips = clips
        self.gain_by_language = gain_by_language

    def splits(self, features: Mapping[str, Any]) -> Splits:
        """Generate missing files, then read them as ArrayCorpus does."""
        generate(self.root, seed=self.seed, clips=self.clips, gain_by_language=self.gain_by_language)
        return super().splits(features)


@dataclass(frozen=True)
class Clip:
    """Plan of one clip.

    Args:
        split: `train` or `test`.
        language: Language, of CLASS_NAMES.
        variant: Variant of the voice, such as "f3".
        phrases: Text; commas and full stops set the intonation.
        pitch: Pitch, 0..99; 50 is the voice's own.
        pitch_range: Pitch range, 0..99.
        rate: Words per minute.
        cut: Start of the clip in the spoken text, 0..1, from as early to as late as possible.
        level_db: Mean square of the clip, in dB relative to full scale.
        snr_db: Signal-to-noise ratio in dB.
        noise_slope: Exponent by which the power of the noise falls with frequency; 0 for white noise.
        noise_seed: Seed of the noise.
    """

    split: str
    language: str
    variant: str
    phrases: tuple[str, ...]
    pitch: float
    pitch_range: float
    rate: float
    cut: float
    level_db: float
    snr_db: float
    noise_slope: float
    noise_seed: int

    @property
    def voice(self) -> str:
        """Return the voice's name in espeak-ng, such as "de+f3"."""
        return f"{self.language}+{self.variant}"


def generate(
    root: Path,
    *,
    seed: int = 0,
    clips: Sequence[int] = CLIPS,
    gain_by_language: bool = False,
    processes: int = 2,
) -> None:
    """Write the four files, speakers and texts, unless they exist with the same settings.

    The bytes depend only on the settings, not on `processes`. Two processes may call this at once: the second waits,
    then finds the files complete. After an interruption, the next call starts from the beginning.

    Args:
        root: Folder of the files; created if it does not exist.
        seed: Seed of all random choices.
        clips: Number of clips of each language for training and for test, 4 at least.
        gain_by_language: See LanguageDemoCorpus.
        processes: Number of processes that speak at the same time.

    Raises:
        ConfigError: The settings are invalid, or espeak-ng is not installed.
        DataError: `root` cannot be written or contains other files of these names, or espeak-ng fails.
    """
    _check(seed, clips, processes)
    settings = {
        "code": hash_generator_code("ser.synthetic.language_id"),
        "seed": seed,
        "clips": [*clips],
        "gain_by_language": gain_by_language,
    }
    folder = GeneratedFolder(
        Path(root), FILES, settings, "0.6 GB by default", "Use it with data=language_id_arrays"
    )
    folder.generate(lambda hidden: _write(hidden, settings, processes))


def plan(settings: Mapping[str, Any]) -> list[Clip]:
    """Plan every clip, in the order of the files: training, then test."""
    return [
        clip
        for number, split in enumerate(("train", "test"))
        for clip in _plan_split(split, settings["clips"][number], settings)
    ]


def _plan_split(split: str, count: int, settings: Mapping[str, Any]) -> list[Clip]:
    rng = np.random.default_rng([settings["seed"], split == "train"])
    variants = [variant for source in _SOURCES[split] for variant in VARIANTS[source].split()]
    turns = rng.permutation(np.resize(variants, count))
    taken: set[tuple[str, ...]] = set()
    clips = []
    for variant in turns:
        drawn = _draw_shared_settings(split, str(variant), rng)
        for language in CLASS_NAMES:
            phrases = _new_text(split, language, drawn.rate, taken, rng)
            clips.append(
                replace(
                    drawn,
                    language=language,
                    phrases=phrases,
                    cut=float(rng.uniform()),
                    noise_seed=int(rng.integers(2**31)),
                )
            )
    if settings["gain_by_language"]:
        levels = _levels(split, settings["seed"])
        middle = sum(_LEVELS_DB) / 2
        clips = [
            replace(clip, level_db=levels[clip.language] + 0.1 * (clip.level_db - middle)) for clip in clips
        ]
    return [clips[index] for index in rng.permutation(len(clips))]


def _draw_shared_settings(split: str, variant: str, rng: np.random.Generator) -> Clip:
    """Draw the settings that clips of all languages share."""
    return Clip(
        split=split,
        language="",
        variant=variant,
        phrases=(),
        **draw_prosody(rng),
        cut=0.0,
        level_db=float(rng.uniform(*_LEVELS_DB)),
        snr_db=float(rng.uniform(*_SNR_DB)),
        noise_slope=float(rng.uniform(0, _STEEPEST)),
        noise_seed=0,
    )


def _new_text(
    split: str, language: str, rate: float, taken: set[tuple[str, ...]], rng: np.random.Generator
) -> tuple[str, ...]:
    """Draw phrases of sufficient length that no clip of the split has yet."""
    speed = CHARACTERS_PER_SECOND[language] * rate / NORMAL_RATE
    while True:
        stream = _phrases(split, language, rng)
        phrases: list[str] = []
        while sum(len(phrase) + _PAUSE_S * speed for phrase in phrases) < _SPOKEN_S * speed:
            phrases.append(next(stream))
        if tuple(phrases) not in taken:
            taken.add(tuple(phrases))
            return tuple(phrases)


def _phrases(split: str, language: str, rng: np.random.Generator) -> Iterator[str]:
    """Yield phrases without end: subject and predicate, then an adverbial phrase."""
    subjects, predicates, adverbials = (
        [phrase for source in _SOURCES[split] for phrase in sentences.phrases_of(table, language, source)]
        for table in (sentences.SUBJECTS, sentences.PREDICATES, sentences.ADVERBIALS)
    )
    while True:
        yield f"{subjects[rng.integers(len(subjects))]} {predicates[rng.integers(len(predicates))]},"
        yield f"{adverbials[rng.integers(len(adverbials))]}."


def _levels(split: str, seed: int) -> dict[str, float]:
    """Assign a level to each language; in test, that of another language in train, 12 dB away."""
    count = len(CLASS_NAMES)
    order = np.random.default_rng(seed).permutation(count)
    shift = count // 2 if split == "test" else 0
    levels = np.linspace(*_LEVELS_DB, count)[(order + shift) % count]
    return dict(zip(CLASS_NAMES, levels.tolist(), strict=True))


def speak(clip: Clip, synthesizer: Synthesizer) -> np.ndarray:
    """Synthesise a clip [40000], float16 in -1..1 at 8 kHz."""
    pause = np.zeros(round(_PAUSE_S * SAMPLE_RATE), dtype=np.float32)
    pieces = []
    for phrase in clip.phrases:
        spoken = synthesizer.synthesize(
            phrase, voice=clip.voice, pitch=clip.pitch, pitch_range=clip.pitch_range, rate=clip.rate
        )
        pieces += [spoken, pause]
    speech = to_8_khz(np.concatenate(pieces[:-1]))
    start = round(clip.cut * max(len(speech) - SAMPLES, 0))
    speech = speech[start : start + SAMPLES]
    speech = np.pad(speech, (0, SAMPLES - len(speech)))  # rarely needed, and shorter than a pause
    noise = _noise(clip)
    mixed = speech / _rms(speech) + 10 ** (-clip.snr_db / 20) * noise / _rms(noise)
    recording: np.ndarray = mixed / _rms(mixed) * 10 ** (clip.level_db / 20)
    return recording.clip(-1, 1).astype(np.float16)


def to_8_khz(waveform: np.ndarray) -> np.ndarray:
    """Resample a waveform [samples] from 22050 Hz to 8 kHz, without aliasing."""
    return resample(waveform, RATE, whole_s=1.0)


def _noise(clip: Clip) -> np.ndarray:
    """Generate background noise [40000] with a spectral slope from 50 Hz on."""
    return sloping_noise(SAMPLES, RATE, slope=clip.noise_slope, rng=np.random.default_rng(clip.noise_seed))


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def _check(seed: int, clips: Sequence[int], processes: int) -> None:
    if len(clips) != 2 or min(clips) < FEWEST:
        raise ConfigError(
            f"data.clips={[*clips]}: expected two numbers, of clips of each language to train and to test on, each "
            f"{FEWEST} or more. Set data.clips=[1000,200]."
        )
    check_generator(seed, processes)


def _write(folder: Path, settings: Mapping[str, Any], processes: int) -> None:
    planned = plan(settings)
    _prepare(folder, planned)
    run_in_parts(__name__, settings, len(planned), size=PART_SIZE, processes=processes, folder=folder)


def _prepare(folder: Path, planned: Sequence[Clip]) -> None:
    """Write everything that needs no sound, and empty arrays for the clips."""
    for split in ("train", "test"):
        clips = [clip for clip in planned if clip.split == split]
        targets = np.array([CLASS_NAMES.index(clip.language) for clip in clips], dtype=np.int8)
        np.save(folder / targets_name(split), targets)
        (folder / f"speakers_{split}.json").write_text(json.dumps([clip.variant for clip in clips]))
        texts = [" ".join(clip.phrases) for clip in clips]
        (folder / f"texts_{split}.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
        shape = len(clips), SAMPLES
        np.lib.format.open_memmap(folder / inputs_name(split), mode="w+", dtype=np.float16, shape=shape)


def _write_part(settings: Mapping[str, Any], folder: Path, part: range) -> None:
    """Write the clips of a part into the arrays, and print a line for each."""
    synthesizer = Synthesizer()
    planned = plan(settings)
    arrays = {
        split: np.lib.format.open_memmap(folder / inputs_name(split), mode="r+")
        for split in ("train", "test")
    }
    firsts = {"train": 0, "test": len(arrays["train"])}
    for index in part:
        clip = planned[index]
        arrays[clip.split][index - firsts[clip.split]] = speak(clip, synthesizer)
        print(index, flush=True)


if __name__ == "__main__":
    run_part(_write_part)
