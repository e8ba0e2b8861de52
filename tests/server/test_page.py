"""The page in headless Chromium: files, a microphone that a WAV feeds, and none at all."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ser.server.answers import ServedModel
from tests.browser import PROGRAM, Page, browse
from tests.server.conftest import served, to_wav, waveform_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed"),
]
MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


@pytest.fixture(params=["frames", "windows", "curves", "tasks"])
def server(request: pytest.FixtureRequest, models: dict[str, ServedModel]) -> Iterator[tuple[str, str, Any]]:
    with served(models[request.param]) as (address, work):
        yield request.param, f"http://{address}", work


def opened(page: Page, address: str) -> None:
    page.open(address)
    page.wait("document.body.dataset.ready === 'true'")


def is_drawn(page: Page, canvas: str) -> bool:
    """Whether a canvas has more than two colours."""
    count = page.evaluate(
        f"(() => {{ const own = document.getElementById({canvas!r}); const data = own.getContext('2d')"
        ".getImageData(0, 0, own.width, own.height).data; const seen = new Set();"
        "for (let at = 0; at < data.length; at += 4) seen.add(data.slice(at, at + 4).join());"
        "return seen.size; })()"
    )
    return bool(count > 2)


def test_a_file_and_the_microphone_are_heard(server: tuple[str, str, Any], tmp_path: Path) -> None:
    kind, address, work = server
    wav = tmp_path / "speech.wav"
    wav.write_bytes(to_wav(waveform_of(3), subtype="PCM_16"))
    (tmp_path / "text.wav").write_text("hello")
    flags = (*MICROPHONE, f"--use-file-for-fake-audio-capture={wav}")
    with browse(tmp_path / "browser", *flags) as page:
        opened(page, address)
        page.choose("#file", wav)
        page.wait("document.getElementById('status').textContent === 'speech.wav'")
        assert page.text("#caption").endswith("3.0 s")
        assert is_drawn(page, "spectrogram")
        assert is_drawn(page, "curves")
        assert page.evaluate("document.getElementById('plane-section').hidden") == (kind == "frames")
        for width in (400, 1600):
            for dark in (False, True):
                page.resize(width, 900, dark=dark)
                assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("document.getElementById('speak').focus()")
        page.press("Enter", 13, "\r")
        page.wait("document.getElementById('speak').textContent === 'Stop'")
        assert page.evaluate("document.activeElement.id") == "speak"
        if kind == "curves":
            time.sleep(1)
        else:
            page.wait(r"/so far, [1-9]/.test(document.getElementById('caption').textContent)")
            assert work.streams == 1
        page.press("Enter", 13, "\r")
        if kind == "curves":
            page.wait("document.getElementById('status').textContent === 'microphone.wav'")
        else:
            page.wait("/has ended after/.test(document.getElementById('status').textContent)")
        assert page.evaluate("document.getElementById('error').hidden")
        assert page.complaints == []
        page.choose("#file", tmp_path / "text.wav")
        page.wait("/is text, not audio/.test(document.getElementById('error').textContent)")
        assert all("415" in complaint for complaint in page.complaints)


def test_a_browser_that_is_closed_frees_its_stream(models: dict[str, ServedModel], tmp_path: Path) -> None:
    with served(models["frames"]) as (address, work):
        with browse(tmp_path / "browser", *MICROPHONE) as page:
            opened(page, f"http://{address}")
            page.evaluate("document.getElementById('speak').click()")
            page.wait(r"/so far/.test(document.getElementById('caption').textContent)")
            assert work.streams == 1
        end = time.monotonic() + 20
        while work.streams:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_without_a_microphone_files_are_taken(models: dict[str, ServedModel], tmp_path: Path) -> None:
    wavs = [tmp_path / f"{number}.wav" for number in range(2)]
    for wav in wavs:
        wav.write_bytes(to_wav(waveform_of(1), subtype="PCM_16"))
    with served(models["windows"]) as (address, _), browse(tmp_path / "browser") as page:
        opened(page, f"http://{address}")
        page.evaluate("document.getElementById('speak').click()")
        page.wait("/microphone .*or drop a file/.test(document.getElementById('error').textContent)")
        page.evaluate(
            "(() => { const data = new DataTransfer(); for (const name of 'ab') data.items.add(new File(['x'], name));"
            "document.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true })); })()"
        )
        page.wait("/2 files were given/.test(document.getElementById('error').textContent)")
        page.choose("#file", wavs[0])
        page.wait("document.getElementById('status').textContent === '0.wav'")
        assert page.evaluate("document.getElementById('error').hidden")
        assert page.complaints == []


def test_a_file_ends_a_microphone_that_opens(models: dict[str, ServedModel], tmp_path: Path) -> None:
    wav = tmp_path / "speech.wav"
    wav.write_bytes(to_wav(waveform_of(1), subtype="PCM_16"))
    with served(models["windows"]) as (address, _), browse(tmp_path / "browser") as page:
        opened(page, f"http://{address}")
        page.evaluate(
            "(() => { const { stream } = new AudioContext().createMediaStreamDestination();"
            "window.track = stream.getAudioTracks()[0]; const asked = new Promise((allow) => window.allow ="
            "() => allow(stream)); navigator.mediaDevices.getUserMedia = () => asked; })()"
        )
        page.evaluate("document.getElementById('speak').click()")
        page.wait("/Opening the microphone/.test(document.getElementById('status').textContent)")
        page.choose("#file", wav)
        page.wait("document.getElementById('status').textContent === 'speech.wav'")
        page.evaluate("window.allow()")
        page.wait("window.track.readyState === 'ended'")
        assert page.text("#speak") == "Speak"
        assert page.text("#status") == "speech.wav"
        assert page.complaints == []


def test_the_page_of_the_api_lists_its_paths(models: dict[str, ServedModel], tmp_path: Path) -> None:
    with served(models["windows"]) as (address, _), browse(tmp_path / "browser") as page:
        page.open(f"http://{address}/docs")
        page.wait("document.querySelectorAll('section').length === 4")
        assert "POST /predict" in page.text("#paths")
        assert page.complaints == []
