"""Conversations as the data of a run: audio, words and labels on steps of 0.1 s."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser.batch import Padded
from ser.corpora import SewaCorpus
from ser.errors import ConfigError, DataError
from ser.features import StepLogMel
from ser.features.steps import split_roles
from ser.splits import Predefined
from ser.splits.base import Splits
from ser.text import TrainedVectors, VectorFile
from ser.text.word_sources import table_from_state
from ser.text.words import Word, read_words
from tests.conversations import COUNTS, RATE, STEPS, TURNS, WORDS, write_sewa

soundfile = pytest.importorskip("soundfile")

FEATURES = {"_target_": "ser.features.StepLogMel", "sample_rate": RATE, "num_mel_bins": 10}
DIM = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sewa(tmp_path_factory.mktemp("sewa"))


def corpus(root: Path, **settings: Any) -> SewaCorpus:
    return SewaCorpus(
        str(root),
        split=Predefined(),
        **{"words": TrainedVectors(dim=DIM), "cache_dir": str(root / "cache"), **settings},
    )


@pytest.fixture(scope="module")
def splits(root: Path) -> Splits:
    return corpus(root).splits(FEATURES)


def test_splits_are_those_of_the_names(splits: Splits) -> None:
    sizes = {name: len(store) for name, store in splits.stores.items()}
    assert sizes == {"train": COUNTS["Train"], "validation": COUNTS["Devel"], "test": COUNTS["Test"]}
    assert splits.stores["test"].ids == ["Test_00", "Test_01"]


def test_steps_hold_the_audio_of_both_roles_then_the_word(splits: Splits, root: Path) -> None:
    store = splits.stores["test"]
    waveform = torch.from_numpy(soundfile.read(root / "audio" / "Test_01.wav", dtype="float32")[0])
    roles = split_roles(waveform, TURNS, RATE)
    extractor = StepLogMel(sample_rate=RATE, num_mel_bins=10)
    audio = extractor(Padded(roles[None], torch.tensor([len(roles)]))).values[0]
    found = store.gather(np.array([1]), np.array([0]), np.array([STEPS]))[0]
    assert found.shape == (STEPS, 40 + DIM)
    torch.testing.assert_close(found[:, :40], audio)
    assert splits.facts.words is not None
    table = table_from_state(splits.facts.words)
    words = read_words(root / "speech2vec" / "segmentation" / "Test_01.csv")
    vectors = table.embed(words)
    torch.testing.assert_close(found[31, 40:], vectors[6])  # at 3.0 to 3.4 s
    torch.testing.assert_close(found[35, 40:], vectors[7])


def test_labels_are_those_of_the_file(splits: Splits, root: Path) -> None:
    store = splits.stores["validation"]
    labels = store.gather_step_labels(np.array([1]), np.array([10]), np.array([50]))
    rows = np.loadtxt(root / "labels" / "Devel_01.csv", delimiter=";", usecols=(2, 3, 4), dtype=np.float32)
    np.testing.assert_array_equal(labels, rows[10:60])
    assert store.label_names == ("arousal", "valence", "liking")


def test_a_cut_and_a_selection_keep_words_and_labels_in_place(splits: Splits) -> None:
    store = splits.stores["train"]
    pieces = store.cut(50).select(np.array([4]))  # the second sequence of the second recording
    span = np.array([0]), np.array([3]), np.array([40])
    whole = np.array([1]), np.array([53]), np.array([40])
    torch.testing.assert_close(pieces.gather(*span), store.gather(*whole))
    np.testing.assert_array_equal(pieces.gather_step_labels(*span), store.gather_step_labels(*whole))


def test_fields_are_those_that_are_asked_for(root: Path) -> None:
    store = corpus(root, fields=["valence"]).splits(FEATURES).stores["train"]
    assert store.label_names == ("valence",)
    assert store.step_labels is not None
    assert store.step_labels.shape[1] == 1
    with pytest.raises(ConfigError, match=r"no label 'valense'\. Did you mean 'valence'"):
        corpus(root, fields=["valense"])


def test_audio_alone_has_no_words(root: Path) -> None:
    splits = corpus(root, words=None).splits(FEATURES)
    assert splits.stores["train"].feature_dim == 40
    assert splits.facts.words is None
    assert any("data.words is null" in remark for remark in splits.facts.remarks)


def test_words_of_each_split_are_counted(splits: Splits) -> None:
    remarks = [remark for remark in splits.facts.remarks if remark.startswith("Words of ")]
    assert [remark.partition(":")[0] for remark in remarks] == [
        "Words of train",
        "Words of validation",
        "Words of test",
    ]
    assert f"all {len(WORDS)} words have a vector" in remarks[0]


def test_features_of_another_step_are_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"10 ms long.*Use features=step_log_mel"):
        corpus(root).splits({"_target_": "ser.features.LogMel"})


def test_a_corpus_without_words_is_refused_if_they_are_needed(tmp_path: Path) -> None:
    root = write_sewa(tmp_path / "corpus")
    shutil.rmtree(root / "speech2vec")
    with pytest.raises(DataError, match="no recording has words"):
        corpus(root).splits(FEATURES)
    assert corpus(root, words=None).splits(FEATURES).facts.words is None


def test_trained_vectors_are_those_of_a_word_in_any_case() -> None:
    words = [Word(text, place, place + 0.5) for place, text in enumerate(("Das", "das", "Haus.", "ist"))]
    table = TrainedVectors(dim=DIM).fit([words], [words])
    spoken = [Word(text, 0, 1) for text in ("das", "Das", "haus")]
    assert not table.coverage(spoken).unknown
    torch.testing.assert_close(*table.embed(spoken)[:2])


def test_new_words_are_not_taken_from_vectors_of_another_width(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "words.vec"
    path.write_text("2 3\nhaus 1 2 3\nhund 4 5 6\n")
    words = [Word("haus", 0, 1)]
    table = VectorFile(str(path), dim=3).fit([words], [words])
    path.write_text("1 2\nhund 4 5\n")
    table.prepare([Word("hund", 0, 1)])
    assert "has vectors of 2 values, not of 3 as in training" in caplog.text
    assert table.coverage([Word("hund", 0, 1)]).unknown
