"""Vectors of words: looked up, read from files, trained, rotated, kept."""

import io
import logging
import sys
from pathlib import Path

import pytest
import torch

from ser.errors import CheckpointError, ConfigError, DataError
from ser.text.vector_files import read_word_vectors
from ser.text.word_training import rotate_into, train_word_vectors
from ser.text.word_vectors import WordVectors, clean_word

FILE = "4 3\nhaus 1 2 3\nHund 4 5 6\nlachen 7 8 9 \nhund,  0 0 0\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "words.vec"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def table() -> WordVectors:
    return WordVectors(["house", "laughter", "dog"], torch.arange(12.0).reshape(3, 4))


def test_words_are_found_as_written_cleaned_or_by_synonym(table: WordVectors) -> None:
    vectors, is_known = table.lookup(["dog", "House,", "<laughter>", "cat"])
    torch.testing.assert_close(vectors[:3], table.vectors[[2, 0, 1]])
    assert is_known.tolist() == [True, True, True, False]
    assert table.lookup([])[0].shape == (0, 4)


@pytest.mark.parametrize(
    ("word", "cleaned"), [("Hello,", "hello"), ("don't", "dont"), ("<Laughter>", "<laughter>"), ("Ä.", "ä")]
)
def test_cleaning_drops_punctuation_and_keeps_tags(word: str, cleaned: str) -> None:
    assert clean_word(word) == cleaned


def test_an_unknown_word_has_the_same_vector_in_every_run() -> None:
    for seed in (1, 2):
        torch.manual_seed(seed)
        found, is_known = WordVectors(["a"], torch.ones(1, 4)).lookup(["zebra"])
        torch.testing.assert_close(
            found, torch.tensor([[-0.6637, -0.1013, 0.3279, 0.4090]]), atol=1e-4, rtol=0
        )
        assert not is_known.any()


def test_unknown_vectors_differ_by_word_and_seed_and_have_length_one() -> None:
    first, second = (WordVectors(["a"], torch.ones(1, 300), seed=seed) for seed in (0, 1))
    words = [f"word{number}" for number in range(50)]
    vectors = first.lookup(words)[0]
    assert vectors.square().sum(1).mean() == pytest.approx(1.0, abs=0.02)
    assert vectors.unique(dim=0).shape == vectors.shape
    assert (second.lookup(words)[0] - vectors).abs().min(0).values.max() > 0
    zero = WordVectors(["a"], torch.ones(1, 3), unknown="zero")
    assert not zero.lookup(["b"])[0].any()


def test_coverage_counts_what_is_spoken(table: WordVectors) -> None:
    coverage = table.coverage(["dog", "cat", "cat", "house"])
    assert coverage.rate == pytest.approx(0.5)
    assert str(coverage) == (
        "1 of 3 words have no vector, 50.0 % of all 4 that are spoken; most often 'cat' (2)"
    )
    assert str(table.coverage(["dog"])) == "all 1 words have a vector"


def test_a_saved_table_answers_alike(table: WordVectors) -> None:
    file = io.BytesIO()
    torch.save(table.state(), file)
    file.seek(0)
    loaded = WordVectors.from_state(torch.load(file, weights_only=True))
    words = ["dog", "<laughter>", "cat", "House"]
    for one, other in zip(table.lookup(words), loaded.lookup(words), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "part", [{"words": ["a"]}, {"vectors": None}, {"vectors": torch.full((3, 4), torch.nan)}]
)
def test_a_damaged_table_is_refused(table: WordVectors, part: dict) -> None:
    with pytest.raises(CheckpointError, match="word vectors: the checkpoint's table is damaged"):
        WordVectors.from_state(table.state() | part)


def test_a_file_is_read_for_the_needed_words(tmp_path: Path) -> None:
    table = read_word_vectors(write(tmp_path, FILE), ["hund", "<laughter>", "katze"])
    assert {*table.words} == {"hund", "lachen"}
    vectors, is_known = table.lookup(["Hund", "<laughter>", "katze"])
    assert vectors[:2].tolist() == [[4, 5, 6], [7, 8, 9]]
    assert is_known.tolist() == [True, True, False]
    assert len(read_word_vectors(tmp_path / "words.vec")) == 4


def test_the_exact_case_wins_over_another(tmp_path: Path) -> None:
    path = write(tmp_path, "2 1\nWeg 1\nweg 2\n")
    assert read_word_vectors(path, ["weg"]).lookup(["weg"])[0].tolist() == [[2.0]]


def test_repeated_words_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        table = read_word_vectors(write(tmp_path, "2 1\na 1\na 2\n"))
    assert table.vectors.tolist() == [[1.0]]
    assert "1 words occur twice" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("haus 1 2\n", r"line 1: is 'haus 1 2', expected the number of words"),
        ("2 3\nhaus 1 2 3\nhund 1 2\n", "line 3: has 2 values, expected 3"),
        ("2 3\nhaus 1 2 3\nzwei worte 1 2 3\n", "line 3: has 4 values, expected 3"),
        ("1 2\nhaus 1 x\n", "line 2: 'x' is no number"),
        ("1 2\nhaus 1 nan\n", "line 2: holds a value that is not finite"),
        ("3 1\nhaus 1\nhund 2\n", "has 2 words, but line 1 announces 3"),
        ("1 1\nkatze 1\n", r"has none of the 2 words that are needed, such as 'haus'"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_word_vectors(write(tmp_path, text), ["haus", "hund"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_word_vectors(tmp_path / "none.vec")
    with pytest.raises(DataError, match="cannot be read"):
        read_word_vectors(tmp_path)


def sentences(count: int, *, seed: int = 0) -> list[list[str]]:
    """Sentences of two topics, ten words each, with one word that both use."""
    random = torch.Generator().manual_seed(seed)
    topics = [[f"{topic}{number}" for number in range(10)] for topic in ("sun", "rain")]
    found = []
    for place in range(count):
        words = topics[place % 2]
        chosen = torch.randint(10, (6,), generator=random).tolist()
        found.append([*(words[index] for index in chosen), "and"])
    return found


def test_trained_vectors_group_words_by_their_contexts() -> None:
    table = train_word_vectors(sentences(200), dim=8)
    assert table.vectors.shape == (21, 8)
    assert table.vectors.square().sum(1).mean() == pytest.approx(1.0, abs=1e-5)
    unit = torch.nn.functional.normalize(
        table.lookup([f"{t}{n}" for t in ("sun", "rain") for n in range(10)])[0]
    )
    similar = unit @ unit.T
    within = (similar[:10, :10].mean() + similar[10:, 10:].mean()) / 2
    assert within > similar[:10, 10:].mean() + 0.3


def test_training_gives_the_same_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    texts = sentences(200)
    first = train_word_vectors(texts, dim=8)
    torch.testing.assert_close(train_word_vectors(texts[::-1], dim=8).vectors, first.vectors)
    assert (first.vectors.abs().max(0).values == first.vectors.max(0).values).all()  # signs are fixed
    monkeypatch.setattr("ser.text.word_training._DENSE", 5)  # some singular values of a sparse matrix
    torch.testing.assert_close(train_word_vectors(texts, dim=8).vectors, first.vectors, atol=1e-4, rtol=1e-3)


def test_few_words_are_trained_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scipy", "scipy.linalg", "scipy.sparse.linalg"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(train_word_vectors(sentences(20), dim=8)) == 21
    monkeypatch.setattr("ser.text.word_training._DENSE", 5)
    with pytest.raises(ConfigError, match=r"scipy is not installed.*pip install"):
        train_word_vectors(sentences(20), dim=8)


def test_rare_words_and_missing_dimensions_are_zero() -> None:
    table = train_word_vectors([["a", "b", "c"], ["a", "b"]], dim=6, min_count=2)
    assert table.words == ("a", "b")
    assert not table.vectors[:, 1:].any()


def test_text_without_pairs_is_refused() -> None:
    with pytest.raises(DataError, match="have 2 words that occur 1 times or more, and no two"):
        train_word_vectors([["a"], ["b"]])


def test_procrustes_recovers_a_rotated_copy() -> None:
    pytest.importorskip("scipy")
    words = [f"w{number}" for number in range(400)]
    target = WordVectors(words, torch.randn(400, 50))
    rotation = torch.linalg.qr(torch.randn(50, 50, dtype=torch.float64)).Q
    source = WordVectors(words[::-1], target.vectors.flip(0)).rotated(rotation)
    assert (source.lookup(words)[0] - target.vectors).abs().max() > 0.5
    frequent = rotate_into(source, target, words=words[:100])
    torch.testing.assert_close(frequent.lookup(words)[0], target.vectors, atol=1e-5, rtol=0)


def test_spaces_that_do_not_fit_are_refused(table: WordVectors) -> None:
    with pytest.raises(DataError, match="one space has 2 values, the other 4"):
        rotate_into(WordVectors(["dog"], torch.ones(1, 2)), table)
    with pytest.raises(DataError, match="share no word"):
        rotate_into(WordVectors(["perro"], torch.ones(1, 4)), table)
