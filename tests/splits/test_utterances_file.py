"""The file of the utterances of a run."""

from pathlib import Path

import numpy as np
import pytest

from ser.data.store import Store
from ser.errors import DataError
from ser.splits.utterances_file import (
    FILE,
    INHERITED,
    by_corpus,
    read_rows,
    read_utterances,
    write_utterances,
)


def store_of(*ids: str, digests: bool = True) -> Store:
    return Store(
        ids=[*ids],
        audio=np.zeros((len(ids), 2), np.float32),
        offsets=np.arange(len(ids) + 1),
        labels=None,
        label_names=(),
        layout="object",
        fingerprint="",
        digests=np.arange(16 * len(ids), dtype=np.uint8).reshape(-1, 16) if digests else None,
    )


def test_utterances_are_read_as_written(tmp_path: Path) -> None:
    stores = {"train": store_of("a, 1", "b"), "test": store_of("c#0", "c#1", digests=False)}
    write_utterances(tmp_path, stores, {"train": {"a, 1": "s1"}})
    found = read_utterances(tmp_path)
    assert found["train"].ids == {"a, 1", "b"}
    assert found["train"].speakers == {"s1"}
    assert bytes(range(16)).hex() in found["train"].digests
    assert len(found["train"].digests) == 2
    assert found["test"].ids == {"c#0", "c#1", "c"}
    assert found["test"].digests == set()


def test_an_older_run_has_no_utterances(tmp_path: Path) -> None:
    assert read_utterances(tmp_path) == {}


def test_a_damaged_file_of_utterances_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("split,id\ntrain,a\n")
    with pytest.raises(DataError, match="is damaged, expected the columns split, id, speaker, digest"):
        read_utterances(tmp_path)


def test_inherited_utterances_are_no_split_of_the_run(tmp_path: Path) -> None:
    inherited = [(INHERITED, "x#1", "s2", "ff", "ravdess"), (INHERITED, "y", "", "", "")]
    write_utterances(tmp_path, {"train": store_of("a")}, {}, inherited)
    assert {*read_utterances(tmp_path)} == {"train"}
    found = by_corpus([row for row in read_rows(tmp_path) if row[0] == INHERITED])
    assert found["ravdess"].ids == {"x#1", "x"}
    assert (found["ravdess"].speakers, found["ravdess"].digests) == ({"s2"}, {"ff"})
    assert found[""].ids == {"y"}


def test_a_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("split,id,speaker,digest\ntrain,a,s,ff\n")
    assert read_rows(tmp_path) == [("train", "a", "s", "ff", "")]
