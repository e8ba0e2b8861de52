"""What can be predicted: files, folders, manifests, windows of long recordings."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.data.inputs import are_recordings, find_recordings, windows, with_ends
from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, DataError

soundfile = pytest.importorskip("soundfile")


def record(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(8_000 * seconds)), 8_000)
    return path


def test_recordings_are_told_by_their_names(tmp_path: Path) -> None:
    assert are_recordings(tmp_path)
    assert all(are_recordings(Path(name)) for name in ("a.wav", "b.FLAC", "c.csv", "d.jsonl"))
    assert not any(are_recordings(Path(name)) for name in ("test.json", "FILE"))


def test_a_file_a_folder_and_a_manifest_can_be_given(tmp_path: Path) -> None:
    one, two = record(tmp_path / "one.wav", 1.5), record(tmp_path / "below" / "two.flac", 0.5)
    (tmp_path / "table.csv").write_text("id,path,start,end\nx,one.wav,0.5,1.0\n")
    assert [(u.id, u.path) for u in find_recordings(one)] == [("one", one)]
    assert [(u.id, u.path) for u in find_recordings(tmp_path)] == [("below/two", two), ("one", one)]
    assert [u.id for u in find_recordings(tmp_path / "table.csv")] == ["x"]
    assert [u.end for u in with_ends(find_recordings(tmp_path))] == [0.5, 1.5]
    assert [u.end for u in with_ends(find_recordings(tmp_path / "table.csv"))] == [1.0]


def test_what_is_no_audio_is_left_to_the_reader_of_recordings(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 1.0)
    (tmp_path / "bad.wav").write_bytes(b"\0\xff" * 200)
    listed = with_ends(find_recordings(tmp_path))
    assert [(u.id, u.end) for u in listed] == [("a", 1.0), ("bad", None)]
    assert [u.id for u in windows(listed, 0.5, 0.5)] == ["a#0.000", "a#0.500", "bad"]


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no audio \(\.wav"):
        find_recordings(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 0.1), record(tmp_path / "a.flac", 0.1)
    with pytest.raises(DataError, match="id 'a' occurs twice"):
        find_recordings(tmp_path)


@given(
    end=st.floats(0.1, 100).map(lambda value: round(value, 2)),
    window=st.floats(0.5, 10).map(lambda value: round(value, 2)),
    share=st.floats(0.1, 1),
)
def test_windows_cover_everything_and_are_equally_long(end: float, window: float, share: float) -> None:
    cut = windows(Manifest((Utterance("a", Path("a.wav"), end=end),), "a"), window, window * share).utterances
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
        windows(Manifest((), "a"), window, hop)


def test_a_hop_is_a_window_long_unless_it_is_given_and_never_stands_alone() -> None:
    whole = Manifest((Utterance("a", Path("a.wav"), end=3.0),), "a")
    assert windows(whole, None, None) == whole
    assert windows(whole, 1.0, None) == windows(whole, 1.0, 1.0)
    with pytest.raises(ConfigError, match=r"hop_s=0\.5: .*Set window_s"):
        windows(whole, None, 0.5)
