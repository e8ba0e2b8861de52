"""Draw small charts as SVG whose colours are those of the page, so that they follow its light or dark scheme.

matplotlib's pictures have fixed colours and sizes, and take 0.1 to 0.2 s each. A chart of this module takes a
millisecond, is drawn at the width of a phone, and a wide window shows several side by side.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

SHAPES = ("circle", "triangle", "square", "cross")
"""Shapes of points, which tell classes apart beside their colours."""
COLORS = 12
"""Number of colours of the page, `--c0` to `--c11`."""
_WIDTH, _HEIGHT = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 18, 12, 42
_RADIUS = 3.2
_STEPS = (1, 2, 2.5, 5, 10)
_LETTER = 6.6  # mean width of a character of 12 px


@dataclass(frozen=True)
class Axis:
    """An axis.

    Args:
        label: What it measures, with the unit.
        low: Value at its start.
        high: Value at its end.
        ticks: Values with a tick; empty for round ones.
        form: Format of a tick; None for as many digits as are needed.
        is_log: Whether distances are ratios.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[float] = ()
    form: Callable[[float], str] | None = None
    is_log: bool = False

    @classmethod
    def around(cls, label: str, values: Sequence[float], **others: object) -> "Axis":
        """Return an axis that holds all values with a margin."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
        return cls(label, low - margin, high + margin, **others)  # type: ignore[arg-type]

    def place(self, value: float) -> float:
        """Return the place of a value on the axis, 0..1 within it."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def shown_ticks(self) -> list[tuple[float, str]]:
        """Return the values with a tick and their texts."""
        if self.ticks:
            return [(tick, self._text(tick)) for tick in self.ticks]
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            ticks = [part * 10.0**power for power in powers for part in (1, 2, 5)]
        else:
            rough = (self.high - self.low) / 5
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(part * power for part in _STEPS if part * power >= rough * 0.999)
            ticks = [
                number * step
                for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
            ]
        edge = 1e-9 * (self.high - self.low)
        inside = [tick for tick in ticks if self.low - edge <= tick <= self.high + edge]
        return [(tick, self._text(tick)) for tick in inside]

    def _text(self, value: float) -> str:
        return self.form(value) if self.form else f"{value:.4g}"


def percent(value: float) -> str:
    """Format a share as a tick."""
    return f"{100 * value:.4g}%"


def color_of(color: int | str) -> str:
    """Return the CSS variable of a colour of the page."""
    return f"var(--c{color % COLORS})" if isinstance(color, int) else f"var(--{color})"


def shape_of(index: int) -> str:
    """Return the shape of the points of a class."""
    return SHAPES[index % len(SHAPES)]


class Plot:
    """A chart with two axes, to which lines and points are added.

    Args:
        x: Horizontal axis.
        y: Vertical axis.
        width: Width in pixels, if the page is that wide.
        height: Height in pixels.
    """

    def __init__(self, x: Axis, y: Axis, *, width: int = _WIDTH, height: int = _HEIGHT) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self._parts: list[Markup] = []
        self._axes()

    def line(
        self, points: Sequence[tuple[float, float]], color: int | str, *, dash: bool = False, width: float = 2
    ) -> None:
        """Add a line; NaN values interrupt it, and a single point becomes a dot."""
        steps: list[str] = []
        previous = False
        for x, y in points:
            is_known = math.isfinite(x) and math.isfinite(y)
            if is_known:
                steps.append(f"{'L' if previous else 'M'}{self._x(x):.1f} {self._y(y):.1f}")
            previous = is_known
        if len(points) == 1 and steps:
            self.points(points, color)
        style = Markup(' stroke-dasharray="5 4"') if dash else ""
        self._parts.append(
            Markup(
                '<path d="{}" fill="none" stroke="{}" stroke-width="{}" stroke-linejoin="round"{}/>'
            ).format("".join(steps), color_of(color), f"{width:g}", style)
        )

    def points(
        self,
        points: Sequence[tuple[float, float]],
        color: int | str,
        *,
        shape: str = "circle",
        titles: Sequence[str] = (),
        radius: float = _RADIUS,
        opacity: float = 1.0,
    ) -> None:
        """Add points of one colour and shape, with texts that a pointer shows."""
        drawn = [
            self._point(x, y, shape, radius, titles[place] if titles else "")
            for place, (x, y) in enumerate(points)
        ]
        self._parts.append(
            Markup('<g fill="{}" stroke="{}" stroke-width="{}" opacity="{}">{}</g>').format(
                color_of(color),
                color_of(color),
                "1.6" if shape == "cross" else "0",
                f"{opacity:g}",
                Markup("").join(drawn),
            )
        )

    def bars(self, edges: Sequence[float], heights: Sequence[float], color: int | str) -> None:
        """Add the outline of a histogram."""
        points = [(edges[0], self.y.low)]
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            points += [(left, height), (right, height)]
        self.line([*points, (edges[-1], self.y.low)], color)

    def level(self, value: float, color: int | str = "faint", *, dash: bool = True) -> None:
        """Add a horizontal line over the whole width."""
        self.line([(self.x.low, value), (self.x.high, value)], color, dash=dash, width=1.4)

    def upright(self, value: float, color: int | str = "faint") -> None:
        """Add a vertical line over the whole height."""
        self.line([(value, self.y.low), (value, self.y.high)], color, dash=True, width=1.4)

    def band(self, low: float, high: float) -> None:
        """Shade a range of the vertical axis."""
        top, bottom = self._y(min(high, self.y.high)), self._y(max(low, self.y.low))
        self._parts.insert(
            0,
            Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="var(--faint)" opacity=".25"/>').format(
                _LEFT, f"{top:.1f}", self.width - _LEFT - _RIGHT, f"{bottom - top:.1f}"
            ),
        )

    def render(self, title: str) -> Markup:
        """Return the chart.

        Args:
            title: Text for those who cannot see it.
        """
        return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            self.width, self.height, title, Markup("").join(self._parts)
        )

    def _x(self, value: float) -> float:
        return _LEFT + self.x.place(value) * (self.width - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return self.height - _BOTTOM - self.y.place(value) * (self.height - _TOP - _BOTTOM)

    def _point(self, x: float, y: float, shape: str, radius: float, title: str) -> Markup:
        left, top, r = self._x(x), self._y(y), radius
        inner = Markup("<title>{}</title>").format(title) if title else ""
        if shape == "circle":
            return Markup('<circle cx="{}" cy="{}" r="{}">{}</circle>').format(
                f"{left:.1f}", f"{top:.1f}", f"{r:g}", inner
            )
        paths = {
            "triangle": f"M{left:.1f} {top - 1.2 * r:.1f}l{1.15 * r:.1f} {2 * r:.1f}h{-2.3 * r:.1f}z",
            "square": f"M{left - 0.9 * r:.1f} {top - 0.9 * r:.1f}h{1.8 * r:.1f}v{1.8 * r:.1f}h{-1.8 * r:.1f}z",
            "cross": f"M{left - r:.1f} {top - r:.1f}l{2 * r:.1f} {2 * r:.1f}m0 {-2 * r:.1f}l{-2 * r:.1f} {2 * r:.1f}",
        }
        return Markup('<path d="{}">{}</path>').format(paths[shape], inner)

    def _axes(self) -> None:
        """Draw grid, ticks and labels."""
        bottom, right = self.height - _BOTTOM, self.width - _RIGHT
        text = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
        line = Markup('<path d="{}" stroke="var(--grid)" fill="none"/>')
        room = 0.0
        for value, label in self.x.shown_ticks():
            place = self._x(value)
            if place - _LETTER * len(label) / 2 < room:
                continue  # it would overlap the one before
            room = place + _LETTER * len(label) / 2 + 6
            self._parts.append(line.format(f"M{place:.1f} {bottom}v4"))
            self._parts.append(text.format(f"{place:.1f}", bottom + 17, "middle", label))
        for value, label in self.y.shown_ticks():
            place = self._y(value)
            self._parts.append(line.format(f"M{_LEFT} {place:.1f}H{right}"))
            self._parts.append(text.format(_LEFT - 6, f"{place + 4:.1f}", "end", label))
        self._parts.append(line.format(f"M{_LEFT} {bottom}H{right}"))
        middle = (_LEFT + right) / 2
        self._parts.append(text.format(f"{middle:.0f}", self.height - 6, "middle", self.x.label))
        turned = Markup('<text transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>')
        self._parts.append(turned.format(f"{(_TOP + bottom) / 2:.0f}", self.y.label))


def thin(points: np.ndarray, most: int) -> np.ndarray:
    """Select at most `most` of N rows, evenly spread over their order."""
    if len(points) <= most:
        return points
    chosen: np.ndarray = points[np.linspace(0, len(points) - 1, most).round().astype(int)]
    return chosen
