"""Which utterances an epoch trains on where classes are unequally frequent, and how an ensemble shares them out."""

from typing import Literal

import numpy as np

from ser.errors import ConfigError

Balance = Literal["none", "oversample", "undersample"]


def epoch_indices(classes: np.ndarray, balance: Balance, rng: np.random.Generator) -> np.ndarray:
    """Indices of the utterances of one epoch, as many in every epoch.

    Args:
        classes: [N] int64, class index of each.
        balance: `undersample` draws from each class as many as the smallest has; `oversample` repeats some of the
            smaller ones, drawn at random, until each has as many as the largest, all its own among them.
        rng: draws them.

    Returns:
        Indices, N for `none`, in no particular order.
    """
    if balance == "none":
        return np.arange(len(classes))
    members = [np.flatnonzero(classes == index) for index in np.unique(classes)]
    if balance == "undersample":
        fewest = min(map(len, members))
        return np.concatenate([rng.choice(own, fewest, replace=False) for own in members])
    most = max(map(len, members))
    return np.concatenate([np.append(own, rng.choice(own, most - len(own))) for own in members])


def ensemble_size(classes: np.ndarray) -> int:
    """How many members an ensemble has: as often as the largest class holds the smallest, rounded."""
    counts = np.unique(classes, return_counts=True)[1]
    return max(1, round(float(counts.max() / counts.min())))


def member_indices(classes: np.ndarray, member: int, members: int, seed: int) -> np.ndarray:
    """Indices [n], ascending, of the utterances that one member of an ensemble learns from.

    Each class is cut at random into parts about as large as the smallest class, but into no more than there are
    members; a member has one part of each, so that together they have everything.

    Args:
        classes: [N] int64, class index of each utterance.
        member: from 0.
        members: how many there are.
        seed: of the cuts; the same for all members.

    Raises:
        ConfigError: there is no such member.
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
