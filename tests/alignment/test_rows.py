"""Every method on generated speech whose word times are known."""

import importlib.util
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.alignment import RAVDESS_TEXTS, Speech, generate
from ser.alignment.base import SAMPLE_RATE, Aligner, find_speech
from ser.alignment.rows import AlignedRow, align_rows, make_aligners
from ser.alignment.uniform import Energy, Uniform
from ser.audio.reader import read_audio
from ser.errors import ConfigError, DataError
from ser.text.transcripts import Row, Transcript

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason='needs espeak-ng: pip install ".[demo]"'
)
needs_sphinx = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason='needs pocketsphinx: pip install ".[align]"'
)


def rows_of(waveform: np.ndarray, rows: Sequence[Row], aligners: Sequence[Aligner]) -> list[AlignedRow]:
    return [*align_rows(waveform, Transcript(Path("a.csv"), tuple(rows)), aligners, place="a.wav")]


def bursts(*seconds: float) -> np.ndarray:
    """Noise and silence of these durations in turns, silence first."""
    rng = np.random.default_rng(0)
    parts = [
        (0.1 if index % 2 else 0.0) * rng.normal(size=round(SAMPLE_RATE * duration))
        for index, duration in enumerate(seconds)
    ]
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture(scope="module")
def english() -> list[Speech]:
    return [*generate("en", 3)]


@pytest.fixture(scope="module")
def sphinx() -> list[Aligner]:
    return make_aligners("pocketsphinx", "en")


def test_uniform_words_share_the_row() -> None:
    (row,) = rows_of(bursts(1.0, 1.0), [Row(0.5, 1.5, ("a", "b", "<laughter>", "c"))], [Uniform()])
    assert [word.start for word in row.words] == pytest.approx([0.5, 0.75, 1.0, 1.25])
    assert [word.end for word in row.words] == pytest.approx([0.75, 1.0, 1.25, 1.5])


def test_energy_keeps_words_out_of_pauses() -> None:
    waveform = bursts(0.5, 0.4, 0.6, 0.4, 0.3)
    (row,) = rows_of(waveform, [Row(0, None, ("a", "b"))], [Energy(), Uniform()])
    (first, second) = row.words
    assert (first.start, first.end) == pytest.approx((0.5, 0.9), abs=0.03)
    assert (second.start, second.end) == pytest.approx((1.5, 1.9), abs=0.03)


@pytest.mark.parametrize("noise_db", [-90, -45])
def test_speech_is_found_in_noise(noise_db: float) -> None:
    waveform = bursts(0.5, 1.0, 0.5)
    noise = 10 ** (noise_db / 20) * np.random.default_rng(1).normal(size=len(waveform))
    places = np.flatnonzero(find_speech((waveform + noise).astype(np.float32)))
    assert places[0] == pytest.approx(50, abs=3)
    assert places[-1] == pytest.approx(150, abs=3)


def test_silence_falls_back_to_equal_durations() -> None:
    (row,) = rows_of(np.zeros(SAMPLE_RATE, np.float32), [Row(0, None, ("a", "b"))], [Energy(), Uniform()])
    assert row.method == "uniform"
    assert row.reasons == ("energy: no speech",)
    assert [word.start for word in row.words] == [0.0, 0.5]


@needs_espeak
@pytest.mark.parametrize("language", ["de", "en", "es"])
def test_dtw_finds_words_of_another_voice(language: str) -> None:
    speech = [*generate(language, 3)]
    (aligner, _) = make_aligners("dtw", language)
    aligner.prepare([part.tokens for part in speech])
    spans = [aligner.align(part.waveform, part.tokens) for part in speech]
    for found in spans:
        assert all(start <= end <= following + 1e-9 for (start, end), (following, _) in pairwise(found))
    errors = [np.abs(np.array(found)[:, 0] - part.starts) for found, part in zip(spans, speech, strict=True)]
    known = np.concatenate(errors)
    known = known[np.isfinite(known)]
    assert np.median(known) < 0.05
    assert np.mean(known < 0.12) > 0.9


@needs_espeak
@needs_sphinx
def test_pocketsphinx_finds_english_words(english: list[Speech], sphinx: list[Aligner]) -> None:
    errors = []
    for part in english:
        (row,) = rows_of(part.waveform, [Row(0, None, tuple(part.tokens))], sphinx)
        assert row.method == "pocketsphinx"
        errors += [abs(word.start - start) for word, start in zip(row.words, part.starts, strict=True)]
    known = np.array(errors)[np.isfinite(errors)]
    assert np.median(known) < 0.025
    assert np.mean(known < 0.09) > 0.95


@needs_espeak
@needs_sphinx
def test_a_word_without_pronunciation_falls_back(english: list[Speech], sphinx: list[Aligner]) -> None:
    part = english[0]
    tokens = (*part.tokens[:-1], "Xyzzyq,")
    (row,) = rows_of(part.waveform, [Row(0, None, tokens)], sphinx)
    assert row.method == "dtw"
    assert row.reasons == ("pocketsphinx: the dictionary lacks xyzzyq",)
    told = sphinx[0].describe_unknown_words()
    assert told == "1 words are not in the dictionary of pocketsphinx: xyzzyq 1."


@needs_espeak
def test_a_tag_lies_between_the_words_around_it(english: list[Speech]) -> None:
    part = english[0]
    tokens = (*part.tokens[:2], "<laughter>", *part.tokens[2:], "<breathing>")
    (row,) = rows_of(part.waveform, [Row(0, None, tokens)], make_aligners("dtw", "en"))
    words = {word.text: word for word in row.words}
    assert words["<laughter>"].start == row.words[1].end
    assert words["<laughter>"].end == row.words[3].start
    assert words["<breathing>"].end == pytest.approx(len(part.waveform) / SAMPLE_RATE, abs=1e-3)


@needs_espeak
def test_a_text_of_another_length_is_not_warped(english: list[Speech]) -> None:
    tokens = tuple(english[0].tokens) * 6
    (row,) = rows_of(english[0].waveform, [Row(0, None, tokens)], make_aligners("dtw", "en"))
    assert row.method == "uniform"
    assert "s of speech for a text that takes" in row.reasons[0]


def test_a_row_beyond_the_recording_is_refused() -> None:
    for row in (Row(0, 1.6, ("a",)), Row(1.2, 1.3, ("a",))):
        with pytest.raises(
            DataError, match=r"a\.csv, row 1: lasts from .* but a\.wav is 1\.00 s long\. Corr"
        ):
            rows_of(np.zeros(SAMPLE_RATE, np.float32), [row], [Uniform()])
    (found,) = rows_of(np.zeros(SAMPLE_RATE, np.float32), [Row(0, 1.4, ("a",))], [Uniform()])
    assert found.words[0].end == 1.0  # ends up to 0.5 s late are cut


def test_dtw_without_espeak_prints_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ConfigError, match=r'method=dtw: .* not installed\. Run: .* "espeakng-loader>='):
        make_aligners("dtw", "en")


def test_pocketsphinx_without_its_package_prints_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ConfigError, match=r'pocketsphinx cannot be imported .* install "pocketsphinx>='):
        make_aligners("pocketsphinx", "en")


@needs_espeak
def test_an_unknown_language_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"language=deu: espeak-ng does not speak it\. Did you mean 'de'\?"):
        make_aligners("dtw", "deu")
    with pytest.raises(ConfigError, match=r"language=null: .* Set language=en"):
        make_aligners("dtw", None)


def test_pocketsphinx_refuses_other_languages() -> None:
    with pytest.raises(
        ConfigError, match=r"language=de: pocketsphinx has an English model only\. Set method"
    ):
        make_aligners("pocketsphinx", "de")


@pytest.mark.shared
@needs_espeak
@needs_sphinx
def test_both_methods_agree_on_ravdess(shared: Path) -> None:
    files = sorted((shared / "data" / "ravdess").rglob("*.flac"))[::120]
    aligners = [make_aligners(name, "en")[0] for name in ("pocketsphinx", "dtw")]  # type: ignore[arg-type]
    differences = []
    for path in files:
        tokens = RAVDESS_TEXTS[path.stem.split("-")[4]].split()
        waveform = read_audio(path, SAMPLE_RATE)
        one, other = (np.array(aligner.align(waveform, tokens))[:, 0] for aligner in aligners)
        differences.append(np.abs(one - other))
    assert len(files) == 12
    assert np.median(differences) <= 0.06
