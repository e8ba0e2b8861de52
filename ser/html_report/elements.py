"""What a page consists of: sections of text, tables, charts, pictures and recordings. The template escapes all text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Share:
    """Cell of a table that draws a share as a bar behind its text.

    Args:
        text: Text of the cell.
        share: Length of the bar, 0..1.
        tone: Whether the colour of the whole cell shows the share (`heat`), or a bar (`bar`).
    """

    text: str
    share: float
    tone: str = "bar"
    kind: ClassVar[str] = "share"


@dataclass(frozen=True)
class Range:
    """Cell of a table that draws a score, its interval and its floor on a line from 0 to 1.

    Args:
        text: Text of the cell, which says the same.
        value: The score, 0..1.
        low: Lower end of the interval; None for none.
        high: Upper end of the interval; None for none.
        floor: Floor of the score; None for none.
    """

    text: str
    value: float
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    kind: ClassVar[str] = "range"


Cell = str | Share | Range


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Args:
        caption: What the table shows, above it.
        header: Names of the columns.
        rows: Cells of each row.
        is_matrix: Whether all columns are equally wide, as those of a confusion matrix.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    is_matrix: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Mark:
    """Entry of a legend.

    Args:
        text: Name of what is drawn.
        color: Index of a colour of the page, or the name of one: `ink`, `faint`, `good`, `bad`.
        shape: `line`, `dash`, or the shape of a point.
    """

    text: str
    color: int | str
    shape: str = "line"


@dataclass(frozen=True)
class Chart:
    """A chart with its title and legend.

    Args:
        title: What is shown; with the note, the text for those who cannot see the chart.
        svg: The drawing.
        legend: Entries of the legend; none for a chart that needs none.
        note: Sentence below the chart.
        is_wide: Whether it takes a whole row of the page.
    """

    title: str
    svg: Markup
    legend: Sequence[Mark] = ()
    note: str = ""
    is_wide: bool = False


@dataclass(frozen=True)
class Charts:
    """Charts side by side, as many as fit."""

    charts: Sequence[Chart]
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True)
class Picture:
    """A PNG picture.

    Args:
        png: Content of the file.
        alt: Text for those who cannot see it.
    """

    png: bytes
    alt: str
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Clip:
    """An utterance to look at and listen to.

    Args:
        id: Id of the utterance.
        title: What was predicted instead of what.
        facts: Names and values about it.
        shares: Probability of each class, the largest first.
        picture: Its spectrogram or features; None if there is none.
        audio: Its recording as MP3; None if there is none.
        note: What is missing of it, or cut off.
    """

    id: str
    title: str
    facts: Sequence[tuple[str, str]] = ()
    shares: Sequence[tuple[str, float]] = ()
    picture: Picture | None = None
    audio: bytes | None = None
    note: str = ""


@dataclass(frozen=True)
class Clips:
    """Utterances side by side, as many as fit."""

    clips: Sequence[Clip]
    kind: ClassVar[str] = "clips"


@dataclass(frozen=True)
class Code:
    """Text of a terminal or a file.

    Args:
        text: The text.
        title: What it is, as a line to open it; none for text that is always shown.
    """

    text: str
    title: str = ""
    kind: ClassVar[str] = "code"


Element = Text | Table | Charts | Picture | Clips | Code


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Args:
        title: Its heading.
        elements: Its content.
        intro: Sentence below the heading.
    """

    title: str
    elements: Sequence[Element]
    intro: str = ""


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: Its heading.
        headlines: Scores in large type: name, value, and what is below it.
        stamps: Warnings to every reader.
        sections: Its sections; those without elements are left out.
        command: Command that made it.
        has_audio: Whether it holds recordings, which it then says.
    """

    title: str
    headlines: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]
    stamps: Sequence[str] = ()
    command: str = ""
    has_audio: bool = False
    facts: Sequence[tuple[str, Any]] = field(default_factory=list)
