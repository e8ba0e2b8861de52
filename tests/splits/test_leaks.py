"""What two splits share is found, counted, and told in words."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError
from ser.splits.leak_report import (
    describe_leaks,
    describe_lookalike_speakers,
    leak_stamps,
    undeclared_leaks,
)
from ser.splits.leaks import KINDS, Leak, find_leaks

HALVES = {"train": np.array([0, 1, 2]), "test": np.array([3, 4])}


def five(**columns: list[Any]) -> Manifest:
    """Five utterances that differ in everything, except in the columns given."""
    rows = [{name: values[row] for name, values in columns.items()} for row in range(5)]
    utterances = (
        Utterance(f"u{row}", **{"path": Path(f"{row}.wav"), "speaker": f"s{row}", "text": f"t{row}", **known})
        for row, known in enumerate(rows)
    )
    return Manifest(tuple(utterances), "table.csv")


def digests(*rows: int) -> np.ndarray:
    return np.repeat(np.array(rows, dtype=np.uint8)[:, None], 16, axis=1)


def test_splits_that_share_nothing_leak_nothing() -> None:
    assert find_leaks(five(), HALVES, digests(0, 1, 2, 3, 4)) == []
    assert describe_leaks([], []) == ["Leaks: none between the splits."]


@pytest.mark.parametrize(
    ("kind", "manifest", "hashes", "example"),
    [
        ("speaker", five(speaker=["a", "b", "c", "b", "d"]), digests(0, 1, 2, 3, 4), "b"),
        ("group", five(group=["a", "b", None, "b", None]), digests(0, 1, 2, 3, 4), "b"),
        ("text", five(text=["Oh  no", "x", "", " oh\nNO ", ""]), digests(0, 1, 2, 3, 4), "oh NO"),
        ("audio", five(), digests(0, 1, 2, 2, 4), "u2 = u3"),
        (
            "overlap",
            five(path=[Path(name) for name in ("a.wav", "b.wav", "c.wav", "x/../b.wav", "d.wav")]),
            None,
            "b.wav",
        ),
    ],
)
def test_each_kind_of_leak_is_found_and_no_other(
    kind: str, manifest: Manifest, hashes: np.ndarray | None, example: str
) -> None:
    assert find_leaks(manifest, HALVES, hashes) == [
        Leak(kind, ("train", "test"), shared=1, touched=1, total=2, examples=(example,))
    ]


def test_what_is_not_known_is_no_leak() -> None:
    nothing = {"speaker": [None] * 5, "group": [None] * 5, "text": [None] * 5}
    assert find_leaks(five(**nothing), HALVES, None) == []


def test_what_splits_share_and_whom_it_touches_are_counted_apart() -> None:
    (leak,) = find_leaks(five(speaker=["a", "b", "b", "b", "b"]), HALVES, None)
    assert (leak.shared, leak.touched, leak.total, leak.share) == (1, 2, 2, 1.0)


def test_all_pairs_of_splits_are_compared() -> None:
    thirds = {"train": np.array([0, 1]), "validation": np.array([2]), "test": np.array([3, 4])}
    leaks = find_leaks(five(speaker=["a"] * 5), thirds, None)
    pairs = [("train", "validation"), ("train", "test"), ("validation", "test")]
    assert [leak.splits for leak in leaks] == pairs
    assert [leak.touched for leak in leaks] == [1, 2, 2]


def test_overlapping_stretches_of_one_file_are_found_and_neighbours_are_not() -> None:
    path = [Path("a.wav")] * 5
    ends = [1.0, 2.0, 3.0, 4.0, None]
    assert find_leaks(five(path=path, start=[0.0, 1.0, 2.0, 3.0, 4.0], end=ends), HALVES, None) == []
    (leak,) = find_leaks(five(path=path, start=[0.0, 1.0, 2.0, 2.9, 4.0], end=ends), HALVES, None)
    assert (leak.kind, leak.touched) == ("overlap", 1)


SPANS = st.lists(
    st.tuples(st.sampled_from(["a.wav", "b.wav"]), st.integers(0, 9), st.none() | st.integers(1, 5)),
    min_size=2,
    max_size=12,
)


@given(SPANS, st.data())
def test_overlaps_are_those_of_comparing_every_two(
    spans: list[tuple[str, int, int | None]], data: st.DataObject
) -> None:
    utterances = tuple(
        Utterance(
            f"{row}", Path(name), start=float(start), end=None if length is None else float(start + length)
        )
        for row, (name, start, length) in enumerate(spans)
    )
    cut = data.draw(st.integers(1, len(spans) - 1))
    halves = {"train": np.arange(cut), "test": np.arange(cut, len(spans))}

    def overlap(one: Utterance, other: Utterance) -> bool:
        ends = [np.inf if utterance.end is None else utterance.end for utterance in (one, other)]
        return one.path == other.path and one.start < ends[1] and other.start < ends[0]

    touched = sum(any(overlap(one, other) for one in utterances[:cut]) for other in utterances[cut:])
    leaks = find_leaks(Manifest(utterances, "table.csv"), halves, None)
    assert sum(leak.touched for leak in leaks) == touched


LEAK = Leak("speaker", ("train", "test"), shared=24, touched=288, total=300, examples=("01", "02"))
TEXT = Leak("text", ("train", "test"), shared=1, touched=3, total=300, examples=("oh",))


def test_a_leak_is_told_in_words_and_stamped_unless_it_is_declared() -> None:
    assert describe_leaks([LEAK, TEXT], ["text"]) == [
        "LEAK: train and test share speakers (24), in 288 of 300 utterances of test: 01, 02, ...",
        "Declared leak: train and test share texts (1), in 3 of 300 utterances of test: oh",
    ]
    assert leak_stamps([LEAK, TEXT], ["text"]) == ["LEAK: train and test share speakers (24)"]
    assert undeclared_leaks([LEAK, TEXT], ["text"]) == [LEAK]
    assert leak_stamps([LEAK, TEXT], ["text", "speaker"]) == []


def test_every_kind_can_be_told() -> None:
    for kind in KINDS:
        assert str(Leak(kind, ("train", "test"), 1, 1, 1, ())).startswith("train and test share ")


def test_five_examples_are_shown_and_long_texts_are_cut() -> None:
    halves = {"train": np.arange(8), "test": np.arange(8, 16)}
    utterances = (Utterance(f"{row}", Path(f"{row}"), text=f"{row % 8} " + "la " * 99) for row in range(16))
    (leak,) = find_leaks(Manifest(tuple(utterances), "table.csv"), halves, None)
    assert leak.shared == 8
    assert [text[0] for text in leak.examples] == ["0", "1", "2", "3", "4"]
    assert all(len(text) == 40 and text.endswith("...") for text in leak.examples)


def test_a_leak_survives_json() -> None:
    found = json.loads(json.dumps(LEAK.to_dict()))
    assert found == LEAK.to_dict()
    assert (found["kind"], found["splits"], found["share"]) == ("speaker", ["train", "test"], 0.96)


@pytest.mark.parametrize("tell", [describe_leaks, leak_stamps, undeclared_leaks])
def test_only_leaks_that_there_are_can_be_declared(tell: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"data\.declared_leaks: there is no leak 'speakers'\. Did you mean 'speaker'\?"
    ):
        tell([], ["speakers"])


def test_ten_thousand_utterances_are_compared_at_once() -> None:
    generator = np.random.default_rng(0)
    utterances = tuple(
        Utterance(
            f"{row}",
            Path(f"{row // 3}.wav"),
            start=row % 3 * 2.0,
            end=row % 3 * 2.0 + 3,
            text=f"{row % 99} x",
        )
        for row in range(10_000)
    )
    thirds = np.array_split(generator.permutation(10_000), 3)
    assignment = dict(zip(("train", "validation", "test"), map(np.sort, thirds), strict=True))
    hashes = generator.integers(0, 256, (10_000, 16), dtype=np.uint8)
    begun = time.perf_counter()
    leaks = find_leaks(Manifest(utterances, "table.csv"), assignment, hashes)
    assert {leak.kind for leak in leaks} == {"text", "overlap"}
    assert time.perf_counter() - begun < 0.5  # 0.03 s, with room for a busy machine


def test_speakers_of_two_splits_whose_names_look_alike_are_named() -> None:
    manifest = five(speaker=["s3", "4", "x", "S3", "4.0"])
    assert describe_lookalike_speakers(manifest, HALVES) == [
        "POSSIBLE LEAK: speakers whose names differ only in case, spacing or number format may be one: "
        "'4' of train and '4.0' of test, 's3' of train and 'S3' of test"
    ]
    assert describe_lookalike_speakers(five(speaker=["s3", "S3", None, "x", "y"]), HALVES) == []


def test_texts_and_speakers_that_differ_invisibly_are_leaks() -> None:
    manifest = five(
        speaker=["Jose\u0301", "b", "c", "José", "e"],
        text=["a", "so\u00ad \u00a0 be it", "c", "d", "So be\u200b it"],
    )
    found = find_leaks(manifest, HALVES, None)
    assert [(leak.kind, leak.shared) for leak in found] == [("speaker", 1), ("text", 1)]
