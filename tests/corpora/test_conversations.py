"""Reading recordings with words, turns and labels over time, in the layout of AVEC 2017."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from ser.corpora import Conversation, SewaCorpus
from ser.corpora.conversations import check_label_times, labels_on_grid
from ser.errors import DataError
from ser.splits import Predefined
from tests.commands import run

soundfile = pytest.importorskip("soundfile")

RATE = 8_000
NAMES = ("Train_01", "Devel_01", "Test_01")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def label_rows(name: str, steps: int = 20) -> str:
    return "".join(f"{name};{step / 10:.1f};{step / 100:.2f};-0.5;{step}\n" for step in range(steps))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three recordings of 2 s."""
    (tmp_path / "audio").mkdir()
    for name in NAMES:
        soundfile.write(tmp_path / "audio" / f"{name}.wav", np.zeros(2 * RATE), RATE)
        write(tmp_path / "labels" / f"{name}.csv", label_rows(name))
        write(tmp_path / "turns" / f"{name}.csv", "0.0;0.8\n1.2;2.0\n")
        write(tmp_path / "transcriptions" / f"{name}.csv", "0.0;0.8;'Das ist gut.'\n")
        segmentation = "s0w0;0.1;0.3;das\ns0w1;0.3;0.5;ist\ns0w2;0.5;0.8;gut\n"
        write(tmp_path / "speech2vec" / "segmentation" / f"{name}.csv", segmentation)
    return tmp_path


def read(root: Path) -> dict[str, Conversation]:
    return {
        conversation.id: conversation
        for conversation in SewaCorpus(str(root), split=Predefined()).conversations()
    }


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(root)
    return str(caught.value)


# ---- what is read ----


def test_sewa_is_read_with_words_turns_labels_and_splits(root: Path) -> None:
    found = read(root)
    assert {name: found[name].split for name in found} == {
        "Train_01": "train",
        "Devel_01": "validation",
        "Test_01": "test",
    }
    train = found["Train_01"]
    assert train.path == root / "audio" / "Train_01.wav"
    assert [(word.text, word.start, word.end) for word in train.words][1:] == [
        ("ist", 0.3, 0.5),
        ("gut", 0.5, 0.8),
    ]
    assert train.turns == ((0.0, 0.8), (1.2, 2.0))
    assert train.times[-1] == pytest.approx(1.9)
    assert train.values.shape == (20, 3)
    assert train.values[7].tolist() == pytest.approx([0.07, -0.5, 7])
    assert train.values.dtype == np.float32


def test_without_a_folder_of_turns_the_subject_alone_speaks(root: Path) -> None:
    shutil.rmtree(root / "turns")
    assert read(root)["Train_01"].turns is None


def test_word_times_may_be_in_a_folder_named_words(root: Path) -> None:
    shutil.rmtree(root / "speech2vec")
    for name in NAMES:
        write(root / "words" / f"{name}.csv", "start,end,word\n0.1,0.4,ja\n")
    assert [word.text for word in read(root)["Devel_01"].words] == ["ja"]


def test_empty_and_nan_cells_are_not_labelled(root: Path) -> None:
    rows = label_rows("Train_01").splitlines()
    rows[3], rows[4] = "Train_01;0.3;;0.1;0.2", "Train_01;0.4;0.1;nan;0.2"
    write(root / "labels" / "Train_01.csv", "\n".join(rows))
    gaps = np.isnan(read(root)["Train_01"].values)
    assert [*zip(*np.nonzero(gaps), strict=True)] == [(3, 0), (4, 1)]


def test_quoted_names_in_labels_are_those_of_the_recording(root: Path) -> None:
    write(root / "labels" / "Train_01.csv", label_rows("'Train_01'"))
    assert len(read(root)["Train_01"].times) == 20


def test_test_recordings_may_lack_labels(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "labels" / "Test_01.csv").unlink()
    found = read(root)["Test_01"]
    assert found.values.shape == (0, 3)
    assert "1 recordings of test have no labels: Test_01" in caplog.text
    assert np.isnan(labels_on_grid(found.times, found.values, 20, 2.0)).all()


def test_what_is_left_out_is_counted_and_named(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(
        root / "speech2vec/segmentation/Train_01.csv", "s0w0;0.1;0.3;das\ns0w1;2.5;2.7;weg\ns0w2;3;4;auch\n"
    )
    soundfile.write(root / "audio" / "Extra.wav", np.zeros(RATE), RATE)
    write(root / "labels" / "Train_99.csv", label_rows("Train_99"))
    (root / "speech2vec/segmentation/Devel_01.csv").unlink()
    (root / "transcriptions/Devel_01.csv").unlink()
    found = read(root)
    assert [word.text for word in found["Train_01"].words] == ["das"]
    assert found["Devel_01"].words == ()
    assert len(found) == 3
    for line in (
        "2 words are left out, as they lie beyond the audio: 'weg' of Train_01 at 2.5 s, 'auch' of Train_01 at 3 s",
        "1 recordings are left out, as their names do not begin with Train_, Devel_ or Test_: Extra.wav",
        "1 label files are left out, as they have no recording: Train_99.csv",
        "1 recordings have no words: Devel_01",
    ):
        assert line in caplog.text


# ---- what is refused ----


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("Train_01;0.0;a;0;0\n", "line 1: has 'a' instead of a number."),
        ("Train_01;0.0;inf;0;0\n", "line 1: has 'inf' instead of a number."),
        (
            "Train_01;0.0;0;0;0\nTrain_01;0.1;0;0\n",
            "line 2: has 4 values, expected name;time;arousal;valence;liking.",
        ),
        ("Train_02;0.0;0;0;0\n", "line 1: is a label of 'Train_02', expected 'Train_01'."),
        (
            "Train_01;0.1;0;0;0\n\nTrain_01;0.1;0;0;0\n",
            "line 3: is at 0.1 s, not after 0.1 s in the line before.",
        ),
        ("Train_01;x;0;0;0\n", "line 1: has the time 'x', expected seconds, 0 or more."),
        (label_rows("Train_01", 9), "has labels for 0.9 s of 2.00 s of audio, less than half."),
        (label_rows("Train_01", 40), "has labels up to 3.9 s, but the audio is 2.00 s long."),
        (
            "".join(f"Train_01;{step / 10};;;\n" for step in range(20)),
            "has no label, but Train_01 is for train.",
        ),
        ("\n", "the file is empty."),
    ],
)
def test_malformed_labels_are_refused(root: Path, rows: str, message: str) -> None:
    write(root / "labels" / "Train_01.csv", rows)
    told = refusal(root)
    assert told.startswith(str(root / "labels" / "Train_01.csv"))
    assert message in told


def test_words_of_which_none_reaches_into_the_audio_are_refused(root: Path) -> None:
    write(root / "speech2vec/segmentation/Train_01.csv", "s0w0;20;21;weg\n")
    assert "words of Train_01: has words from 20 s on, but Train_01 is 2.00 s long" in refusal(root)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "0;1\n0.9;1.5\n",
            "turn 2: starts at 0.9 s, before turn 1 ends at 1 s. Correct the times, or put another "
            "speaker's turns",
        ),
        ("1;1.5\n0;0.5\n", "turn 2: starts at 0 s, before turn 1 at 1 s."),
        ("0;1\n1.2;2.6\n", "line 2: a turn ends at 2.6 s, but the audio is 2.00 s long."),
        ("1;0.5\n", "turn 1: ends at 0.5 s, before its start at 1 s."),
        ("0;1;2\n", "line 1: has 3 values, expected start;end of a turn."),
        ("a;1\n", "line 1: has the time 'a'"),
    ],
)
def test_malformed_turns_are_refused(root: Path, rows: str, message: str) -> None:
    write(root / "turns" / "Devel_01.csv", rows)
    told = refusal(root)
    assert told.startswith(str(root / "turns" / "Devel_01.csv"))
    assert message in told


def test_missing_files_are_refused(root: Path) -> None:
    (root / "turns" / "Test_01.csv").unlink()
    assert "Test_01.csv: no such file. Add the turns of Test_01, or remove the folder" in refusal(root)
    (root / "labels" / "Devel_01.csv").unlink()
    assert "Devel_01.csv: no such file, but Devel_01 is for validation. Add its labels" in refusal(root)
    shutil.rmtree(root / "labels")
    assert f"{root / 'labels'}: no such folder. Give the folder that holds audio/ and labels/" in refusal(
        root
    )
    shutil.rmtree(root / "audio")
    assert f"{root / 'audio'}: no such folder." in refusal(root)


def test_recordings_without_a_known_prefix_are_refused(root: Path) -> None:
    for name in NAMES:
        (root / "audio" / f"{name}.wav").rename(root / "audio" / f"x{name}.wav")
    assert "has no recording named like Train_01.wav" in refusal(root)


def test_two_recordings_of_one_name_are_refused(root: Path) -> None:
    soundfile.write(root / "audio" / "Train_01.flac", np.zeros(RATE), RATE)
    assert "is a recording of the same name. Remove one of them." in refusal(root)


def test_an_empty_transcript_is_refused(root: Path) -> None:
    (root / "speech2vec/segmentation/Test_01.csv").unlink()
    write(root / "transcriptions/Test_01.csv", "0.0;0.8;''\n")
    assert f"{root / 'transcriptions/Test_01.csv'}: has no words." in refusal(root)


@pytest.mark.parametrize("missing", ["speech2vec", "speech2vec/segmentation/Train_01.csv"])
def test_missing_word_times_come_by_the_printed_command(root: Path, missing: str) -> None:
    path = root / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    (command,) = refusal(root).partition("Run: ")[2:]
    words = shlex.split(command)
    assert words[1] == "align"
    # `uniform` rather than dtw, which finds no speech in silence
    run("ser", *words[1:], "method=uniform", cwd=root)
    assert [word.text for word in read(root)["Train_01"].words] == ["das", "ist", "gut"]


def test_unusable_recordings_can_be_skipped(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root / "labels" / "Train_01.csv", "Train_01;0.0;a;0;0\n")
    (root / "audio" / "Test_01.wav").write_bytes(b"RIFF")
    corpus = SewaCorpus(str(root), split=Predefined(), on_error="skip")
    assert [conversation.id for conversation in corpus.conversations()] == ["Devel_01"]
    assert [name for name, _ in corpus.skipped] == ["Test_01", "Train_01"]
    assert "2 recordings are skipped because they cannot be used: " in caplog.text
    (root / "audio" / "Devel_01.wav").unlink()
    with pytest.raises(DataError, match=r"no recording can be used\. The first one: .*Test_01\.wav"):
        corpus.conversations()


# ---- labels on the grid ----


def test_labels_go_to_the_nearest_step_within_half_a_period() -> None:
    times = np.array([0.0, 0.25, 0.5, 1.25])
    grid = labels_on_grid(times, np.arange(4.0)[:, None], 14, 1.4)[:, 0]
    expected = [0, 0, 1, 1, 2, 2, 2, *[np.nan] * 5, 3, 3]
    assert grid[:2].tolist() + grid[3:].tolist() == pytest.approx(expected[:2] + expected[3:], nan_ok=True)
    assert grid.dtype == np.float32


def test_labels_at_the_steps_stay_as_they_are() -> None:
    values = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    times = np.array([float(f"{step / 10:.1f}") for step in range(300)])
    np.testing.assert_array_equal(labels_on_grid(times, values, 300, 30.0), values)
    np.testing.assert_array_equal(labels_on_grid(times + 0.04, values, 300, 30.0), values)


def test_gaps_stay_gaps_on_the_grid() -> None:
    values = np.array([[0.0], [np.nan], [2.0]])
    grid = labels_on_grid(np.array([0.0, 0.1, 0.2]), values, 4, 0.4)[:, 0]
    assert grid.tolist() == pytest.approx([0, np.nan, 2, np.nan], nan_ok=True)


def test_labels_may_run_a_second_past_the_audio_at_most() -> None:
    check_label_times(np.arange(30) / 10, 2.0, place="x")
    with pytest.raises(DataError, match=r"^x: has labels up to 3.1 s, but the audio is 2.00 s long"):
        check_label_times(np.arange(32) / 10, 2.0, place="x")
