"""Make the pages of the site that come from README.md and CHANGELOG.md, so that neither has a copy in docs/."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[2]
NAVIGATION = "Pages"  # a section of the README that the site has at its side
OWN_PAGE = "How it is built"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the home page, the page about the code, and the list of changes."""
    start, *sections = re.split(r"^## ", _read("README.md"), flags=re.MULTILINE)
    texts = {section.partition("\n")[0]: section for section in sections}
    built = texts.pop(OWN_PAGE)
    del texts[NAVIGATION]
    pages = {
        "index.md": "## ".join([start, *texts.values()]),
        "built.md": f"# {built}",
        "changelog.md": _read("CHANGELOG.md"),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def _read(name: str) -> str:
    """Return a file of the repository, with links as they are from docs/."""
    text = (REPOSITORY / name).read_text("utf-8")
    return text.replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)")
