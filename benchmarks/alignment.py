"""Measure the errors of `ser align` on generated speech, and how far its methods agree on RAVDESS.

python -m benchmarks.alignment      a minute or two of one core

The generated speech has another voice, rate and pitch than the speech that `dtw` warps onto it, pauses around it and
noise at -60 dB; espeak-ng reports when each word starts. It is the same synthesiser, so the errors of `dtw` on it are a
lower bound. RAVDESS is real speech without word times: there, two methods that share nothing are compared.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import ROOT, Goal, Options, Ratio, Result, main
from ser.alignment.base import SAMPLE_RATE, Aligner, CannotAlignError
from ser.alignment.rows import make_aligners
from ser.audio.reader import read_audio
from ser.synthetic import espeak
from ser.synthetic.sentences import SPLITS, sentence

LANGUAGES = ("de", "en", "es")
VARIANTS = ["f2", "f4", "m2", "m4", "m6", "anika", "aunty", "Denis", "Andrea", "f5", "m3", "m7"]
RAVDESS = ROOT.parent / "shared" / "data" / "ravdess"
RAVDESS_TEXTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
_COLUMNS = (
    "method",
    "words",
    "rows not aligned",
    "median, ms",
    "90 %",
    "95 %",
    "<= 90 ms",
    "<= 120 ms",
    "x real time",
)
_SENTENCES = 60  # of each language
_STEP = 12  # one of this many recordings of RAVDESS


@dataclass(frozen=True, eq=False)
class Speech:
    """Speech with its words and their starts, where they are known.

    Args:
        waveform: Waveform [samples] at the sample rate of the aligners.
        tokens: Words.
        starts: Start of each word in seconds; NaN if it is not known.
    """

    waveform: np.ndarray
    tokens: Sequence[str]
    starts: np.ndarray


@dataclass
class Errors:
    """Errors of the word starts in ms, the number of rows that were not aligned, and the speed.

    Args:
        milliseconds: Error of each word start.
        failed: Number of rows that were not aligned.
        times_real: Duration of the speech over the CPU time of this process.
    """

    milliseconds: np.ndarray
    failed: int
    times_real: float

    def row(self, name: str) -> list[str]:
        """Return the cells of the table."""
        found = self.milliseconds
        shares = [f"{np.mean(found <= bound):.1%}" for bound in (90, 120)]
        quantiles = [f"{np.percentile(found, share):.0f}" for share in (50, 90, 95)]
        return [name, str(len(found)), str(self.failed), *quantiles, *shares, f"{self.times_real:.0f}"]


def alignment(options: Options) -> Result:
    """Measure both aligners on generated speech, and their agreement on RAVDESS."""
    torch.set_num_threads(1)  # a second one would count as CPU time while it waits
    rows, goals = [], []
    count = 4 if options.quick else _SENTENCES
    speech = {language: [*generate(language, count)] for language in LANGUAGES}
    for language in LANGUAGES:
        found = measure(make_aligners("dtw", language)[0], speech[language])
        rows.append(found.row(f"dtw, {language}"))
        share = float(np.mean(found.milliseconds < 120))
        goals += [
            Goal(f"dtw, {language}: median error, ms", float(np.median(found.milliseconds)), "<=", 50),
            Goal(f"dtw, {language}: share under 120 ms", share, ">=", 0.9),
        ]
    sphinx = measure(make_aligners("pocketsphinx", "en")[0], speech["en"])
    rows.append(sphinx.row("pocketsphinx, en"))
    goals += [
        Goal("pocketsphinx, en: median error, ms", float(np.median(sphinx.milliseconds)), "<=", 25),
        Goal("pocketsphinx, en: share up to 90 ms", float(np.mean(sphinx.milliseconds <= 90)), ">=", 0.95),
        Goal("pocketsphinx, en: times real time", sphinx.times_real, ">=", 50),
    ]
    notes = []
    if RAVDESS.is_dir():
        agreement = compare_on_ravdess(10 * _STEP if options.quick else _STEP, RAVDESS)
        rows.append(agreement.row("dtw against pocketsphinx, RAVDESS"))
        goals.append(
            Goal("RAVDESS: median difference, ms", float(np.median(agreement.milliseconds)), "<=", 60)
        )
    else:
        notes.append("RAVDESS: skipped, as it is not beside the checkout")
    return Result(
        name="alignment",
        headline="pocketsphinx, times real time on one core",
        ratio=Ratio(sphinx.times_real, sphinx.times_real, sphinx.times_real),
        columns=_COLUMNS,
        rows=rows,
        goals=goals,
        notes=notes,
    )


def generate(language: str, count: int) -> Iterator[Speech]:
    """Speak sentences in other voices, rates and pitches than those of `dtw`, with pauses and noise."""
    rng = np.random.default_rng([7, LANGUAGES.index(language)])
    synthesizer = espeak.Synthesizer()
    for index in range(count):
        words = " ".join(sentence(language, SPLITS[index % len(SPLITS)], rng)).split()
        spoken = synthesizer.synthesize_words(
            words,
            voice=f"{language}+{VARIANTS[index % len(VARIANTS)]}",
            pitch=rng.uniform(15, 85),
            pitch_range=rng.uniform(20, 80),
            rate=rng.uniform(120, 240),
        )
        speech = espeak.resample(spoken.waveform, SAMPLE_RATE, whole_s=0.1)
        lead, tail = (np.zeros(round(SAMPLE_RATE * seconds)) for seconds in rng.uniform(0.05, 0.8, 2))
        waveform = np.concatenate([lead, 10 ** (rng.uniform(-20, -3) / 20) * speech, tail])
        waveform += 10 ** (rng.normal(-60, 6) / 20) * rng.normal(size=len(waveform))
        starts = np.where(spoken.is_exact, np.array(spoken.starts) + len(lead) / SAMPLE_RATE, np.nan)
        yield Speech(waveform.astype(np.float32), words, starts)


def measure(aligner: Aligner, speech: Sequence[Speech]) -> Errors:
    """Align speech, and compare the starts with those that are known."""
    errors, failed, started = [], 0, time.process_time()
    aligner.prepare([part.tokens for part in speech])
    for part in speech:
        try:
            spans = aligner.align(part.waveform, part.tokens)
        except CannotAlignError:
            failed += 1
            continue
        found = np.abs(np.array([start for start, _ in spans]) - part.starts)
        errors.append(1000 * found[np.isfinite(found)])
    seconds = time.process_time() - started
    return Errors(
        np.concatenate(errors), failed, sum(len(part.waveform) for part in speech) / SAMPLE_RATE / seconds
    )


def compare_on_ravdess(step: int, root: Path) -> Errors:
    """Measure the differences of word starts between `dtw` and `pocketsphinx`; the speed is that of `dtw`."""
    sphinx = make_aligners("pocketsphinx", "en")[0]
    speech, failed = [], 0
    for path in sorted(root.rglob("*.flac"))[::step]:
        tokens = RAVDESS_TEXTS[path.stem.split("-")[4]].split()
        waveform = read_audio(path, SAMPLE_RATE)
        try:
            starts = np.array([start for start, _ in sphinx.align(waveform, tokens)])
        except CannotAlignError:
            failed += 1
            continue
        speech.append(Speech(waveform, tokens, starts))
    found = measure(make_aligners("dtw", "en")[0], speech)
    return Errors(found.milliseconds, found.failed + failed, found.times_real)


if __name__ == "__main__":
    main(alignment)
