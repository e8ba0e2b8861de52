"""Colours that all readers can distinguish, also with colour blindness, and on which text is readable."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser.splits.assignment import SPLITS

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Source: Okabe and Ito, "Color universal design", 2008."""
CLASS_COLORS = (*PALETTE, "#CC33FF", "#993311", "#2200FF", "#116655", "#331188")
"""Colours of 12 classes: the nearest two are 17 apart in CIELAB, also without red or green cones."""
_DASHES = ("solid", "dashed", "dotted", "dashdot")
_MARKERS = ("o", "^", "s", "X")
_DARKEST = 0.5  # level of matplotlib's Blues on which black text has a contrast of 8.5


@dataclass(frozen=True)
class ClassStyle:
    """Style of a class: its colour and, if colours repeat, its dashes and marker.

    Args:
        color: Colour, such as `#0072B2`.
        dash: Dashes of a line.
        marker: Marker of a point.
    """

    color: str
    dash: str
    marker: str


def class_styles(classes: int) -> list[ClassStyle]:
    """Return a style for each class: styles differ among 48 classes, colours among 12."""
    colors = len(CLASS_COLORS)
    return [
        ClassStyle(
            CLASS_COLORS[index % colors],
            _DASHES[index // colors % len(_DASHES)],
            _MARKERS[index // colors % len(_MARKERS)],
        )
        for index in range(classes)
    ]


def split_colors(names: Iterable[str]) -> list[str]:
    """Return a colour for each split, the first ones of the palette in every plot; other names get the others."""
    own = dict(zip(SPLITS, PALETTE, strict=False))
    spare = itertools.cycle(PALETTE[len(SPLITS) :])
    return [own[name] if name in own else next(spare) for name in names]


def share_map() -> "Colormap":
    """Return a colour map from white for 0 to a blue for 1 on which black text is readable."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    blues = colormaps["Blues"]
    return ListedColormap([blues(_DARKEST * level / 255) for level in range(256)])
