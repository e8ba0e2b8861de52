"""Write the results of an evaluation: report.md with tables and pictures, metrics.json, predictions.csv and others."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser.errors import counted
from ser.evaluation.corpus import LabelledCorpus
from ser.evaluation.score_rows import score_table, show
from ser.evaluation.scores import Evaluation, Group
from ser.files import read_text, short, write_atomic
from ser.report import figures
from ser.report.report import write_metrics
from ser.report.score_table import METRICS
from ser.report.sections import section_of
from ser.runs.predictions_file import write_rows
from ser.runs.tables import format_markdown, write_csv

_MOST_ROWS = 40  # values of a column in report.md; groups.csv has all
_FILES = ("report.md", "report.html", "metrics.json", "predictions.csv", "groups.csv", "left_out.csv")


@dataclass(frozen=True)
class ReportFacts:
    """What a report says beside the scores.

    Args:
        title: Model and corpus.
        name: Name of the corpus, such as emodb.
        command: Command line.
        checkpoints: Paths of the models.
        stamps: Warnings to every reader.
        remarks: Further facts.
        unit: What the model answers: an utterance, or each frame.
    """

    title: str
    name: str
    command: str
    checkpoints: Sequence[Path]
    stamps: Sequence[str]
    remarks: Sequence[str]
    unit: str = "utterance"


def write_evaluation(folder: Path, found: Evaluation, corpus: LabelledCorpus, facts: ReportFacts) -> Path:
    """Write all files of an evaluation but report.html; those of an earlier one in the folder are removed.

    Args:
        folder: Folder, which exists.
        found: Scores and predictions.
        corpus: The corpus that was scored.
        facts: What the report says beside them.

    Returns:
        Path of the report.

    Raises:
        DataError: A file cannot be written.
    """
    _remove_former(folder)
    write_rows(folder / "predictions.csv", found.rows)
    write_csv(
        folder / "left_out.csv",
        ("id", "speaker", "label", "reason"),
        [(each.id, each.speaker, each.label, each.reason) for each in found.left_out],
    )
    names = [
        *dict.fromkeys(name for groups in found.groups.values() for each in groups for name in each.metrics)
    ]
    write_csv(
        folder / "groups.csv",
        ("column", "value", "utterances", "speakers", *names),
        [
            (column, each.value, each.utterances, each.speakers, *(each.metrics.get(name) for name in names))
            for column, groups in found.groups.items()
            for each in groups
        ],
    )
    for result in found.results:
        section = section_of(result)
        title = f"{facts.title}\n{result.count:,} {facts.unit}s"
        figures.save(section.picture(title), folder / f"{section.stem}.png")
    finite = {name: value for name, value in found.metrics.items() if math.isfinite(value)}
    write_metrics(folder / "metrics.json", finite)
    write_atomic(folder / "report.md", markdown(found, corpus, facts))
    return folder / "report.md"


def _remove_former(folder: Path) -> None:
    """Remove the files of an earlier evaluation in a folder, with the pictures that its report shows."""
    report = folder / "report.md"
    pictures = re.findall(r"^!\[.*\]\(([^()/]+\.png)\)", read_text(report) if report.is_file() else "", re.M)
    for name in (*_FILES, *pictures):
        (folder / name).unlink(missing_ok=True)


def markdown(found: Evaluation, corpus: LabelledCorpus, facts: ReportFacts) -> str:
    """Return the text of report.md, which refers to the pictures beside it."""
    blocks = [f"# {facts.title}", *(f"> **Note:** {stamp}" for stamp in facts.stamps)]
    header, rows = score_table(found)
    blocks += ["## Scores", format_markdown(header, rows), " ".join(describe_scored(found))]
    blocks += _translation(corpus)
    blocks += _left_out(found)
    for result in found.results:
        section = section_of(result)
        prefix = f"{result.name}/" if result.name else ""
        own = {name.removeprefix(prefix): value for name, value in found.metrics.items()}
        blocks += section.blocks(facts.name, f"{section.stem}.png", own)
    for column, groups in found.groups.items():
        blocks += _groups(column, groups)
    blocks += ["## Data and models", *facts.remarks]
    listed = [f"- corpus: `{corpus.source}`", *(f"- model: `{short(path)}`" for path in facts.checkpoints)]
    blocks.append("\n".join([*listed, f"- command: `{facts.command}`"]))
    return "\n\n".join(blocks) + "\n"


def describe_scored(found: Evaluation) -> Iterator[str]:
    """Describe how many utterances were scored, and what the scores mean where classes are absent."""
    count, out = int(found.metrics["utterances"]), len(found.left_out)
    speakers = found.metrics.get("speakers")
    of = "" if speakers is None else f" of {counted(int(speakers), 'speaker')}"
    yield f"{count:,} utterances{of} are scored, {out:,} are left out."
    if found.absent:
        yield (
            f"No utterance has the class {', '.join(found.absent)}: predictions of it are wrong, and UAR is the mean "
            "over the other classes."
        )
    if not found.intervals and speakers == 1:
        yield "There is no interval, as one speaker says nothing about others."
    if found.intervals and found.clustered_by == "utterances":
        yield "The speakers are unknown, so the interval takes utterances as independent, and is too narrow."


def describe_left_out(found: Evaluation) -> list[tuple[str, str, int, str]]:
    """Return reason, label, number and first id of the utterances that are left out; the first line of each reason."""
    counts = Counter((each.reason.splitlines()[0].partition(":")[0], each.label) for each in found.left_out)
    firsts = {
        (each.reason.splitlines()[0].partition(":")[0], each.label): str(each.id)
        for each in reversed(found.left_out)
    }
    return [(*key, count, firsts[key]) for key, count in counts.most_common()]


def _left_out(found: Evaluation) -> list[str]:
    lines = describe_left_out(found)
    if not lines:
        return []
    rows = [[reason, label, str(count), first] for reason, label, count, first in lines[:_MOST_ROWS]]
    return [
        "## Left out",
        format_markdown(["reason", "label", "utterances", "first"], rows),
        "[left_out.csv](left_out.csv) has all of them.",
    ]


def _translation(corpus: LabelledCorpus) -> list[str]:
    if not corpus.counts:
        return []
    rows = [[raw, new or "left out", str(count)] for raw, (new, count) in corpus.counts.items()]
    return ["## Labels", format_markdown(["label of the corpus", "class of the model", "utterances"], rows)]


def _groups(column: str, groups: Sequence[Group]) -> list[str]:
    _, head, rows = group_table(column, groups)
    more = len(groups) - len(rows)
    rest = [f"[groups.csv](groups.csv) has {more} more."] * bool(more)
    return [f"## By {column}", format_markdown(head, rows), *rest]


def group_table(column: str, groups: Sequence[Group]) -> tuple[str, list[str], list[list[str]]]:
    """Return a sentence on what is shown, the header and the rows of a table of groups, the 40 lowest scores first."""
    names = _shown_metrics(groups[0].metrics)
    groups = sorted(groups, key=lambda each: each.metrics.get(names[0], math.inf) if names else 0.0)
    rows = [
        [
            each.value,
            str(each.utterances),
            *["" if each.speakers is None else str(each.speakers)] * (column != "speaker"),
            *(
                show(each.metrics[name], name.rpartition("/")[2]) if name in each.metrics else "-"
                for name in names
            ),
        ]
        for each in groups[:_MOST_ROWS]
    ]
    head = [column, "utterances", *["speakers"] * (column != "speaker"), *(_title(name) for name in names)]
    more = len(groups) - len(rows)
    rest = f"; groups.csv has {more} more" if more else ""
    return f"Scores by {column}, the lowest first{rest}", head, rows


def _shown_metrics(metrics: Mapping[str, float]) -> list[str]:
    """Select the metrics of a table of groups, in the order of every table."""
    few = ("accuracy", "majority_floor", "uar", "ccc", "mae")
    return [name for metric in few for name in metrics if name.rpartition("/")[2] == metric]


def _title(name: str) -> str:
    task, _, metric = name.rpartition("/")
    return f"{task}: {METRICS[metric]}" if task else METRICS[metric]
