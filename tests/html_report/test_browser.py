"""report.html in headless Chromium: complete, without errors, requests, or a scroll to the side."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ser.html_report.run_page import write_run_page
from ser.scripts.ensemble import ensemble
from tests.calibration.test_ensemble import write_run
from tests.html_report.conftest import CASES, Case

pytest.importorskip("websockets")

from tests.browser import PROGRAM, Page, browse

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of a browser with an empty profile."""
    with browse(tmp_path_factory.mktemp("browser")) as page:
        yield page


def check(browser: Page, path: Path, sections: int) -> None:
    """Open a page as a phone and as a wide window, in both schemes: it fits, and asks for nothing."""
    browser.complaints.clear()
    browser.requests.clear()
    backgrounds = set()
    for width in (400, 1600):
        for dark in (False, True):
            browser.resize(width, 900, dark=dark)
            browser.open(path.as_uri())
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            backgrounds.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert browser.evaluate("document.querySelectorAll('main section').length") >= sections
            assert browser.evaluate("[...document.images].every(each => each.naturalWidth > 0)")
            assert browser.evaluate(_BROKEN_WORDS) == []
    assert len(backgrounds) == 2
    assert browser.complaints == []
    assert browser.requests
    assert {url.partition(":")[0] for url in browser.requests} <= {"file", "data"}


_BROKEN_WORDS = r"""[...document.querySelectorAll("th[scope=row]")].map(cell => cell.firstChild).filter(text => {
  if (!text || text.nodeType !== Node.TEXT_NODE) return false;
  return [...text.data.matchAll(/\S+/g)].some(word => {
    if (word[0].length > 16) return false;
    const range = document.createRange();
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1;
  });
}).map(text => text.data)"""
"""Heads of rows in which a word is broken over two lines."""


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_a_browser_shows_a_run_without_a_network(browser: Page, case: Case) -> None:
    check(browser, write_run_page(case.run, case.report, case.material, case.plane), sections=8)
    sounds = browser.evaluate("document.querySelectorAll('audio').length")
    assert (sounds > 0) == bool(case.material.recordings)
    if sounds:
        browser.wait(
            "[...document.querySelectorAll('audio')].every(each => each.readyState > 0 && each.duration > 7)"
        )


def test_a_browser_shows_an_evaluation(browser: Page, evaluated: Path) -> None:
    check(browser, evaluated, sections=6)


@pytest.mark.parametrize("width", [400, 1600])
def test_a_confusion_of_seven_classes_fits(browser: Page, evaluated: Path, width: int) -> None:
    browser.resize(width, 900, dark=False)
    browser.open(evaluated.as_uri())
    excess = "(each => each.scrollWidth - each.clientWidth)(document.querySelector('.matrix').parentElement)"
    assert browser.evaluate(excess) <= 0


def test_a_browser_shows_an_ensemble(browser: Page, tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / name, seed=seed, count=60)) for seed, name in enumerate(("a", "b"))]
    assert ensemble([*runs, "--output", str(tmp_path / "both")]) == 0
    check(browser, tmp_path / "both" / "report.html", sections=6)
