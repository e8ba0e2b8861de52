import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.shards.cuts import BYTES, UTTERANCES, cut


def digests(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


def contents(names: list[str], size: float = 0) -> set[tuple[str, ...]]:
    return {tuple(names[shard.start : shard.stop]) for shard in cut(names, [size] * len(names))}


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats(0, 2 * BYTES)), max_size=60))
def test_every_utterance_is_in_one_shard_in_order(given_utterances: list[tuple[int, float]]) -> None:
    names = [f"{number:08x}" for number, _ in given_utterances]
    shards = cut(names, [size for _, size in given_utterances])
    assert [place for shard in shards for place in shard] == [*range(len(names))]
    assert all(shards)


def test_shards_have_about_the_mean_size() -> None:
    shards = cut(digests(100_000), [0] * 100_000)
    assert 0.8 * UTTERANCES < 100_000 / len(shards) < 1.25 * UTTERANCES
    assert max(map(len, shards)) < 10 * UTTERANCES
    assert min(map(len, shards[:-1])) >= UTTERANCES / 4


def test_large_files_make_small_shards() -> None:
    shards = cut(digests(1000), [BYTES / 4] * 1000)
    assert 2 < 1000 / len(shards) < 5


@pytest.mark.parametrize("place", [0, 7_000, 19_999])
def test_an_added_utterance_changes_few_shards(place: int) -> None:
    names = digests(20_000)
    before = contents(names)
    after = contents([*names[:place], "ffffffff", *names[place:]])
    assert 1 <= len(after - before) <= 3
    assert len(before - after) <= 3


def test_a_cut_depends_on_no_utterance_far_before() -> None:
    names = digests(20_000)
    assert len(contents(names) - contents(names[5_000:])) < len(contents(names)) / 2
