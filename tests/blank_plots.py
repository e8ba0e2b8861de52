"""Stand for the functions that render plots: to draw those of a run takes half of a short training's time."""

from pathlib import Path

import numpy as np

from ser.files import write_atomic


def to_image(_: object) -> np.ndarray:
    """Return a white pixel."""
    return np.full((1, 1, 3), 255, np.uint8)


def save(_: object, path: Path) -> None:
    """Write the first bytes of a PNG file."""
    write_atomic(path, b"\x89PNG")
