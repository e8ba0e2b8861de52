"""Balance classes: choose the utterances of an epoch and of each member of an ensemble."""

from typing import Literal

import numpy as np

from ser.errors import ConfigError

Balance = Literal["none", "oversample", "undersample"]


def epoch_indices(classes: np.ndarray, balance: Balance, rng: np.random.Generator) -> np.ndarray:
    """Draw the utterances of one epoch; their number is the same in every epoch.

    Args:
        classes: Class index of each utterance [N] int64.
        balance: `undersample` draws from each class as many as the smallest class has; `oversample` keeps all
            utterances and repeats random ones of smaller classes, until each class has as many as the largest.
        rng: Random generator.

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
