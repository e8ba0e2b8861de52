"""Compare the measures of classes and speakers: a model can learn a microphone in place of an emotion."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ser.audit.measures import Measures
from ser.audit.recordings import Audited

_EXPLAINED = 0.25  # of the variance of ranks; 0.14 counts as a large effect in Cohen's table
_LEAST_OF_GROUP = 3
_TIMES_MORE, _SHARE_OF_GROUP = 3.0, 0.2


class Quantity(NamedTuple):
    """A measure that is compared.

    Args:
        name: Its name with unit.
        value: Function that takes it from the measures.
        notable: Difference of two medians that matters.
        digits: Decimals that are shown.
    """

    name: str
    value: Callable[[Measures], float]
    notable: float
    digits: int = 0


QUANTITIES = (
    Quantity("seconds", lambda each: each.seconds, 1.0, 1),
    Quantity("level, dB", lambda each: each.level_db, 6.0),
    Quantity("SNR, dB", lambda each: each.snr_db, 6.0),
    Quantity("bandwidth, kHz", lambda each: each.bandwidth_hz / 1000, 0.8, 1),
    Quantity("silence, %", lambda each: 100 * each.silent, 15.0),
)


class Difference(NamedTuple):
    """Groups with the smallest and the largest median of a quantity."""

    lowest: str
    least: float
    highest: str
    most: float

    def show(self, digits: int) -> str:
        """Format both ends."""
        return f"{self.least:.{digits}f} ({self.lowest}) to {self.most:.{digits}f} ({self.highest})"


def compare_groups(
    quantity: Quantity, recordings: Sequence[Audited], groups: Sequence[str | None]
) -> Difference | None:
    """Return the groups with the smallest and the largest median, or None if groups are alike.

    Args:
        quantity: What is compared.
        recordings: Recordings [N].
        groups: Class or speaker of each [N]; None where it is unknown.
    """
    rows = [
        (group, quantity.value(each.measures))
        for each, group in zip(recordings, groups, strict=True)
        if each.measures is not None and group is not None
    ]
    sizes = Counter(group for group, _ in rows)
    rows = [(group, value) for group, value in rows if sizes[group] >= _LEAST_OF_GROUP and np.isfinite(value)]
    if len({group for group, _ in rows}) < 2:
        return None
    values = np.array([value for _, value in rows])
    ordered, codes = np.unique(values, return_inverse=True)  # equal values have equal ranks
    ranks = np.cumsum(np.bincount(codes)) - np.bincount(codes) / 2
    by_group: dict[str, list[int]] = defaultdict(list)
    for index, (group, _) in enumerate(rows):
        by_group[group].append(index)
    own = ranks[codes]
    between = sum(len(places) * (own[places].mean() - own.mean()) ** 2 for places in by_group.values())
    medians = sorted((float(np.median(values[places])), group) for group, places in by_group.items())
    (least, lowest), (most, highest) = medians[0], medians[-1]
    is_notable = len(ordered) > 1 and between / ((own - own.mean()) ** 2).sum() >= _EXPLAINED
    if not is_notable or most - least < quantity.notable:
        return None
    return Difference(lowest, least, highest, most)


def concentrated(
    flag: str, recordings: Sequence[Audited], groups: Sequence[str | None]
) -> list[tuple[str, int, int]]:
    """Return the groups in which a fault is more frequent than elsewhere, each with its faults and its recordings."""
    sizes = Counter(group for group in groups if group is not None)
    pairs = [*zip(recordings, groups, strict=True)]
    faulty = Counter(group for each, group in pairs if flag in each.flags and group is not None)
    total = sum(flag in each.flags for each in recordings)
    return [
        (group, count, sizes[group])
        for group, count in faulty.most_common()
        for elsewhere in [(total - count) / max(1, len(pairs) - sizes[group])]
        if count >= _LEAST_OF_GROUP and count / sizes[group] >= max(_SHARE_OF_GROUP, _TIMES_MORE * elsewhere)
    ]
