"""Generate the demonstration data for emotion over time: conversations in the layout of SEWA in AVEC 2017.

Two voices take turns, the subject and the interlocutor. Words, transcripts and labels are about the subject alone; the
interlocutor's words are nowhere but in the sound. Arousal follows how the subject speaks: pitch and loudness, and a
little the rate. Valence follows the words. Prosody is drawn apart from the words, and no split shares a word or a voice
with another: so sound alone does not tell valence, words alone do not tell arousal, and both together tell both.

Labels decay towards 0 with the distance from the subject's speech. They are smoothed, with the same weight before and
after a step, so that their only delay is the planned one. All speech is from one synthesiser, espeak-ng: suitable for
trying every command, unsuitable as evidence about emotions.
"""

import itertools
import math
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ser.corpora.conversations import Conversation
from ser.corpora.sewa import SewaCorpus
from ser.curves import restore_delay, smooth
from ser.errors import ConfigError
from ser.features.steps import STEP_S, index_spans
from ser.files import write_atomic
from ser.synthetic.espeak import SAMPLE_RATE, Synthesizer, sloping_noise
from ser.synthetic.generator import (
    STAMP,
    GeneratedFolder,
    check_generator,
    hash_generator_code,
    run_in_parts,
    run_part,
)
from ser.synthetic.lexicon import SPLITS, VALENCE, draw_sentence, train_lexicon_vectors, words_of
from ser.synthetic.prosody import NORMAL_RATE
from ser.text.words import Word, write_words

SECONDS = 60.0
FEWEST_SECONDS = 10.0  # the first sentence, which is the subject's, ends after 7 s at most
PART_SIZE = 10  # recordings per process: 4 parts
FOLDERS = {
    "audio": "wav",
    "labels": "csv",
    "turns": "csv",
    "transcriptions": "csv",
    "speech2vec/segmentation": "csv",
}
"""Folder of each kind of file -> suffix."""
VECTORS = "vectors.vec"
VOICES = {
    "Train": "f1 f3 f5 m1 m3 m5 m7 Annie Andy Alicia miguel paul steph Diogo",
    "Devel": "f2 m2 m8 Henrique",
    "Test": "f4 m4 m6 Denis",
}
"""Split -> variants of the English voice; Devel and Test have plain ones, as arousal is hard to hear in odd ones."""

_SAMPLES_PER_STEP = SAMPLE_RATE // 10
_SENTENCES = (3, 2)  # most of a turn, of the subject and of the interlocutor
_PAUSES_S = (0.15, 0.4)  # between sentences
_TURN_PAUSES_S = (0.3, 0.8)  # between turns: a step is never of both
_OWN_SPREAD = 0.2  # deviation of pitch and loudness from the effort of a sentence
_WEIGHTS = (0.475, 0.475, 0.05)  # of pitch, loudness and rate in arousal: the times of words tell the rate
_PITCH = 35  # points of espeak-ng between a sentence of normal pitch and the highest one
_RATE = 0.15  # logarithm of the highest rate / the normal one
_LEVEL_DB, _LOUDNESS_DB = -30.0, 8.0  # mean square of a normal sentence; how much louder the loudest is
_NOISE_DB = -60.0
_DECAY_S = 2.0  # distance from the subject's speech at which a value has decayed to 37 %
_SMOOTHING_S = 2.0  # window of the running mean, which is taken twice: a triangle of 4 s
_LIKING_NOISE = 0.15  # deviation


class SemanticDemoCorpus(SewaCorpus):
    """Generated conversations with words, turns and labels over time: a demonstration, not a result.

    Args:
        root: Folder in which the files are generated, once.
        seed: Seed of the generator.
        train: Number of recordings of the training split.
        devel: Number of recordings of the validation split.
        test: Number of recordings of the test split.
        seconds: Length of a recording, rounded to 0.1 s, 10 at least.
        delay_s: Delay of the annotator, by which labels come later, rounded to 0.1 s.
        settings: Further arguments of SewaCorpus.
    """

    stamps = (STAMP,)

    def __init__(
        self,
        root: str,
        *,
        seed: int = 0,
        train: int = 24,
        devel: int = 8,
        test: int = 8,
        seconds: float = SECONDS,
        delay_s: float = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__(root, **settings)
        self.seed = seed
        self.train = train
        self.devel = devel
        self.test = test
        self.seconds = seconds
        self.delay_s = delay_s

    def conversations(self) -> list[Conversation]:
        """Generate missing files, and read all recordings; the voice of the subject is the speaker."""
        generate(
            self.root,
            seed=self.seed,
            train=self.train,
            devel=self.devel,
            test=self.test,
            seconds=self.seconds,
            delay_s=self.delay_s,
        )
        planned = plan({"seed": self.seed, "recordings": [self.train, self.devel, self.test]})
        subjects = {recording.name: recording.subject for recording in planned}
        return [replace(found, speaker=subjects[found.id]) for found in super().conversations()]


@dataclass(frozen=True)
class Recording:
    """Plan of one recording.

    Args:
        name: Name of its files, such as "Train_01".
        subject: Variant of the subject's voice, such as "f3".
        interlocutor: Variant of the other voice.
        seed: Seed of words, prosody, pauses and noise.
    """

    name: str
    subject: str
    interlocutor: str
    seed: int

    @property
    def split(self) -> str:
        """Return its split, of SPLITS."""
        return self.name.partition("_")[0]


@dataclass(frozen=True)
class Sentence:
    """Plan of one sentence.

    Args:
        words: Its words, in lower case.
        pitch: Pitch relative to the voice's own, -1..1.
        loudness: Loudness, -1..1.
        rate: Rate of speech, -1..1.
    """

    words: tuple[str, ...]
    pitch: float
    loudness: float
    rate: float

    @property
    def arousal(self) -> float:
        """Return its arousal, -1..1."""
        weights = zip(_WEIGHTS, (self.pitch, self.loudness, self.rate), strict=True)
        return sum(weight * value for weight, value in weights)


@dataclass(frozen=True)
class SpokenRecording:
    """One synthesised recording.

    Args:
        waveform: Waveform [samples] int16 at 22050 Hz.
        sentences: Sentences of the subject.
        words: Words of each of them, with their times in the recording.
        turns: Start and end of each turn of the subject in s.
    """

    waveform: np.ndarray
    sentences: list[Sentence]
    words: list[list[Word]]
    turns: list[tuple[float, float]]


def generate(
    root: Path,
    *,
    seed: int = 0,
    train: int = 24,
    devel: int = 8,
    test: int = 8,
    seconds: float = SECONDS,
    delay_s: float = 0.0,
    processes: int = 2,
) -> None:
    """Write recordings, labels, turns, transcripts, words and vectors, unless they exist with the same settings.

    The bytes depend only on the settings, not on `processes`. Two processes may call this at once: the second waits,
    then finds the files complete. After an interruption, the next call starts from the beginning.

    Args:
        root: Folder of the files, in the layout of AVEC 2017; created if it does not exist.
        seed: Seed of all random choices.
        train: Number of recordings named Train_01 and so on.
        devel: Number of recordings named Devel_01 and so on.
        test: Number of recordings named Test_01 and so on.
        seconds: Length of a recording, rounded to 0.1 s, 10 at least.
        delay_s: Delay of the annotator, by which labels come later, rounded to 0.1 s.
        processes: Number of processes that speak at the same time.

    Raises:
        ConfigError: The settings are invalid, or espeak-ng is not installed.
        DataError: `root` cannot be written or contains other files of these names, or espeak-ng fails.
    """
    _check(train, devel, test, seconds, delay_s)
    check_generator(seed, processes)
    settings = {
        "code": hash_generator_code(__name__),
        "seed": seed,
        "recordings": [train, devel, test],
        "seconds": seconds,
        "delay_s": delay_s,
    }
    planned = plan(settings)
    files = [_place(kind, recording.name) for recording in planned for kind in FOLDERS]
    size = f"{len(planned) * seconds * SAMPLE_RATE * 2e-9:.1g} GB"
    folder = GeneratedFolder(Path(root), [*files, VECTORS], settings, size, "Move it elsewhere")
    folder.generate(lambda hidden: _write(hidden, settings, processes))


def plan(settings: Mapping[str, Any]) -> list[Recording]:
    """Plan every recording; the number of recordings of one split does not change another split."""
    planned = []
    for number, (split, count) in enumerate(zip(SPLITS, settings["recordings"], strict=True)):
        rng = np.random.default_rng([settings["seed"], number])
        voices = rng.permutation(VOICES[split].split()).tolist()
        for index in range(count):
            lap, place = divmod(index, len(voices))
            other = (place + 1 + lap % (len(voices) - 1)) % len(voices)
            seed = int(rng.integers(2**31))
            planned.append(Recording(f"{split}_{index + 1:02d}", voices[place], voices[other], seed))
    return planned


def speak(recording: Recording, seconds: float, synthesizer: Synthesizer) -> SpokenRecording:
    """Synthesise turns until the next sentence does not fit, and add noise."""
    rng = np.random.default_rng(recording.seed)
    waveform = np.zeros(_count_steps(seconds) * _SAMPLES_PER_STEP)
    voices = (f"en+{recording.subject}", f"en+{recording.interlocutor}")
    sentences, words, turns = [], list[list[Word]](), dict[int, tuple[float, float]]()
    end = 0
    for turn, pause, sentence in _converse(recording.split, rng):
        role = turn % 2
        spoken = synthesizer.synthesize_words(
            _punctuate(sentence.words),
            voice=voices[role],
            pitch=50 + _PITCH * sentence.pitch,
            rate=NORMAL_RATE * math.exp(_RATE * sentence.rate),
        )
        start = end + round(SAMPLE_RATE * pause)
        end = start + len(spoken.waveform)
        if end > len(waveform):
            break
        waveform[start:end] = _at_level(spoken.waveform, _LEVEL_DB + _LOUDNESS_DB * sentence.loudness)
        if role == 0:
            first, last = start / SAMPLE_RATE, end / SAMPLE_RATE
            starts = [first + own for own in spoken.starts]
            times = zip(sentence.words, starts, [*starts[1:], last], strict=True)
            words.append([Word(*timed, sentence=len(words)) for timed in times])
            sentences.append(sentence)
            turns[turn] = (turns.get(turn, (first,))[0], last)
    waveform += _at_level(sloping_noise(len(waveform), SAMPLE_RATE, slope=1.0, rng=rng), _NOISE_DB)
    return SpokenRecording(
        np.round(32767 * waveform.clip(-1, 1)).astype(np.int16), sentences, words, [*turns.values()]
    )


def label(spoken: SpokenRecording, *, delay_s: float, rng: np.random.Generator) -> np.ndarray:
    """Compute arousal, valence and liking [T, 3], one row for each step of 0.1 s of the recording."""
    steps = len(spoken.waveform) // _SAMPLES_PER_STEP
    rows = [(words[0].start, words[-1].end) for words in spoken.words]
    arousal = _at_steps(rows, [sentence.arousal for sentence in spoken.sentences], steps)
    words = [word for row in spoken.words for word in row]
    valences = [VALENCE.get(word.text, math.nan) for word in words]
    valence = _at_steps([(word.start, word.end) for word in words], valences, steps)
    filled = np.stack([_fill_gaps(arousal), _fill_gaps(valence), rng.normal(size=steps)], axis=1)
    curves = smooth(smooth(torch.from_numpy(filled), _SMOOTHING_S), _SMOOTHING_S)
    noise = _LIKING_NOISE * curves[:, 2] / curves[:, 2].std()
    labels = torch.stack([curves[:, 0], curves[:, 1], curves[:, :2].mean(1) + noise], dim=1)
    found: np.ndarray = restore_delay(labels.clamp(-1, 1), delay_s).numpy()
    return found


def _converse(split: str, rng: np.random.Generator) -> Iterator[tuple[int, float, Sentence]]:
    """Yield a turn's index, the pause before a sentence in s, and the sentence, without end; the subject's are even."""
    streams = [draw_sentences(split, rng) for _ in _SENTENCES]
    for turn in itertools.count():
        for index in range(rng.integers(1, _SENTENCES[turn % 2] + 1)):
            pause = rng.uniform(*(_PAUSES_S if index else _TURN_PAUSES_S))
            yield turn, pause, next(streams[turn % 2])


def draw_sentences(split: str, rng: np.random.Generator) -> Iterator[Sentence]:
    """Yield sentences of a split's words without end; their prosody is apart from their words."""
    words = words_of(split)
    while True:
        for mood, effort in _draw_block(rng):
            pitch, loudness = np.clip(effort + _OWN_SPREAD * rng.normal(size=2), -1, 1).tolist()
            yield Sentence(tuple(draw_sentence(words, mood, rng)), pitch, loudness, rng.uniform(-1, 1))


def _draw_block(rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Draw mood and effort -1..1 of four sentences: all pairs of signs, so that neither follows the other by chance."""
    mood, effort = rng.random(2).tolist()
    signs = [(first, second) for first in (-1, 1) for second in (-1, 1)]
    for index in rng.permutation(len(signs)).tolist():
        yield signs[index][0] * mood, signs[index][1] * effort


def _punctuate(words: Sequence[str]) -> list[str]:
    return [*words[:-1], f"{words[-1]}."]


def _at_level(waveform: np.ndarray, level_db: float) -> np.ndarray:
    """Scale a waveform to a mean square in dB relative to full scale."""
    scaled: np.ndarray = 10 ** (level_db / 20) / np.sqrt(np.square(waveform).mean()) * waveform
    return scaled


def _at_steps(spans: Sequence[tuple[float, float]], values: Sequence[float], steps: int) -> np.ndarray:
    """Return the value of the span at each step [T], NaN where there is none."""
    found: np.ndarray = np.array([*values, math.nan])[index_spans(spans, steps).numpy()]  # -1 is the last one
    return found


def _fill_gaps(values: np.ndarray) -> np.ndarray:
    """Fill gaps [T] with the nearest value, which decays with its distance, before it as after it."""
    steps, known = np.arange(len(values)), np.flatnonzero(~np.isnan(values))
    following = np.searchsorted(known, steps).clip(max=len(known) - 1)
    pair = known[np.stack([(following - 1).clip(min=0), following])]
    distances = np.abs(pair - steps)
    nearest = pair[distances.argmin(0), steps]
    filled: np.ndarray = values[nearest] * np.exp(-distances.min(0) * STEP_S / _DECAY_S)
    return filled


def _count_steps(seconds: float) -> int:
    return round(seconds / STEP_S)


def _place(kind: str, name: str) -> str:
    return f"{kind}/{name}.{FOLDERS[kind]}"


def _check(train: int, devel: int, test: int, seconds: float, delay_s: float) -> None:
    for name, count, usual in (("train", train, 24), ("devel", devel, 8), ("test", test, 8)):
        if count < 1:
            raise ConfigError(f"data.{name}={count}: expected 1 recording or more. Write {usual} or so.")
    if not FEWEST_SECONDS <= seconds < math.inf:
        raise ConfigError(
            f"data.seconds={seconds}: expected seconds of a recording, {FEWEST_SECONDS:g} or more. Write "
            f"{SECONDS:g} or so."
        )
    if not 0 <= delay_s <= seconds / 2:
        raise ConfigError(
            f"data.delay_s={delay_s}: expected seconds from 0 to {seconds / 2:g}, half a recording. Write 2.4 or so, "
            "or 0 for none."
        )


def _write(folder: Path, settings: Mapping[str, Any], processes: int) -> None:
    for kind in FOLDERS:
        (folder / kind).mkdir(parents=True)
        (folder.parent / kind).mkdir(parents=True, exist_ok=True)  # destination of the files
    vectors = train_lexicon_vectors(settings["seed"])
    rows = zip(vectors.words, vectors.vectors.tolist(), strict=True)
    lines = (f"{word} {' '.join(f'{value:.4f}' for value in vector)}\n" for word, vector in rows)
    write_atomic(folder / VECTORS, f"{len(vectors)} {vectors.dim}\n{''.join(lines)}")
    run_in_parts(__name__, settings, len(plan(settings)), size=PART_SIZE, processes=processes, folder=folder)


def _write_part(settings: Mapping[str, Any], folder: Path, part: range) -> None:
    """Write the files of the recordings of a part, and print a line about each."""
    synthesizer = Synthesizer()
    for recording in plan(settings)[part.start : part.stop]:
        spoken = speak(recording, settings["seconds"], synthesizer)
        rng = np.random.default_rng([recording.seed, 1])
        labels = label(spoken, delay_s=settings["delay_s"], rng=rng)
        _write_recording(folder, recording.name, spoken, labels)
        print(recording.name, flush=True)


def _write_recording(folder: Path, name: str, spoken: SpokenRecording, labels: np.ndarray) -> None:
    paths = {kind: folder / _place(kind, name) for kind in FOLDERS}
    with wave.open(str(paths["audio"]), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(spoken.waveform), "NONE", ""))
        file.writeframes(spoken.waveform.astype("<i2").tobytes())
    values = (";".join(f"{value:.4f}" for value in row) for row in labels.tolist())
    lines = (f"{name};{step * STEP_S:.1f};{row}\n" for step, row in enumerate(values))
    write_atomic(paths["labels"], "".join(lines))
    write_atomic(paths["turns"], "".join(f"{start:.4f};{end:.4f}\n" for start, end in spoken.turns))
    rows = (
        f"{words[0].start:.4f};{words[-1].end:.4f};'{' '.join(_punctuate(sentence.words)).capitalize()}'\n"
        for sentence, words in zip(spoken.sentences, spoken.words, strict=True)
    )
    write_atomic(paths["transcriptions"], "".join(rows))
    write_words(paths["speech2vec/segmentation"], itertools.chain.from_iterable(spoken.words), "segmentation")


if __name__ == "__main__":
    run_part(_write_part)
