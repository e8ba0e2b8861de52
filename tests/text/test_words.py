"""Words with times: both layouts, and what is wrong with a file."""

from pathlib import Path

import pytest

from ser.errors import DataError
from ser.text.words import Layout, Word, read_words, write_words

WORDS = [Word("kids", 0.81, 1.2, 0), Word("<laughter>", 1.2, 1.5, 0), Word("don't", 2.25, 2.5, 3)]


@pytest.mark.parametrize(
    ("layout", "lines"),
    [
        (
            "words",
            ["start,end,word", "0.8100,1.2000,kids", "1.2000,1.5000,<laughter>", "2.2500,2.5000,don't"],
        ),
        (
            "segmentation",
            ["s0w0;0.8100;1.2000;kids", "s0w1;1.2000;1.5000;<laughter>", "s3w0;2.2500;2.5000;don't"],
        ),
    ],
)
def test_words_written_in_a_layout_are_read_back(layout: Layout, lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    write_words(path, WORDS, layout)
    assert path.read_text().splitlines() == lines
    found = read_words(path)
    assert [(word.text, word.start, word.end) for word in found] == [
        (word.text, word.start, word.end) for word in WORDS
    ]
    if layout == "segmentation":
        assert [word.sentence for word in found] == [0, 0, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "start,end,word\n1,2,a\n0.5,0.9,b\n",
            "word 2: starts at 0.5 s, before word 1 at 1 s. Sort the words",
        ),
        ("start,end,word\n1,2,a\n1.5,3,b\n", "word 2: starts at 1.5 s, before word 1 ends at 2 s. Correct"),
        ("start,end,word\n2,1,a\n", "word 1: ends at 1 s, before its start at 2 s"),
        ("start,end,word\n1,nan,a\n", "line 2: has the time 'nan', expected seconds"),
        ("start,end,word\n-1,2,a\n", "line 2: has the time '-1'"),
        ("start,end,word\n1,2\n", "line 2: has 2 values, expected 3"),
        ("start,end,word\n", "has no words"),
        ("start,end,word\n1,2,\n", "word 1: has times and no text"),
        ("begin,end,word\n1,2,a\n", "has no column 'start'. Name the columns start,end,word"),
        ("s0w0;1;2;a\nhello;2;3;b\n", "line 2: is not s0w0;start;end;word"),
        ("", "the file is empty"),
    ],
)
def test_a_broken_file_of_words_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_words(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_neighbours_may_overlap_by_rounding(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("start,end,word\n1,2.01,a\n2,3,b\n")
    assert len(read_words(path)) == 2
