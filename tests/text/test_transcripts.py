"""Transcripts: plain text, rows of AVEC 2017, rows below a header, and what is wrong with a file."""

from pathlib import Path

import pytest

from ser.errors import DataError
from ser.text.function_words import FUNCTION_WORDS, find_other_language
from ser.text.transcripts import is_tag, read_transcript
from ser.text.word_vectors import clean_word


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_plain_text_is_one_row_over_the_recording(tmp_path: Path) -> None:
    transcript = read_transcript(write(tmp_path, "a.txt", "Hallo,\nÜber-Welt! - <laughter>\n"))
    (row,) = transcript.rows
    assert (row.start, row.end, transcript.dropped) == (0.0, None, 0)
    assert row.tokens == ("Hallo,", "Über-Welt!", "<laughter>")
    assert row.words == ["hallo", "überwelt", "<laughter>"]


@pytest.mark.parametrize(
    "text",
    [
        "0.5;1.25;'Ja, gut so'\n" + "2;3;'<filler>'\n4;5;''\n6;7.5;|'das; ist'|\n",
        'start,end,text\n0.5,1.25,"Ja, gut so"\n2,3,<filler>\n4,5,\n6,7.5,das; ist\n',
    ],
)
def test_rows_without_words_are_dropped_and_counted(text: str, tmp_path: Path) -> None:
    transcript = read_transcript(write(tmp_path, "a.csv", text))
    assert [(row.start, row.end, row.words) for row in transcript.rows] == [
        (0.5, 1.25, ["ja", "gut", "so"]),
        (6.0, 7.5, ["das", "ist"]),
    ]
    assert transcript.dropped == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "... -\n", "has no words. Export it again."),
        ("a.csv", "0;1;'<filler>'\n", "has no words"),
        ("a.csv", "0;2;'a'\n1;3;'b'\n", "row 2: starts at 1 s, before row 1 ends at 2 s"),
        ("a.csv", "2;3;'a'\n0;1;'b'\n", "row 2: starts at 0 s, before row 1 at 2 s. Sort the rows"),
        ("a.csv", "1;1;'a'\n", "line 1: starts and ends at 1 s"),
        ("a.csv", "0;x;'a'\n", "line 1: has the time 'x'"),
        ("a.csv", "0;1\n", "line 1: has 2 values, expected start, end and text"),
        ("a.csv", "hello world\n", "line 1: is not start;end;'text'"),
        ("a.docx", "hello", "is no transcript. Give a file of plain text named .txt"),
    ],
)
def test_a_broken_transcript_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_transcript(write(tmp_path, name, text))
    assert message in str(caught.value)


def test_cleaning_keeps_the_brackets_of_tags_only() -> None:
    assert [clean_word(token) for token in ("Don't!", "<Laughter>", "(so", "5.", "--")] == [
        "dont",
        "<laughter>",
        "so",
        "5",
        "",
    ]
    assert [is_tag(token) for token in ("<laughter>.", "laughter", "a<b")] == [True, False, False]


def test_a_text_in_another_language_is_found() -> None:
    german = "ich habe das nicht gesehen aber die Frau und der Mann sind auch da".lower().split()
    english = "The woman and the man have not seen that but were there".lower().split()
    assert find_other_language(german, "en") == "de"
    assert find_other_language(english, "de") == "en"
    assert find_other_language(german, "de") is None
    assert find_other_language(german, "ru") is None  # no table, no answer
    assert find_other_language(["hallo", "und", "gut"], "en") is None  # too short to tell


def test_each_language_has_words_of_its_own() -> None:
    for language, words in FUNCTION_WORDS.items():
        assert find_other_language([*words], language) is None
        assert find_other_language([*words], "de" if language != "de" else "en") == language
