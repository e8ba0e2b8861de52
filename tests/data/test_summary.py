import io
import json

import numpy as np
import pytest
from rich.console import Console

from ser.data.summary import SplitSummary, markdown, summarize, table
from ser.errors import DataError
from ser.targets.quadrants import QUADRANTS


@pytest.fixture
def splits() -> list[SplitSummary]:
    lengths = np.array([30, 50, 100, 1707])
    return [
        summarize("train", lengths, np.array([1, 1, 3, 0]), QUADRANTS),
        summarize("test", lengths[:2], None, QUADRANTS),
    ]


def console_lines(splits: list[SplitSummary]) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(splits))
    return console.export_text().splitlines()


def test_statistics_are_those_of_the_lengths(splits: list[SplitSummary]) -> None:
    train = splits[0]
    assert (train.utterances, train.frames_min, train.frames_max) == (4, 30, 1707)
    assert train.frames_mean == 471.75
    deviations = [30 - 471.75, 50 - 471.75, 100 - 471.75, 1707 - 471.75]
    assert train.frames_std == pytest.approx((sum(d**2 for d in deviations) / 4) ** 0.5)


def test_a_class_without_utterances_is_counted_as_none(splits: list[SplitSummary]) -> None:
    assert splits[0].class_counts == {"sadness": 1, "anger": 2, "pleasure": 0, "joy": 1}


def test_the_majority_floor_is_the_share_of_the_most_frequent_class(splits: list[SplitSummary]) -> None:
    assert splits[0].majority_floor == 0.5


def test_without_labels_there_are_neither_counts_nor_floor(splits: list[SplitSummary]) -> None:
    assert splits[1].class_counts is None
    assert splits[1].majority_floor is None


def test_a_summary_is_plain_json(splits: list[SplitSummary]) -> None:
    stored = json.loads(json.dumps([split.to_dict() for split in splits]))
    assert stored[0]["class_counts"]["anger"] == 2
    assert stored[0]["majority_floor"] == 0.5
    assert stored[1] | {"name": "test", "utterances": 2, "majority_floor": None} == stored[1]


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"split 'test': has no utterances.*at least one"):
        summarize("test", np.array([], dtype=np.int64), None, QUADRANTS)


def test_the_console_shows_one_column_a_split(splits: list[SplitSummary]) -> None:
    words = [line.split() for line in console_lines(splits)]
    assert ["train", "test"] in words
    assert ["utterances", "4", "2"] in words
    assert ["frames,", "max", "1707", "50"] in words
    assert ["majority", "floor", "50.0%", "-"] in words


def test_four_large_splits_fit_into_80_columns() -> None:
    lengths, classes = np.full(123_456, 1707), np.arange(123_456) % 4
    names = ("train", "validation", "test_1", "test_2")
    lines = console_lines([summarize(name, lengths, classes, QUADRANTS) for name in names])
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= 80
    assert sum("validation" in line and "test_2" in line for line in lines) == 1


def test_markdown_says_the_same(splits: list[SplitSummary]) -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown(splits).splitlines()]
    assert rows[0] == ["", "train", "test"]
    assert rows[1] == ["---", "---:", "---:"]
    assert ["anger", "2 (50.0%)", "-"] in rows
    assert rows[-1] == ["majority floor", "50.0%", "-"]
