"""The benchmark's tables, in CSV, Markdown and on the console; in all of them accuracies are percent."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ser import plots
from ser.data.summary import markdown_table
from ser.files import write_atomic
from ser.serab.classifiers import FAMILIES
from ser.serab.heat_map import heat_map
from ser.serab.published import published
from ser.serab.results import CorpusResults, Result, Select
from ser.serab.scores import Means, means

Rows = list[list[str]]

BY: Mapping[Select, str] = {
    "validation": "chosen by validation",
    "test": "chosen by test: optimistic, as published",
}
"""How the classifier of a corpus was chosen -> what every table says about it."""
_NONE = "-"


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the tables tell.

    Args:
        extractor: name of it.
        results: of one corpus or more.
        select: split that chooses the classifiers of the headline.
        method: sentences on how it was done.
        stamps: warnings to every reader.
        remarks: what else they should know.
    """

    extractor: str
    results: Sequence[CorpusResults]
    select: Select
    method: Sequence[str] = ()
    stamps: Sequence[str] = ()
    remarks: Sequence[str] = ()

    @property
    def of_the_nine(self) -> list[CorpusResults]:
        """Those that count in UM, WM and GM: complete corpora of the published table."""
        return [one for one in self.results if one.name in published().corpora and not one.is_partial]


def write(folder: Path, report: Report) -> None:
    """Write results.json, classifiers.csv, serab.csv, heat_map.png and, when all of them are there, serab.md.

    Args:
        folder: of the run; it exists.
        report: what to tell.

    Raises:
        DataError: a file cannot be written.
    """
    write_atomic(folder / "results.json", json.dumps(as_numbers(report.results), indent=2) + "\n")
    write_atomic(folder / "classifiers.csv", _csv(_stamped(classifiers(report), report)))
    write_atomic(folder / "serab.csv", _csv(_stamped(comparison(report), report)))
    plots.save(heat_map(report.results, f"Accuracy in percent: {report.extractor}"), folder / "heat_map.png")
    write_atomic(folder / "serab.md", markdown(report))


def as_numbers(results: Sequence[CorpusResults]) -> dict[str, dict[str, dict[str, Any]]]:
    """Corpus -> classifier -> scores 0..1, counts, settings and remarks, as plain values for JSON."""
    return {
        one.name: {
            name: asdict(result)
            | {"interval": [*result.interval], "remarks": dict(result.remarks)}
            | {"settings": dict(result.settings), "final_remarks": [*result.final_remarks]}
            for name, result in one.by_classifier.items()
        }
        for one in results
    }


def markdown(report: Report) -> str:
    """The text of serab.md, which shows the heat map beside it."""
    blocks = [f"# SERAB: {report.extractor}", *(f"> **Note:** {stamp}" for stamp in report.stamps)]
    blocks += ["Accuracies and UARs are percent, those of the tables here on test."]
    if any(one.is_partial for one in report.results):
        blocks.append("\\* Files of this corpus are missing; it does not count in UM, WM and GM.")
    for select in _in_order(report.select):
        blocks += [f"## {BY[select].capitalize()}", _table(headline(report, select))]
    blocks += ["## Beside the published table", *_compared(report)]
    blocks += ["## All classifiers", _table(classifiers(report)), "![Accuracies](heat_map.png)"]
    blocks += ["## How", *report.method]
    if report.remarks:
        blocks += ["## Remarks", "\n".join(f"- {remark}" for remark in report.remarks)]
    return "\n\n".join(blocks) + "\n"


def headline(report: Report, select: Select) -> Rows:
    """A row for each corpus: the chosen classifier, its scores on test over how many speakers, and the floor."""
    rows = [["corpus", "classifier", "accuracy", "95% interval", "UAR", "right", "speakers", "floor"]]
    for one in report.results:
        best = one.best(select)
        scores = [_percent(best.test_accuracy), _interval(best), _percent(best.test_uar)]
        counts = [f"{best.test_correct} of {best.test_total}", str(one.test_speakers)]
        title = FAMILIES[one.chosen(select)].title
        rows.append([_marked(one), title, *scores, *counts, _percent(one.floors["test"])])
    return rows


def classifiers(report: Report) -> Rows:
    """A row for each corpus and classifier, with what was chosen by validation and by test."""
    head = ["corpus", "classifier", "validation accuracy", "validation UAR", "test accuracy", "95% interval"]
    rows = [[*head, "test UAR", "right", "floor", "best on", "settings", "not converged"]]
    for one in report.results:
        for name, result in one.by_classifier.items():
            best_on = [select for select in _in_order("validation") if one.chosen(select) == name]
            validated = [_percent(result.validation_accuracy), _percent(result.validation_uar)]
            tested = [_percent(result.test_accuracy), _interval(result), _percent(result.test_uar)]
            counts = [f"{result.test_correct} of {result.test_total}", _percent(one.floors["test"])]
            title = FAMILIES[name].title
            settings = ", ".join(f"{key}={_short(value)}" for key, value in result.settings.items()) or _NONE
            converged = f"{result.not_converged} of {result.candidates}"
            chosen = " and ".join(best_on) or _NONE
            rows.append([_marked(one), title, *validated, *tested, *counts, chosen, settings, converged])
    return rows


def comparison(report: Report) -> Rows:
    """The published rows and below them ours, with the means over all nine corpora or over those that are there."""
    table, ours = published(), report.of_the_nine
    others = [one.name for one in report.results if one.name not in table.corpora]
    is_all = len(ours) == len(table.corpora)
    label = "" if is_all else f", {len(ours)} of {len(table.corpora)}"
    averages = [f"{name}{label}" for name in ("UM", "WM", "GM")] if ours else []
    rows = [["model", *table.corpora, *others, *averages]]
    names = [one.name for one in ours]
    for model, accuracies in table.accuracies.items():
        printed = [f"{accuracies[name]:.1f}" for name in table.corpora]
        mean = means([accuracies[n] for n in names], [table.sizes[n] for n in names]) if names else None
        shown = table.means[model] if is_all else mean
        rows.append([model, *printed, *(_NONE for _ in others), *_averages(shown)])
    for select in _in_order(report.select):
        by_name = {one.name: one for one in report.results}
        cells = [_cell(by_name.get(name), select) for name in (*table.corpora, *others)]
        best = [one.best(select) for one in ours]
        mean = means([100 * b.test_accuracy for b in best], [b.test_total for b in best]) if best else None
        rows.append([f"{report.extractor}, {BY[select]}", *cells, *_averages(mean)])
    return rows


def _compared(report: Report) -> list[str]:
    """The comparison and what its means are about."""
    known, ours = len(published().corpora), [one.name for one in report.of_the_nine]
    if not ours:
        return ["No corpus here is one of the nine, complete: there is nothing to compare."]
    about = f"UM, WM and GM of all rows are over {len(ours)} of {known} corpora: {', '.join(ours)}."
    published_ones = "The published classifiers were chosen by test."
    return [_table(comparison(report)), published_ones if len(ours) == known else f"{about} {published_ones}"]


def _in_order(first: Select) -> tuple[Select, Select]:
    return ("validation", "test") if first == "validation" else ("test", "validation")


def _averages(mean: Means | None) -> list[str]:
    return [] if mean is None else [f"{value:.1f}" for value in mean]


def _cell(one: CorpusResults | None, select: Select) -> str:
    return _NONE if one is None else _percent(one.best(select).test_accuracy) + "*" * one.is_partial


def _marked(one: CorpusResults) -> str:
    return f"{one.name}*" if one.is_partial else one.name


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(result: Result) -> str:
    return f"{_percent(result.interval.low)} to {_percent(result.interval.high)}"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: Rows) -> str:
    return markdown_table(rows[0], rows[1:])


def _stamped(rows: Rows, report: Report) -> Rows:
    """With a last column that repeats the stamps: a row that is copied elsewhere keeps them."""
    note = "; ".join(report.stamps)
    return [[*rows[0], "notes"], *([*row, note] for row in rows[1:])]


def _csv(rows: Rows) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
