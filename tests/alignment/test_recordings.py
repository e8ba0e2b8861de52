"""The command `ser align`: files, folders, what is left out, and what is refused."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ser.alignment import recordings
from ser.alignment.base import Aligner, Span
from ser.alignment.recordings import Recording, Summary, align_recording
from tests.commands import run

soundfile = pytest.importorskip("soundfile")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder `sound` of two recordings of 2 s, and a folder `text` with their transcripts."""
    rng = np.random.default_rng(0)
    for name in ("a/one", "two", "lonely"):
        (tmp_path / "sound" / name).parent.mkdir(parents=True, exist_ok=True)
        waveform = 0.1 * rng.normal(size=32_000) * np.repeat([0, 1, 1, 0], 8_000)
        soundfile.write(tmp_path / "sound" / f"{name}.wav", waveform, 16_000)
    (tmp_path / "text" / "a").mkdir(parents=True)
    (tmp_path / "text" / "a" / "one.csv").write_text("0;1;'Ja, gut.'\n1;2;'<filler>'\n")
    (tmp_path / "text" / "two.txt").write_text("ich habe das nicht gesehen aber die Frau und der Mann\n")
    (tmp_path / "text" / "three.txt").write_text("nobody says this\n")
    return tmp_path


def test_a_folder_gets_one_csv_a_recording(folders: Path) -> None:
    words = ("audio=sound", "transcript=text", "language=en", "output=words")
    done = run("ser", "align", *words, "method=energy", cwd=folders)
    lines = (folders / "words" / "a" / "one.csv").read_text().splitlines()
    assert lines[0] == "start,end,word"
    assert [line.split(",")[2] for line in lines[1:]] == ["ja", "gut"]
    assert float(lines[1].split(",")[0]) == pytest.approx(0.5, abs=0.03)
    assert (folders / "words" / "two.csv").read_text().count("\n") == 12
    assert "2 recordings, 13 words; 2 rows by energy." in done.stdout
    assert "text/a/one.csv: 1 rows without words or of a filler alone are left out" in done.stdout
    assert "text/two.txt: reads like language=de, not en" in done.stdout
    assert "1 recordings without a transcript: lonely" in done.stdout
    assert "1 transcripts without a recording: three" in done.stdout
    again = run("ser", "align", *words, "method=energy", cwd=folders, code=1)
    assert "words/a/one.csv: exists already, as do 1 more. Set overwrite=true" in again.stderr


def test_given_words_are_checked_and_converted(folders: Path) -> None:
    (folders / "given.csv").write_text("start,end,word\n0.5,1,ja\n1,1.5,gut\n")
    words = ("audio=sound/two.wav", "transcript=given.csv", "method=given", "layout=segmentation")
    run("ser", "align", *words, cwd=folders)
    assert (folders / "words_two.csv").read_text() == "s0w0;0.5000;1.0000;ja\ns0w1;1.0000;1.5000;gut\n"
    (folders / "given.csv").write_text("start,end,word\n0.5,1,ja\n2,2.6,gut\n")
    done = run("ser", "align", *words, "overwrite=true", cwd=folders, code=1)
    assert "given.csv, word 2: ends at 2.6 s, but sound/two.wav is 2.00 s long." in done.stderr


def test_a_damaged_recording_is_skipped_on_demand(folders: Path) -> None:
    (folders / "sound" / "two.wav").write_bytes(b"RIFF")
    words = ("audio=sound", "transcript=text", "method=uniform", "output=words")
    done = run("ser", "align", *words, "overwrite=true", cwd=folders, code=1)
    assert "sound/two.wav: " in done.stderr
    done = run("ser", "align", *words, "overwrite=true", "on_error=skip", cwd=folders)
    assert "1 recordings were skipped:\n  sound/two.wav: " in done.stdout
    assert not (folders / "words" / "two.csv").exists()


def test_a_file_and_a_folder_do_not_fit(folders: Path) -> None:
    done = run(
        "ser", "align", "audio=sound", "transcript=text/two.txt", "method=uniform", cwd=folders, code=1
    )
    assert "audio=sound: is a folder, but transcript=text/two.txt is a file. Give two files" in done.stderr
    shutil.rmtree(folders / "text" / "a")
    (folders / "text" / "two.txt").unlink()
    done = run("ser", "align", "audio=sound", "transcript=text", "method=uniform", cwd=folders, code=1)
    assert "text: has no transcript of the 3 recordings in sound. Name it as its recording" in done.stderr


class Warping(Aligner):
    """Stands for `dtw`."""

    name = "dtw"

    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> list[Span]:
        return [(0.0, 1.0)] * len(tokens)


def test_hours_of_plain_text_are_pointed_out(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "_LONGEST_S", 1)
    summary = Summary()
    for name in ("two.txt", "a/one.csv"):
        recording = Recording(folders / "sound" / "two.wav", folders / "text" / name, folders / "out.csv")
        align_recording(recording, [Warping()], summary, language=None, layout="words")
    assert [note for note in summary.notes if "cut it into rows" in note] == [summary.notes[0]]
    assert "two.txt: is one text of" in summary.notes[0]
