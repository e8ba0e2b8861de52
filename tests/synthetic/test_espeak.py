"""espeak-ng through ctypes."""

import subprocess
import sys
import time

import numpy as np
import pytest

from ser.errors import ConfigError
from ser.synthetic.espeak import SAMPLE_RATE, Synthesizer

TEXT = "the baker opens the window."
ENGLISH = {"voice": "en+f3", "pitch": 50, "pitch_range": 50, "rate": 175}


@pytest.fixture(scope="module")
def synthesizer():
    pytest.importorskip("espeakng_loader", reason='needs espeak-ng: pip install ".[demo]"')
    return Synthesizer()


def pitch_of(waveform):
    """Fundamental frequency in Hz from the highest peak of the autocorrelation between 60 and 400 Hz."""
    spectrum = np.abs(np.fft.rfft(waveform, 2 ** int(np.ceil(np.log2(2 * len(waveform)))))) ** 2
    correlation = np.fft.irfft(spectrum)
    shortest, longest = SAMPLE_RATE // 400, SAMPLE_RATE // 60
    return SAMPLE_RATE / (shortest + correlation[shortest:longest].argmax())


def test_a_waveform_is_float32_between_minus_one_and_one(synthesizer):
    waveform = synthesizer.synthesize(TEXT, **ENGLISH)
    assert waveform.dtype == np.float32
    assert 0.1 < np.abs(waveform).max() <= 1
    assert 1 < len(waveform) / SAMPLE_RATE < 3


def test_twice_the_rate_takes_half_the_time(synthesizer):
    slow, fast = (len(synthesizer.synthesize(TEXT, **{**ENGLISH, "rate": rate})) for rate in (120, 240))
    assert slow / fast == pytest.approx(2, rel=0.1)


def test_a_higher_pitch_is_heard(synthesizer):
    low, high = (
        pitch_of(synthesizer.synthesize(TEXT, **{**ENGLISH, "pitch": pitch, "pitch_range": 0}))
        for pitch in (20, 80)
    )
    assert high > 1.2 * low


def test_letters_outside_ascii_are_spoken(synthesizer):
    french = {**ENGLISH, "voice": "fr+m3"}
    assert len(synthesizer.synthesize("élève.", **french)) > len(synthesizer.synthesize("lv.", **french)) / 4
    assert len(synthesizer.synthesize("la sœur de l'élève.", **french)) > SAMPLE_RATE / 2


@pytest.mark.parametrize("voice", ["nowhere", "en+f99", "xx+f3"])
def test_an_unknown_voice_is_named(synthesizer, voice):
    with pytest.raises(ConfigError, match=rf"voice '{voice[:2]}.*does not have it.*such as 'en\+f3'"):
        synthesizer.synthesize(TEXT, **{**ENGLISH, "voice": voice})


@pytest.mark.usefixtures("synthesizer")
def test_a_fresh_process_always_says_the_same():
    script = (
        "import hashlib; from ser.synthetic.espeak import Synthesizer; s = Synthesizer()\n"
        f"for _ in range(3): print(hashlib.md5(s.synthesize({TEXT!r}, **{ENGLISH!r}).tobytes()).hexdigest())"
    )
    first = subprocess.check_output([sys.executable, "-c", script])
    time.sleep(1.1)  # espeak-ng would take another seed from the clock, which it reads in seconds
    assert subprocess.check_output([sys.executable, "-c", script]) == first


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ConfigError, match=r'espeakng-loader.*not installed.*pip install "espeakng-loader'):
        Synthesizer()


def test_word_starts_follow_the_pauses_in_the_sound(synthesizer):
    words = ["one,", "two,", "three."]
    spoken = synthesizer.synthesize_words(words, voice="en", rate=120)
    loud = np.abs(spoken.waveform) > 0.01
    for start in spoken.starts[1:]:
        place = round(start * SAMPLE_RATE)
        assert not loud[place - SAMPLE_RATE // 20 : place].any()  # a comma is a pause
        assert loud[place : place + SAMPLE_RATE // 5].any()
    assert spoken.is_exact == (True, True, True)


def test_joined_words_share_the_time_until_the_next_one(synthesizer):
    spoken = synthesizer.synthesize_words(["one", "of", "the", "cups"], voice="en")
    assert spoken.is_exact == (True, True, False, True)
    _, of, the, cups = spoken.starts
    assert of < the < cups
    assert the - of == pytest.approx(2 / 5 * (cups - of), rel=1e-6)
