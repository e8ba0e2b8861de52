"""A picture of all accuracies: classifiers against corpora, on validation and on test."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ser import plots
from ser.serab.classifiers import FAMILIES
from ser.serab.results import CorpusResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DARK = 0.6  # from this accuracy on white reads better than black
_WIDTH_IN, _HEIGHT_IN = 0.95, 0.55  # of a cell


def heat_map(results: Sequence[CorpusResults], title: str) -> "Figure":
    """Accuracy in each cell, the best classifier of a corpus in bold, the majority floor below.

    Args:
        results: of one corpus or more, with the same classifiers.
        title: such as the name of the extractor.
    """
    names = [*results[0].by_classifier]
    rows = [*(FAMILIES[name].title for name in names), "majority floor"]
    size = (2 * (1.4 + _WIDTH_IN * len(results)), 1.6 + _HEIGHT_IN * len(rows))
    figure, panels = plots.panels_of("validation", "test", size=(max(size[0], 6.4), size[1]))
    for axes, split in zip(panels, ("validation", "test"), strict=True):
        scores = [
            [getattr(one.by_classifier[name], f"{split}_accuracy") for one in results] for name in names
        ]
        cells = np.array([*scores, [one.floors[split] for one in results]])
        axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        best = cells[:-1].argmax(0)
        for (row, column), score in np.ndenumerate(cells):
            color = "white" if score > _DARK else "black"
            weight = "bold" if row == best[column] else "normal"
            axes.text(
                column,
                row,
                f"{100 * score:.1f}",
                ha="center",
                va="center",
                color=color,
                fontsize=10,
                fontweight=weight,
            )
        plots.name_columns(axes, [one.name + "*" * one.is_partial for one in results])
        axes.set_yticks(range(len(rows)), rows)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    figure.suptitle(title, fontsize=12)
    return figure
