"""What can be predicted: files, folders, manifests, windows of long recordings."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.config.settings import Predict
from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, DataError
from ser.inference.inputs import (
    are_recordings,
    cut_windows,
    find_recordings,
    kind_of,
    predict_remedies,
    refuse_unread,
    with_ends,
    with_folder_labels,
)

soundfile = pytest.importorskip("soundfile")


def record(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(8_000 * seconds)), 8_000)
    return path


@pytest.mark.parametrize(
    ("given", "stream", "setting"),
    [
        ("a.json", False, "root"),
        ("a.npy", False, "window_s"),
        ("a.wav", True, "corpus"),
        (["a.wav", "b.wav"], False, "sample_rate"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(given: Any, stream: bool, setting: str) -> None:
    settings = Predict.of({})
    kind = kind_of(given, stream=stream)
    refuse_unread(settings, kind)
    with pytest.raises(ConfigError, match=rf"^{setting}=1: is for .*, but the input is .*Leave it out\.$"):
        refuse_unread(replace(settings, **{setting: 1}), kind)


def test_recordings_are_told_by_their_names(tmp_path: Path) -> None:
    assert are_recordings(tmp_path)
    assert all(are_recordings(Path(name)) for name in ("a.wav", "b.FLAC", "c.csv", "d.jsonl"))
    assert not any(are_recordings(Path(name)) for name in ("test.json", "FILE"))


def test_a_file_a_folder_and_a_manifest_can_be_given(tmp_path: Path) -> None:
    one, two = record(tmp_path / "one.wav", 1.5), record(tmp_path / "below" / "two.flac", 0.5)
    (tmp_path / "table.csv").write_text("id,path,start,end\nx,one.wav,0.5,1.0\n")
    assert [(u.id, u.path) for u in find_recordings([one])] == [("one", one)]
    assert [(u.id, u.path) for u in find_recordings([tmp_path])] == [("below/two", two), ("one", one)]
    assert [u.id for u in find_recordings([tmp_path / "table.csv"])] == ["x"]
    assert [u.end for u in with_ends(find_recordings([tmp_path]))] == [0.5, 1.5]
    assert [u.end for u in with_ends(find_recordings([tmp_path / "table.csv"]))] == [1.0]


def test_what_is_no_audio_is_left_to_the_reader_of_recordings(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 1.0)
    (tmp_path / "bad.wav").write_bytes(b"\0\xff" * 200)
    listed = with_ends(find_recordings([tmp_path]))
    assert [(u.id, u.end) for u in listed] == [("a", 1.0), ("bad", None)]
    assert [u.id for u in cut_windows(listed, 0.5, 0.5)] == ["a#0.000", "a#0.500", "bad"]


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no audio that can be read"):
        find_recordings([tmp_path])


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 0.1), record(tmp_path / "a.flac", 0.1)
    with pytest.raises(DataError, match="id 'a' occurs twice"):
        find_recordings([tmp_path])


@given(
    end=st.floats(0.1, 100).map(lambda value: round(value, 2)),
    window=st.floats(0.5, 10).map(lambda value: round(value, 2)),
    share=st.floats(0.1, 1),
)
def test_windows_cover_everything_and_are_equally_long(end: float, window: float, share: float) -> None:
    cut = cut_windows(
        Manifest((Utterance("a", Path("a.wav"), end=end),), "a"), window, window * share
    ).utterances
    assert (cut[0].start, cut[-1].end) == (0, end)
    assert len({utterance.id for utterance in cut}) == len(cut)
    ends = [utterance.end or 0.0 for utterance in cut]
    assert all(utterance.start <= before + 1e-9 for utterance, before in zip(cut[1:], ends, strict=False))
    if end > window:
        assert all(
            stop - utterance.start == pytest.approx(window) for utterance, stop in zip(cut, ends, strict=True)
        )


@pytest.mark.parametrize(("window", "hop"), [(0.0, 0.0), (1.0, 2.0), (1.0, 0.0), (-1.0, -1.0)])
def test_windows_with_gaps_are_refused(window: float, hop: float) -> None:
    with pytest.raises(ConfigError, match=rf"window_s={window}, hop_s={hop}: .*0 < hop_s <= window_s"):
        cut_windows(Manifest((), "a"), window, hop)


def test_a_hop_is_a_window_long_unless_it_is_given_and_never_stands_alone() -> None:
    whole = Manifest((Utterance("a", Path("a.wav"), end=3.0),), "a")
    assert cut_windows(whole, None, None) == whole
    assert cut_windows(whole, 1.0, None) == cut_windows(whole, 1.0, 1.0)
    with pytest.raises(ConfigError, match=r"hop_s=0\.5: .*Set window_s"):
        cut_windows(whole, None, 0.5)


def test_a_recording_is_told_by_its_content_where_the_name_says_nothing(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 0.5).rename(tmp_path / "speech")
    (tmp_path / "features").write_text("{}")
    assert are_recordings(tmp_path / "speech")
    assert not are_recordings(tmp_path / "features")


def test_a_folder_gives_all_audio_and_names_what_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.WAV", "b.aiff", "c.au", "d.w64", "e.caf"):
        record(tmp_path / name, 0.1)
    record(tmp_path / "f.flac", 0.1).rename(tmp_path / "f")
    record(tmp_path / "g.flac", 0.1).rename(tmp_path / "g.2026")
    record(tmp_path / ".h.wav", 0.1)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "notes.txt").write_text("nothing to hear")
    (tmp_path / ".git").mkdir()
    with caplog.at_level(logging.INFO):
        found = find_recordings([tmp_path])
    assert [u.id for u in found] == ["a", "b", "c", "d", "e", "f", "g.2026"]
    assert "2 without audio that can be read (notes.txt, pipe), 2 hidden (.git, .h.wav)" in caplog.text


def test_a_list_of_files_folders_and_manifests_is_one_input(tmp_path: Path) -> None:
    one, two = record(tmp_path / "one.wav", 1.5), record(tmp_path / "below" / "two.flac", 0.5)
    table = tmp_path / "table.csv"
    table.write_text("id,path\nx,one.wav\n")
    assert [u.id for u in find_recordings([one, two.parent, table])] == ["one", "two", "x"]


def test_recordings_of_one_name_in_a_list_are_named_by_their_paths(tmp_path: Path) -> None:
    one, two = record(tmp_path / "x" / "a.wav", 0.1), record(tmp_path / "y" / "a.wav", 0.1)
    assert [u.id for u in find_recordings([one, two])] == [str(tmp_path / "x/a"), str(tmp_path / "y/a")]
    with pytest.raises(DataError, match=r"occurs twice: .*Give each recording once"):
        find_recordings([one, one])


def test_a_list_holds_nothing_but_recordings(tmp_path: Path) -> None:
    one = record(tmp_path / "a.wav", 0.1)
    for name in ("test.json", "clips.npy"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(ConfigError, match=f"{name} is no recording, folder or manifest.*Give it alone"):
            find_recordings([one, tmp_path / name])


def test_paths_in_a_manifest_are_relative_to_a_root_that_is_given(tmp_path: Path) -> None:
    one = record(tmp_path / "audio" / "one.wav", 0.1)
    table = tmp_path / "lists" / "table.csv"
    table.parent.mkdir()
    table.write_text("path\none.wav\n")
    assert [u.path for u in find_recordings([table], tmp_path / "audio")] == [one]
    with pytest.raises(ConfigError, match=r"root=.*no input is one\. Leave root out"):
        find_recordings([one], tmp_path)


def test_messages_name_settings_that_predict_has() -> None:
    with pytest.raises(DataError, match=r"^give root=FOLDER or cache_dir=FOLDER$"), predict_remedies():
        raise DataError("give data.root=FOLDER or data.cache_dir=FOLDER")
    with pytest.raises(DataError, match=r"^give input=FOLDER$"), predict_remedies(root="input"):
        raise DataError("give data.root=FOLDER")


def test_folders_named_as_classes_label_what_lies_in_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record(tmp_path / "anger" / "x" / "a.wav", 0.1), record(tmp_path / "other" / "b.wav", 0.1)
    record(tmp_path / "c.wav", 0.1)
    found = find_recordings([tmp_path])
    labelled = with_folder_labels(found, [tmp_path], "emotion", ["anger", "sadness"])
    assert [u.labels.get("emotion") for u in labelled] == ["anger", None, "other"]
    with caplog.at_level(logging.INFO):
        assert with_folder_labels(found, [tmp_path], "emotion", ["de", "en"]) == found
    assert (
        r"not scored, as none of its folders (anger, other) is a class of the model (de, en)" in caplog.text
    )


def test_an_end_far_beyond_the_file_makes_no_windows(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 2.0)
    (tmp_path / "t.csv").write_text("id,path,end\nfar,a.wav,1e9\nnear,a.wav,2.3\n")
    listed = with_ends(find_recordings([tmp_path / "t.csv"]))
    assert [u.end for u in listed] == [1e9, 2.0]
    assert [u.id for u in cut_windows(listed, 1.0, 1.0)] == ["far", "near#0.000", "near#1.000"]


def test_too_many_windows_are_refused_before_they_are_made() -> None:
    day = Manifest((Utterance("a", Path("none.wav"), end=86_400.0),), "a")
    with pytest.raises(ConfigError, match=r"hop_s=1e-07: makes \d+ windows of a, .*Set a longer hop_s"):
        cut_windows(day, 1.0, 1e-7)


def test_a_published_corpus_is_read_with_the_labels_of_its_names(recordings: Path) -> None:
    found = find_recordings([recordings], corpus="ravdess")
    assert {u.labels["emotion"] for u in found} == {"neutral", "happiness", "sadness", "anger"}
    with pytest.raises(ConfigError, match=r"corpus=ravdess: needs the folder of the corpus.*input=DIR"):
        find_recordings([recordings, recordings], corpus="ravdess")
