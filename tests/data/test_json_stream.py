import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.data.json_fields import IdRegister, RawUtterance, shorten_json
from ser.data.json_stream import read_chunks, read_ids, split_utterances
from ser.errors import DataError

NASTY = st.text(st.sampled_from('{}[]"\\:, \n\u00e9\U0001f600ab0'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NASTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=6,
)
UTTERANCES = st.dictionaries(NASTY, st.dictionaries(NASTY, VALUES, max_size=4), min_size=1, max_size=4)


def in_pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def split(content: str | bytes, size: int = 1 << 20) -> list[RawUtterance]:
    content = content.encode() if isinstance(content, str) else content
    return list(split_utterances(in_pieces(content, size), "train.json"))


@given(UTTERANCES, st.booleans(), st.sampled_from([None, 2]), st.integers(1, 40))
def test_any_object_comes_apart_into_what_json_reads(
    utterances: dict[str, Any], ascii_only: bool, indent: int | None, size: int
) -> None:
    text = json.dumps(utterances, ensure_ascii=ascii_only, indent=indent)
    assert [(raw.key, json.loads(raw.content)) for raw in split(text, size)] == list(utterances.items())


@given(UTTERANCES, st.booleans(), st.integers(1, 40))
def test_any_list_of_records_comes_apart_into_what_json_reads(
    utterances: dict[str, Any], ascii_only: bool, size: int
) -> None:
    records = [{**fields, "id": key} for key, fields in utterances.items()]
    parts = split(json.dumps(records, ensure_ascii=ascii_only), size)
    assert [json.loads(raw.content) for raw in parts] == records
    assert {(raw.key, raw.layout) for raw in parts} == {(None, "records")}


def test_a_chunk_may_end_at_any_byte() -> None:
    text = ' { "a\\"}{" :\n{"x": "\\\\", "y": {"z": "}\\""}} , "é":{"f":[[1.5]]}\t}\n'
    content = text.encode()
    whole = split(content)
    for cut in range(len(content) + 1):
        chunks = [content[:cut], content[cut:]]
        assert list(split_utterances(chunks, "train.json")) == whole
    assert split(content, 1) == whole


def test_position_and_number_tell_where_an_utterance_lies() -> None:
    content = b'{"a": {"f": 1},  "b":  {"f": {}}}'
    for number, raw in enumerate(split(content, 5)):
        assert content[raw.position :].startswith(raw.content)
        assert raw.number == number


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", r"byte 0: the file is empty"),
        (" \n", r"the file is empty"),
        ("id,valence", r"begins with 'i', expected '\{' or '\['"),
        ("17", r"begins with '1', expected"),
        ('"text"', r"begins with '\"', expected"),
        (b"\xff\xfe{\x00", r"begins with '\\\\xff', expected.*Give UTF-8 JSON"),
        ("{}", r"holds no utterances"),
        ("[ ]", r"holds no utterances"),
        ('{"a": 3}', r"byte 6: utterance 'a' begins with '3', expected an object"),
        ("[[1, 2]]", r"record 0 begins with '\[', expected an object"),
        ('{"a": {}, }', r"byte 10, after utterance 'a': found '}', expected '\"'"),
        ('{"a" {}}', r"found '{', expected ':'"),
        ('{"a": {}; "b": {}}', r"byte 8, after utterance 'a': found ';', expected ',' or '}'"),
        ('{"a": {}]', r"found ']', expected ',' or '}'"),
        ('{"a": {}} {"b": {}}', r"byte 10, after utterance 'a': the file goes on after its end with '{'"),
        (b'{"a": {}, "\xff\xfe": {}}', r"byte 10: the key b'\"\\xff\\xfe\"' is not valid UTF-8 JSON"),
        ('{"a\nb": {}}', r"byte 1: the key .* is not valid UTF-8 JSON"),
    ],
)
def test_what_is_no_challenge_file_is_refused_with_its_place(content: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=rf"^train\.json, {'' if words.startswith('byte') else '.*'}{words}"):
        split(content, 3)


@pytest.mark.parametrize("records", [False, True])
def test_a_file_cut_anywhere_is_said_to_be_cut(records: bool) -> None:
    fields = {"note": "}{", "features": [[1.0, 2.0]]}
    text = json.dumps([{"id": 7, **fields}, {"id": 8, **fields}] if records else {"7": fields, "8": fields})
    for length in range(2, len(text)):
        with pytest.raises(
            DataError, match=rf"byte {length}\b.*the file ends.*cut off: copy or export it again"
        ):
            split(text[:length])


def test_a_cut_names_the_last_whole_utterance() -> None:
    with pytest.raises(DataError, match=r"after utterance '7': the file ends inside utterance '8'"):
        split('{"7": {}, "8": {"features": [[1')
    with pytest.raises(DataError, match=r"after record 0 \(id 7\): the file ends inside record 1"):
        split('[{"id": 7}, {"id": 8, "features": [[1')


def test_an_unclosed_string_of_megabytes_takes_linear_time() -> None:
    with pytest.raises(DataError, match=r"the file ends inside utterance 'a'"):
        split('{"a": {"note": "' + "}{" * 4_000_000, 1 << 14)


def ids_of(tmp_path: Path, content: str) -> tuple[str, list[str | int]]:
    (tmp_path / "test.json").write_text(content)
    return read_ids(tmp_path / "test.json")


def test_a_pipe_in_place_of_a_challenge_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dev.json")
    with pytest.raises(DataError, match=r"dev\.json: is a pipe, socket or device"):
        [*read_chunks(tmp_path / "dev.json")]


def test_ids_keep_order_and_type(tmp_path: Path) -> None:
    assert ids_of(tmp_path, '{"b": {}, "": {}, "10": {}}') == ("object", ["b", "", "10"])
    assert ids_of(tmp_path, '[{"id": 3}, {"x": {"id": 1}, "id": -2}]') == ("records", [3, -2])
    assert ids_of(tmp_path, '[{"id": "3"}, {"features": [[NaN]], "id": "2"}]') == ("records", ["3", "2"])
    assert ids_of(tmp_path, '[{"id": 36893488147419103232}]') == ("records", [2**65])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            '{"a": {}, "b": {}, "a": {}}',
            r"id 'a' occurs twice, as utterance number 0 and as number 2 \(byte 24\)",
        ),
        ('[{"id": 1}, {"id": 1}]', r"id 1 occurs twice, as utterance number 0 and as number 1"),
        ('[{"id": 1}, {"id": "1"}]', r"record 1: id '1' and that of record 0, 1, have different types"),
        ('[{"id": 1}, {"x": 2}]', r"record 1: `id` is null, expected a string or an integer"),
        ('[{"id": true}]', r"record 0: `id` is true"),
        ('[{"id": 1.0}]', r"record 0: `id` is 1\.0"),
        ('[{"id": [1]}]', r"record 0: `id` is \[1\]"),
        ('[{"id": 1]}]', r"record 0 \(from byte 1\): not valid JSON"),
        ('[{"id": 1, "id": 2, "x": NaN}]', r"not valid JSON \('id' occurs twice"),
    ],
)
def test_ids_that_are_not_unique_and_of_one_type_are_refused(
    tmp_path: Path, content: str, words: str
) -> None:
    with pytest.raises(DataError, match=rf"^test\.json.*{words}"):
        ids_of(tmp_path, content)


def test_an_object_ignores_an_id_field_inside() -> None:
    register = IdRegister("train.json")
    assert register.add(RawUtterance("a", b"{}", 0, 0), 7) == "a"
    assert register.ids == ["a"]


def test_a_missing_file_suggests_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "train.json").touch()
    with pytest.raises(DataError, match=r"trian\.json: no such file\. Did you mean 'train\.json'\?"):
        list(read_chunks(tmp_path / "trian.json"))
    with pytest.raises(DataError, match=r"nowhere/train\.json: no such file\. Check the path"):
        list(read_chunks(tmp_path / "nowhere" / "train.json"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder, expected a JSON file"):
        list(read_chunks(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be read \(Not a directory\)"):
        list(read_chunks(tmp_path / "file" / "train.json"))


def test_values_are_shown_as_in_the_file_and_short() -> None:
    assert [shorten_json(value) for value in (None, True, float("nan"), "a")] == [
        "null",
        "true",
        "NaN",
        '"a"',
    ]
    assert len(shorten_json(list(range(100)))) == 40
