"""The demonstration data for language identification: its plan, without a sound, and its files, with few clips."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ser.corpora.arrays import CLASS_NAMES
from ser.errors import ConfigError
from ser.splits.base import SpeechSize
from ser.splits.rules import SpeakerDisjoint
from ser.synthetic import sentences
from ser.synthetic.espeak import SAMPLE_RATE, Synthesizer
from ser.synthetic.language_id import SAMPLES, LanguageDemoCorpus, generate, plan, speak, to_8_khz
from ser.synthetic.prosody import CHARACTERS_PER_SECOND

FEW = (8, 4)
FEATURES = {"_target_": "ser.features.Waveform", "sample_rate": 8000}
SPLITS = ("train", "test")


def settings(seed=0, clips=(200, 100), gain_by_language=False):
    return {"seed": seed, "clips": clips, "gain_by_language": gain_by_language}


@pytest.fixture(scope="module")
def planned():
    return plan(settings())


@pytest.fixture(scope="module")
def generated(folders):
    """A folder of 72 clips."""
    return folders("language_id")


def of(planned, split, language=None):
    return [clip for clip in planned if clip.split == split and language in (None, clip.language)]


def levels_db(root, split):
    """[N] of each clip's mean square, summed in float64."""
    inputs = np.load(root / f"inputs_{split}_fp16.npy")
    return 10 * np.log10(np.square(inputs, dtype=np.float64).mean(1))


def test_every_split_has_as_many_clips_of_each_language_as_asked(planned):
    for split, count in (("train", 200), ("test", 100)):
        assert [len(of(planned, split, language)) for language in CLASS_NAMES] == [count] * 6


def test_languages_are_shuffled(planned):
    languages = [clip.language for clip in of(planned, "train")]
    assert {*languages[:60]} == {*CLASS_NAMES}
    assert languages != sorted(languages)


def test_no_voice_variant_speaks_in_train_and_test(planned):
    train, test = ({clip.variant for clip in of(planned, split)} for split in SPLITS)
    assert len(train) == 20
    assert len(test) == 8
    assert not train & test


def test_no_phrase_is_spoken_in_train_and_test(planned):
    for language in CLASS_NAMES:
        train, test = (
            {phrase for clip in of(planned, split, language) for phrase in clip.phrases} for split in SPLITS
        )
        assert not train & test


@pytest.mark.parametrize("table", [sentences.SUBJECTS, sentences.PREDICATES, sentences.ADVERBIALS])
def test_portuguese_phrases_are_dealt_out_without_overlap_or_loss(table):
    dealt = [phrase for split in sentences.SPLITS for phrase in sentences.phrases_of(table, "pt", split)]
    assert sorted(dealt) == sorted(set(table["pt"].split(", ")))
    assert len(dealt) == len(table["en"].split(", "))


def test_no_text_is_planned_twice(planned):
    texts = [clip.phrases for clip in planned]
    assert len(set(texts)) == len(texts)


def test_all_that_is_no_language_is_drawn_alike_for_every_language(planned):
    names = ("variant", "pitch", "pitch_range", "rate", "level_db", "snr_db", "noise_slope")
    for split in SPLITS:
        drawn = [
            sorted(tuple(getattr(clip, name) for name in names) for clip in of(planned, split, language))
            for language in CLASS_NAMES
        ]
        assert all(each == drawn[0] for each in drawn)


def test_draws_are_spread_as_widely_as_promised(planned):
    levels, ratios = (np.array([getattr(clip, name) for clip in planned]) for name in ("level_db", "snr_db"))
    assert -40 <= levels.min() < -39 < -21 < levels.max() <= -20
    assert 10 <= ratios.min() < 11 < 29 < ratios.max() <= 30
    for clip in planned:
        assert 0 <= clip.pitch <= 99
        assert 0 <= clip.pitch_range <= 99
        assert 80 <= clip.rate <= 450


def test_a_plan_is_the_same_again_and_another_for_another_seed():
    assert plan(settings(3, FEW)) == plan(settings(3, FEW)) != plan(settings(4, FEW))


def test_more_clips_to_train_on_leave_the_test_clips_alone():
    assert of(plan(settings(clips=(9, 4))), "test") == of(plan(settings(clips=FEW)), "test")


def test_gain_by_language_misleads_in_test_and_changes_nothing_else(planned):
    trap = plan(settings(gain_by_language=True))
    assert [replace(clip, level_db=0) for clip in trap] == [replace(clip, level_db=0) for clip in planned]
    means = {
        split: np.array([np.mean([c.level_db for c in of(trap, split, name)]) for name in CLASS_NAMES])
        for split in SPLITS
    }
    for each in means.values():
        assert np.diff(np.sort(each)) == pytest.approx(4, abs=0.3)
    assert np.abs(means["train"] - means["test"]).min() > 11
    for split in SPLITS:
        for name in CLASS_NAMES:
            assert np.std([clip.level_db for clip in of(trap, split, name)]) < 1


@pytest.mark.usefixtures("espeak")
def test_clips_are_full_of_speech():
    synthesizer = Synthesizer()
    lengths = []

    class Listening:
        def synthesize(self, phrase, **settings):
            waveform = synthesizer.synthesize(phrase, **settings)
            lengths[-1] += len(waveform) / SAMPLE_RATE + 0.25
            return waveform

    for clip in plan(settings(clips=(10, 4))):
        lengths.append(-0.25)
        assert speak(clip, Listening()).shape == (SAMPLES,)
    assert np.mean(np.array(lengths) < 5) < 0.03
    assert 6 < np.mean(lengths) < 8


@pytest.mark.usefixtures("espeak")
def test_the_known_speed_of_portuguese_is_espeak_s():
    synthesizer, rng = Synthesizer(), np.random.default_rng(0)
    characters = seconds = 0.0
    for variant in ("f1", "m3", "Annie"):
        for phrase in sentences.text("pt", "train", 400, pause=4, rng=rng):
            waveform = synthesizer.synthesize(
                f"{phrase},", voice=f"pt+{variant}", pitch=50, pitch_range=50, rate=175
            )
            characters += len(phrase)
            seconds += len(waveform) / SAMPLE_RATE
    assert characters / seconds == pytest.approx(CHARACTERS_PER_SECOND["pt"], rel=0.1)


@pytest.mark.parametrize("hz", [100, 1000, 3700])
def test_tones_below_4_khz_keep_their_place_and_size(hz):
    times, resampled_times = np.arange(110_250) / SAMPLE_RATE, np.arange(40_000) / 8000
    resampled = to_8_khz(np.sin(2 * np.pi * hz * times))
    expected = np.sin(2 * np.pi * hz * resampled_times)
    assert len(resampled) == 40_000
    assert np.abs(resampled - expected)[400:-400].max() < 1e-3


@pytest.mark.parametrize("hz", [4100, 5000, 9000])
def test_tones_above_4_khz_are_not_folded_down(hz):
    resampled = to_8_khz(np.sin(2 * np.pi * hz * np.arange(110_250) / SAMPLE_RATE))
    assert np.abs(resampled[400:-400]).max() < 1e-3


def test_files_are_the_four_of_the_assignment_with_speakers_and_texts(generated):
    for split, count in zip(SPLITS, FEW, strict=True):
        inputs = np.load(generated / f"inputs_{split}_fp16.npy")
        targets = np.load(generated / f"targets_{split}_int8.npy")
        assert (inputs.dtype, inputs.shape) == (np.float16, (6 * count, 40_000))
        assert targets.dtype == np.int8
        assert np.bincount(targets).tolist() == [count] * 6
        clips = of(plan(settings(clips=FEW)), split)
        assert [CLASS_NAMES[index] for index in targets] == [clip.language for clip in clips]
        speakers, texts = (
            json.loads((generated / f"{name}_{split}.json").read_text(encoding="utf-8"))
            for name in ("speakers", "texts")
        )
        assert speakers == [clip.variant for clip in clips]
        assert texts == [" ".join(clip.phrases) for clip in clips]


def test_clips_are_as_loud_as_planned_and_every_language_is_equally_loud(generated):
    for split in SPLITS:
        clips = of(plan(settings(clips=FEW)), split)
        found = levels_db(generated, split)
        assert found == pytest.approx([clip.level_db for clip in clips], abs=0.1)
        means = [found[[clip.language == name for clip in clips]].mean() for name in CLASS_NAMES]
        assert np.ptp(means) < 0.1


def test_waveforms_hold_speech_and_no_clip_is_another_s(generated):
    inputs = np.load(generated / "inputs_train_fp16.npy").astype(np.float32)
    assert np.isfinite(inputs).all()
    assert (np.abs(inputs) <= 1).all()
    spectrum = np.square(np.abs(np.fft.rfft(inputs, axis=1))).mean(0)
    assert spectrum[500:5_000].sum() > 0.5 * spectrum.sum()  # 100 Hz to 1 kHz
    assert len({row.tobytes() for row in inputs}) == len(inputs)


def test_the_corpus_has_no_leak_and_says_that_it_is_a_demonstration(generated):
    corpus = LanguageDemoCorpus(
        str(generated), clips=FEW, split=SpeakerDisjoint(validation=0.3, test=0.0, label="language")
    )
    splits = corpus.splits(FEATURES)
    assert splits.facts.stamps == ["generated speech: a demonstration, not a result"]
    assert splits.facts.leaks == []
    assert sum(len(splits.stores[name]) for name in ("train", "validation")) == 48
    assert splits.facts.speech["test"] == SpeechSize(speakers=4, minutes=2.0)


@pytest.mark.parametrize("clips", [(1000,), (3, 200), (1000, 0), (1, 2, 3)])
def test_too_few_clips_are_refused(tmp_path, clips):
    with pytest.raises(ConfigError, match=r"data\.clips=\[.*two numbers.*data\.clips=\[1000,200\]"):
        generate(tmp_path, clips=clips)
