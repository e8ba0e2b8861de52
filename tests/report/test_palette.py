"""Colours of classes, as readers with and without all cones see them."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ser.report.palette import CLASS_COLORS, class_styles

VISIONS = {
    "all_cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
"""Of linear RGB. Source: Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
deficiency", 2009, severity 1."""
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]
WHITE = [0.95047, 1.0, 1.08883]


def lab(colors: tuple[str, ...], vision: str) -> np.ndarray:
    """CIELAB [N, 3] of sRGB colours as a reader sees them."""
    rgb = np.array([to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(VISIONS[vision]).T, 0, 1)
    ratios = seen @ np.array(TO_XYZ).T / WHITE
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def nearest(points: np.ndarray) -> float:
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return float(distances[~np.eye(len(points), dtype=bool)].min())


def test_black_and_white_are_100_apart() -> None:
    assert nearest(lab(("#000000", "#FFFFFF"), "all_cones")) == pytest.approx(100, abs=0.1)


def test_red_and_green_look_alike_without_green_cones() -> None:
    pair = ("#A04000", "#6B6B00")
    assert nearest(lab(pair, "deuteranopia")) < nearest(lab(pair, "all_cones")) / 3


@pytest.mark.parametrize("vision", VISIONS)
def test_twelve_classes_differ_to_every_reader(vision: str) -> None:
    styles = class_styles(12)
    assert {style.dash for style in styles} == {"solid"}  # colours alone tell them apart
    assert nearest(lab(tuple(style.color for style in styles), vision)) > 17


@pytest.mark.parametrize("vision", VISIONS)
def test_class_colours_differ_from_white_paper(vision: str) -> None:
    for color in CLASS_COLORS:
        assert nearest(lab((color, "#FFFFFF"), vision)) > 25, color


def test_more_classes_than_colours_differ_in_dashes_and_markers() -> None:
    styles = class_styles(48)
    assert len({(style.color, style.dash) for style in styles}) == 48
    assert len({(style.color, style.marker) for style in styles}) == 48
