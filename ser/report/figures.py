"""Create, label and write figures in the common style.

Every figure has its own canvas, without pyplot: so there is no global state, no window system, and nothing to close.
matplotlib is imported when the first figure is created, because the import takes half a second.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser.files import write_atomic
from ser.report.palette import PALETTE, share_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


INK, FAINT = "#222222", "#D9D9D9"
SIZES = {"title": 12, "label": 10, "tick": 9, "note": 8}  # points
_DPI = 120
_MARGIN_INCHES = 0.1
_CELL_INCHES = 0.95, 0.55  # width and height of a cell of a heat map
_CHARACTER_INCHES = 0.08  # width of a character in the names of its rows
_LEAST_INCHES = 6.4


def make_panels(
    *titles: str, size: tuple[float, float] = (6.4, 4.4), columns: int | None = None
) -> "tuple[Figure, list[Axes]]":
    """Create a figure with one panel per title in rows of `columns`, in the common style; size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=_MARGIN_INCHES, h_pad=_MARGIN_INCHES)
    figure = Figure(figsize=size, dpi=_DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    columns = columns or len(titles)
    panels: list[Axes] = list(figure.subplots(len(titles) // columns, columns, squeeze=False).flat)
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=SIZES["title"], color=INK, pad=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(labelsize=SIZES["tick"], color=FAINT, labelcolor=INK)
        axes.xaxis.label.set(fontsize=SIZES["label"], color=INK)
        axes.yaxis.label.set(fontsize=SIZES["label"], color=INK)
    return figure, panels


def save(figure: "Figure", path: Path) -> None:
    """Write the figure as PNG.

    Raises:
        DataError: The file cannot be written.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # words in a script that the font lacks become boxes
        figure.savefig(content, format="png", pil_kwargs={"compress_level": 1})  # 15% larger, 20 ms faster
    write_atomic(path, content.getvalue())


def to_image(figure: "Figure") -> np.ndarray:
    """Render the figure as uint8 [H, W, 3], for TensorBoard's add_image with `dataformats="HWC"`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)  # every figure of this module has one
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.array(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def curve_panels(series: Mapping[str, Mapping[int, float]], panels: Mapping[str, Sequence[str]]) -> "Figure":
    """Plot metrics against epoch, a panel for each group of which there is one.

    Args:
        series: Value by epoch of each metric, such as `train/loss`.
        panels: Title of a panel -> metrics in it.
    """
    shown = {title: [name for name in names if name in series] for title, names in panels.items()}
    shown = {title: names for title, names in shown.items() if names}
    figure, all_axes = make_panels(*shown, size=(6.4, 2.8 * len(shown)), columns=1)
    for axes, names in zip(all_axes, shown.values(), strict=True):
        for name, color in zip(names, PALETTE, strict=False):
            epochs, values = zip(*sorted(series[name].items()), strict=True)
            label = name.partition("/")[2].replace("_", " ")
            axes.plot(epochs, values, color=color, linewidth=1.8, marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.legend(frameon=False, fontsize=SIZES["tick"])
    return figure


def heat_map(
    panels: Mapping[str, np.ndarray],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    framed: np.ndarray | None = None,
) -> "Figure":
    """Plot a share in each cell in percent, the best of each column in bold.

    Args:
        panels: Shares [R, C], 0..1, by title of the panel; NaN for no value; the last row is the floor.
        rows: Names of the R rows.
        columns: Names of the C columns.
        title: Title of the figure.
        framed: Which cells [R, C] bool get a frame; None for none.
    """
    beside = 0.9 + _CHARACTER_INCHES * max(map(len, rows))
    width = len(panels) * (beside + _CELL_INCHES[0] * len(columns))
    size = max(width, _LEAST_INCHES), 1.6 + _CELL_INCHES[1] * len(rows)
    figure, axes_of_panels = make_panels(*panels, size=size)
    for axes, cells in zip(axes_of_panels, panels.values(), strict=True):
        axes.imshow(cells, cmap=share_map(), vmin=0, vmax=1, aspect="auto")
        best = np.nan_to_num(cells[:-1]).argmax(0)
        for (row, column), share in np.ndenumerate(cells):
            axes.text(
                column,
                row,
                "-" if np.isnan(share) else f"{100 * share:.1f}",
                ha="center",
                va="center",
                color="black",
                fontsize=10,
                fontweight="bold" if row == best[column] and not np.isnan(share) else "normal",
            )
        name_columns(axes, columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        if framed is not None:
            _frame(axes, framed)
    figure.suptitle(title, fontsize=12)
    return figure


def _frame(axes: "Axes", framed: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    for row, column in np.argwhere(framed).tolist():
        axes.add_patch(Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor=INK))


def name_columns(axes: "Axes", names: Sequence[str]) -> None:
    """Write names at 0, 1, 2, ... below the axes, slanted if they would overlap."""
    crowded = sum(map(len, names)) > 45
    rotation, side = (45, "right") if crowded else (0, "center")
    axes.set_xticks(range(len(names)), names, rotation=rotation, ha=side)


def format_percent(axes: "Axes") -> None:
    """Write shares on the y-axis in percent, with as many digits as the ticks need."""
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))


def color_bar(figure: "Figure", image: "AxesImage", beside: "Sequence[Axes]", label: str) -> None:
    """Add a colour bar in the common style."""
    bar = figure.colorbar(image, ax=beside, label=label, fraction=0.05)
    bar.ax.tick_params(labelsize=SIZES["tick"], color=FAINT, labelcolor=INK)
    bar.ax.yaxis.label.set(fontsize=SIZES["label"], color=INK)
    bar.outline.set_visible(False)


def add_legend(figure: "Figure", axes: "Axes") -> None:
    """Add a legend below the axes, where it hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    columns = len(labels) if sum(map(len, labels)) < 50 else 1
    style = {"ncols": columns, "fontsize": SIZES["tick"], "frameon": False}
    figure.legend(handles, labels, loc="outside lower center", **style)


def shorten_name(name: str, most: int = 100) -> str:
    """Shorten long names at their beginning, because ids are paths, which differ at their end."""
    return name if len(name) <= most else f"...{name[3 - most :]}"
