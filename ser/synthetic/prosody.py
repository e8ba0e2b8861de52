"""Plan and synthesise the utterances of the emotion demonstration.

Each utterance has two hidden numbers, arousal and valence: plus or minus a separation, depending on its class, plus
noise of deviation 1. All prosody depends on these numbers and not on the class, so their overlap limits the accuracy
of any model: 82 % with the separations below.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ser.synthetic import sentences
from ser.synthetic.espeak import SAMPLE_RATE, Synthesizer

# (valence, activation) and its share of every split
CLASS_SHARES = {(0, 1): 0.41, (1, 1): 0.30, (0, 0): 0.16, (1, 0): 0.13}
AROUSAL_SEPARATION = 1.4  # the sign of arousal is that of activation in 92 % of utterances
VALENCE_SEPARATION = 1.2  # the sign of valence is that of the label in 88 % of utterances

VARIANTS = {
    # each variant speaks every language; espeak-ng's natural voices, without robots and whispers
    "train": "f1 f3 f5 m1 m3 m5 m7 Annie Andy Alicia miguel paul steph Diogo",
    "dev": "f2 m2 m8 Andrea Henrique robert",
    "ser_test_1": "f4 m4 anika Denis",
    "ser_test_2": "m6 aunty belinda Michael",
}
NORMAL_RATE = 175  # words per minute
# at the normal rate
CHARACTERS_PER_SECOND = {"en": 19.2, "de": 18.7, "es": 17.7, "fr": 22.0, "it": 17.7, "nl": 18.6, "pt": 17.2}
FRAMES_PER_SECOND = 50


@dataclass(frozen=True)
class Phrase:
    """Plan of the words between two pauses.

    Args:
        text: Words, with the punctuation mark that sets the intonation.
        pitch: Pitch, 0..99; 50 is the voice's own.
        pitch_range: Pitch range, 0..99.
        rate: Words per minute.
        level_db: Gain of the speaker's effort.
        swell_db: Level at the end of the phrase relative to its begin.
        pause: Silence after the phrase, in seconds.
    """

    text: str
    pitch: float
    pitch_range: float
    rate: float
    level_db: float
    swell_db: float
    pause: float


@dataclass(frozen=True)
class PlannedUtterance:
    """Plan of one utterance of the demonstration data.

    Args:
        split: Split, of `sentences.SPLITS`.
        valence: 0 or 1.
        activation: 0 or 1.
        voice: Language and variant, such as "en+f3".
        phrases: Phrases with their prosody.
        noise_db: Level of the background noise, relative to full scale.
        noise_color: Share of low-frequency noise, 0..1; 0 for white noise.
        gain_db: Gain of the recording, of speech and noise.
        noise_seed: Seed of the background noise.
    """

    split: str
    valence: int
    activation: int
    voice: str
    phrases: tuple[Phrase, ...]
    noise_db: float
    noise_color: float
    gain_db: float
    noise_seed: int


def plan(seed: int, utterances: Mapping[str, int]) -> list[PlannedUtterance]:
    """Plan every utterance of the four splits, in the order of the files.

    Args:
        seed: Seed of all random choices.
        utterances: Number of utterances of each of `sentences.SPLITS`; the number of one split does not change
            another split.
    """
    return [
        planned
        for number, split in enumerate(sentences.SPLITS)
        for planned in _plan_split(split, utterances[split], np.random.default_rng([seed, number]))
    ]


def _plan_split(split: str, count: int, rng: np.random.Generator) -> list[PlannedUtterance]:
    voices = [
        f"{language}+{variant}" for variant in VARIANTS[split].split() for language in sentences.LANGUAGES
    ]
    habits = {voice: rng.normal(size=3) for voice in voices}
    turns = rng.permutation(np.resize(voices, count))
    return [
        _plan_utterance(split, bits, seconds, voice=str(voice), habits=habits[str(voice)], rng=rng)
        for bits, seconds, voice in zip(
            _draw_classes(count, rng), _draw_seconds(count, rng), turns, strict=True
        )
    ]


def _draw_classes(count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw classes in random order, with their shares rounded by largest remainder."""
    exact = {bits: share * count for bits, share in CLASS_SHARES.items()}
    counts = {bits: int(number) for bits, number in exact.items()}
    by_remainder = sorted(exact, key=lambda bits: counts[bits] - exact[bits])
    for bits in by_remainder[: count - sum(counts.values())]:
        counts[bits] += 1
    ordered = [bits for bits, number in counts.items() for _ in range(number)]
    return [ordered[index] for index in rng.permutation(count)]


def _draw_seconds(count: int, rng: np.random.Generator) -> list[float]:
    """Draw log-normal durations of mean 220 and deviation 150 frames, one from each of `count` quantiles."""
    spread = np.log1p((150 / 220) ** 2)
    curve = NormalDist(np.log(220) - spread / 2, spread**0.5)
    quantiles = (rng.permutation(count) + rng.uniform(0.01, 0.99, count)) / count
    frames = np.exp([curve.inv_cdf(quantile) for quantile in quantiles])
    return [float(number) / FRAMES_PER_SECOND for number in np.clip(frames, 30, 1200)]


def _plan_utterance(
    split: str,
    bits: tuple[int, int],
    seconds: float,
    *,
    voice: str,
    habits: np.ndarray,
    rng: np.random.Generator,
) -> PlannedUtterance:
    valence = (2 * bits[0] - 1) * VALENCE_SEPARATION + rng.normal()
    arousal = (2 * bits[1] - 1) * AROUSAL_SEPARATION + rng.normal()
    delivery = _draw_delivery(arousal, valence, habits, rng)
    language = voice.partition("+")[0]
    speed = CHARACTERS_PER_SECOND[language] * delivery.rate / NORMAL_RATE
    texts = sentences.text(language, split, seconds * speed, pause=delivery.pause * speed, rng=rng)
    return PlannedUtterance(
        split=split,
        valence=bits[0],
        activation=bits[1],
        voice=voice,
        phrases=tuple(_phrases(texts, delivery, rng)),
        noise_db=rng.normal(-52, 6),
        noise_color=rng.uniform(0, 1),
        gain_db=rng.normal(-6, 2.5),
        noise_seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class _Delivery:
    """Prosody of an utterance: the means of its phrases' settings, and their drift from start to end."""

    pitch: float
    pitch_range: float
    rate: float
    level_db: float
    pause: float
    drift: float


def _draw_delivery(arousal: float, valence: float, habits: np.ndarray, rng: np.random.Generator) -> _Delivery:
    """Draw prosody: arousal shifts the means, valence the drift; a voice's habits [3] and noise are added."""
    return _Delivery(
        pitch=45 + 9 * arousal + 7 * habits[0] + rng.normal(0, 4),
        pitch_range=45 + 10 * arousal + 4 * valence + rng.normal(0, 10),
        rate=NORMAL_RATE * np.exp(0.09 * arousal + 0.08 * habits[1] + rng.normal(0, 0.06)),
        level_db=3 * arousal + 2 * habits[2] + rng.normal(0, 1.5),
        pause=0.22 * np.exp(-0.2 * arousal - 0.15 * valence + rng.normal(0, 0.3)),
        drift=valence + rng.normal(0, 0.3),
    )


def _phrases(texts: list[str], delivery: _Delivery, rng: np.random.Generator) -> Iterator[Phrase]:
    """Yield phrases whose pitch, rate and level rise over the utterance if the drift is positive, else fall."""
    last = len(texts) - 1
    for index, words in enumerate(texts):
        drift = delivery.drift * ((index + 0.5) / len(texts) - 0.5)  # from minus half to plus half of it
        ends_sentence = index % 2 == 1 or index == last
        tune = ("?" if delivery.drift + rng.normal() > 0 else ".") if ends_sentence else ","
        yield Phrase(
            text=words + tune,
            pitch=float(np.clip(delivery.pitch + 14 * drift, 0, 99)),
            pitch_range=float(np.clip(delivery.pitch_range, 0, 99)),
            rate=float(np.clip(delivery.rate * np.exp(0.1 * drift), 80, 400)),
            level_db=delivery.level_db + 2 * drift,
            swell_db=2.5 * delivery.drift + rng.normal(),
            pause=delivery.pause if index < last else 0.0,
        )


def draw_prosody(rng: np.random.Generator) -> dict[str, float]:
    """Draw pitch, pitch range and rate around those of a voice, for speech without emotions."""
    return {
        "pitch": float(np.clip(rng.normal(50, 9), 20, 80)),
        "pitch_range": float(np.clip(rng.normal(50, 12), 15, 90)),
        "rate": NORMAL_RATE * float(np.exp(np.clip(rng.normal(0, 0.1), -0.25, 0.25))),
    }


def speak(planned: PlannedUtterance, synthesizer: Synthesizer) -> np.ndarray:
    """Synthesise a planned utterance [samples], float32 in -1..1 at `SAMPLE_RATE`."""
    pieces = []
    for phrase in planned.phrases:
        speech = synthesizer.synthesize(
            phrase.text,
            voice=planned.voice,
            pitch=phrase.pitch,
            pitch_range=phrase.pitch_range,
            rate=phrase.rate,
        )
        level_db = phrase.level_db + phrase.swell_db * np.linspace(-0.5, 0.5, len(speech))
        pieces += [_db_to_amplitude(level_db - 20) * speech, np.zeros(round(phrase.pause * SAMPLE_RATE))]
    speech = np.concatenate(pieces)
    recording: np.ndarray = _db_to_amplitude(planned.gain_db) * (speech + _noise(planned, len(speech)))
    return recording.clip(-1, 1).astype(np.float32)


def _noise(planned: PlannedUtterance, count: int) -> np.ndarray:
    """Generate background noise [samples]: white noise, mixed with its running mean over half a millisecond."""
    white = np.random.default_rng(planned.noise_seed).normal(size=count + 10)
    rumble = np.convolve(white, np.full(11, 11**-0.5), mode="valid")
    mixed = (1 - planned.noise_color) * white[10:] + planned.noise_color * rumble
    noise: np.ndarray = _db_to_amplitude(planned.noise_db) * mixed
    return noise


def _db_to_amplitude(decibels: npt.ArrayLike) -> np.ndarray:
    return np.power(10.0, np.divide(decibels, 20))
