"""Read the rows of several arrays as those of one, without copying them."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt


class JoinedArray:
    """Rows of several arrays, one array after the other.

    A slice within one of them is a view of it; a slice that reaches into the next one is a copy.

    Args:
        parts: Arrays [n, F] of one type, one or more.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = list(parts)
        self._begins = [0, *accumulate(len(part) for part in parts)]
        self.dtype = parts[0].dtype
        self.shape: tuple[int, ...] = (self._begins.pop(), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, last, step = rows.indices(self.shape[0])
        last = max(first, last)
        place = bisect_right(self._begins, first) - 1
        part, begin = self._parts[place], self._begins[place]
        if last - begin <= len(part):
            return part[first - begin : last - begin : step]
        stop = bisect_left(self._begins, last)
        return np.concatenate(self._parts[place:stop])[first - begin : last - begin : step]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """Copy all rows into one array."""
        if copy is False:
            raise ValueError("the rows of several arrays cannot be one array without a copy")
        found: np.ndarray = np.concatenate(self._parts)
        return found.astype(dtype or found.dtype, copy=False)
