"""Write report.html of a pre-training: curves, data, leaks, command and environment."""

from collections.abc import Mapping, Sequence
from typing import Any

from ser.batching.datamodule import SpeechData
from ser.data.summary import summary_rows
from ser.html_report import training
from ser.html_report.elements import Charts, Code, Page, Section, Table, Text
from ser.html_report.page import FILE, write_page
from ser.pretraining.task import Pretraining
from ser.runs.run_folder import RunFolder

PANELS = {
    "Loss": ("train/loss",),
    "Deviation": ("train/embedding_deviation", "train/projection_deviation"),
    "Effective rank": ("train/embedding_rank", "train/projection_rank"),
    "Linear probe": ("probe/accuracy", "probe/uar"),
}
"""Curves of each chart."""


def write_pretraining_page(
    run: RunFolder,
    title: str,
    task: Pretraining,
    data: SpeechData,
    facts: Sequence[tuple[str, str]],
    commands: Sequence[str],
) -> None:
    """Write report.html of a pre-training.

    Args:
        run: Folder of the run.
        title: What was trained.
        task: The training, for its curves.
        data: What it read.
        facts: Names and values about the training.
        commands: Commands to continue with.

    Raises:
        DataError: The file cannot be written.
    """
    last = {name: values[max(values)] for name, values in task.curves.items()}
    recorded = training.read_json(run.path / "splits.json")
    leaks = training.leak_remarks(recorded)
    splits, *rows = summary_rows(data.summaries())
    sections = [
        _curves(task.curves),
        Section(
            "Training",
            [
                Table("The training", ["", ""], [[*fact] for fact in facts]),
                Table("The last epoch", ["", ""], [[name, f"{value:.4f}"] for name, value in last.items()]),
            ],
        ),
        Section(
            "Data",
            [
                Table("Splits", splits, rows),
                *(Text(remark) for remark in data.facts.remarks if remark not in leaks),
                *training.left_out_elements(recorded),
            ],
        ),
        training.leak_section(data.facts.leaks, leaks),
        training.origin_section(run),
        Section("Next", [Text("Fine-tune the encoder, or score it:"), *map(Code, commands)]),
    ]
    shown = [("loss of the last epoch", f"{last['train/loss']:.3f}", "")]
    if "probe/accuracy" in last:
        shown.append(("accuracy of the probe", f"{last['probe/accuracy']:.1%}", ""))
    write_page(run.path / FILE, Page(title, shown, sections, stamps=data.facts.stamps))


def _curves(curves: Mapping[str, Mapping[int, float]]) -> Section:
    """Draw the curves of each panel that has any."""
    charts = []
    for title, names in PANELS.items():
        own: dict[str, Any] = {
            name.partition("/")[2].replace("_", " "): curves[name] for name in names if name in curves
        }
        if own:
            charts.append(training.curve_chart(title, own, is_share=title == "Linear probe"))
    intro = (
        "The loss is 0 to 8, and at first about 4. A deviation of projections near 0, or an effective rank below 1.5, "
        "is a collapse."
    )
    return Section("Curves", [Charts(charts)], intro)
