"""The pages of docs/ as a site, which `make docs` builds."""

import os
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import REPOSITORY

LOADED = {"src", "srcset", "data", "poster"}
"""Attributes whose address a browser loads without a click; of `link`, it is href."""


class Page(HTMLParser):
    """The addresses, anchors and tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.loaded += [value for name, value in given.items() if name in LOADED]
        if "href" in given and tag == "link" and given.get("rel") != "canonical":
            self.loaded.append(given["href"])
        elif "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; it is strict: a warning fails."""
    folder = tmp_path_factory.mktemp("site")
    words = ["mkdocs", "build", "--quiet", "--config-file", "docs/site/mkdocs.yml", "--site-dir", str(folder)]
    built = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=REPOSITORY,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_page_is_on_the_site(pages: dict[Path, Page]) -> None:
    expected = {path.stem for path in (REPOSITORY / "docs").glob("*.md")} | {"index", "built", "changelog"}
    assert {path.stem for path in pages} == expected


def test_links_and_anchors_lead_somewhere(pages: dict[Path, Page]) -> None:
    broken = defaultdict(list)
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            address = urlsplit(link)
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            if address.scheme or address.netloc:
                continue
            if not target.exists() or (
                address.fragment and unquote(address.fragment) not in pages[target].anchors | {"__skip"}
            ):
                broken[path.name].append(link)
    assert not broken


def test_a_page_loads_nothing_from_a_network(site: Path, pages: dict[Path, Page]) -> None:
    assert {urlsplit(link).netloc for page in pages.values() for link in page.loaded} == {""}
    own = [path.read_text("utf-8") for path in site.rglob("*.css")]
    assert not [text for text in own if "url(http" in text or "url(//" in text or "@import" in text]


def test_the_home_page_is_the_readme(site: Path) -> None:
    home = (site / "index.html").read_text("utf-8")
    assert "make train" in home
    assert home.count('href="challenge.html"') > 1  # by the navigation, and by the table of systems
    built = (site / "built.html").read_text("utf-8")
    assert "batching/" in built


def test_search_knows_the_pages_without_a_server(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text("utf-8")
    assert index.startswith("var __index = ")
    assert '"location":"matrix.html' in index
    assert 'src="site/assets/iframe-worker.js"' in (site / "index.html").read_text("utf-8")
