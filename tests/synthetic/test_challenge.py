"""The demonstration data: its plan, without a sound, and its files, with few utterances."""

import json

import numpy as np
import pytest

from ser.errors import ConfigError
from ser.synthetic import challenge, sentences
from ser.synthetic.prosody import CHARACTERS_PER_SECOND, NORMAL_RATE, plan
from ser.synthetic.sentences import LANGUAGES, SPLITS

FEW = dict.fromkeys(SPLITS, 8)


@pytest.fixture(scope="module")
def planned():
    return plan(0, challenge.UTTERANCES)


@pytest.fixture(scope="module")
def generated(folders):
    """A folder with 8 utterances a split."""
    return folders("challenge")


def of_split(planned, split):
    return [utterance for utterance in planned if utterance.split == split]


def words(utterance):
    return " ".join(phrase.text[:-1] for phrase in utterance.phrases)


def seconds(utterance):
    speed = CHARACTERS_PER_SECOND[utterance.voice[:2]] / NORMAL_RATE
    return sum(len(phrase.text) / phrase.rate / speed + phrase.pause for phrase in utterance.phrases)


def frames_of(root):
    files = [json.loads((root / f"{split}.json").read_text()) for split in SPLITS]
    return [
        np.array(utterance["features"])
        for file in files
        for utterance in (file if isinstance(file, list) else file.values())
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_the_shares_of_the_course(planned, split):
    bits = [(utterance.valence, utterance.activation) for utterance in of_split(planned, split)]
    assert len(bits) == challenge.UTTERANCES[split]
    shares = [bits.count(pair) / len(bits) for pair in ((0, 1), (1, 1), (0, 0), (1, 0))]
    assert shares == pytest.approx([0.41, 0.30, 0.16, 0.13], abs=0.005)


def test_few_utterances_hold_every_class():
    for split in SPLITS:
        bits = {(utterance.valence, utterance.activation) for utterance in of_split(plan(3, FEW), split)}
        assert len(bits) == 4


def test_lengths_are_as_spread_as_the_course_s(planned):
    frames = 50 * np.array([seconds(utterance) for utterance in planned])
    assert 200 < frames.mean() < 240
    assert 130 < frames.std() < 170
    assert 20 < frames.min() < 50
    assert 1_000 < frames.max() < 1_400


def test_length_does_not_betray_the_class(planned):
    frames = np.array([seconds(utterance) for utterance in planned])
    for bit in ("valence", "activation"):
        labels = np.array([getattr(utterance, bit) for utterance in planned])
        assert abs(np.corrcoef(frames, labels)[0, 1]) < 0.08


def test_no_voice_speaks_in_two_splits(planned):
    variants = [{utterance.voice.partition("+")[2] for utterance in of_split(planned, s)} for s in SPLITS]
    assert len(set.union(*variants)) == sum(map(len, variants))


def test_every_split_speaks_every_language(planned):
    for split in SPLITS:
        assert {utterance.voice[:2] for utterance in of_split(planned, split)} == set(LANGUAGES)


def test_no_text_is_spoken_in_two_splits(planned):
    texts = [{words(utterance) for utterance in of_split(planned, split)} for split in SPLITS]
    assert len(set.union(*texts)) == sum(map(len, texts))


@pytest.mark.parametrize("table", [sentences.SUBJECTS, sentences.PREDICATES, sentences.ADVERBIALS])
def test_phrases_are_dealt_out_without_overlap_or_loss(table):
    for language in LANGUAGES:
        dealt = [phrase for split in SPLITS for phrase in sentences.phrases_of(table, language, split)]
        assert sorted(dealt) == sorted(set(table[language].split(", ")))


@pytest.mark.parametrize("num_characters", [1, 25, 90, 400])
def test_a_text_is_as_long_as_asked_to_the_word(num_characters):
    rng = np.random.default_rng(0)
    for language in LANGUAGES:
        phrases = sentences.text(language, "dev", num_characters, pause=4, rng=rng)
        length = sum(map(len, phrases)) + 4 * (len(phrases) - 1)
        assert abs(length - max(num_characters, 10)) < 15
        assert len(" ".join(phrases).split()) >= 2


def test_activation_moves_pitch_rate_and_loudness_but_overlaps(planned):
    active = np.array([utterance.activation == 1 for utterance in planned])
    for setting in ("pitch", "pitch_range", "rate", "level_db"):
        values = np.array([np.mean([getattr(p, setting) for p in u.phrases]) for u in planned])
        right = np.mean((values > np.median(values[active]) / 2 + np.median(values[~active]) / 2) == active)
        assert 0.65 < right < 0.93, setting


def test_valence_moves_the_contour_but_overlaps(planned):
    contours = np.array([np.mean([phrase.swell_db for phrase in u.phrases]) for u in planned])
    right = np.mean((contours > 0) == [utterance.valence == 1 for utterance in planned])
    assert 0.75 < right < 0.9


def test_espeak_settings_stay_in_their_range(planned):
    for phrase in (phrase for utterance in planned for phrase in utterance.phrases):
        assert 0 <= phrase.pitch <= 99
        assert 0 <= phrase.pitch_range <= 99
        assert 80 <= phrase.rate <= 400


def test_another_number_of_train_utterances_leaves_the_other_splits_alone():
    more = plan(0, {**FEW, "train": 20})
    for split in SPLITS[1:]:
        assert of_split(more, split) == of_split(plan(0, FEW), split)


def test_another_seed_is_another_plan():
    assert plan(1, FEW) != plan(0, FEW) == plan(0, FEW)


def test_labelled_files_carry_the_plan_s_bits(generated):
    for split in ("train", "dev"):
        file = json.loads((generated / f"{split}.json").read_text())
        expected = {
            str(index): {"valence": u.valence, "activation": u.activation}
            for index, u in enumerate(of_split(plan(0, FEW), split))
        }
        assert {
            key: {bit: value[bit] for bit in ("valence", "activation")} for key, value in file.items()
        } == expected
        assert all(list(value) == ["valence", "activation", "features"] for value in file.values())


def test_test_files_carry_no_labels_and_their_gold_has_the_same_keys(generated):
    first, second, gold_1, gold_2 = (
        json.loads((generated / f"{name}.json").read_text())
        for name in ("ser_test_1", "ser_test_2", "gold_1", "gold_2")
    )
    assert all(set(value) == {"features"} for value in first.values())
    assert all(set(record) == {"id", "features"} and type(record["id"]) is int for record in second)
    assert list(gold_1) == list(first)
    assert list(gold_2) == [str(record["id"]) for record in second]
    for split, gold in (("ser_test_1", gold_1), ("ser_test_2", gold_2)):
        bits = [(u.valence, u.activation) for u in of_split(plan(0, FEW), split)]
        assert [(value["valence"], value["activation"]) for value in gold.values()] == bits


def test_features_are_log_mels_of_speech(generated):
    for features in frames_of(generated):
        assert features.shape[1] == 26
        assert np.isfinite(features).all()
        assert -5 < features.mean() < 25
        assert features.std() > 1


def test_the_spoken_length_is_the_planned_one(generated):
    spoken = np.array([len(features) for features in frames_of(generated)])
    expected = 50 * np.array([seconds(utterance) for utterance in plan(0, FEW)])
    assert np.corrcoef(spoken, expected)[0, 1] > 0.95
    assert spoken.mean() == pytest.approx(expected.mean(), rel=0.15)


@pytest.mark.parametrize("utterances", [{**FEW, "dev": 7}, {"train": 100}, {**FEW, "validation": 10}])
def test_too_few_utterances_or_unknown_splits_are_refused(tmp_path, utterances):
    with pytest.raises(ConfigError, match=r"utterances=.*train, dev, ser_test_1, ser_test_2 at least 8"):
        challenge.generate(tmp_path, utterances=utterances)
