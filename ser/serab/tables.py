"""Tables of the benchmark in CSV, Markdown and on the console; accuracies are in percent."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser.files import write_atomic
from ser.report import figures
from ser.runs.tables import format_markdown, write_csv
from ser.serab import reports
from ser.serab.classifiers import FAMILIES
from ser.serab.heat_map import plot_classifiers
from ser.serab.published import published
from ser.serab.reports import Report
from ser.serab.results import CorpusResults, Result, Select, in_order
from ser.serab.scores import Means, means

Rows = list[list[str]]

BY: Mapping[Select, str] = {
    "validation": "chosen by validation",
    "test": "chosen by test: optimistic, as published",
}
"""Description of how the classifier of a corpus was selected, for every table."""
_NONE = "-"


def write(folder: Path, report: Report) -> None:
    """Write results.json, report.json, classifiers.csv, serab.csv, heat_map.png and, last, serab.md.

    Args:
        folder: Folder of the run; it exists.
        report: Report of the run.

    Raises:
        DataError: A file cannot be written.
    """
    reports.write(folder, report)
    _write_stamped(folder / "classifiers.csv", classifiers(report), report)
    _write_stamped(folder / "serab.csv", comparison([report]), report)
    picture = plot_classifiers(report.results, f"Accuracy in percent: {report.extractor}")
    figures.save(picture, folder / "heat_map.png")
    write_atomic(folder / "serab.md", markdown(report))


def markdown(report: Report) -> str:
    """Return the text of serab.md, which refers to the heat map beside it."""
    blocks = [f"# SERAB: {report.extractor}", *(f"> **Note:** {stamp}" for stamp in report.stamps)]
    blocks += ["Accuracies and UARs are percent, those of the tables here on test."]
    if any(one.is_partial for one in report.results):
        blocks.append("\\* Files of this corpus are missing; it does not count in UM, WM and GM.")
    for select in in_order(report.select):
        blocks += [f"## {BY[select].capitalize()}", table(headline(report, select))]
    blocks += ["## Beside the published table", *describe_comparison([report])]
    blocks += ["## All classifiers", table(classifiers(report)), "![Accuracies](heat_map.png)"]
    blocks += ["## How", *report.method]
    if report.remarks:
        blocks += ["## Remarks", "\n".join(f"- {remark}" for remark in report.remarks)]
    return "\n\n".join(blocks) + "\n"


def headline(report: Report, select: Select) -> Rows:
    """Return a row for each corpus: the selected classifier, its test scores, the number of speakers, and the floor."""
    rows = [["corpus", "classifier", "accuracy", "95% interval", "UAR", "right", "speakers", "floor"]]
    for one in report.results:
        best = one.best(select)
        scores = [_percent(best.test_accuracy), _interval(best), _percent(best.test_uar)]
        counts = [f"{best.test_correct} of {best.test_total}", str(one.test_speakers)]
        title = FAMILIES[one.chosen(select)].title
        rows.append([_marked(one), title, *scores, *counts, _percent(one.floors["test"])])
    return rows


def classifiers(report: Report) -> Rows:
    """Return a row for each corpus and classifier, marked if it was selected on validation or on test."""
    head = ["corpus", "classifier", "validation accuracy", "validation UAR", "test accuracy", "95% interval"]
    rows = [[*head, "test UAR", "right", "floor", "best on", "settings", "not converged"]]
    for one in report.results:
        for name, result in one.by_classifier.items():
            best_on = [select for select in in_order("validation") if one.chosen(select) == name]
            validated = [_percent(result.validation_accuracy), _percent(result.validation_uar)]
            tested = [_percent(result.test_accuracy), _interval(result), _percent(result.test_uar)]
            counts = [f"{result.test_correct} of {result.test_total}", _percent(one.floors["test"])]
            title = FAMILIES[name].title
            settings = ", ".join(f"{key}={_short(value)}" for key, value in result.settings.items()) or _NONE
            converged = f"{result.not_converged} of {result.candidates}"
            chosen = " and ".join(best_on) or _NONE
            rows.append([_marked(one), title, *validated, *tested, *counts, chosen, settings, converged])
    return rows


def comparison(several: Sequence[Report]) -> Rows:
    """Return the published rows and ours below, with means over all nine corpora or over those available.

    Args:
        several: Reports of different extractors, one or more; means are over corpora that all of them have.
    """
    printed, names = published(), _shared(several)
    others = [*dict.fromkeys(o.name for r in several for o in r.results if o.name not in printed.corpora)]
    is_all = len(names) == len(printed.corpora)
    label = "" if is_all else f", {len(names)} of {len(printed.corpora)}"
    averages = [f"{name}{label}" for name in ("UM", "WM", "GM")] if names else []
    rows = [["model", *printed.corpora, *others, *averages]]
    for model, accuracies in printed.accuracies.items():
        cells = [f"{accuracies[name]:.1f}" for name in printed.corpora]
        mean = means([accuracies[n] for n in names], [printed.sizes[n] for n in names]) if names else None
        shown = printed.means[model] if is_all else mean
        rows.append([model, *cells, *(_NONE for _ in others), *_averages(shown)])
    for report in several:
        by_name = {one.name: one for one in report.results}
        for select in in_order(report.select):
            cells = [_cell(by_name.get(name), select) for name in (*printed.corpora, *others)]
            best = [by_name[name].best(select) for name in names]
            mean = (
                means([100 * b.test_accuracy for b in best], [b.test_total for b in best]) if best else None
            )
            rows.append([f"{report.extractor}, {BY[select]}", *cells, *_averages(mean)])
    return rows


def describe_comparison(several: Sequence[Report]) -> list[str]:
    """Return the comparison as a table, and a sentence on its means."""
    known, ours = len(published().corpora), _shared(several)
    if not any(report.of_the_nine for report in several):
        return ["No corpus here is one of the nine, complete: there is nothing to compare."]
    about = f"UM, WM and GM of all rows are over {len(ours)} of {known} corpora: {', '.join(ours)}."
    if not ours:
        about = "No corpus is complete in every run, so there are no means."
    chosen = "The published classifiers were chosen by test."
    return [table(comparison(several)), chosen if len(ours) == known else f"{about} {chosen}"]


def table(rows: Rows) -> str:
    """Format rows in Markdown; the first row is the header."""
    return format_markdown(rows[0], rows[1:])


def _shared(several: Sequence[Report]) -> list[str]:
    """Return the corpora over which all reports can be averaged, in the order of the published table."""
    complete = [{one.name for one in report.of_the_nine} for report in several]
    return [name for name in published().corpora if all(name in names for names in complete)]


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


def _write_stamped(path: Path, rows: Rows, report: Report) -> None:
    """Write a CSV file with a column of the stamps, so that a row that is copied elsewhere keeps them."""
    note = "; ".join(report.stamps)
    write_csv(path, [*rows[0], "notes"], [[*row, note] for row in rows[1:]])
