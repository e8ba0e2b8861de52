"""The demonstration data for streaming language identification: its plan, its sound and its files, few and short."""

import json
import wave
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from ser.batch import Padded
from ser.corpora.recordings import FolderCorpus
from ser.data.manifest_io import read_manifest
from ser.errors import ConfigError, DataError
from ser.features.vad import SilenceDetector
from ser.splits.rules import Predefined
from ser.synthetic import sentences
from ser.synthetic.espeak import SAMPLE_RATE, Synthesizer
from ser.synthetic.language_stream import (
    RATE,
    SHARES,
    VOICES,
    LanguageStreamDemoCorpus,
    generate,
    plan,
    speak,
    speech_truth,
    to_16_khz,
    trim_silence,
)
from ser.synthetic.prosody import VARIANTS

FEW = 1.0
LANGUAGES = tuple(SHARES)
NEW = ("hi", "cmn")
TABLES = (sentences.SUBJECTS, sentences.PREDICATES, sentences.ADVERBIALS)


def settings(seed=0, minutes=26.0):
    return {"seed": seed, "minutes": minutes}


@pytest.fixture(scope="module")
def planned():
    return plan(settings())


@pytest.fixture(scope="module")
def few():
    return {recording.id: recording for recording in plan(settings(minutes=FEW))}


@pytest.fixture(scope="module")
def generated(folders):
    """A folder of 78 short recordings, 6.6 minutes."""
    return folders("language_stream")


@pytest.fixture(scope="module")
def waveforms(generated):
    """Samples in -1..1 by id."""
    return {path.stem: read(path) for path in generated.glob("*/*.wav")}


def read(path):
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def contents(root):
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def spoken(samples, stretches):
    """[samples] bool, true where the truth says that there is speech."""
    mask = np.zeros(samples, dtype=bool)
    for start, end in np.round(stretches * RATE).astype(int):
        mask[start:end] = True
    return mask


def level_db(samples):
    return 10 * np.log10(np.square(samples).mean())


def of(planned, split, language=None):
    return [each for each in planned if each.split == split and language in (None, each.language)]


def phrases(text):
    return {phrase for sentence in text.rstrip(",.").split(". ") for phrase in sentence.split(", ")}


def test_recordings_of_two_to_three_minutes_are_3_3_to_1_to_2_3_in_every_split(planned):
    assert sorted({recording.seconds for recording in planned}) == pytest.approx([120, 132, 138])
    for split in VOICES:
        seconds = [
            sum(recording.seconds for recording in of(planned, split, language)) for language in LANGUAGES
        ]
        assert np.array(seconds) / seconds[1] == pytest.approx([3.3, 1, 2.3])
    assert 150 < sum(recording.seconds for recording in planned) / 60 < 175


def test_voices_are_dealt_out_as_everywhere_and_none_is_in_two_splits(planned):
    sources = {"train": ["train"], "validation": ["dev"], "test": ["ser_test_1", "ser_test_2"]}
    for split, count in (("train", 8), ("validation", 2), ("test", 3)):
        variants = {recording.variant for recording in of(planned, split)}
        assert len(variants) == count
        assert variants <= {variant for source in sources[split] for variant in VARIANTS[source].split()}


def test_every_voice_speaks_every_language_with_the_same_settings(planned):
    for first in of(planned, "train", "hi") + of(planned, "test", "hi"):
        for language in ("en", "cmn"):
            other = next(each for each in planned if each.id == f"{language}-{first.variant}-0")
            assert other.seed != first.seed
            same = {"language": "hi", "seconds": first.seconds, "seed": first.seed}
            assert replace(other, **same) == first


def test_draws_are_spread_as_widely_as_promised(planned):
    levels, slopes = (
        np.array([getattr(each, name) for each in planned]) for name in ("level_db", "noise_slope")
    )
    assert -32 <= levels.min() < -30 < -24 < levels.max() <= -22
    assert 0 <= slopes.min() < 0.3 < 1.7 < slopes.max() <= 2
    for recording in planned:
        assert 0 <= recording.pitch <= 99
        assert 0 <= recording.pitch_range <= 99
        assert 80 <= recording.rate <= 450


def test_a_plan_is_the_same_again_and_another_for_another_seed():
    assert plan(settings(3)) == plan(settings(3)) != plan(settings(4))


def test_more_minutes_change_nothing_but_how_long_recordings_are(planned, few):
    assert [replace(each, seconds=few[each.id].seconds) for each in planned] == [*few.values()]


@pytest.mark.parametrize("language", NEW)
@pytest.mark.parametrize("table", TABLES)
def test_hindi_and_mandarin_phrases_are_dealt_out_without_overlap_or_loss(table, language):
    dealt = [phrase for split in sentences.SPLITS for phrase in sentences.phrases_of(table, language, split)]
    assert sorted(dealt) == sorted(set(table[language].split(", ")))
    assert len(dealt) == len(table["en"].split(", "))


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize(("language", "fewest", "most"), [("cmn", 3, 6.5), ("hi", 11, 21)])
def test_espeak_reads_hanzi_and_devanagari_and_does_not_spell_them(language, fewest, most):
    """In characters a second; an English voice, which names Hanzi as letters, takes three times as long."""
    synthesizer = Synthesizer()
    for table in TABLES:
        for phrase in table[language].split(", "):
            waveform = synthesizer.synthesize(
                f"{phrase},", voice=f"{language}+m3", pitch=50, pitch_range=50, rate=175
            )
            assert fewest < len(phrase) * SAMPLE_RATE / len(waveform) < most, phrase
            assert level_db(waveform) > -30


@pytest.mark.parametrize("hz", [100, 1000, 7400])
def test_tones_below_8_khz_keep_their_place_and_size(hz):
    resampled = to_16_khz(np.sin(2 * np.pi * hz * np.arange(22_050) / SAMPLE_RATE))
    assert len(resampled) == RATE
    assert np.abs(resampled - np.sin(2 * np.pi * hz * np.arange(RATE) / RATE))[800:-800].max() < 1e-3


@pytest.mark.parametrize("hz", [8100, 9000, 10_500])
def test_tones_above_8_khz_are_not_folded_down(hz):
    resampled = to_16_khz(np.sin(2 * np.pi * hz * np.arange(22_050) / SAMPLE_RATE))
    assert np.abs(resampled[800:-800]).max() < 1e-3


def test_near_silence_around_a_phrase_is_cut_off_but_not_that_within():
    tone = np.sin(np.arange(1600))
    phrase = np.concatenate([tone, np.zeros(1600), tone])
    faint = np.full(800, 1e-3)
    assert np.array_equal(trim_silence(np.concatenate([faint, phrase, faint])), phrase)


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize("language", LANGUAGES)
def test_pauses_last_as_long_as_promised_and_text_is_what_is_said(planned, language):
    recording = of(planned, "test", language)[0]
    performance = speak(recording, Synthesizer())
    starts, ends = performance.speech.T
    pauses = np.append(starts[0], starts[1:] - ends[:-1]) / RATE
    assert 0.3 <= pauses.min() < 0.4
    assert 1.5 < pauses.max() <= 2.0
    assert (ends > starts).all()
    assert len(performance.waveform) == round(recording.seconds * RATE) >= ends[-1]
    assert performance.text.count(",") + performance.text.count(".") == len(starts)
    assert np.abs(performance.waveform).max() < 32767


def test_speech_is_where_the_truth_says_and_nowhere_else(generated, waveforms, few):
    truth = speech_truth(generated)
    assert truth.keys() == waveforms.keys() == few.keys()
    for name, waveform in waveforms.items():
        mask = spoken(len(waveform), truth[name])
        assert level_db(waveform[~mask]) == pytest.approx(-50, abs=0.7)
        assert level_db(waveform[mask]) == pytest.approx(few[name].level_db, abs=0.2)
        for start, end in truth[name][:-1]:  # the end of the recording may cut the last one off
            assert level_db(waveform[round(start * RATE) : round(end * RATE)]) > -42


def test_the_truth_scores_the_silence_detector(generated, waveforms):
    truth = speech_truth(generated)
    detector = SilenceDetector(RATE, relative_db=None, absolute_db=-45.0)
    hits = wrong = missed = 0
    for name, waveform in waveforms.items():
        expected = torch.from_numpy(spoken(len(waveform), truth[name]))
        found = detector(Padded.collate([torch.from_numpy(waveform)[:, None]]))[0]
        hits += int((found & expected).sum())
        wrong += int((found & ~expected).sum())
        missed += int((~found & expected).sum())
    assert 2 * hits / (2 * hits + wrong + missed) > 0.9


def test_the_manifest_lists_every_recording_with_voice_split_text_and_language(generated, waveforms, few):
    manifest = read_manifest(generated / "manifest.csv")
    assert all(each.path.is_file() for each in manifest)
    assert [each.id for each in manifest] == [*few]
    for utterance in manifest:
        recording = few[utterance.id]
        expected = (recording.variant, recording.id, recording.split, recording.language)
        assert (utterance.speaker, utterance.group, utterance.split, utterance.language) == expected
        assert utterance.labels == {"class": recording.language}  # data=manifest data.label=class
        assert utterance.path == generated / recording.language / f"{recording.id}.wav"
        assert len(waveforms[utterance.id]) == round(recording.seconds * RATE)


def test_every_split_speaks_its_own_phrases_and_no_others(generated):
    sources = {"train": ["train"], "validation": ["dev"], "test": ["ser_test_1", "ser_test_2"]}
    found = {(split, language): set() for split in VOICES for language in LANGUAGES}
    for utterance in read_manifest(generated / "manifest.csv"):
        found[utterance.split, utterance.language] |= phrases(utterance.text)
    for (split, language), spoken_phrases in found.items():
        possible = set()
        for source in sources[split]:
            subjects, predicates, adverbials = (
                sentences.phrases_of(table, language, source) for table in TABLES
            )
            possible |= {f"{subject} {predicate}" for subject in subjects for predicate in predicates}
            possible |= {*adverbials}
        assert spoken_phrases <= possible
        assert len(spoken_phrases) > 3


def test_the_corpus_has_no_leak_and_says_that_it_is_a_demonstration(generated, tmp_path):
    corpus = LanguageStreamDemoCorpus(
        str(generated),
        minutes=FEW,
        split=Predefined(label="language"),
        label="language",
        cache_dir=str(tmp_path),
    )
    splits = corpus.splits({"_target_": "ser.features.MFCC", "sample_rate": RATE, "num_mel_bins": 40})
    assert splits.facts.stamps == ["generated speech: a demonstration, not a result"]
    assert splits.facts.leaks == []
    assert {name: size.speakers for name, size in splits.facts.speech.items()} == {
        "train": 8,
        "validation": 2,
        "test": 3,
    }
    for name, voices in (("train", 8), ("validation", 2), ("test", 3)):
        counts = Counter(splits.stores[name].labels[:, 0])
        assert counts == {"en": 3 * voices, "hi": voices, "cmn": 2 * voices}


def test_the_folders_are_a_folder_per_class(generated):
    corpus = FolderCorpus(str(generated), speaker=r".*-(\w+)-\d", split=Predefined(), label="language")
    manifest = corpus.utterances()
    assert Counter(each.labels["language"] for each in manifest) == {"en": 39, "hi": 13, "cmn": 26}
    assert {each.speaker for each in manifest} == {variant for split in VOICES.values() for variant in split}


@pytest.mark.usefixtures("espeak")
def test_a_file_where_a_language_s_folder_should_be_is_named(tmp_path):
    (tmp_path / "hi").write_text("precious")
    with pytest.raises(DataError, match=r"cannot write the demonstration data.*/hi'.*data\.root=DIR"):
        generate(tmp_path, minutes=FEW)
    assert contents(tmp_path) == {"hi": b"precious"}


@pytest.mark.parametrize("minutes", [0.9, 0.0, -26.0, float("nan"), float("inf")])
def test_too_few_or_endless_minutes_are_refused(tmp_path, minutes):
    with pytest.raises(ConfigError, match=r"data\.minutes=.*expected minutes.*1 or more\. Write 26"):
        generate(tmp_path, minutes=minutes)


@pytest.mark.parametrize("content", [None, "{"])
def test_a_missing_or_damaged_truth_is_named_with_what_to_do(tmp_path, content):
    if content is not None:
        (tmp_path / "speech.json").write_text(content)
    with pytest.raises(DataError, match=r"speech\.json: cannot be read.*data=language_stream_demo"):
        speech_truth(tmp_path)


def test_the_truth_is_read_in_seconds(tmp_path):
    (tmp_path / "speech.json").write_text(json.dumps({"en-f1-0": [[0.5, 1.25], [2, 3]], "empty": []}))
    truth = speech_truth(tmp_path)
    assert truth["en-f1-0"].tolist() == [[0.5, 1.25], [2.0, 3.0]]
    assert truth["empty"].shape == (0, 2)
