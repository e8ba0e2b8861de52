"""Dynamic time warping against a plain definition of it."""

import numpy as np
import pytest

from ser.alignment import warping
from ser.alignment.warping import warp


def cost_of(path: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first[path[:, 0]] - second[path[:, 1]], axis=1).sum())


def smallest_cost(first: np.ndarray, second: np.ndarray) -> float:
    """The sum of distances by the recursion as it is printed."""
    sums = np.full((len(first) + 1, len(second) + 1), np.inf)
    sums[0, 0] = 0
    for i, one in enumerate(first, 1):
        for j, other in enumerate(second, 1):
            before = min(sums[i - 1, j], sums[i, j - 1], sums[i - 1, j - 1])
            sums[i, j] = before + np.linalg.norm(one - other)
    return float(sums[-1, -1])


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (9, 1), (30, 23), (17, 40)])
def test_the_path_has_the_smallest_cost(rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    first, second = rng.normal(size=(rows, 3)), rng.normal(size=(columns, 3))
    path = warp(first, second)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [rows - 1, columns - 1]
    steps = np.diff(path, axis=0)
    assert {(int(i), int(j)) for i, j in steps} <= {(0, 1), (1, 0), (1, 1)}
    assert cost_of(path, first, second) == pytest.approx(smallest_cost(first, second), rel=1e-9)


def test_a_long_sequence_is_warped_as_the_whole_matrix_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    second = np.cumsum(rng.normal(size=(900, 4)), 0)
    times = np.interp(np.arange(1200), [0, 300, 800, 1199], [0, 200, 500, 899])  # a tempo that changes
    first = second[times.astype(int)] + 0.1 * rng.normal(size=(1200, 4))
    whole = cost_of(warp(first, second), first, second)
    monkeypatch.setattr(warping, "MOST_PAIRS", 1 << 16)
    path = warp(first, second)
    assert cost_of(path, first, second) == pytest.approx(whole, rel=1e-3)
    assert np.abs(path[:, 1] - times[path[:, 0]]).max() < 8
