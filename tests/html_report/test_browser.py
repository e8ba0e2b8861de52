"""report.html in headless Chromium: complete, without errors, requests, or a scroll to the side."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from ser.html_report.run_page import write_run_page
from tests.html_report.conftest import CASES, Case

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
STARTS_IN_S, ANSWERS_IN_S = 60, 120

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DRIVER and BROWSER), reason="needs chromium and chromedriver"),
]


class Browser:
    """A session of chromedriver.

    Args:
        url: Address of the driver.
    """

    def __init__(self, url: str) -> None:
        options = {"binary": BROWSER, "args": [*FLAGS]}
        logs = {"browser": "ALL", "performance": "ALL"}
        asked = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logs}}
        self.session = f"{url}/session"
        self.session += "/" + self.post("", {"capabilities": asked})["sessionId"]

    def post(self, place: str, content: dict[str, Any]) -> Any:
        body = json.dumps(content).encode()
        request = Request(self.session + place, body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=ANSWERS_IN_S) as answer:
            return json.load(answer)["value"]

    def run(self, script: str) -> Any:
        return self.post("/execute/sync", {"script": f"return {script}", "args": []})

    def show(self, page: Path, *, width: int, scheme: str) -> None:
        """Open a page in a window of a width and a colour scheme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        for name, given in (("setDeviceMetricsOverride", size), ("setEmulatedMedia", media)):
            self.post("/goog/cdp/execute", {"cmd": f"Emulation.{name}", "params": given})
        self.post("/url", {"url": page.as_uri()})

    def messages(self) -> list[str]:
        """What the page logged since the last call."""
        return [entry["message"] for entry in self.post("/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.post("/se/log", {"type": "performance"})
        ]
        return [
            each["params"]["request"]["url"]
            for each in events
            if each["method"] == "Network.requestWillBeSent"
        ]


@contextmanager
def driver(port: int) -> Iterator[str]:
    """Run chromedriver on a port."""
    assert DRIVER is not None
    process = subprocess.Popen(
        [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + STARTS_IN_S
        while True:
            try:
                urlopen(f"{url}/status", timeout=5).close()
                break
            except URLError:
                assert time.monotonic() < end, "chromedriver does not start"
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser with an empty profile."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with driver(port) as url:
        found = Browser(url)
        yield found
        with urlopen(Request(found.session, method="DELETE"), timeout=ANSWERS_IN_S):
            pass


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_a_browser_shows_the_page_without_a_network(browser: Browser, case: Case) -> None:
    page = write_run_page(case.run, case.report, case.material, case.plane)
    backgrounds = set()
    for width in (400, 1600):
        for scheme in ("light", "dark"):
            browser.show(page, width=width, scheme=scheme)
            assert browser.run("document.documentElement.scrollWidth") <= width
            backgrounds.add(browser.run("getComputedStyle(document.body).backgroundColor"))
            assert browser.run("document.querySelectorAll('main section').length") >= 8
            assert browser.run("[...document.images].every(each => each.naturalWidth > 0)")
    assert len(backgrounds) == 2
    assert browser.messages() == []
    asked = browser.requests()
    assert asked
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    sounds = browser.run("document.querySelectorAll('audio').length")
    assert sounds == (12 if case.material.recordings else 0)
    if sounds:
        playable = (
            "[...document.querySelectorAll('audio')].every(each => each.readyState > 0 && each.duration > 7)"
        )
        end = time.monotonic() + STARTS_IN_S
        while not browser.run(playable):
            assert time.monotonic() < end, "the recordings cannot be played"
            time.sleep(0.1)
