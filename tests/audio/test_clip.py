"""Recordings compressed for a page."""

import io
import sys

import numpy as np
import pytest

from ser.audio.clip import RATES, encode_mp3
from ser.errors import DataError

soundfile = pytest.importorskip("soundfile")


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_pitch_and_level(rate: int) -> None:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    content = encode_mp3(wave.astype(np.float32), rate)
    heard, own_rate = soundfile.read(io.BytesIO(content))
    assert own_rate == rate
    middle = heard[len(heard) // 4 : 3 * len(heard) // 4]
    pitch = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * rate / len(middle)
    assert pitch == pytest.approx(440, abs=4)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_a_second_takes_a_few_kilobytes() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert 1_000 < len(encode_mp3(noise, 16_000)) < 8_000


def test_without_soundfile_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError, match=r"cannot be imported .* Run: .*pip install"):
        encode_mp3(np.zeros(100, dtype=np.float32), 16_000)


def test_a_library_without_mp3_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise soundfile.LibsndfileError(3, prefix="Error opening: ")

    monkeypatch.setattr(soundfile, "write", fail)
    with pytest.raises(
        DataError, match=r"^MP3: libsndfile \S+ cannot write it .* Set report.audio=false, or"
    ):
        encode_mp3(np.zeros(100, dtype=np.float32), 16_000)
