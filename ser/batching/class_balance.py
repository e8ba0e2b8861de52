"""Balance classes: choose the utterances of an epoch and of each member of an ensemble."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ser.errors import ConfigError

Balance = Literal["none", "oversample", "undersample", "corpora"]


def epoch_indices(
    classes: np.ndarray, balance: Balance, rng: np.random.Generator, quotas: np.ndarray | None = None
) -> np.ndarray:
    """Draw the utterances of one epoch; their number is the same in every epoch.

    Args:
        classes: Class index of each utterance [N] int64; for `corpora`, index of its class in its corpus.
        balance: `undersample` draws from each class as many as the smallest class has; `oversample` keeps all
            utterances and repeats random ones of smaller classes, until each class has as many as the largest;
            `corpora` draws as many of each class as `quotas` say.
        rng: Random generator.
        quotas: Number of utterances of each class index [K] in an epoch.

    Returns:
        Indices, N for `none`, in no particular order.
    """
    if balance == "none":
        return np.arange(len(classes))
    members = [np.flatnonzero(classes == index) for index in np.unique(classes)]
    if balance == "corpora":
        assert quotas is not None
        return np.concatenate([_draw(own, int(quotas[classes[own[0]]]), rng) for own in members])
    if balance == "undersample":
        fewest = min(map(len, members))
        return np.concatenate([rng.choice(own, fewest, replace=False) for own in members])
    most = max(map(len, members))
    return np.concatenate([np.append(own, rng.choice(own, most - len(own))) for own in members])


def _draw(own: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` of the indices `own` [n]: each as often as any other, or once more."""
    whole, rest = divmod(count, len(own))
    return np.concatenate([np.tile(own, whole), rng.choice(own, rest, replace=False)])


def corpus_cells(corpora: Sequence[str], classes: np.ndarray) -> np.ndarray:
    """Return the index of each utterance's class in its corpus [N], 0..K-1.

    Args:
        corpora: Corpus of each utterance [N].
        classes: Class index of each utterance [N]; all 0 if there are no classes.
    """
    pairs = np.stack([np.unique(corpora, return_inverse=True)[1], classes], 1)
    cells: np.ndarray = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    return cells


def corpus_quotas(corpora: Sequence[str], classes: np.ndarray, temperature: float | None) -> np.ndarray:
    """Compute how many utterances of each class of each corpus are in an epoch [K], as many as there are in all.

    A corpus of n utterances gets a share in proportion to n^(1 / temperature), and so does a class within its corpus.
    Source of the formula: Conneau et al., "Unsupervised cross-lingual representation learning at scale", 2020, for
    languages.

    Args:
        corpora: Corpus of each utterance [N].
        classes: Class index of each utterance [N].
        temperature: 1 for shares in proportion to sizes, more for more equal ones; None for equal ones.
    """
    cells = corpus_cells(corpora, classes)
    firsts = np.unique(cells, return_index=True)[1]
    owners = np.unique(corpora, return_inverse=True)[1][firsts]
    sizes = np.bincount(cells).astype(np.float64)
    power = 0.0 if temperature is None else 1 / temperature
    within = sizes**power / np.bincount(owners, sizes**power)[owners]
    of_corpus = np.bincount(owners, sizes) ** power
    exact = len(cells) * within * (of_corpus / of_corpus.sum())[owners]
    quotas = np.floor(exact).astype(np.int64)
    short = len(cells) - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:short]] += 1
    at_least_one: np.ndarray = np.maximum(quotas, 1)
    return at_least_one


def ensemble_size(classes: np.ndarray) -> int:
    """Compute the number of members: size of the largest class / size of the smallest class, rounded."""
    counts = np.unique(classes, return_counts=True)[1]
    return max(1, round(float(counts.max() / counts.min())))


def member_indices(classes: np.ndarray, member: int, members: int, seed: int) -> np.ndarray:
    """Select the utterances of one ensemble member: ascending indices [n].

    Each class is cut at random into parts about as large as the smallest class, but into at most as many parts as
    there are members. A member trains on one part of each class, so that together the members train on all
    utterances.

    Args:
        classes: Class index of each utterance [N] int64.
        member: Index of the member, from 0.
        members: Number of members.
        seed: Seed of the cuts; the same for all members.

    Raises:
        ConfigError: There is no such member.
    """
    if not 0 <= member < members:
        raise ConfigError(f"member {member}: there are {members}, counted from 0. Give one of them.")
    rng = np.random.default_rng(seed)
    fewest = np.unique(classes, return_counts=True)[1].min()
    chosen = []
    for index in np.unique(classes):
        own = rng.permutation(np.flatnonzero(classes == index))
        parts = min(members, max(1, round(len(own) / fewest)))
        chosen.append(np.array_split(own, parts)[member % parts])
    return np.sort(np.concatenate(chosen))
