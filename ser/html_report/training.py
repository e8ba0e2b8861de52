"""Sections about the training and its data: learning curves, splits, leaks, environment."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser.data.summary import summary_rows
from ser.errors import counted
from ser.files import short
from ser.html_report.elements import Cell, Chart, Charts, Code, Element, Mark, Section, Table, Text
from ser.html_report.svg import Axis, Plot, percent
from ser.report.facts import RunReport
from ser.report.next_commands import fold_command, next_commands
from ser.report.score_table import describe_choice, format_duration, headline_metric, metric_title, show_score
from ser.runs.run_folder import RunFolder
from ser.splits.leaks import Leak

_BINS = 24
_LOG_FROM = 8  # longest utterance by the shortest one
_MOST_SKIPPED = 20
LEARNING_RATE = "train/lr"
"""Name of the curve of the learning rate."""
_SPLITS = {"train": 0, "validation": 1, "test": 2}
"""Colour of each split, as in the other pictures."""


def training_section(report: RunReport) -> list[Section]:
    """Return the learning curves and what the training took; the curves are those of one model."""
    curves = report.curves
    metric = headline_metric(report)
    charts = []
    if report.best_epoch is not None:
        charts = [
            _curve(report, "loss", "loss", None),
            *[_curve(report, metric, metric_title(metric), _floor(report))] * (metric != "loss"),
        ]
    if LEARNING_RATE in curves:
        plot = _plot(curves[LEARNING_RATE], "", curves[LEARNING_RATE].values(), is_share=False)
        plot.line(_points(curves[LEARNING_RATE]), 4)
        charts.append(Chart("Learning rate at the start of an epoch", plot.render("Learning rate by epoch")))
    facts = Table(
        "The training",
        ["", ""],
        [
            ["best epoch", describe_choice(report)],
            ["duration", format_duration(report.duration_s)],
            ["parameters", f"{report.num_parameters:,}"],
            ["seed", str(report.seed)],
            ["checkpoint", str(short(report.checkpoint))],
        ],
    )
    shown = [chart for chart in charts if chart is not None]
    return [Section("Training", [*[Charts(shown)] * bool(shown), facts])]


def _curve(report: RunReport, metric: str, title: str, floor: float | None) -> Chart | None:
    """Draw a metric of train and validation against epoch, with the floor and the best epoch."""
    series = {
        split: report.curves[name]
        for split in ("train", "validation")
        if (name := f"{split}/{metric}") in report.curves
    }
    if not series:
        return None
    values = [value for curve in series.values() for value in curve.values()] + [floor] * (floor is not None)
    is_share = show_score(0.0, metric).endswith("%")
    epochs = {epoch: 0.0 for curve in series.values() for epoch in curve}
    plot = _plot(epochs, title, values, is_share=is_share)
    legend = []
    if report.best_epoch in epochs:
        plot.upright(float(report.best_epoch or 0))
    for split, curve in series.items():
        plot.line(_points(curve), _SPLITS[split])
        legend.append(Mark(split, _SPLITS[split]))
    if floor is not None:
        plot.level(floor, "bad")
        legend.append(Mark(f"floor of validation {show_score(floor, metric)}", "bad", "dash"))
    legend.append(Mark(f"best epoch {report.best_epoch}", "faint", "dash"))
    return Chart(title[0].upper() + title[1:], plot.render(f"{title} by epoch"), legend)


def curve_chart(title: str, series: Mapping[str, Mapping[int, float]], *, is_share: bool) -> Chart:
    """Draw values against epoch.

    Args:
        title: Title of the chart.
        series: Name -> value by epoch; one or more.
        is_share: Whether values are shares, shown as percentages.
    """
    values = [value for curve in series.values() for value in curve.values()]
    epochs = {epoch: 0.0 for curve in series.values() for epoch in curve}
    plot = _plot(epochs, "", values, is_share=is_share)
    for color, curve in enumerate(series.values()):
        plot.line(_points(curve), color)
    return Chart(
        title, plot.render(f"{title} by epoch"), [Mark(name, color) for color, name in enumerate(series)]
    )


def _floor(report: RunReport) -> float | None:
    """Return the floor of the main metric on validation."""
    results = report.results.get("validation") or report.headline_results
    if not results:
        return None
    main = results[0]
    prefix = f"validation/{main.name}/" if main.name else "validation/"
    return report.metrics.get(f"{prefix}{main.floor}")


def _plot(epochs: Mapping[int, float], label: str, values: Any, *, is_share: bool) -> Plot:
    first, last = min(epochs), max(epochs)
    ticks = _whole_ticks(first, last)
    x = Axis("epoch", first - 0.3, last + 0.3, ticks, "{:.0f}".format)
    form: dict[str, Any] = {"form": percent} if is_share else {}
    return Plot(x, Axis.around(label, [*values], **form))


def _whole_ticks(first: int, last: int) -> list[float]:
    step = max(1, -(-(last - first) // 6))
    return [*map(float, range(first, last + 1, step))]


def _points(curve: Mapping[int, float]) -> list[tuple[float, float]]:
    return [(float(epoch), value) for epoch, value in sorted(curve.items())]


def data_section(report: RunReport, facts: Mapping[str, Any], step_s: float | None) -> Section:
    """Return the table of splits, their classes and lengths, and what was left out.

    Args:
        report: Content of the report.
        facts: Content of splits.json.
        step_s: Duration of a step in s; None if lengths mean nothing, as features of whole recordings.
    """
    header, *rows = summary_rows(report.splits)
    elements: list[Element] = [Table("Splits", header, rows)]
    if step_s is not None:
        elements.append(Charts([_lengths(report.lengths, step_s)]))
    elements += _labels(facts.get("labels", []))
    elements += left_out_elements(facts)
    return Section("Data", elements)


def _lengths(lengths: Mapping[str, np.ndarray], step_s: float) -> Chart:
    """Draw a histogram of the lengths of each split, on a logarithmic axis if they differ much."""
    seconds = {split: own * step_s for split, own in lengths.items()}
    every = np.concatenate([*seconds.values()])
    low, high = float(every.min()), max(float(every.max()), float(every.min()) * 1.1)
    is_log = high > _LOG_FROM * low
    space = np.geomspace if is_log else np.linspace
    edges = space(low * 0.999, high * 1.001, _BINS + 1)
    shares = {split: np.histogram(own, edges)[0] / len(own) for split, own in seconds.items()}
    top = max(float(own.max()) for own in shares.values()) * 1.05
    plot = Plot(
        Axis("seconds", edges[0], edges[-1], is_log=is_log), Axis("share of the split", 0, top, form=percent)
    )
    legend = []
    for place, (split, own) in enumerate(shares.items()):
        color = _SPLITS.get(split, place)
        plot.bars(edges.tolist(), own.tolist(), color)
        legend.append(Mark(f"{split}: median {np.median(seconds[split]):.2f} s", color))
    return Chart("Lengths of utterances", plot.render("Lengths of utterances by split"), legend)


def _labels(labels: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Return what became of the labels of the corpus, if a label map changed some."""
    if all(each.get("raw") == each.get("mapped") for each in labels):
        return []
    keys = [*labels[0]]
    rows: list[list[Cell]] = [
        ["left out" if each.get(key) is None else str(each[key]) for key in keys] for each in labels
    ]
    return [Table("Labels of the corpus", keys, rows)]


def left_out_elements(facts: Mapping[str, Any]) -> list[Element]:
    """Count the utterances that could not be read and those that are in no split, from splits.json."""
    found: list[Element] = []
    if skipped := facts.get("skipped"):
        rows: list[list[Cell]] = [[str(each["id"]), str(each["reason"])] for each in skipped[:_MOST_SKIPPED]]
        some = f", the first {_MOST_SKIPPED} of them" if len(skipped) > _MOST_SKIPPED else ""
        found.append(
            Table(f"{counted(len(skipped), 'utterance')} could not be read{some}", ["id", "reason"], rows)
        )
    if unused := facts.get("left_out"):
        found.append(Text(f"The rule for splits leaves out {len(unused):,} utterances."))
    return found


def leak_section(leaks: Sequence[Leak] | None, remarks: Sequence[str]) -> Section:
    """Return what splits share.

    Args:
        leaks: Leaks between splits; None if they could not be searched for.
        remarks: Lines of the console about leaks, which also tell the declared ones.
    """
    unknown = "It is not known whether the splits share speakers or recordings."
    return Section("Leaks", [*map(Text, remarks)] or [Text(unknown)] * (leaks is None))


def leak_remarks(facts: Mapping[str, Any]) -> list[str]:
    """Return the lines about leaks that the console showed, from the content of splits.json."""
    return [remark for remark in facts.get("remarks", []) if "leak" in remark.lower()]


def origin_section(run: RunFolder) -> Section:
    """Return command, environment and config of a run, as they are in its folder."""
    found = read_json(run.path / "environment.json")
    elements: list[Element] = [Code(str(found["command"]))] if "command" in found else []
    elements.append(environment_table(found))
    if run.config.is_file():
        elements.append(Code(run.config.read_text(encoding="utf-8"), "All settings: config.yaml"))
    return Section("Command and environment", elements)


def environment_table(found: Mapping[str, Any]) -> Table:
    """Return commit, versions and machine, from the content of environment.json."""
    local = " with local changes" if found.get("dirty") else ""
    packages = found.get("packages") or {}
    devices = found.get("devices") or ["CPU"]
    rows = [
        ["commit", f"{found.get('commit') or 'unknown'}{local}"],
        ["time", str(found.get("time", "unknown"))],
        ["Python", f"{found.get('python')} on {found.get('platform')}, {found.get('cpus')} CPUs"],
        ["devices", ", ".join(map(str, devices))],
        *([name, str(number)] for name, number in packages.items() if number),
        *([f"hash of {name}", str(digest)] for name, digest in (found.get("data") or {}).items()),
    ]
    return Table("Environment", ["", ""], rows)


def next_section(report: RunReport) -> Section:
    """Return commands to continue with."""
    elements: list[Element] = []
    for purpose, words in next_commands(report):
        elements += [Text(f"{purpose}:"), Code(fold_command(words).strip())]
    return Section("Next", elements)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run; empty if there is none."""
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
