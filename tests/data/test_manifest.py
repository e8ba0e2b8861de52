import json
import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from string import ascii_letters

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser.audio.find import find_audio
from ser.data.manifest import Manifest, Utterance, first_ten
from ser.data.manifest_io import read_folder, read_manifest, write_manifest
from ser.errors import DataError
from ser.names import is_missing, normalize_name

HEADER = "id,path,start,end,speaker,group,split,emotion,text,language"


def write(tmp_path: Path, *lines: str, name: str = "manifest.csv") -> Path:
    path = tmp_path / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_csv_row_becomes_an_utterance(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, "a,x/a.wav,0.5,2,ann,video 1,dev,anger,Oh!,en", "b,b.flac,,,,,,,,")
    manifest = read_manifest(path)
    assert manifest.source == str(path)
    assert manifest.utterances == (
        Utterance(
            id="a",
            path=tmp_path / "x/a.wav",
            start=0.5,
            end=2.0,
            speaker="ann",
            group="video 1",
            split="validation",
            labels={"emotion": "anger"},
            text="Oh!",
            language="en",
        ),
        Utterance("b", tmp_path / "b.flac"),
    )


def test_json_lines_say_the_same_as_csv(tmp_path: Path) -> None:
    cells = {"id": "a", "path": "a.wav", "start": 0.5, "end": 2, "speaker": "ann", "emotion": "anger"}
    rows = [json.dumps(cells), "", '{"path": "b.wav", "speaker": null, "text": ""}']
    from_json = read_manifest(write(tmp_path, *rows, name="m.jsonl"))
    header = "id,path,start,end,speaker,emotion,text"
    from_csv = read_manifest(write(tmp_path, header, "a,a.wav,0.5,2,ann,anger,", ",b.wav,,,,,"))
    assert from_json.utterances == from_csv.utterances


def test_integers_in_json_stay_labels_but_name_speakers_and_ids(tmp_path: Path) -> None:
    row = '{"id": 7, "path": "a.wav", "speaker": 3, "valence": 0, "activation": 1}'
    utterance = read_manifest(write(tmp_path, row, name="m.jsonl")).utterances[0]
    assert (utterance.id, utterance.speaker) == ("7", "3")
    assert utterance.labels == {"valence": 0, "activation": 1}


def test_json_columns_that_nobody_reads_may_hold_anything(tmp_path: Path) -> None:
    row = '{"path": "a.wav", "snr": 1.25, "ok": true, "words": [[0, 1]], "x": {"y": null}, "label": "joy"}'
    assert read_manifest(write(tmp_path, row, name="m.jsonl")).utterances[0].labels["label"] == "joy"


def test_whole_floats_and_nan_in_json_are_integers_and_gaps(tmp_path: Path) -> None:
    row = '{"path": "a.wav", "speaker": 3.0, "group": NaN, "label": 4.0, "other": NaN}'
    utterance = read_manifest(write(tmp_path, row, name="m.jsonl")).utterances[0]
    assert (utterance.speaker, utterance.group, utterance.labels) == ("3", None, {"label": 4})


def test_names_are_normalized_and_ids_are_verbatim(tmp_path: Path) -> None:
    header = "\ufeffid,path,Speaker\u200b,group,split,emo\u00adtion"
    row = "Jose\u0301\u200b,a.wav,Jose\u0301,b\u00a0 c,te\u200bst,an\u200bger"
    utterance = read_manifest(write(tmp_path, header, row)).utterances[0]
    assert utterance.id == "Jose\u0301\u200b"
    assert (utterance.speaker, utterance.group, utterance.split) == ("José", "b c", "test")
    assert utterance.labels == {"emotion": "anger"}


def test_ids_that_look_equal_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"occurs twice: line 2 and line 3"):
        read_manifest(write(tmp_path, "id,path", "José,a.wav", "Jose\u0301,b.wav"))


def test_header_columns_that_look_equal_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'emotion' occurs twice"):
        read_manifest(write(tmp_path, "path,emotion,emo\u200btion", "a.wav,joy,sad"))


def test_words_for_nothing_are_unknown_speakers_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        "path,speaker,group,split,text",
        "a.wav,nan,None,null,N/A",
        "b.wav,nan,-,NA,hi",
        "c.wav,s,,train,",
    ]
    first, second, _ = read_manifest(write(tmp_path, *rows)).utterances
    assert (first.speaker, first.group, first.split, first.text) == (None,) * 4
    assert (second.speaker, second.group, second.split, second.text) == (None, None, None, "hi")
    assert "2 cells of 'speaker' hold 'nan', which is read as unknown" in caplog.text


def test_an_utterance_without_an_id_is_named_by_its_path_and_segment(tmp_path: Path) -> None:
    rows = ["path,start,end", "x/a.b.wav,,", "a.wav,,1.25", "a.wav,12345.678,", "a.wav,2,3"]
    ids = [utterance.id for utterance in read_manifest(write(tmp_path, *rows))]
    assert ids == ["x/a.b", "a#0.0-1.25", "a#12345.678-", "a#2.0-3.0"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_of_any_language_is_read_with_or_without_the_mark_of_excel(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,text\né.wav,„Żółw”\n", encoding=encoding)
    utterance = read_manifest(path).utterances[0]
    assert (utterance.id, utterance.text) == ("é", "„Żółw”")


def test_paths_are_relative_to_the_manifest_unless_a_root_is_given(tmp_path: Path) -> None:
    path = write(tmp_path, "path", "x/a.wav")
    assert read_manifest(path).utterances[0].path == tmp_path / "x/a.wav"
    assert read_manifest(path, root="audio").utterances[0].path == Path("audio/x/a.wav")
    inside = write(tmp_path, "path", f"{tmp_path}/audio/a.wav", name="inside.csv")
    assert read_manifest(inside, root="/").utterances[0].path == tmp_path / "audio/a.wav"


def test_dots_that_stay_inside_the_root_are_no_offence(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "path", "x/../a.wav", "..a.wav", "./b.wav", "."))
    assert manifest.utterances[0].path == tmp_path / "x/../a.wav"
    assert len(manifest) == 4


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train", "train"),
        ("Dev", "validation"),
        ("val", "validation"),
        ("valid", "validation"),
        ("test", "test"),
    ],
)
def test_common_words_for_splits_are_understood(tmp_path: Path, word: str, split: str) -> None:
    assert read_manifest(write(tmp_path, "path,split", f"a.wav,{word}")).utterances[0].split == split


def test_columns_are_found_in_any_case_and_white_space_around_cells_is_dropped(tmp_path: Path) -> None:
    path = write(tmp_path, "Path, Speaker ,Emotion", "a.wav , ann, anger")
    assert read_manifest(path).utterances == (
        Utterance("a", tmp_path / "a.wav", speaker="ann", labels={"Emotion": "anger"}),
    )


def test_a_label_field_named_nearly_like_a_column_is_remarked_upon(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        read_manifest(write(tmp_path, "path,speaker_id,emotion,duration_s", "a.wav,1,anger,2.5"))
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "column 'speaker_id' is read as a label field. If it is the speaker, rename it to 'speaker'."
    ]


def test_short_rows_lack_the_last_cells_and_empty_lines_are_nothing(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "path,speaker,text", "a.wav", "", ",,", "b.wav,ann"))
    assert [utterance.speaker for utterance in manifest] == [None, "ann"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id,file_path", "a,a.wav"], r"m\.csv, line 1: has no column 'path', only 'id', 'file_path'\. Did you mean"),
        (["id;path", "a;a.wav"], r"no column 'path', only 'id;path'.*separate columns by commas"),
        (["path,", "a.wav,"], r"line 1: column 2 has no name"),
        (["path,x,X,x", "a.wav"], r"line 1: column 'x' occurs twice"),
        (["path,text", "a.wav,oh, no"], r"line 2: has 3 cells, but the header has 2\. .*double quotes"),
        (["path,text", 'a.wav,"oh'], r"line 2: is not valid CSV \(unexpected end of data\).*double quotes"),
        (["id,path", "a,"], r"line 2: the path is empty"),
        (["id,path"], r"m\.csv: lists no utterances"),
        (["id,path", "a,a.wav", "b,b.wav", "a,c.wav", "a,d.wav"], r"id 'a' occurs twice: line 2 and line 4\. Rename"),
        (["path,start", "a.wav,soon"], r"line 2: 'start' is 'soon', expected seconds, 0 or more"),
        (["path,start", "a.wav,-1"], r"line 2: 'start' is '-1', expected seconds"),
        (["path,end", "a.wav,nan"], r"line 2: 'end' is 'nan', expected seconds"),
        (["path,start,end", "a.wav,2,2"], r"line 2: 'end' is 2\.0 s, which is not after 'start', 2\.0 s"),
        (["path,end", "a.wav,0"], r"line 2: 'end' is 0\.0 s, which is not after 'start', 0\.0 s"),
        (["path,split", "a.wav,trian"], r"line 2: there is no split 'trian'\. Did you mean 'train'\?"),
        (["path", "../a.wav"], r"line 2: the path '\.\./a\.wav' leads out of .*data\.root=FOLDER"),
        (["path", "x/../../a.wav"], r"leads out of"),
        (["path", "/etc/a.wav"], r"leads out of"),
        (["path", "x/.."], r"leads out of"),
    ],
)  # fmt: skip
def test_a_wrong_csv_is_answered_with_line_value_and_remedy(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_manifest(write(tmp_path, *lines, name="m.csv"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1, 2]", r"m\.jsonl, line 2: is \[1, 2\], expected an object such as \{\"path\": \"a\.wav\"\}"),
        ('{"path": "b.wav"', r"line 2: not valid JSON \(.*Write one object per line"),
        (
            '{"path": "b.wav", "speaker": "s", "Speaker": "t"}',
            r"line 2: column 'speaker' occurs twice\. Rename",
        ),
        ('{"path": "b.wav", "x": 1, "x": 2}', r"line 2: not valid JSON \('x' occurs twice"),
        ('{"file": "b.wav"}', r"line 2: has no column 'path', only 'file'"),
        ("{}", r"line 2: has no column 'path', only an empty line"),
        ('{"path": null}', r"line 2: the path is empty"),
        ('{"path": ["b.wav"]}', r"line 2: 'path' is \[\"b\.wav\"\], expected text or an integer"),
        ('{"path": "b.wav", "speaker": 3.5}', r"line 2: 'speaker' is 3\.5, expected text or an integer"),
        ('{"path": "b.wav", "speaker": true}', r"line 2: 'speaker' is true, expected text or an integer"),
        ('{"path": "b.wav", "start": -1}', r"line 2: 'start' is -1, expected seconds"),
        (f'{{"path": "b.wav", "end": 1{"0" * 400}}}', r"line 2: 'end' is 10+, expected seconds"),
    ],
)
def test_a_wrong_json_line_is_answered_with_line_value_and_remedy(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_manifest(write(tmp_path, '{"path": "a.wav"}', line, name="m.jsonl"))


def test_a_file_that_is_not_there_is_answered_with_the_nearest_that_is(tmp_path: Path) -> None:
    write(tmp_path, "path", "a.wav", name="manifest.csv")
    with pytest.raises(DataError, match=r"manifst\.csv: no such file\. Did you mean 'manifest\.csv'\?"):
        read_manifest(tmp_path / "manifst.csv")
    with pytest.raises(DataError, match=r"m\.jsonl: no such file\. Check the path"):
        read_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \n", "the file is empty"),
        ("path\né.wav\n".encode("latin-1"), r"byte 5: is not UTF-8 text.*Save the file as UTF-8"),
        ("path\na.wav\n".encode("utf-16"), r"byte 0: is not UTF-8 text"),
    ],
)
def test_a_file_that_is_empty_or_no_utf8_is_answered_so(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_manifest(path)


def test_other_things_than_a_manifest_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a manifest is a \.csv file.*data=folder"):
        read_manifest(tmp_path)
    (tmp_path / "m.csv").mkdir()
    with pytest.raises(DataError, match=r"m\.csv: cannot be read \(Is a directory\)"):
        read_manifest(tmp_path / "m.csv")


def test_select_keeps_the_order_asked_for(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "path", "a.wav", "b.wav", "c.wav"))
    chosen = manifest.select(np.array([2, 0]))
    assert [utterance.id for utterance in chosen] == ["c", "a"]
    assert (len(chosen), chosen.source) == (2, manifest.source)


def test_ten_thousand_rows_are_read_in_a_moment(tmp_path: Path) -> None:
    rows = [f"{i},x/{i}.wav,0.5,2.5,{i % 91},,train,anger,Oh!,en" for i in range(10_000)]
    path = write(tmp_path, HEADER, *rows)
    best = min(_seconds_to_read(path) for _ in range(3))
    assert best < 1  # 0.09 s on an idle core


def _seconds_to_read(path: Path) -> float:
    start = time.process_time()
    assert len(read_manifest(path)) == 10_000
    return time.process_time() - start


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda word: word == word.strip() and not is_missing(word)
)
NAMES = st.text(ascii_letters + "0é -#", min_size=1, max_size=8).filter(lambda name: name == name.strip())
UTTERANCES = st.builds(
    Utterance,
    id=WORDS,
    path=st.builds("{}/{}.wav".format, NAMES, NAMES).map(lambda name: Path("root") / name),
    start=st.sampled_from([0.0, 0.1, 12345.678901]),
    end=st.sampled_from([None, 20000.0, 1e300]),
    speaker=st.none() | WORDS,
    group=st.none() | WORDS,
    split=st.sampled_from([None, "train", "validation", "test"]),
    labels=st.dictionaries(st.sampled_from(["emotion", "Überraschung, ja", 'say "x"']), WORDS),
    text=st.none() | WORDS,
    language=st.none() | WORDS,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(utterances=st.lists(UTTERANCES, min_size=1, max_size=4, unique_by=lambda u: normalize_name(u.id)))
def test_what_was_written_is_read_back_equal(tmp_path: Path, utterances: list[Utterance]) -> None:
    path = tmp_path / "m.csv"
    write_manifest(path, Manifest(tuple(utterances), "here"), root="root")
    assert read_manifest(path, root="root").utterances == tuple(utterances)


def test_columns_without_a_cell_are_not_written_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    utterance = Utterance("a", tmp_path / "x/a.wav", labels={"valence": 0})
    path = tmp_path / "m.csv"
    write_manifest(path, Manifest((utterance,), "here"))
    assert path.read_bytes() == b"id,path,valence\r\na,x/a.wav,0\r\n"
    assert read_manifest(path).utterances == (replace(utterance, labels={"valence": "0"}),)


def test_audio_outside_the_root_is_not_written(tmp_path: Path) -> None:
    manifest = Manifest((Utterance("a", tmp_path / "a.wav"),), "here")
    with pytest.raises(DataError, match=r"Utterance 'a': .*a\.wav lies outside .*one that holds all audio"):
        write_manifest(tmp_path / "m.csv", manifest, root=tmp_path / "x")


def test_a_folder_per_class_is_read_at_any_depth_and_in_any_format(tmp_path: Path) -> None:
    touch(tmp_path, "sad/b.WAV", "sad/x/a.flac", "happy/c.Mp3", "happy/d.ogg")
    touch(tmp_path, "happy/notes.txt", "sad/e.pdf", "manifest.csv", "sad/._b.wav", ".cache/f.wav")
    assert read_folder(tmp_path, label="mood") == Manifest(
        (
            Utterance("happy/c", tmp_path / "happy/c.Mp3", labels={"mood": "happy"}),
            Utterance("happy/d", tmp_path / "happy/d.ogg", labels={"mood": "happy"}),
            Utterance("sad/b", tmp_path / "sad/b.WAV", labels={"mood": "sad"}),
            Utterance("sad/x/a", tmp_path / "sad/x/a.flac", labels={"mood": "sad"}),
        ),
        str(tmp_path),
    )


def test_linked_folders_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.wav", "root/sad/b.wav")
    (tmp_path / "root/happy").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "root")
    assert [utterance.id for utterance in read_folder(tmp_path / "root")] == ["happy/a", "sad/b"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"holds no audio\. .*a folder for each class.*anger/a\.wav.*data\.root"),
        (["sad/a.avi"], r"holds no audio"),
        (["sad/a.opus", "happy/b.avi", "none/c.txt"], r"2 of 3 class folders hold no audio.*:\n  happy\n  none\nPut"),
        (["a.wav", "b.wav"], r"holds 2 audio files, but no folders with audio.*Expected a folder for each class"),
        (["sad/a.wav", "b.wav"], r"1 audio files are beside the class folders:\n  b\.wav\nMove each"),
        (["sad/a.flac", "sad/a.wav"], r"id 'sad/a' occurs twice: sad/a\.flac and sad/a\.wav"),
    ],
)  # fmt: skip
def test_a_folder_of_another_shape_is_answered_with_what_was_expected(
    tmp_path: Path, files: list[str], message: str
) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_a_folder_that_is_not_there_is_answered_so(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    with pytest.raises(DataError, match=r"x: no such folder\. Check data\.root"):
        find_audio(tmp_path / "x")
    with pytest.raises(DataError, match=r"a\.wav: is no folder"):
        find_audio(tmp_path / "a.wav")


def test_a_folder_that_may_not_be_read_is_never_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "sad/a.wav", "happy/b.wav")
    (tmp_path / "sad").chmod(0)
    try:
        list((tmp_path / "sad").iterdir())
    except PermissionError:
        with pytest.raises(DataError, match=r"sad: cannot be read \(Permission denied\)"):
            read_folder(tmp_path)
    else:
        pytest.skip("this user may read everything")
    finally:
        (tmp_path / "sad").chmod(0o755)


def test_a_list_of_ten_has_no_more() -> None:
    assert first_ten(range(10)).splitlines()[-1] == "  9"


def test_paths_of_windows_are_read_with_slashes(tmp_path: Path) -> None:
    table = write(tmp_path, "path,emotion", "wav\\x\\a.wav,sad", "b\\c.wav,sad")
    touch(tmp_path, "b\\c.wav")  # a name that has a backslash here
    found = read_manifest(table)
    assert [(u.id, u.path) for u in found] == [
        ("wav/x/a", tmp_path / "wav/x/a.wav"),
        ("b\\c", tmp_path / "b\\c.wav"),
    ]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("C:\\data\\a.wav", "begins with a drive of Windows"),
        ("..\\a.wav", "leads out of"),
        ("a\0.wav", "holds a character that file names cannot contain"),
        ("\ud800.wav", "holds a character that file names cannot contain"),
    ],
)
def test_a_path_that_cannot_be_here_is_refused_with_its_line(tmp_path: Path, path: str, words: str) -> None:
    table = write(tmp_path, json.dumps({"path": "a.wav"}), json.dumps({"path": path}), name="t.jsonl")
    with pytest.raises(DataError, match=f"t.jsonl, line 2: the path .*{words}"):
        read_manifest(table)


def test_a_pipe_in_place_of_a_table_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"t\.csv: is a pipe, socket or device"):
        read_manifest(tmp_path / "t.csv")
