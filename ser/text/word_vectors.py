"""Vectors of words: read from a .vec file, looked up, and kept in a checkpoint."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ser.errors import CheckpointError
from ser.names import normalize_name
from ser.randomness import uniform

SYNONYMS: Mapping[str, Sequence[str]] = {
    "<laughter>": ("laughter", "laughing", "lachen"),
    "<breathing>": ("breathing", "breath", "atmen"),
    "<coughing>": ("coughing", "cough", "husten"),
    "<sighing>": ("sighing", "sigh", "seufzen"),
    "<smacking>": ("smacking", "smack", "schmatzen"),
    "<noise>": ("noise", "geräusch"),
}
"""Tag of a transcript -> words whose vector it may have, the first that a table has."""


@dataclass(frozen=True)
class Coverage:
    """How many words have a vector.

    Args:
        total: Number of words that were spoken.
        unknown: Word without a vector -> how often it was spoken.
        distinct: Number of different words.
    """

    total: int
    unknown: Counter[str]
    distinct: int

    @property
    def rate(self) -> float:
        """Return the share of spoken words without a vector, 0..1."""
        return self.unknown.total() / max(self.total, 1)

    def __str__(self) -> str:
        if not self.unknown:
            return f"all {self.distinct} words have a vector"
        often = ", ".join(f"{word!r} ({count})" for word, count in self.unknown.most_common(5))
        return (
            f"{len(self.unknown)} of {self.distinct} words have no vector, {100 * self.rate:.1f} % of all "
            f"{self.total} that are spoken; most often {often}"
        )


class WordVectors:
    """Vectors of words; a word without one gets the same numbers in every run.

    A word is looked up as it is written, then in lower case without punctuation, then by its synonyms.

    Args:
        words: Words of the table, each once.
        vectors: Their vectors [V, D] float32.
        synonyms: Tag or word -> words whose vector it may have, in order of preference.
        unknown: Vector of a word that is not in the table: `hash` = random numbers of about length 1, which depend on
            the word, the seed and D alone; `zero`.
        seed: Seed of these numbers.
    """

    def __init__(
        self,
        words: Sequence[str],
        vectors: Tensor,
        *,
        synonyms: Mapping[str, Sequence[str]] = SYNONYMS,
        unknown: Literal["hash", "zero"] = "hash",
        seed: int = 0,
    ) -> None:
        assert vectors.ndim == 2 and len(words) == len({*words}) == len(vectors)  # noqa: PT018
        self.words = tuple(words)
        self.vectors = vectors.float()
        self.synonyms = {word: tuple(others) for word, others in synonyms.items()}
        self.unknown: Literal["hash", "zero"] = unknown
        self.seed = seed
        self._rows = {word: row for row, word in enumerate(self.words)}

    @property
    def dim(self) -> int:
        """Return the number of values of a vector, D."""
        return self.vectors.shape[1]

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return self._row(word) is not None

    def lookup(self, words: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the vectors [N, D] of words, and whether each was in the table [N] bool."""
        rows = [self._row(word) for word in words]
        found = [
            self._vector_of_unknown(word) if row is None else self.vectors[row]
            for word, row in zip(words, rows, strict=True)
        ]
        vectors = torch.stack(found) if found else self.vectors.new_zeros(0, self.dim)
        return vectors, torch.tensor([row is not None for row in rows], dtype=torch.bool)

    def coverage(self, words: Iterable[str]) -> Coverage:
        """Count the words that are spoken and have no vector."""
        counts = Counter(words)
        unknown = Counter({word: count for word, count in counts.items() if word not in self})
        return Coverage(counts.total(), unknown, len(counts))

    def extended(self, other: "WordVectors") -> "WordVectors":
        """Add the vectors of another table of the same width, whose words are new."""
        return self._with([*self.words, *other.words], torch.cat([self.vectors, other.vectors]))

    def rotated(self, rotation: Tensor) -> "WordVectors":
        """Multiply all vectors by a matrix [D, D]."""
        return self._with(self.words, self.vectors @ rotation.to(self.vectors.dtype))

    def state(self) -> dict[str, Any]:
        """Return plain containers and a tensor, which torch.load(weights_only=True) reads."""
        return {
            "words": [*self.words],
            "vectors": self.vectors.clone(),
            "synonyms": {word: [*others] for word, others in self.synonyms.items()},
            "unknown": self.unknown,
            "seed": self.seed,
        }

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "WordVectors":
        """Build the table that `state` described.

        Raises:
            CheckpointError: The containers are not those of a table.
        """
        try:
            options = {name: state[name] for name in ("synonyms", "unknown", "seed")}
            words, vectors = [str(word) for word in state["words"]], state["vectors"]
            if vectors.ndim != 2 or len({*words}) != len(vectors) or not vectors.isfinite().all():
                raise CheckpointError(f"{len(words)} words, but vectors of shape {[*vectors.shape]}")
            return WordVectors(words, vectors, **options)
        except (KeyError, TypeError, AttributeError, CheckpointError) as error:
            raise CheckpointError(
                f"word vectors: the checkpoint's table is damaged ({error}). Use one that a training wrote."
            ) from error

    def _with(self, words: Sequence[str], vectors: Tensor) -> "WordVectors":
        return WordVectors(words, vectors, synonyms=self.synonyms, unknown=self.unknown, seed=self.seed)

    def _row(self, word: str) -> int | None:
        rows = (self._rows.get(spelling) for spelling in spellings(word, self.synonyms))
        return next((row for row in rows if row is not None), None)

    def _vector_of_unknown(self, word: str) -> Tensor:
        if self.unknown == "zero":
            return self.vectors.new_zeros(self.dim)
        digest = hashlib.blake2b(f"{self.seed} {clean_word(word) or word}".encode(), digest_size=8).digest()
        key = torch.tensor([int.from_bytes(digest, "little", signed=True)])
        numbers = 2 * uniform(key, "word", self.dim)[0] - 1
        scale: float = (3 / self.dim) ** 0.5
        return numbers * scale


def clean_word(word: str) -> str:
    """Return a word in lower case without punctuation, except the brackets of a tag such as <laughter>."""
    letters = normalize_name(word).lower()
    return "".join(letter for letter in letters if not unicodedata.category(letter).startswith("P")).strip()


def spellings(word: str, synonyms: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the words under which a word is looked up, the preferred one first."""
    yield word
    cleaned = clean_word(word)
    yield cleaned
    yield from synonyms.get(cleaned, ())
