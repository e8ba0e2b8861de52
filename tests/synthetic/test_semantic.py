"""The demonstration data for emotion over time: its words, sound, labels and files, few and short."""

import wave
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser.curves import estimate_delay
from ser.errors import ConfigError
from ser.splits.rules import Predefined
from ser.synthetic.espeak import Synthesizer
from ser.synthetic.lexicon import FUNCTION_WORDS, SPLITS, VALENCE, draw_sentence, words_of
from ser.synthetic.semantic import (
    FOLDERS,
    VOICES,
    SemanticDemoCorpus,
    Sentence,
    SpokenRecording,
    draw_sentences,
    generate,
    label,
    plan,
)
from ser.text.transcripts import read_transcript
from ser.text.vector_files import read_word_vectors
from ser.text.words import Word, read_words

NAMES = ("Train_01", "Train_02", "Devel_01", "Test_01")
SECONDS = 20.0


def settings(*recordings: int) -> dict[str, Any]:
    return {"seed": 0, "recordings": recordings}


@pytest.fixture(scope="module")
def generated(folders: Any) -> Path:
    """A folder of four recordings of 20 s."""
    found: Path = folders("semantic")
    return found


def table(root: Path, kind: str, name: str) -> list[list[str]]:
    return [line.split(";") for line in (root / kind / f"{name}.csv").read_text().splitlines()]


def samples(root: Path, name: str) -> np.ndarray:
    with wave.open(str(root / "audio" / f"{name}.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22_050, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def words(root: Path, name: str) -> list[Word]:
    return read_words(root / "speech2vec" / "segmentation" / f"{name}.csv")


def spoken(*sentences: tuple[str, float, float, float]) -> SpokenRecording:
    """A silent recording of 30 s with sentences of a word: the word, arousal, start and end."""
    return SpokenRecording(
        np.zeros(300 * 2205, np.int16),
        [Sentence((word,), arousal, arousal, arousal) for word, arousal, _, _ in sentences],
        [[Word(word, start, end, row)] for row, (word, _, start, end) in enumerate(sentences)],
        [(start, end) for _, _, start, end in sentences],
    )


def labels_of(recording: SpokenRecording, delay_s: float = 0.0) -> np.ndarray:
    return label(recording, delay_s=delay_s, rng=np.random.default_rng(0))


def test_splits_share_no_word_and_have_the_same_valence() -> None:
    found = [words_of(split) for split in SPLITS]
    assert [len(each) for each in found] == [120, 40, 40]
    assert len({*FUNCTION_WORDS}.union(*found)) == 200 + len(FUNCTION_WORDS)
    for each in found:
        valences = [VALENCE[word] for word in each]
        assert np.mean(valences) == pytest.approx(0, abs=0.02)
        assert np.std(valences) == pytest.approx(0.58, abs=0.02)


def test_long_and_short_words_have_the_same_valence() -> None:
    assert abs(np.corrcoef([*VALENCE.values()], [len(word) for word in VALENCE])[0, 1]) < 0.1


def test_vectors_of_train_words_tell_the_valence_of_test_words(generated: Path) -> None:
    table = read_word_vectors(generated / "vectors.vec")
    assert {*table.words} == {*VALENCE, *FUNCTION_WORDS}
    design, truth = {}, {}
    for split in SPLITS:
        vectors = table.lookup(words_of(split))[0].double().numpy()
        design[split] = np.column_stack([vectors, np.ones(len(vectors))])
        truth[split] = np.array([VALENCE[word] for word in words_of(split)])
    weights = np.linalg.lstsq(design["Train"], truth["Train"], rcond=None)[0]
    for split in ("Devel", "Test"):
        errors = np.square(design[split] @ weights - truth[split])
        assert 1 - errors.mean() / truth[split].var() > 0.9


def test_prosody_of_sentences_does_not_follow_their_words() -> None:
    drawn = [*islice(draw_sentences("Train", np.random.default_rng(0)), 800)]
    valence = [np.mean([VALENCE[word] for word in each.words if word in VALENCE]) for each in drawn]
    length = [sum(map(len, each.words)) for each in drawn]
    arousal = [each.arousal for each in drawn]
    assert np.std(valence) > 0.4
    assert np.std(arousal) > 0.4
    assert np.abs(np.corrcoef([valence, length, arousal])[[0, 0, 1], [1, 2, 2]]).max() < 0.1


def test_arousal_follows_pitch_and_loudness_and_hardly_the_rate() -> None:
    drawn = [*islice(draw_sentences("Train", np.random.default_rng(0)), 800)]
    values = [[each.arousal, each.pitch, each.loudness, each.rate] for each in drawn]
    _, *parts = np.corrcoef(values, rowvar=False)[0]
    assert min(parts[:2]) > 0.9
    assert abs(parts[2]) < 0.1


def test_mood_and_effort_are_apart_in_any_four_sentences() -> None:
    drawn = [*islice(draw_sentences("Train", np.random.default_rng(0)), 400)]
    valence = [np.mean([VALENCE[word] for word in each.words if word in VALENCE]) for each in drawn]
    products = np.array(valence) * [each.arousal for each in drawn]
    assert products.std() > 0.15
    assert products.reshape(-1, 4).mean(1).std() < 0.4 * products.std()  # 0.5 if they were drawn at random


def test_splits_share_no_voice_and_two_voices_talk() -> None:
    planned = plan(settings(30, 8, 8))
    pairs = {split: [each for each in planned if each.split == split] for split in SPLITS}
    found = [
        {voice for each in pairs[split] for voice in (each.subject, each.interlocutor)} for split in SPLITS
    ]
    assert [len(each) for each in found] == [14, 4, 4]
    assert len(set.union(*found)) == 22
    assert found == [{*VOICES[split].split()} for split in SPLITS]
    assert all(each.subject != each.interlocutor for each in planned)
    assert len({each.seed for each in planned}) == len(planned)


def test_more_recordings_leave_the_others_as_they_are() -> None:
    few, many = plan(settings(2, 1, 1)), plan(settings(3, 1, 2))
    assert [each for each in many if each.name not in ("Train_03", "Test_02")] == few


@pytest.mark.usefixtures("espeak")
def test_espeak_joins_no_words_of_a_sentence() -> None:
    synthesizer, rng = Synthesizer(), np.random.default_rng(0)
    for mood in np.linspace(-1, 1, 60):
        sentence = draw_sentence([*VALENCE], mood, rng)
        assert all(synthesizer.synthesize_words(sentence, voice="en+m3").is_exact), sentence


def test_labels_reach_the_truth_in_a_long_sentence() -> None:
    labels = labels_of(spoken(("murder", 0.8, 2, 12), ("love", -0.6, 12, 24)))
    assert labels.shape == (300, 3)
    assert labels[70, :2] == pytest.approx([0.8, -1], abs=0.01)
    assert labels[180, :2] == pytest.approx([-0.6, 1], abs=0.01)
    assert labels[119:121, :2].mean(0) == pytest.approx([0.1, 0], abs=0.06)  # as much before as after


def test_labels_decay_alike_before_and_after_speech() -> None:
    labels = labels_of(spoken(("love", 1.0, 10, 20)))[:, :2]
    assert labels[240] == pytest.approx([0.15, 0.15], abs=0.02)
    assert (np.diff(labels[:100], axis=0) > 0).all()
    assert np.abs(labels - labels[::-1]).max() < 0.05  # the span has a step more at its end


def test_liking_is_half_of_both_and_noise() -> None:
    labels = labels_of(spoken(("love", -1.0, 2, 12), ("murder", 0.5, 14, 28)))
    noise = labels[:, 2] - labels[:, :2].mean(1)
    assert noise.std() == pytest.approx(0.15, abs=0.01)
    assert np.abs(np.diff(noise)).max() < 0.05


def test_a_delay_moves_labels_and_nothing_else() -> None:
    recording = spoken(("love", 0.7, 2, 12))
    prompt, late = labels_of(recording), labels_of(recording, delay_s=2.4)
    assert np.array_equal(late[24:], prompt[:-24])
    assert (late[:24] == prompt[0]).all()


@pytest.mark.parametrize("delay_s", [0.0, 2.4])
def test_the_delay_of_labels_is_found(delay_s: float) -> None:
    inputs, labels = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        starts = np.cumsum(rng.uniform(2.5, 6, 5))
        drawn = [(str(rng.choice([*VALENCE])), rng.uniform(-1, 1), start, start + 2) for start in starts]
        recording = spoken(*drawn)
        known = np.zeros((300, 2))
        for word, arousal, start, end in drawn:
            known[round(10 * start) : round(10 * end)] = arousal, VALENCE[word]
        inputs.append(torch.from_numpy(known))
        labels.append(torch.from_numpy(labels_of(recording, delay_s)))
    assert estimate_delay(inputs, labels) == pytest.approx(delay_s, abs=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_labels_cover_the_audio_in_steps_of_100_ms(generated: Path, name: str) -> None:
    rows = table(generated, "labels", name)
    assert len(samples(generated, name)) == len(rows) * 2205 == SECONDS * 22_050
    assert {row[0] for row in rows} == {name}
    assert [row[1] for row in rows] == [f"{step / 10:.1f}" for step in range(len(rows))]
    values = np.array([row[2:] for row in rows], dtype=float)
    assert values.shape == (200, 3)
    assert np.abs(values).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_words_lie_in_turns_and_are_those_of_the_transcript(generated: Path, name: str) -> None:
    found = words(generated, name)
    turns = np.array(table(generated, "turns", name), dtype=float)
    transcript = read_transcript(generated / "transcriptions" / f"{name}.csv")
    assert transcript.dropped == 0
    assert [word.text for word in found] == [word for row in transcript.rows for word in row.words]
    for word in found:
        row = transcript.rows[word.sentence]
        assert row.start - 1e-6 <= word.start < word.end <= row.end + 1e-6
        assert ((turns[:, 0] <= word.start + 1e-6) & (word.end <= turns[:, 1] + 1e-6)).sum() == 1
    content = {word.text for word in found} - {*FUNCTION_WORDS}
    assert content <= {*words_of(name.partition("_")[0])}
    assert len(content) > 3


@pytest.mark.parametrize("name", NAMES)
def test_someone_else_speaks_between_the_turns(generated: Path, name: str) -> None:
    waveform = samples(generated, name)
    turns = np.array(table(generated, "turns", name), dtype=float)
    assert len(turns) > 1
    for (_, end), (start, _) in pairwise(turns):
        between = waveform[round(22_050 * end) : round(22_050 * start)]
        assert start - end > 1.5
        assert 10 * np.log10(np.square(between).mean()) > -45
        assert 10 * np.log10(np.square(between[:5_000]).mean()) < -55  # a pause of 0.3 s or more


@pytest.mark.usefixtures("mute")
def test_the_corpus_reads_all_of_it_and_generates_it_once(generated: Path) -> None:
    pytest.importorskip("soundfile")
    corpus = SemanticDemoCorpus(str(generated), train=2, devel=1, test=1, seconds=SECONDS, split=Predefined())
    assert corpus.stamps == ("generated speech: a demonstration, not a result",)
    found = corpus.conversations()
    assert [(each.id, each.split) for each in found] == [
        ("Devel_01", "validation"),
        ("Test_01", "test"),
        ("Train_01", "train"),
        ("Train_02", "train"),
    ]
    for each in found:
        assert each.values.shape == (200, 3)
        assert each.turns is not None
        assert [*each.words] == words(generated, each.id)
        assert each.speaker in VOICES[each.id.partition("_")[0]].split()


def test_the_layout_has_a_file_of_each_kind_for_each_recording(generated: Path) -> None:
    expected = {f"{kind}/{name}.{suffix}" for kind, suffix in FOLDERS.items() for name in NAMES}
    found = {path.relative_to(generated).as_posix() for path in generated.rglob("*") if path.is_file()}
    assert found - {".lock"} == expected | {"vectors.vec", "demo.json"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train": 0}, r"data\.train=0: expected 1 recording or more\. Write 24 or so"),
        ({"devel": -1}, r"data\.devel=-1: expected 1 recording or more\. Write 8 or so"),
        ({"test": 0}, r"data\.test=0: expected 1"),
        ({"seconds": 9.9}, r"data\.seconds=9\.9: expected seconds of a recording, 10 or more\. Write 60"),
        ({"seconds": float("nan")}, r"data\.seconds=nan: expected"),
        ({"seconds": float("inf")}, r"data\.seconds=inf: expected"),
        ({"delay_s": -0.1}, r"data\.delay_s=-0\.1: expected seconds from 0 to 30, half a recording"),
        ({"delay_s": 31.0}, r"data\.delay_s=31\.0: expected seconds from 0 to 30"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(tmp_path, **wrong)
    assert not [*tmp_path.iterdir()]
