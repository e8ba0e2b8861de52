"""Reading MuSe-CaR and IEMOCAP with word times, from files made like theirs."""

from pathlib import Path

import numpy as np
import pytest

from ser.corpora import IemocapWordsCorpus, MuseCarCorpus
from ser.corpora.conversations import labels_on_grid
from ser.errors import ConfigError, DataError
from ser.splits import Predefined
from ser.text.words import read_wdseg

soundfile = pytest.importorskip("soundfile")

RATE = 8_000
LABELS = "c1_muse_wild/label_segments"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def sound(path: Path, seconds: float = 2.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * RATE)), RATE)


# ---- MuSe-CaR ----


@pytest.fixture
def muse(tmp_path: Path) -> Path:
    """Three recordings of 2 s; 7 has no labels, 10 is for test."""
    write(tmp_path / "metadata/partition.csv", "Id,Proposal\n2,train\n7,train\n3,devel\n10,test\n")
    rows = "".join(f"{250 * step},{step / 10},1\n" for step in range(8))
    for name in ("2", "3", "10"):
        sound(tmp_path / f"raw/audio_norm/{name}.wav")
        for field in ("arousal", "valence"):
            if name != "10":
                write(
                    tmp_path / f"c1_muse_wild/label_segments/{field}/{name}.csv",
                    f"timestamp,value,segment_id\n{rows}",
                )
        words = tmp_path / f"c1_muse_wild/transcription_segments/{name}"
        write(words / f"{name}_2.csv", "start,end,word\n1000,1400,engine\n1400,1401,.\n")
        write(words / f"{name}_1.csv", "start,end,word\n100,500,The\n")
    return tmp_path


def test_muse_car_is_read_with_words_labels_and_splits(muse: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = MuseCarCorpus(str(muse), split=Predefined()).conversations()
    assert [(entry.id, entry.split) for entry in found] == [
        ("2", "train"),
        ("3", "validation"),
        ("10", "test"),
    ]
    first = found[0]
    assert [(word.text, word.sentence) for word in first.words] == [("the", 1), ("engine", 2)]
    assert first.words[1].start == pytest.approx(1.0)
    assert first.times.tolist() == pytest.approx([0.25 * step for step in range(8)])
    assert first.values[3].tolist() == pytest.approx([0.3, 0.3])
    grid = labels_on_grid(first.times, first.values, 20, 2.0)[:, 0]
    assert grid[[0, 1, 2, 5, 18]].tolist() == pytest.approx([0, 0, 0.1, 0.2, 0.7])
    assert np.isnan(grid[19])
    assert found[2].values.shape == (0, 2)
    assert "1 recordings of the table are left out, as they have no labels: 7" in caplog.text


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            f"{LABELS}/valence/2.csv",
            "timestamp,value\n0,1\n",
            "has 1 labels at other times than the 8",
        ),
        (
            f"{LABELS}/valence/2.csv",
            "time,value\n0,1\n",
            "has no column 'timestamp', but time,value.",
        ),
        (
            f"{LABELS}/arousal/2.csv",
            "timestamp,value\n0,x\n",
            "line 2: has 'x' instead of a number.",
        ),
        (
            f"{LABELS}/arousal/2.csv",
            "timestamp,value\n0\n",
            "line 2: has 1 values, expected 2.",
        ),
        (
            "c1_muse_wild/transcription_segments/2/2_1.csv",
            "start,end,word\n9,5,a\n",
            "line 2: ends at 5 ms, before",
        ),
        (
            "c1_muse_wild/transcription_segments/2/x.csv",
            "start,end,word\n1,5,a\n",
            "is not named like 2_1.csv.",
        ),
        (
            "metadata/partition.csv",
            "Id,Proposal\n2,trian\n",
            "line 2: has the split 'trian'. Did you mean 'train'?",
        ),
        ("metadata/partition.csv", "Id,Proposal\n", "has no recordings."),
        ("metadata/partition.csv", "Id,Proposal\n5,train\n", "has no labels of the 1 recordings"),
        ("metadata/partition.csv", "Id,Proposal\n5,test\n", "5.wav: no such file."),
    ],
)
def test_muse_car_refuses_malformed_files(muse: Path, file: str, text: str, message: str) -> None:
    write(muse / file, text)
    with pytest.raises(DataError) as caught:
        MuseCarCorpus(str(muse), split=Predefined()).conversations()
    assert message in str(caught.value)


def test_muse_car_names_the_setting_of_a_missing_folder(muse: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder\. Correct data\.root or data\.transcripts"):
        MuseCarCorpus(str(muse), split=Predefined(), transcripts="elsewhere").conversations()


# ---- IEMOCAP ----

WDSEG = """\tSFrm\tEFrm\tSegAScr\tWord
0 40 -100 <s>
41 72 -17530 WHAT(2)
73 80 -10 <sil>
81 99 -20 ++LAUGHTER++
100 149 -258661 WELL
150 160 -1 </s>
Total score: -299999
"""


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    """An utterance of 2.04 s in each session; that of session 2 has no word times."""
    for session in range(1, 6):
        folder, dialog = tmp_path / f"Session{session}", f"Ses0{session}F_impro01"
        name = f"{dialog}_M003"
        sound(folder / f"sentences/wav/{dialog}/{name}.wav", 2.04)
        write(folder / f"sentences/ForcedAlignment/{dialog}/{name}.wdseg", WDSEG)
        label = f"[6.2901 - 8.2357]\t{name}\tneu\t[2.5, 3.5, 4.0]\nC-E2:\tNeutral;\t()\n"
        header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        write(folder / f"dialog/EmoEvaluation/{dialog}.txt", header + label)
    (tmp_path / "Session2/sentences/ForcedAlignment/Ses02F_impro01/Ses02F_impro01_M003.wdseg").unlink()
    return tmp_path


def test_iemocap_is_read_with_words_and_constant_labels(
    iemocap: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = IemocapWordsCorpus(str(iemocap), split=Predefined()).conversations()
    assert [entry.split for entry in found] == ["train", "train", "train", "validation", "test"]
    assert [entry.speaker for entry in found] == ["01M", "02M", "03M", "04M", "05M"]
    first = found[0]
    assert [(word.text, round(word.start, 2), round(word.end, 2)) for word in first.words] == [
        ("what", 0.41, 0.73),
        ("<laughter>", 0.81, 1.0),
        ("well", 1.0, 1.5),
    ]
    assert first.values.shape == (21, 3)
    grid = labels_on_grid(first.times, first.values, 21, 2.04)
    assert grid[0].tolist() == pytest.approx([3.5, 2.5, 4.0])
    assert not np.isnan(grid).any()
    assert "1 utterances have no words: Ses02F_impro01_M003" in caplog.text


def test_iemocap_sessions_can_be_chosen(iemocap: Path) -> None:
    found = IemocapWordsCorpus(
        str(iemocap), split=Predefined(), validation_session=1, test_session=2
    ).conversations()
    assert [entry.split for entry in found] == ["validation", "test", "train", "train", "train"]
    with pytest.raises(ConfigError, match=r"data\.validation_session=5: is the session of the test, too"):
        IemocapWordsCorpus(str(iemocap), split=Predefined(), validation_session=5)
    with pytest.raises(ConfigError, match=r"data\.test_session=6: there is no such session"):
        IemocapWordsCorpus(str(iemocap), split=Predefined(), test_session=6)


def test_iemocap_refuses_what_is_missing(iemocap: Path) -> None:
    evaluation = iemocap / "Session3/dialog/EmoEvaluation/Ses03F_impro01.txt"
    write(evaluation, evaluation.read_text().replace("3.5", "high"))
    with pytest.raises(DataError, match=r"impro01\.txt, line 3: has 'high' instead of a number"):
        IemocapWordsCorpus(str(iemocap), split=Predefined()).conversations()
    write(evaluation, "%\n")
    with pytest.raises(DataError, match=r"impro01\.txt: has no label of Ses03F_impro01_M003"):
        IemocapWordsCorpus(str(iemocap), split=Predefined()).conversations()
    (iemocap / "Session1/sentences/ForcedAlignment").rename(iemocap / "moved")
    with pytest.raises(DataError, match=r"ForcedAlignment: no such folder\. Copy it from IEMOCAP"):
        IemocapWordsCorpus(str(iemocap), split=Predefined()).conversations()
    with pytest.raises(DataError, match="has no utterance such as Session1/sentences/wav"):
        IemocapWordsCorpus(str(iemocap / "moved"), split=Predefined()).conversations()


def test_malformed_wdseg_lines_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.wdseg", "SFrm EFrm SegAScr Word\n1 2 WELL\n")
    with pytest.raises(DataError, match="line 2: is not SFrm EFrm SegAScr Word"):
        read_wdseg(tmp_path / "a.wdseg")
