from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ser.audio.noise_bank import FolderBank
from ser.errors import DataError


def write(path: Path, value: float, *, samples: int = 100, rate: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(samples, value, dtype=np.float32), rate, subtype="FLOAT")


def test_a_folder_becomes_a_bank_in_the_order_of_its_paths(tmp_path: Path) -> None:
    write(tmp_path / "b.wav", 0.25, samples=3)
    write(tmp_path / "a" / "z.WAV", 0.5, samples=2)
    (tmp_path / "README.txt").write_text("not audio")
    bank = FolderBank(tmp_path, 16000)
    assert len(bank) == 2
    assert bank.samples.tolist() == [0.5, 0.5, 0.25, 0.25, 0.25]
    assert bank.samples.dtype == torch.float32


def test_recordings_come_at_the_rate_that_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 0.25, samples=8000, rate=8000)
    assert FolderBank(str(tmp_path), 16000).lengths.tolist() == [16000]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rooms: no such folder\. Give a folder of noises or of impulse"):
        FolderBank(tmp_path / "rooms", 16000)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 0.25)
    with pytest.raises(DataError, match=r"a\.wav: is no folder"):
        FolderBank(tmp_path / "a.wav", 16000)


def test_a_folder_without_audio_is_named_with_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "noise.txt").write_text("")
    with pytest.raises(DataError, match=r"holds no audio that can be read\. Give a folder"):
        FolderBank(tmp_path, 16000)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "hum.wav").write_text("no audio at all")
    with pytest.raises(DataError, match=r"hum\.wav: is text, not audio"):
        FolderBank(tmp_path, 16000)
