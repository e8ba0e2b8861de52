import numpy as np
import pytest

from ser.shards.joined_array import JoinedArray

PARTS = [np.arange(12.0).reshape(4, 3), np.zeros((0, 3)), -np.ones((1, 3)), np.arange(9.0).reshape(3, 3)]
WHOLE = np.concatenate(PARTS)


def test_every_slice_is_as_of_one_array() -> None:
    joined = JoinedArray(PARTS)
    for first in range(-9, 10):
        for last in range(-9, 10):
            np.testing.assert_array_equal(joined[first:last], WHOLE[first:last])
    np.testing.assert_array_equal(joined[1:7:2], WHOLE[1:7:2])


def test_shape_type_and_content_are_of_one_array() -> None:
    joined = JoinedArray(PARTS)
    assert (joined.shape, len(joined), joined.dtype) == ((8, 3), 8, np.float64)
    np.testing.assert_array_equal(joined, WHOLE)
    assert np.asarray(joined, dtype=np.float32).dtype == np.float32


def test_a_slice_of_one_part_is_a_view() -> None:
    joined = JoinedArray(PARTS)
    assert np.shares_memory(joined[1:3], PARTS[0])
    assert np.shares_memory(joined[5:8], PARTS[3])


def test_an_array_without_a_copy_is_refused() -> None:
    with pytest.raises(ValueError, match="without a copy"):
        np.array(JoinedArray(PARTS), copy=False)
