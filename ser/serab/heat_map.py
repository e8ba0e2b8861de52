"""Plot accuracies as heat maps, with a column for each corpus."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ser.report import figures
from ser.report.palette import share_map
from ser.serab.classifiers import FAMILIES
from ser.serab.reports import Report
from ser.serab.results import CorpusResults, in_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FLOOR = "majority floor"
_WIDTH_IN, _HEIGHT_IN = 0.95, 0.55  # size of a cell
_CHARACTER_IN = 0.08  # width of a character in the names of rows
_LEAST_IN = 6.4


def plot_classifiers(results: Sequence[CorpusResults], title: str) -> "Figure":
    """Plot a row for each classifier, on validation and on test, and the majority floor below.

    Args:
        results: Results of one or more corpora, with the same classifiers.
        title: Title, such as the name of the extractor.
    """
    names = [*results[0].by_classifier]
    panels = {}
    for split in ("validation", "test"):
        scores = [
            [getattr(one.by_classifier[name], f"{split}_accuracy") for one in results] for name in names
        ]
        panels[split] = np.array([*scores, [one.floors[split] for one in results]])
    columns = [one.name + "*" * one.is_partial for one in results]
    return plot_heat_map(panels, [*(FAMILIES[name].title for name in names), _FLOOR], columns, title=title)


def plot_extractors(several: Sequence[Report]) -> "Figure":
    """Plot a row for each extractor, on test, with classifiers selected on validation and on test.

    Args:
        several: Reports of different extractors, on any corpora.
    """
    found = [{one.name: one for one in report.results} for report in several]
    names = [*dict.fromkeys(name for by_name in found for name in by_name)]
    anyone = {name: one for by_name in found for name, one in by_name.items()}
    panels = {}
    for select in in_order(several[0].select):
        cells = [
            [by_name[n].best(select).test_accuracy if n in by_name else np.nan for n in names]
            for by_name in found
        ]
        panels[f"chosen by {select}"] = np.array([*cells, [anyone[name].floors["test"] for name in names]])
    rows = [*(report.extractor for report in several), _FLOOR]
    columns = [name + "*" * any(b[name].is_partial for b in found if name in b) for name in names]
    return plot_heat_map(panels, rows, columns, title="Accuracy on test in percent")


def plot_heat_map(
    panels: Mapping[str, np.ndarray], rows: Sequence[str], columns: Sequence[str], *, title: str
) -> "Figure":
    """Plot the accuracy in each cell, the best of each column in bold.

    Args:
        panels: Accuracies [R, C], 0..1, by title of the panel; NaN for no value; the last row is the floor.
        rows: Names of the R rows.
        columns: Names of the C columns.
        title: Title of the figure.
    """
    beside = 0.9 + _CHARACTER_IN * max(map(len, rows))
    width = len(panels) * (beside + _WIDTH_IN * len(columns))
    size = max(width, _LEAST_IN), 1.6 + _HEIGHT_IN * len(rows)
    figure, axes_of_panels = figures.make_panels(*panels, size=size)
    for axes, cells in zip(axes_of_panels, panels.values(), strict=True):
        axes.imshow(cells, cmap=share_map(), vmin=0, vmax=1, aspect="auto")
        best = np.nan_to_num(cells[:-1]).argmax(0)
        for (row, column), score in np.ndenumerate(cells):
            axes.text(
                column,
                row,
                "-" if np.isnan(score) else f"{100 * score:.1f}",
                ha="center",
                va="center",
                color="black",
                fontsize=10,
                fontweight="bold" if row == best[column] and not np.isnan(score) else "normal",
            )
        figures.name_columns(axes, columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    figure.suptitle(title, fontsize=12)
    return figure
