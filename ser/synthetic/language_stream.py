"""The demonstration data for streaming language identification: long recordings with pauses, spoken by espeak-ng.

Voices, settings, levels and noise are drawn once for recordings of all languages, so that nothing but the language
tells the class; and where speech is and where it is not is known to the sample, which no real recordings allow. One
synthesiser: good for trying out every command, worthless as evidence about people's speech.
"""

import json
import math
import sys
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser.config.instantiate import build
from ser.corpora.recordings import AudioCorpus
from ser.data.manifest import Manifest, Utterance, read_manifest, write_manifest
from ser.errors import ConfigError, DataError, SerError
from ser.files import write_atomic
from ser.splits.base import Splits
from ser.synthetic import sentences
from ser.synthetic.espeak import Synthesizer, require_espeak, resampled, sloping_noise
from ser.synthetic.generator import Folder, check_generator, code_of, run_parts
from ser.synthetic.prosody import NORMAL_RATE
from ser.synthetic.vad_scores import detection, remark

MINUTES = 26.0  # of the smallest class; of all, 172
RATE = 16_000
PART_SIZE = 13  # recordings a process: 6 parts; starting one takes as long as 5 recordings
FEWEST_MINUTES = 1.0  # recordings of 4.6 s at least, the longest pause and a phrase

# The voice `cmn` reads Hanzi: every character of the tables becomes a syllable with its tone, not the name of a letter.
SHARES = {"en": 3.3, "hi": 1.0, "cmn": 2.3}  # as many minutes of each language for one of the smallest
FILES = {
    "en": 3,
    "hi": 1,
    "cmn": 2,
}  # recordings of each language by each voice: they last for 2 min or a little more
VOICES = {  # variants, dealt out as in ser.synthetic.prosody; every one speaks all languages
    "train": ("f1", "f3", "f5", "Annie", "m1", "m3", "m5", "m7"),
    "validation": ("f2", "m2"),
    "test": ("f4", "m4", "m6"),
}
TABLES = ("manifest.csv", "speech.json")

_SOURCES = {"train": ("train",), "validation": ("dev",), "test": ("ser_test_1", "ser_test_2")}  # of phrases
_PAUSES_S = (0.3, 2.0)
_LEVELS_DB = (
    -32.0,
    -22.0,
)  # mean square of speech, relative to full scale; espeak-ng's peaks are 21 dB above it
_NOISE_DB = -50.0
_STEEPEST = 2.0  # noise whose power falls with the square of the frequency: it rumbles
_EDGE_DB = -35.0  # of a phrase's mean square: what is fainter at its ends drowns in the noise
_EDGE_BLOCK = 80  # samples, 5 ms


class LanguageStreamDemoCorpus(AudioCorpus):
    """Generated recordings in English, Hindi and Mandarin, with known pauses: a demonstration, not a result.

    Args:
        root: where the files are generated, once.
        seed: of the generator.
        minutes: of Hindi, the smallest class, in all; of English there are 3.3 times as many, of Mandarin 2.3 times.
        settings: of AudioCorpus.
    """

    stamps = ("generated speech: a demonstration, not a result",)

    def __init__(self, root: str, *, seed: int = 0, minutes: float = MINUTES, **settings: Any) -> None:
        super().__init__(**settings)
        self.root = Path(root)
        self.seed = seed
        self.minutes = minutes

    def utterances(self) -> Manifest:
        """All recordings, after generating what is not there; the label field is `language`."""
        generate(self.root, seed=self.seed, minutes=self.minutes)
        manifest = read_manifest(self.root / "manifest.csv")
        labelled = (replace(found, labels={"language": str(found.language)}) for found in manifest)
        return Manifest(tuple(labelled), manifest.source)

    def splits(self, features: Mapping[str, Any]) -> Splits:
        """As AudioCorpus, stamped, with what the silence detector finds of the known pauses."""
        splits = super().splits(features)
        scores = detection(splits, speech_truth(self.root), build(features, slot="features"))
        facts = replace(
            splits.facts,
            remarks=[*splits.facts.remarks, *remark(scores)],
            silence_detector=scores,
            stamps=[*self.stamps, *splits.facts.stamps],
        )
        return replace(splits, facts=facts)


@dataclass(frozen=True)
class Recording:
    """One recording before it is spoken.

    Args:
        split: of VOICES.
        language: of SHARES.
        variant: of the voice, such as "f3".
        number: of the voice's recordings in the language, from 0.
        seconds: how long it is, to the sample.
        pitch: 0..99, 50 is the voice's own.
        pitch_range: 0..99.
        rate: words a minute.
        level_db: of the mean square of speech, relative to full scale.
        noise_slope: 0 is white; its power falls with this power of the frequency.
        seed: of phrases, pauses and noise.
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
        """Its name, such as "hi-f3-0"."""
        return f"{self.language}-{self.variant}-{self.number}"

    @property
    def place(self) -> str:
        """Where its file is, relative to the root."""
        return f"{self.language}/{self.id}.wav"

    @property
    def voice(self) -> str:
        """As espeak-ng calls it, such as "hi+f3"."""
        return f"{self.language}+{self.variant}"


@dataclass(frozen=True)
class Performance:
    """One recording after it is spoken.

    Args:
        waveform: [samples] int16 at 16 kHz.
        speech: [n, 2] where each phrase begins and ends, in samples, ascending.
        text: what is said; the end of the recording may cut the last phrase off.
    """

    waveform: np.ndarray
    speech: np.ndarray
    text: str


def generate(root: Path, *, seed: int = 0, minutes: float = MINUTES, processes: int = 2) -> None:
    """Write recordings, manifest and truth, unless they are there from the same settings.

    The bytes depend on the settings alone, not on `processes`. Two processes may call this at once: the second waits,
    then finds the work done. What is interrupted is begun again by the next call.

    Args:
        root: folder of the files, with a folder a language in it; made where it is missing.
        seed: of everything that is drawn.
        minutes: of Hindi, 1 at least.
        processes: how many speak at the same time.

    Raises:
        ConfigError: unusable settings, or espeak-ng is not installed.
        DataError: `root` cannot be written or holds someone else's files, or espeak-ng fails.
    """
    _check(seed, minutes, processes)
    settings = {"code": code_of("ser.synthetic.language_stream"), "seed": seed, "minutes": minutes}
    files = (*(recording.place for recording in plan(settings)), *TABLES)
    folder = Folder(Path(root), files, settings, "0.4 GB by default", "Use it with data=manifest")
    if not folder.is_complete:
        require_espeak()
        folder.fill(lambda hidden: _write(hidden, settings, processes))


def speech_truth(root: Path) -> dict[str, np.ndarray]:
    """Where speech is in each recording: file name without suffix -> [n, 2] start and end in seconds, float64.

    Args:
        root: folder of generated files.

    Raises:
        DataError: it does not hold the truth.
    """
    path = Path(root) / "speech.json"
    try:
        stretches = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Give the folder that data=language_stream_demo has generated, or "
            "remove it to have it generated again."
        ) from error
    return {name: np.array(found, dtype=np.float64).reshape(-1, 2) for name, found in stretches.items()}


def plan(settings: Mapping[str, Any]) -> list[Recording]:
    """Every recording, in the order of the manifest: by split, then by voice."""
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
            drawn = _draw(split, variant, number, rng)
            for language in SHARES:
                seed = int(rng.integers(2**31))
                if number < FILES[language]:
                    seconds = _seconds(language, settings["minutes"])
                    yield replace(drawn, language=language, seconds=seconds, seed=seed)


def _draw(split: str, variant: str, number: int, rng: np.random.Generator) -> Recording:
    """What recordings of all languages have in common."""
    return Recording(
        split=split,
        language="",
        variant=variant,
        number=number,
        seconds=0.0,
        pitch=float(np.clip(rng.normal(50, 9), 20, 80)),
        pitch_range=float(np.clip(rng.normal(50, 12), 15, 90)),
        rate=NORMAL_RATE * float(np.exp(np.clip(rng.normal(0, 0.1), -0.25, 0.25))),
        level_db=float(rng.uniform(*_LEVELS_DB)),
        noise_slope=float(rng.uniform(0, _STEEPEST)),
        seed=0,
    )


def _seconds(language: str, minutes: float) -> float:
    """Of one recording, where there are so many minutes of the smallest class."""
    voices = sum(len(variants) for variants in VOICES.values())
    return 60 * minutes * SHARES[language] / (voices * FILES[language])


def perform(recording: Recording, synthesizer: Synthesizer) -> Performance:
    """Speak phrases with pauses around them until the recording is full, and add noise."""
    rng = np.random.default_rng(recording.seed)
    samples = round(recording.seconds * RATE)
    phrases = _phrases(recording, rng)
    waveform = np.zeros(samples)
    said, stretches = [], []
    start = _pause(rng)
    while start < samples:
        said.append(next(phrases))
        spoken = _speak(said[-1], recording, synthesizer)[: samples - start]
        end = start + len(spoken)
        waveform[start:end] = spoken
        stretches.append((start, end))
        start = end + _pause(rng)
    speech = np.array(stretches)
    active = np.sqrt(np.square(waveform).sum() / (speech[:, 1] - speech[:, 0]).sum())
    mixed = _factor(recording.level_db) / active * waveform
    mixed += _factor(_NOISE_DB) * _noise(samples, recording.noise_slope, rng)
    return Performance(np.round(32767 * mixed.clip(-1, 1)).astype(np.int16), speech, " ".join(said))


def _phrases(recording: Recording, rng: np.random.Generator) -> Iterator[str]:
    """Without end: subject and predicate, then an adverbial phrase; the marks set the tune."""
    sources = _SOURCES[recording.split]
    while True:
        source = sources[rng.integers(len(sources))]
        first, second = sentences.sentence(recording.language, source, rng)
        yield f"{first},"
        yield f"{second}."


def _pause(rng: np.random.Generator) -> int:
    """Samples, drawn so that each doubling is as frequent."""
    return round(RATE * math.exp(rng.uniform(*np.log(_PAUSES_S))))


def _speak(phrase: str, recording: Recording, synthesizer: Synthesizer) -> np.ndarray:
    """The waveform [samples] of a phrase at 16 kHz, without the near silence that espeak-ng puts around it."""
    spoken = synthesizer.synthesize(
        phrase,
        voice=recording.voice,
        pitch=recording.pitch,
        pitch_range=recording.pitch_range,
        rate=recording.rate,
    )
    return trimmed(to_16_khz(spoken))


def trimmed(waveform: np.ndarray) -> np.ndarray:
    """A phrase [samples] at 16 kHz from its first to its last 5 ms that are no fainter than 35 dB below its mean."""
    power = np.square(waveform, dtype=np.float64)
    blocks = np.add.reduceat(power, np.arange(0, len(power), _EDGE_BLOCK)) / _EDGE_BLOCK
    loud = np.flatnonzero(blocks > 10 ** (_EDGE_DB / 10) * power.mean())
    kept: np.ndarray = waveform[loud[0] * _EDGE_BLOCK : (loud[-1] + 1) * _EDGE_BLOCK]
    return kept


def to_16_khz(waveform: np.ndarray) -> np.ndarray:
    """A waveform [samples] at 22050 Hz, resampled to 16 kHz in its spectrum: nothing above 8 kHz is folded down."""
    return resampled(waveform, RATE, whole_s=0.2)


def _noise(samples: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Background noise [samples] of mean square 1, drawn as a spectrum that slopes from 50 Hz on."""
    length = RATE * -(-samples // RATE)  # whole seconds, as such transforms are fast
    noise = sloping_noise(length, RATE, slope=slope, rng=rng)[:samples]
    scaled: np.ndarray = noise / np.sqrt(np.square(noise).mean())
    return scaled


def _factor(decibels: float) -> float:
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
        (folder.parent / language).mkdir(exist_ok=True)  # where the files are moved to
    planned = plan(settings)
    arguments = [json.dumps(settings), str(folder)]
    parts = run_parts(__name__, arguments, len(planned), size=PART_SIZE, processes=processes, output=folder)
    lines = (line for part in parts for line in part.read_text().splitlines())
    _write_tables(folder, planned, [json.loads(line) for line in lines])


def _write_tables(folder: Path, planned: Sequence[Recording], told: Sequence[Mapping[str, Any]]) -> None:
    """Write manifest and truth, from what was told of each recording when it was spoken."""
    utterances = (
        Utterance(
            id=recording.id,
            path=folder / recording.place,
            speaker=recording.variant,
            group=recording.id,
            split=recording.split,
            labels={"class": recording.language},  # for data=manifest, to which `language` is no label
            text=each["text"],
            language=recording.language,
        )
        for recording, each in zip(planned, told, strict=True)
    )
    write_manifest(folder / "manifest.csv", Manifest(tuple(utterances), str(folder)))
    truth = {recording.id: each["speech"] for recording, each in zip(planned, told, strict=True)}
    write_atomic(folder / "speech.json", json.dumps(truth))


def _write_part(settings: Mapping[str, Any], folder: Path, part: range) -> None:
    """Write the recordings of a part, and print a line about each."""
    synthesizer = Synthesizer()
    for recording in plan(settings)[part.start : part.stop]:
        performance = perform(recording, synthesizer)
        with wave.open(str(folder / recording.place), "wb") as file:
            file.setparams((1, 2, RATE, len(performance.waveform), "NONE", ""))
            file.writeframes(performance.waveform.astype("<i2").tobytes())
        seconds = (performance.speech / RATE).tolist()
        print(json.dumps({"text": performance.text, "speech": seconds}), flush=True)


if __name__ == "__main__":
    try:
        _write_part(json.loads(sys.argv[1]), Path(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4])))
    except SerError as error:
        sys.exit(str(error))
