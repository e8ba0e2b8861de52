"""Dynamic time warping: the pairs of steps of two sequences with the smallest sum of distances.

Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", IEEE Transactions on
Acoustics, Speech, and Signal Processing 26, 1978. Long sequences are warped coarsely first, then finely near the coarse
path: Salvador and Chan, "FastDTW: Toward accurate dynamic time warping in linear time and space", 2007.

Own code rather than librosa.sequence.dtw, which brings numba and scipy, keeps a whole matrix of float64 (8 bytes a
pair) and takes no band of a given course: here a row of the matrix is one numpy operation, and a pair takes a byte.
"""

from collections.abc import Sequence

import numpy as np

MOST_PAIRS = (
    400_000_000  # of steps that are compared at a time, in 400 MB: 200 s of speech at 10 ms, 53 min at 160 ms
)
_COARSER = 4  # steps that become one for the coarse path
_RADIUS = 16  # coarse steps around the coarse path
_DIAGONAL, _FIRST, _SECOND = 0, 1, 2  # which sequence advances alone


def warp(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the path [pairs, 2] of indices into both sequences, from the first pair to the last one.

    Args:
        first: Sequence [N, F].
        second: Sequence [M, F].
    """
    rows, columns = len(first), len(second)
    if rows * columns <= MOST_PAIRS:
        return _warp_in_band(first, second, np.zeros(rows, int), np.full(rows, columns))
    path = warp(_shorten(first), _shorten(second))
    coarse = np.arange(-(-rows // _COARSER))
    lowest = path[np.searchsorted(path[:, 0], coarse, "left"), 1] - _RADIUS
    highest = path[np.searchsorted(path[:, 0], coarse, "right") - 1, 1] + _RADIUS + 1
    place = np.arange(rows) // _COARSER
    return _warp_in_band(
        first,
        second,
        (lowest * _COARSER).clip(0)[place],
        (highest * _COARSER).clip(max=columns)[place],
    )


def _shorten(sequence: np.ndarray) -> np.ndarray:
    """Average each `_COARSER` steps."""
    starts = np.arange(0, len(sequence), _COARSER)
    counts = np.minimum(len(sequence) - starts, _COARSER)
    averaged: np.ndarray = np.add.reduceat(sequence, starts) / counts[:, None]
    return averaged


def _warp_in_band(first: np.ndarray, second: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Warp within a band: step i of the first meets steps begins[i] to ends[i] - 1 of the second."""
    squares = np.square(second).sum(1)
    known, known_begin = np.zeros(1), -1  # sums of the row before; the path starts at (-1, -1)
    moves: list[np.ndarray] = []
    for step, begin, end in zip(first, begins.tolist(), ends.tolist(), strict=True):
        before = np.full(end - begin + 1, np.inf)  # sums of the row before, from column begin - 1 on
        low, high = max(begin - 1, known_begin), min(end, known_begin + len(known))
        before[low - begin + 1 : high - begin + 1] = known[low - known_begin : high - known_begin]
        squared = squares[begin:end] + step @ step - 2 * (second[begin:end] @ step)
        passed = np.sqrt(squared.clip(0)).cumsum()
        best = np.minimum(before[:-1], before[1:])
        # The sum at j by advancing the second alone from k is best[k] + passed[j] - passed[k - 1].
        entered = best - np.concatenate([[0.0], passed[:-1]])
        cheapest = np.minimum.accumulate(entered)
        moves.append(
            np.where(
                cheapest < entered, _SECOND, np.where(before[1:] < before[:-1], _FIRST, _DIAGONAL)
            ).astype(np.uint8)
        )
        known, known_begin = cheapest + passed, begin
    return _trace_back(moves, begins, len(second) - 1)


def _trace_back(moves: Sequence[np.ndarray], begins: np.ndarray, column: int) -> np.ndarray:
    row, path = len(moves) - 1, []
    while row >= 0 and column >= 0:
        path.append((row, column))
        move = moves[row][column - begins[row]]
        row -= move != _SECOND
        column -= move != _FIRST
    return np.array(path[::-1])
