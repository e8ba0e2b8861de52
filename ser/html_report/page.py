"""Fill the template of a page: text is escaped, pictures and recordings are inside, and a browser may load no more."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from ser.files import write_atomic
from ser.html_report.elements import Clips, Page, Section

FILE = "report.html"
"""Name of the page in the folder of a run or an evaluation."""


def write_page(path: Path, page: Page) -> None:
    """Write a page.

    Raises:
        DataError: The file cannot be written.
    """
    write_atomic(path, render(page))


def render(page: Page) -> str:
    """Return the HTML of a page."""
    from jinja2 import (  # 0.1 s, which only the end of a run needs
        Environment,
        FileSystemLoader,
        StrictUndefined,
    )

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda content: b64encode(content).decode("ascii")
    sections = [section for section in page.sections if section.elements or section.intro]
    return environment.get_template("page.html.jinja").render(page=page, sections=sections)


def has_audio(sections: Sequence[Section]) -> bool:
    """Return whether sections hold recordings."""
    found = (element for section in sections for element in section.elements if isinstance(element, Clips))
    return any(clip.audio is not None for element in found for clip in element.clips)
