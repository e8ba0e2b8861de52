"""Train word vectors on transcripts, and rotate one space of vectors into another."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ser.errors import ConfigError, DataError, install_command
from ser.text.word_vectors import WordVectors

_log = logging.getLogger(__name__)

_DENSE = 500  # words up to which all singular values are computed, without scipy
_SMOOTHING = 0.75  # exponent of the frequency of contexts, so that rare ones do not dominate


def train_word_vectors(
    sentences: Iterable[Sequence[str]], *, dim: int = 100, window: int = 4, min_count: int = 1
) -> WordVectors:
    """Train vectors by the singular values of positive pointwise mutual information, the same in every run.

    Pairs are counted within a sentence. The order of sentences is of no matter. The mean squared length of a vector is
    1; with fewer than dim + 1 words, the last values of all vectors are 0.

    Args:
        sentences: Words of each sentence, or of each row of a transcript.
        dim: Number of values of a vector.
        window: Number of neighbours on each side that count as context.
        min_count: Words that occur less often are left out, and are no contexts.

    Raises:
        ConfigError: There are more than 500 words, and scipy is not installed.
        DataError: There are fewer than two words, or no two of them in one sentence.

    Source: Levy, Goldberg, Dagan, "Improving distributional similarity with lessons learned from word embeddings",
    TACL 2015.
    """
    texts = [[*sentence] for sentence in sentences]
    counts = Counter(word for text in texts for word in text)
    words = sorted(word for word, count in counts.items() if count >= min_count)
    rows = {word: row for row, word in enumerate(words)}
    pairs: Counter[tuple[int, int]] = Counter()
    for text in texts:
        known = [rows[word] for word in text if word in rows]
        for distance in range(1, window + 1):
            pairs.update(zip(known, known[distance:], strict=False))
    if not pairs:
        raise DataError(
            f"transcripts: have {len(words)} words that occur {min_count} times or more, and no two of them in one "
            "sentence, so there is nothing to learn vectors from. Give more text, or a .vec file."
        )
    information = _mutual_information(pairs, len(words))
    left, scales = _decompose(*information, size=len(words), rank=min(dim, len(words) - 1) or 1)
    vectors = np.zeros((len(words), dim))
    vectors[:, : left.shape[1]] = left * np.sqrt(scales)
    vectors /= np.sqrt(np.square(vectors).sum(1).mean()) or 1.0
    return WordVectors(words, torch.from_numpy(vectors).float())


def rotate_into(
    source: WordVectors, target: WordVectors, *, words: Iterable[str] | None = None
) -> WordVectors:
    """Rotate the source's space so that shared words come closest to the target's, by the closed form of Procrustes.

    Args:
        source: Vectors to rotate, such as those of Speech2Vec.
        target: Vectors of the space to reach, such as those of word2vec, of the same width.
        words: Words to fit, such as frequent ones; None = all that both have.

    Raises:
        ConfigError: scipy is not installed.
        DataError: The widths differ, or no word is shared.

    Source: Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31, 1966.
    """
    if source.dim != target.dim:
        raise DataError(
            f"word vectors: one space has {source.dim} values, the other {target.dim}, so one cannot be rotated into "
            "the other. Train or export both with the same width."
        )
    shared = [
        word for word in (source.words if words is None else words) if word in source and word in target
    ]
    if not shared:
        raise DataError(
            "word vectors: the two spaces share no word, so one cannot be rotated into the other. "
            "Give vectors of one language, spelt alike."
        )
    if len(shared) < source.dim:
        _log.warning(
            "word vectors: %d shared words do not determine a rotation of %d dimensions",
            len(shared),
            source.dim,
        )
    ours, theirs = (space.lookup(shared)[0].double().numpy() for space in (source, target))
    rotation, _ = _scipy().linalg.orthogonal_procrustes(ours, theirs)
    return source.rotated(torch.from_numpy(rotation))


def _mutual_information(
    pairs: Counter[tuple[int, int]], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows [N], columns [N] and values [N] of positive pointwise mutual information; pairs have no order."""
    places = np.array([*pairs]).T
    once = np.fromiter(pairs.values(), dtype=np.float64)
    both = np.concatenate([size * places[0] + places[1], size * places[1] + places[0]])
    cells, index = np.unique(both, return_inverse=True)
    counts = np.bincount(index, np.concatenate([once, once]))
    row, column = np.divmod(cells, size)
    words = np.bincount(row, counts, size)
    contexts = words**_SMOOTHING
    information = np.log(counts * contexts.sum() / (words[row] * contexts[column]))
    return row, column, np.maximum(information, 0.0)


def _decompose(
    row: np.ndarray, column: np.ndarray, values: np.ndarray, *, size: int, rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return left singular vectors [size, rank] and singular values [rank], the largest first, with fixed signs."""
    if size <= _DENSE:
        matrix = np.zeros((size, size))
        matrix[row, column] = values
        left, scales, _ = np.linalg.svd(matrix)
        left, scales = left[:, :rank], scales[:rank]
    else:
        sparse = _scipy().sparse.coo_array((values, (row, column)), shape=(size, size)).tocsr()
        left, scales, _ = _scipy().sparse.linalg.svds(sparse, k=rank, v0=np.ones(size))
        order = np.argsort(-scales)
        left, scales = left[:, order], scales[order]
    largest = np.abs(left).argmax(0)
    signs = np.sign(left[largest, np.arange(left.shape[1])])
    return left * np.where(signs == 0, 1.0, signs), scales


def _scipy() -> Any:
    try:
        import scipy.linalg
        import scipy.sparse.linalg
    except ImportError as error:
        raise ConfigError(
            f"word vectors: the package scipy is not installed ({error}). Run: {install_command('text')}"
        ) from error
    return scipy
