"""Reading recordings with words, turns and labels over time."""

from pathlib import Path

import numpy as np
import pytest

from ser.corpora import SewaCorpus
from ser.splits import Predefined

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


def read(root: Path) -> list:
    return SewaCorpus(str(root), split=Predefined()).conversations()


def test_sewa_is_read_with_words_turns_labels_and_splits(root: Path) -> None:
    found = {conversation.id: conversation for conversation in read(root)}
    assert {name: found[name].split for name in found} == {
        "Train_01": "train",
        "Devel_01": "validation",
        "Test_01": "test",
    }
    train = found["Train_01"]
    assert [word.text for word in train.words] == ["das", "ist", "gut"]
    assert train.turns == ((0.0, 0.8), (1.2, 2.0))
    assert train.times[-1] == pytest.approx(1.9)
    assert train.values.shape == (20, 3)
    assert train.values[7].tolist() == pytest.approx([0.07, -0.5, 7])
    assert train.values.dtype == np.float32
