"""Plot accuracies as heat maps, with a column for each corpus."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ser.report import figures
from ser.serab.classifiers import FAMILIES
from ser.serab.reports import Report
from ser.serab.results import CorpusResults, in_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FLOOR = "majority floor"


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
    return figures.heat_map(panels, [*(FAMILIES[name].title for name in names), _FLOOR], columns, title=title)


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
    return figures.heat_map(panels, rows, columns, title="Accuracy on test in percent")
