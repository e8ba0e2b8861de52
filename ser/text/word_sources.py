"""Where the vectors of a corpus's words come from: its own transcripts, a file, or a text model.

A source is a setting. Fitted on the training transcripts, it gives a table that a checkpoint keeps, by which words get
their vectors in training and in prediction.
"""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ser.errors import CheckpointError, ConfigError, DataError
from ser.text.contextual import ContextualVectors
from ser.text.vector_files import read_word_vectors
from ser.text.word_training import train_word_vectors
from ser.text.word_vectors import Coverage, WordVectors, clean_word
from ser.text.words import Word

_log = logging.getLogger(__name__)

Unknown = Literal["hash", "zero"]


class WordTable(Protocol):
    """What gives words their vectors."""

    dim: int

    def prepare(self, words: Sequence[Word]) -> None:
        """Look up the vectors of words that the corpus of the training had not."""
        ...

    def embed(self, words: Sequence[Word]) -> Tensor:
        """Return the vectors [N, D] of the words of a recording."""
        ...

    def coverage(self, words: Sequence[Word]) -> Coverage:
        """Count the words that have no vector of their own."""
        ...

    def state(self) -> dict[str, Any]:
        """Return plain containers and tensors, for a checkpoint."""
        ...


class WordSource(ABC):
    """Base class of sources of word vectors.

    Args:
        dim: Number of values of a vector, D.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim

    @abstractmethod
    def fit(self, train: Sequence[Sequence[Word]], everything: Sequence[Sequence[Word]]) -> WordTable:
        """Return the table of a corpus.

        Args:
            train: Words of each training recording, which may be learnt from.
            everything: Words of all recordings, whose vectors have to be looked up.
        """


class TrainedVectors(WordSource):
    """Vectors from co-occurrence in the training transcripts; see `train_word_vectors`.

    Args:
        dim: Number of values of a vector.
        window: Number of neighbours on each side that count as context.
        min_count: Smallest number of times that a word occurs in the training transcripts.
        unknown: Vector of another word: `hash` = random numbers that depend on the word alone; `zero`.
    """

    def __init__(
        self, *, dim: int = 100, window: int = 4, min_count: int = 1, unknown: Unknown = "hash"
    ) -> None:
        super().__init__(dim)
        self.window = window
        self.min_count = min_count
        self.unknown: Unknown = unknown

    def fit(self, train: Sequence[Sequence[Word]], everything: Sequence[Sequence[Word]]) -> WordTable:
        """Train vectors on the sentences of the training recordings."""
        sentences = [
            [clean_word(word.text) or word.text for word in sentence]
            for words in train
            for sentence in _sentences(words)
        ]
        options = {"dim": self.dim, "window": self.window, "min_count": self.min_count}
        trained = train_word_vectors(sentences, **options)
        return LookupTable(WordVectors(trained.words, trained.vectors, unknown=self.unknown))


class VectorFile(WordSource):
    """Vectors of a text file as word2vec and fastText write it; only those of the corpus's words are kept.

    Args:
        path: The .vec file.
        dim: Number of values of its vectors.
        unknown: Vector of a word that the file lacks: `hash` = random numbers that depend on the word alone; `zero`.

    Raises:
        ConfigError: The vectors of the file have another width.
    """

    def __init__(self, path: str, *, dim: int, unknown: Unknown = "hash") -> None:
        super().__init__(dim)
        self.path = path
        self.unknown: Unknown = unknown

    def fit(self, train: Sequence[Sequence[Word]], everything: Sequence[Sequence[Word]]) -> WordTable:
        """Read the vectors of all words that are spoken."""
        found = read_word_vectors(self.path, {word.text for words in everything for word in words})
        check_width(self.path, found.dim, self.dim)
        vectors = WordVectors(found.words, found.vectors, unknown=self.unknown)
        return LookupTable(vectors, Path(self.path).absolute())


class TextModel(WordSource):
    """Hidden states of a text model such as BERT, which differ by sentence; see `ContextualVectors`.

    Args:
        path: Folder of a model with its fast tokenizer, as `save_pretrained` writes it.
        dim: Number of values of a hidden state.
        layer: 0 for the embeddings of pieces, 1 for the output of the first layer, ...; -1 for that of the last.

    Raises:
        ConfigError: The hidden states of the model have another width.
    """

    def __init__(self, path: str, *, dim: int, layer: int = -1) -> None:
        super().__init__(dim)
        self.path = path
        self.layer = layer

    def fit(self, train: Sequence[Sequence[Word]], everything: Sequence[Sequence[Word]]) -> WordTable:
        """Load the model."""
        table = TextModelTable(self.path, self.layer)
        check_width(self.path, table.dim, self.dim)
        return table


class LookupTable:
    """One vector for each word.

    Args:
        vectors: Vectors of the words.
        path: File that has more vectors of the same kind; None if there is none.
    """

    def __init__(self, vectors: WordVectors, path: Path | None = None) -> None:
        self.vectors = vectors
        self.path = path
        self.dim = vectors.dim

    def prepare(self, words: Sequence[Word]) -> None:
        """Add the vectors of new words from the file, if it is still there."""
        new = {word.text for word in words if word.text not in self.vectors}
        if not new or self.path is None or not self.path.is_file():
            return
        try:
            found = read_word_vectors(self.path, new)
        except DataError as error:
            _log.warning("%s", error)
            return
        if found.dim == self.dim:
            self.vectors = self.vectors.extended(found)
        else:
            _log.warning(
                "%s: has vectors of %d values, not of %d as in training, so new words are not looked up in it",
                *(self.path, found.dim, self.dim),
            )

    def embed(self, words: Sequence[Word]) -> Tensor:
        """Return the vectors [N, D] of words, whatever their sentence."""
        return self.vectors.lookup([word.text for word in words])[0]

    def coverage(self, words: Sequence[Word]) -> Coverage:
        """Count the words that the table lacks."""
        return self.vectors.coverage(word.text for word in words)

    def state(self) -> dict[str, Any]:
        """Return the words and their vectors."""
        return {
            "kind": "lookup",
            "path": None if self.path is None else str(self.path),
            **self.vectors.state(),
        }


class TextModelTable:
    """A vector for each word in its sentence, by a text model.

    Args:
        path: Folder of the model.
        layer: Layer of the hidden states.
    """

    def __init__(self, path: str, layer: int) -> None:
        self.path = path
        self.layer = layer
        self._model = ContextualVectors(path, layer=layer)
        self.dim = self._model.dim

    def prepare(self, words: Sequence[Word]) -> None:
        """Do nothing, as every word has pieces."""

    def embed(self, words: Sequence[Word]) -> Tensor:
        """Return the vectors [N, D] of the words, each in its sentence."""
        parts = [self._model([word.text for word in sentence]) for sentence in _sentences(words)]
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)

    def coverage(self, words: Sequence[Word]) -> Coverage:
        """Return that all words have a vector, of their pieces."""
        return Coverage(len(words), Counter(), len({word.text for word in words}))

    def state(self) -> dict[str, Any]:
        """Return where the model is; its weights stay there."""
        return {"kind": "text_model", "path": str(Path(self.path).absolute()), "layer": self.layer}


def table_from_state(state: Mapping[str, Any]) -> WordTable:
    """Build the table of a checkpoint.

    Raises:
        CheckpointError: The containers are not those of a table, or the folder of its text model is gone.
    """
    if state.get("kind") == "text_model":
        try:
            return TextModelTable(str(state["path"]), int(state["layer"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"word vectors: the checkpoint does not say which text model it needs ({error}). Use one that a "
                "training wrote."
            ) from error
    path = state.get("path")
    return LookupTable(WordVectors.from_state(state), None if path is None else Path(str(path)))


def check_width(path: str, found: int, expected: int) -> None:
    """Refuse vectors of another width than the settings tell the model.

    Raises:
        ConfigError: The widths differ.
    """
    if found != expected:
        raise ConfigError(
            f"data.words.dim={expected}: the vectors of {path} have {found} values. Set data.words.dim={found}"
        )


def _sentences(words: Sequence[Word]) -> list[list[Word]]:
    return [[*group] for _, group in groupby(words, key=lambda word: word.sentence)]
