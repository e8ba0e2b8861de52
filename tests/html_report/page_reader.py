"""Read a page as a tree of elements."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Node:
    """An element of a page."""

    tag: str
    given: dict[str, str | None]
    text: str = ""
    parents: list["Node"] = field(default_factory=list)


class Reader(HTMLParser):
    """Collects the elements of a page, each with its text, and refuses tags that are not closed."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._open: list[Node] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs), parents=[*self._open])
        self.nodes.append(node)
        if tag not in self.VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.nodes.append(Node(tag, dict(attrs), parents=[*self._open]))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for node in self._open:
            node.text += data

    def all(self, tag: str) -> list[Node]:
        return [node for node in self.nodes if node.tag == tag]

    def section(self, title: str) -> "list[Node]":
        """The elements of a section."""
        (heading,) = (node for node in self.all("h2") if node.text == title)
        return [node for node in self.nodes if heading.parents[-1] in node.parents]

    def table(self, caption: str) -> list[list[str]]:
        """The cells of the table whose caption begins so."""
        (found,) = (node for node in self.all("caption") if node.text.startswith(caption))
        owner = found.parents[-1]
        rows = [node for node in self.all("tr") if owner in node.parents]
        cells = [node for node in self.nodes if node.tag in ("td", "th")]
        return [[" ".join(cell.text.split()) for cell in cells if row in cell.parents] for row in rows]
