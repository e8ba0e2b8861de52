"""The demonstration data: its plan, without a sound, and its files, with few utterances."""

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ser.errors import ConfigError, DataError
from ser.synthetic import challenge, sentences
from ser.synthetic.prosody import CHARACTERS_PER_SECOND, NORMAL_RATE, plan
from ser.synthetic.sentences import LANGUAGES, SPLITS

FEW = dict.fromkeys(SPLITS, 8)


@pytest.fixture(scope="module")
def planned():
    return plan(0, challenge.UTTERANCES)


@pytest.fixture(scope="module")
def espeak():
    pytest.importorskip("espeakng_loader", reason='needs espeak-ng: pip install ".[demo]"')


@pytest.fixture(scope="module")
def generated(espeak, tmp_path_factory):  # noqa: ARG001
    """A folder with 8 utterances a split, spoken by two processes one after the other."""
    root = tmp_path_factory.mktemp("demo") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(challenge, "PART_SIZE", 16)
        challenge.generate(root, utterances=FEW, processes=1)
        yield root


@pytest.fixture
def copied(generated, tmp_path):
    """A copy of the generated folder that a test may damage."""
    for path in generated.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def mute(espeak, monkeypatch, tmp_path_factory):  # noqa: ARG001
    """A Python whose every process fails, as if espeak-ng crashed."""
    script = tmp_path_factory.mktemp("mute") / "python"
    script.write_text("#!/bin/sh\necho 'espeak-ng is hoarse' >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def contents(root):
    return {path.name: path.read_bytes() for path in root.glob("*.json")}


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


@pytest.mark.usefixtures("mute")
def test_a_second_call_does_nothing_and_says_nothing(generated, caplog, capfd):
    times = {path: path.stat().st_mtime_ns for path in generated.iterdir()}
    with caplog.at_level(logging.DEBUG):
        challenge.generate(generated, utterances=FEW)
    assert times == {path: path.stat().st_mtime_ns for path in generated.iterdir()}
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_an_interrupted_folder_is_redone_by_one_of_two_callers_to_the_same_bytes(generated, copied, caplog):
    (copied / "train.json").write_text("{")
    (copied / "dev.json").unlink()
    (copied / ".partial").mkdir()
    (copied / ".partial" / "part-0").write_text("[[1,2")
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(2) as callers:
        for call in [
            callers.submit(challenge.generate, copied, utterances=FEW, processes=2) for _ in range(2)
        ]:
            call.result()
    assert contents(copied) == contents(generated)
    assert caplog.text.count("generating synthetic speech") == 1
    assert not (copied / ".partial").exists()


@pytest.mark.usefixtures("mute")
@pytest.mark.parametrize("damage", ["missing file", "cut file", "cut demo.json", "seed", "sizes", "code"])
def test_what_is_incomplete_or_differs_is_begun_again(copied, damage, monkeypatch):
    before = contents(copied)
    if damage == "missing file":
        (copied / "gold_2.json").unlink()
    elif damage == "cut file":
        (copied / "dev.json").write_bytes(before["dev.json"][:-1])
    elif damage == "cut demo.json":
        (copied / "demo.json").write_text("{")
    elif damage == "code":
        monkeypatch.setattr(challenge, "hash_generator_code", lambda _: "another")
    with pytest.raises(DataError, match="espeak-ng is hoarse"):
        challenge.generate(
            copied,
            seed=int(damage == "seed"),
            utterances={**FEW, "dev": 9} if damage == "sizes" else FEW,
        )
    assert contents(copied)["train.json"] == before["train.json"]
    assert not (copied / ".partial").exists()


@pytest.mark.usefixtures("mute")
def test_a_crash_of_espeak_is_reported_with_what_to_do(tmp_path):
    with pytest.raises(
        DataError, match=r"utterances 0 to .* ended with code 3 \(espeak-ng is hoarse\).*pip install --force"
    ):
        challenge.generate(tmp_path, utterances=FEW)


@pytest.mark.usefixtures("espeak")
def test_files_of_someone_else_are_never_overwritten(tmp_path):
    (tmp_path / "train.json").write_text("precious")
    with pytest.raises(DataError, match=r"train\.json is not from this generator.*data\.root=DIR"):
        challenge.generate(tmp_path, utterances=FEW)
    assert (tmp_path / "train.json").read_text() == "precious"


@pytest.mark.usefixtures("espeak")
def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/data: cannot write the demonstration data.*data\.root=DIR"):
        challenge.generate(tmp_path / "file" / "data", utterances=FEW)


def test_without_espeak_the_message_comes_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ConfigError, match=r'pip install "espeakng-loader'):
        challenge.generate(tmp_path / "data", utterances=FEW)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("utterances", [{**FEW, "dev": 7}, {"train": 100}, {**FEW, "validation": 10}])
def test_too_few_utterances_or_unknown_splits_are_refused(tmp_path, utterances):
    with pytest.raises(ConfigError, match=r"utterances=.*train, dev, ser_test_1, ser_test_2 at least 8"):
        challenge.generate(tmp_path, utterances=utterances)


@pytest.mark.parametrize("settings", [{"seed": -1}, {"processes": 0}])
def test_a_negative_seed_or_no_process_is_refused(tmp_path, settings):
    with pytest.raises(ConfigError, match=r"seed of 0 or more and at least one process"):
        challenge.generate(tmp_path, **settings)
