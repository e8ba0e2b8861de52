"""Generate the demonstration data for streaming language identification: long recordings with known pauses.

Voices, settings, levels and noise are drawn once and used for recordings of all languages, so that only the language
distinguishes the classes. The position of speech is known to the sample, unlike in real recordings. All speech is
from one synthesiser, espeak-ng: suitable for trying every command, unsuitable as evidence about real speech.
"""

import json
import math
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser.config.instantiate import build
from ser.corpora.recordings import AudioCorpus
from ser.data.manifest import Manifest, Utterance
from ser.data.manifest_io import read_manifest, write_manifest
from ser.errors import ConfigError, DataError
from ser.files import write_atomic
from ser.splits.base import Splits
from ser.synthetic import sentences
from ser.synthetic.espeak import Synthesizer, resample, sloping_noise
from ser.synthetic.generator import (
    STAMP,
    GeneratedFolder,
    check_generator,
    hash_generator_code,
    run_in_parts,
    run_part,
)
from ser.synthetic.prosody import draw_prosody
from ser.synthetic.vad_scores import describe_scores, detection_scores

MINUTES = 26.0  # minutes of the smallest class; 172 in all
RATE = 16_000
PART_SIZE = 13  # recordings per process: 6 parts; a start takes as long as 5 recordings
FEWEST_MINUTES = 1.0  # gives recordings of 4.6 s, enough for the longest pause and a phrase

# The voice `cmn` reads Hanzi: every character becomes a syllable with its tone, not the name of a letter.
SHARES = {"en": 3.3, "hi": 1.0, "cmn": 2.3}  # minutes of each language / minutes of the smallest class
FILES = {
    "en": 3,
    "hi": 1,
    "cmn": 2,
}  # recordings of each language by each voice, each a little over 2 min
VOICES = {  # variants by split, as in ser.synthetic.prosody; each speaks all languages
    "train": ("f1", "f3", "f5", "Annie", "m1", "m3", "m5", "m7"),
    "validation": ("f2", "m2"),
    "test": ("f4", "m4", "m6"),
}
TABLES = ("manifest.csv", "speech.json")

_SOURCES = {
    "train": ("train",),
    "validation": ("dev",),
    "test": ("ser_test_1", "ser_test_2"),
}  # splits of the phrases
_PAUSES_S = (0.3, 2.0)
_LEVELS_DB = (
    -32.0,
    -22.0,
)  # mean square of speech, relative to full scale; peaks of espeak-ng are 21 dB higher
_NOISE_DB = -50.0
_STEEPEST = 2.0  # largest slope of noise: its power falls with the square of the frequency
_EDGE_DB = -35.0  # relative to a phrase's mean square: fainter sound at its ends is below the noise
_EDGE_BLOCK = 80  # samples, 5 ms


class LanguageStreamDemoCorpus(AudioCorpus):
    """Generated recordings in English, Hindi and Mandarin, with known pauses: a demonstration, not a result.

    Args:
        root: Folder in which the files are generated, once.
        seed: Seed of the generator.
        minutes: Total minutes of Hindi, the smallest class; English has 3.3 times as many, Mandarin 2.3 times.
        settings: Further arguments of AudioCorpus.
    """

    stamps = (STAMP,)

    def __init__(self, root: str, *, seed: int = 0, minutes: float = MINUTES, **settings: Any) -> None:
        super().__init__(**settings)
        self.root = Path(root)
        self.seed = seed
        self.minutes = minutes

    def utterances(self) -> Manifest:
        """Generate missing files, and return all recordings; their label field is `language`."""
        generate(self.root, seed=self.seed, minutes=self.minutes)
        manifest = read_manifest(self.root / "manifest.csv")
        labelled = (replace(found, labels={"language": str(found.language)}) for found in manifest)
        return Manifest(tuple(labelled), manifest.source)

    def splits(self, features: Mapping[str, Any]) -> Splits:
        """Read the splits as AudioCorpus does, and score the silence detector on the known pauses."""
        splits = super().splits(features)
        scores = detection_scores(splits, speech_truth(self.root), build(features, slot="features"))
        facts = replace(
            splits.facts,
            remarks=[*splits.facts.remarks, *describe_scores(scores)],
            silence_detector=scores,
            stamps=[*self.stamps, *splits.facts.stamps],
        )
        return replace(splits, facts=facts)


@dataclass(frozen=True)
class Recording:
    """Plan of one recording.

    Args:
        split: Split, of VOICES.
        language: Language, of SHARES.
        variant: Variant of the voice, such as "f3".
        number: Index among the voice's recordings in the language, from 0.
        seconds: Length, exact to the sample.
        pitch: Pitch, 0..99; 50 is the voice's own.
        pitch_range: Pitch range, 0..99.
        rate: Words per minute.
        level_db: Mean square of speech, in dB relative to full scale.
        noise_slope: Exponent by which the power of the noise falls with frequency; 0 for white noise.
        seed: Seed of phrases, pauses and noise.
    """

    split: str
    language: str
    variant: str
    number: int
    seconds: float
    pitch: float
    pitch_range: float
    rate: float
    level_db: float
    noise_slope: float
    seed: int

    @property
    def id(self) -> str:
        """Return its id, such as "hi-f3-0"."""
        return f"{self.language}-{self.variant}-{self.number}"

    @property
    def place(self) -> str:
        """Return the path of its file, relative to the root."""
        return f"{self.language}/{self.id}.wav"

    @property
    def voice(self) -> str:
        """Return the voice's name in espeak-ng, such as "hi+f3"."""
        return f"{self.language}+{self.variant}"


@dataclass(frozen=True)
class SpokenRecording:
    """One synthesised recording.

    Args:
        waveform: Waveform [samples] int16 at 16 kHz.
        speech: Begin and end of each phrase [n, 2], in samples, ascending.
        text: Spoken text; the last phrase may be cut off at the end of the recording.
    """

    waveform: np.ndarray
    speech: np.ndarray
    text: str


def generate(root: Path, *, seed: int = 0, minutes: float = MINUTES, processes: int = 2) -> None:
    """Write recordings, manifest and speech segments, unless they exist with the same settings.

    The bytes depend only on the settings, not on `processes`. Two processes may call this at once: the second waits,
    then finds the files complete. After an interruption, the next call starts from the beginning.

    Args:
        root: Folder of the files, with a subfolder per language; created if it does not exist.
        seed: Seed of all random choices.
        minutes: Minutes of Hindi, 1 at least.
        processes: Number of processes that speak at the same time.

    Raises:
        ConfigError: The settings are invalid, or espeak-ng is not installed.
        DataError: `root` cannot be written or contains other files of these names, or espeak-ng fails.
    """
    _check(seed, minutes, processes)
    settings = {
        "code": hash_generator_code("ser.synthetic.language_stream"),
        "seed": seed,
        "minutes": minutes,
    }
    files = (*(recording.place for recording in plan(settings)), *TABLES)
    folder = GeneratedFolder(Path(root), files, settings, "0.4 GB by default", "Use it with data=manifest")
    folder.generate(lambda hidden: _write(hidden, settings, processes))


def speech_truth(root: Path) -> dict[str, np.ndarray]:
    """Read the speech segments of each recording: begin and end in seconds [n, 2], by file name without suffix.

    Args:
        root: Folder of generated files.

    Raises:
        DataError: It does not contain the segments.
    """
    path = Path(root) / "speech.json"
    try:
        stretches = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Give the folder that data=language_stream_demo has generated, or "
            "remove it, so that it is generated again."
        ) from error
    return {name: np.array(found, dtype=np.float64).reshape(-1, 2) for name, found in stretches.items()}


def plan(settings: Mapping[str, Any]) -> list[Recording]:
    """Plan every recording, in the order of the manifest: by split, then by voice."""
    return [
        recording
        for number, (split, variants) in enumerate(VOICES.items())
        for recording in _plan_split(
            split, variants, settings, np.random.default_rng([settings["seed"], number])
        )
    ]


def _plan_split(
    split: str, variants: Sequence[str], settings: Mapping[str, Any], rng: np.random.Generator
) -> Iterator[Recording]:
    for variant in variants:
        for number in range(max(FILES.values())):
            drawn = _draw_shared_settings(split, variant, number, rng)
            for language in SHARES:
                seed = int(rng.integers(2**31))
                if number < FILES[language]:
                    seconds = _recording_seconds(language, settings["minutes"])
                    yield replace(drawn, language=language, seconds=seconds, seed=seed)


def _draw_shared_settings(split: str, variant: str, number: int, rng: np.random.Generator) -> Recording:
    """Draw the settings that recordings of all languages share."""
    return Recording(
        split=split,
        language="",
        variant=variant,
        number=number,
        seconds=0.0,
        **draw_prosody(rng),
        level_db=float(rng.uniform(*_LEVELS_DB)),
        noise_slope=float(rng.uniform(0, _STEEPEST)),
        seed=0,
    )


def _recording_seconds(language: str, minutes: float) -> float:
    """Compute the length of one recording from the minutes of the smallest class."""
    voices = sum(len(variants) for variants in VOICES.values())
    return 60 * minutes * SHARES[language] / (voices * FILES[language])


def speak(recording: Recording, synthesizer: Synthesizer) -> SpokenRecording:
    """Synthesise phrases with pauses around them until the recording is full, and add noise."""
    rng = np.random.default_rng(recording.seed)
    samples = round(recording.seconds * RATE)
    phrases = _phrases(recording, rng)
    waveform = np.zeros(samples)
    said, stretches = [], []
    start = _draw_pause(rng)
    while start < samples:
        said.append(next(phrases))
        spoken = _speak(said[-1], recording, synthesizer)[: samples - start]
        end = start + len(spoken)
        waveform[start:end] = spoken
        stretches.append((start, end))
        start = end + _draw_pause(rng)
    speech = np.array(stretches)
    active = np.sqrt(np.square(waveform).sum() / (speech[:, 1] - speech[:, 0]).sum())
    mixed = _db_to_amplitude(recording.level_db) / active * waveform
    mixed += _db_to_amplitude(_NOISE_DB) * _noise(samples, recording.noise_slope, rng)
    return SpokenRecording(np.round(32767 * mixed.clip(-1, 1)).astype(np.int16), speech, " ".join(said))


def _phrases(recording: Recording, rng: np.random.Generator) -> Iterator[str]:
    """Yield phrases without end: subject and predicate, then an adverbial phrase; the marks set the intonation."""
    sources = _SOURCES[recording.split]
    while True:
        source = sources[rng.integers(len(sources))]
        first, second = sentences.sentence(recording.language, source, rng)
        yield f"{first},"
        yield f"{second}."


def _draw_pause(rng: np.random.Generator) -> int:
    """Draw a log-uniform pause, in samples."""
    return round(RATE * math.exp(rng.uniform(*np.log(_PAUSES_S))))


def _speak(phrase: str, recording: Recording, synthesizer: Synthesizer) -> np.ndarray:
    """Synthesise a phrase [samples] at 16 kHz, without espeak-ng's faint sound around it."""
    spoken = synthesizer.synthesize(
        phrase,
        voice=recording.voice,
        pitch=recording.pitch,
        pitch_range=recording.pitch_range,
        rate=recording.rate,
    )
    return trim_silence(to_16_khz(spoken))


def trim_silence(waveform: np.ndarray) -> np.ndarray:
    """Trim a phrase at 16 kHz to its first and last 5 ms that are at most 35 dB below its mean power."""
    power = np.square(waveform, dtype=np.float64)
    blocks = np.add.reduceat(power, np.arange(0, len(power), _EDGE_BLOCK)) / _EDGE_BLOCK
    loud = np.flatnonzero(blocks > 10 ** (_EDGE_DB / 10) * power.mean())
    kept: np.ndarray = waveform[loud[0] * _EDGE_BLOCK : (loud[-1] + 1) * _EDGE_BLOCK]
    return kept


def to_16_khz(waveform: np.ndarray) -> np.ndarray:
    """Resample a waveform [samples] from 22050 Hz to 16 kHz, without aliasing."""
    return resample(waveform, RATE, whole_s=0.2)


def _noise(samples: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Generate background noise [samples] of mean square 1 with a spectral slope from 50 Hz on."""
    length = RATE * -(-samples // RATE)  # whole seconds, as such transforms are fast
    noise = sloping_noise(length, RATE, slope=slope, rng=rng)[:samples]
    scaled: np.ndarray = noise / np.sqrt(np.square(noise).mean())
    return scaled


def _db_to_amplitude(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _check(seed: int, minutes: float, processes: int) -> None:
    if not FEWEST_MINUTES <= minutes < math.inf:
        raise ConfigError(
            f"data.minutes={minutes}: expected minutes of the smallest class, {FEWEST_MINUTES:g} or more. Write "
            f"{MINUTES:g} or so."
        )
    check_generator(seed, processes)


def _write(folder: Path, settings: Mapping[str, Any], processes: int) -> None:
    for language in SHARES:
        (folder / language).mkdir()
        (folder.parent / language).mkdir(exist_ok=True)  # destination of the files
    planned = plan(settings)
    parts = run_in_parts(__name__, settings, len(planned), size=PART_SIZE, processes=processes, folder=folder)
    lines = (line for part in parts for line in part.read_text().splitlines())
    _write_tables(folder, planned, [json.loads(line) for line in lines])


def _write_tables(folder: Path, planned: Sequence[Recording], spoken: Sequence[Mapping[str, Any]]) -> None:
    """Write the manifest and the speech segments from the output lines of the parts."""
    utterances = (
        Utterance(
            id=recording.id,
            path=folder / recording.place,
            speaker=recording.variant,
            group=recording.id,
            split=recording.split,
            labels={"class": recording.language},  # for data=manifest, for which `language` is not a label
            text=each["text"],
            language=recording.language,
        )
        for recording, each in zip(planned, spoken, strict=True)
    )
    write_manifest(folder / "manifest.csv", Manifest(tuple(utterances), str(folder)))
    truth = {recording.id: each["speech"] for recording, each in zip(planned, spoken, strict=True)}
    write_atomic(folder / "speech.json", json.dumps(truth))


def _write_part(settings: Mapping[str, Any], folder: Path, part: range) -> None:
    """Write the recordings of a part, and print a line about each."""
    synthesizer = Synthesizer()
    for recording in plan(settings)[part.start : part.stop]:
        performance = speak(recording, synthesizer)
        with wave.open(str(folder / recording.place), "wb") as file:
            file.setparams((1, 2, RATE, len(performance.waveform), "NONE", ""))
            file.writeframes(performance.waveform.astype("<i2").tobytes())
        seconds = (performance.speech / RATE).tolist()
        print(json.dumps({"text": performance.text, "speech": seconds}), flush=True)


if __name__ == "__main__":
    run_part(_write_part)
