"""Hidden states of a small text model, averaged over the pieces of a word."""

from pathlib import Path

import pytest
import torch

from ser.errors import CheckpointError, ConfigError
from ser.text.contextual import ContextualVectors

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s", "sit", "##ting", "a"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    transformers = pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=len(PIECES),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_word_is_the_mean_of_its_pieces(folder: str) -> None:
    vectors = ContextualVectors(folder)
    found = vectors(["the", "dogs", "sitting", ""])
    ids = torch.tensor([[2, 5, 6, 7, 8, 9, 3]])  # [CLS] the dog ##s sit ##ting [SEP]
    with torch.no_grad():
        hidden = vectors.model(ids).last_hidden_state[0]
    expected = torch.stack([hidden[1], hidden[2:4].mean(0), hidden[4:6].mean(0), torch.zeros(16)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert vectors([]).shape == (0, 16)


def test_a_long_sentence_is_cut_between_words(folder: str) -> None:
    vectors = ContextualVectors(folder)
    words = ["the", "dogs", "sitting", "a"] * 4
    found = vectors(words)
    assert found.shape == (16, 16)
    torch.testing.assert_close(found[:4], vectors(words[:4]))
    assert vectors(["dog" + "s" * 50]).isfinite().all()


def test_folders_and_layers_that_do_not_fit_are_refused(folder: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has the layers 0 to 2, but layer 3"):
        ContextualVectors(folder, layer=3)
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        ContextualVectors(str(tmp_path / "none"))
    (Path(folder) / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be loaded by transformers"):
        ContextualVectors(folder)
