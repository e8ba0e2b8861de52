"""Write report.html of a run: one file that needs no network, beside report.md."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ser.comparison.intervals import Interval
from ser.html_report import training
from ser.html_report.answers import Answers, ClassAnswers, ValueAnswers, read_answers
from ser.html_report.calibration import calibration_section
from ser.html_report.elements import Cell, Element, Page, Picture, Section, Table, Text
from ser.html_report.embeddings import Plane, embedding_section
from ser.html_report.material import Material
from ser.html_report.page import FILE, has_audio, write_page
from ser.html_report.scores import (
    answers_whole_utterances,
    group_sections,
    intervals_of,
    result_section,
    score_cell,
)
from ser.html_report.wrong_answers import curve_section, wrong_sections
from ser.mix.scores import score_cells
from ser.report.caveats import describe_caveats
from ser.report.facts import RunReport
from ser.report.score_table import (
    METRICS,
    metric_title,
    metrics_of,
    scored_splits,
    show_score,
    tabulate_fields,
    title_of_field,
)
from ser.runs.predictions_file import predictions_path
from ser.runs.run_folder import RunFolder

_FLOORS = {"accuracy": "majority_floor", "mse": "mse_floor", "mae": "mae_floor"}
_PICTURES = {
    "loss_curve.png": "Loss against optimiser steps",
    "architecture.png": "The model, from input to logits",
    "waveforms.png": "Waveforms of some training recordings",
    "probabilities_0.png": "Probabilities over time of a recording, and the decision so far",
}
"""Pictures of callbacks that the page shows, too, with their titles."""


def write_run_page(run: RunFolder, report: RunReport, material: Material | None, plane: Plane | None) -> Path:
    """Write report.html of a run, from its report and the files in its folder.

    Args:
        run: Folder of the run.
        report: Content of the report.
        material: Recordings and features of the headline split; None if nothing was scored.
        plane: Embeddings of that split; None for none.

    Returns:
        Path of the file.

    Raises:
        DataError: A file cannot be read or written.
    """
    split = report.headline_split
    path = predictions_path(run.path, split)
    answers = read_answers(path) if path.is_file() else Answers((), (), is_over_time=False)
    found = intervals_of(report, answers)
    recorded = training.read_json(run.path / "splits.json")
    sections = [
        _scores(report, answers, found),
        Section("What these scores do not show", [Text(" ".join(describe_caveats(report)))]),
        *_results(report),
        *_answers(run, report, answers, material, plane),
        *training.training_section(report),
        *_pictures(run.path),
        training.data_section(report, recorded, _step_s(report, material)),
        training.leak_section(report.leaks, training.leak_remarks(recorded)),
        training.origin_section(run),
        training.next_section(report),
    ]
    page = Page(
        report.title,
        [*_headlines(report, found)],
        sections,
        stamps=report.stamps,
        has_audio=has_audio(sections),
    )
    write_page(run.path / FILE, page)
    return run.path / FILE


def _headlines(report: RunReport, found: Mapping[str, Interval]) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and explanation of the headline of each task, of the headline split first."""
    split = report.headline_split
    others = [other for other in report.results if other != split]
    for name in [split, *others] if report.results else []:
        for result in report.results[name]:
            metrics = metrics_of(report, name, result)
            if result.headline not in metrics:
                continue
            value, floor = (
                show_score(metrics.get(each, 0.0), each) for each in (result.headline, result.floor)
            )
            own = found if name == split else {}
            prefix = f"{result.name}/" if result.name else ""
            notes = [f"{result.floor_title} {floor}"]
            if interval := own.get(f"{prefix}{result.headline}"):
                notes.insert(0, f"95%: {_ends(interval, result.headline)}")
            notes += _whole_utterances(metrics, own)
            of_frames = " of frames" * answers_whole_utterances(report)
            yield (
                f"{name} {result.name} {result.title}{of_frames}".replace("  ", " "),
                value,
                "; ".join(notes),
            )


def _whole_utterances(metrics: Mapping[str, float], found: Mapping[str, Interval]) -> list[str]:
    """Return the accuracy of whole utterances with its interval, for a model of frames that is scored by both."""
    name = "file_accuracy"
    if name not in metrics:
        return []
    interval = [f"95%: {_ends(found[name], name)}"] if name in found else []
    return [f"{METRICS[name]} {show_score(metrics[name], name)}", *interval]


def _scores(report: RunReport, answers: Answers, found: Mapping[str, Interval]) -> Section:
    """Return the scores of each split, with intervals and floors for the headline split."""
    splits = scored_splits(report)
    shown = report.headline_split
    tasks = dict.fromkeys(result.name for results in report.results.values() for result in results)
    rows: list[list[Cell]] = []
    for prefix in dict.fromkeys([*(f"{task}/" * bool(task) for task in tasks), ""]):
        for metric in METRICS:
            name = f"{prefix}{metric}"
            values = [report.metrics.get(f"{split}/{name}") for split in splits]
            if all(value is None for value in values):
                continue
            cells = ["-" if value is None else show_score(value, name) for value in values]
            value, interval = report.metrics.get(f"{shown}/{name}"), found.get(name)
            floor = report.metrics.get(f"{shown}/{prefix}{_FLOORS.get(metric)}")
            has_range = metric in ("accuracy", "uar", "macro_f1", "ccc", "file_accuracy", "file_uar")
            text = _ends(interval, name) if interval else ""
            drawn = score_cell(text, value if has_range else None, interval, floor)
            rows.append([metric_title(name), *cells, drawn])
    fields = {
        title_of_field(result, field): found.get(f"ccc_{field}")
        for result in report.headline_results
        for field in getattr(result, "fields", ())
    }
    for cells in tabulate_fields(report):
        interval = fields.get(cells[0])
        rows.append([*cells, _ends(interval, "ccc") if interval else ""])
    elements: list[Element] = []
    if rows:
        of = f"95% interval of {shown}" if found else shown
        elements.append(Table("Scores of each split", ["", *splits, of], rows))
    elements += [*map(Text, _explain(report, answers, found))]
    if "train" in splits:
        elements.append(
            Text("The scores of train were computed during the training, on augmented utterances.")
        )
    for split, corpora in report.corpora.items():
        header, *scores = score_cells(corpora)
        elements.append(Table(f"Corpora of {split}", header, scores))
    if report.test_sets:
        elements.append(Table("Test sets", report.test_sets[0], report.test_sets[1:]))
    nothing = "Nothing was scored: there is neither validation nor a labelled test split."
    return Section("Scores", elements, "" if report.results else nothing)


def _ends(interval: Interval, metric: str) -> str:
    return " to ".join(show_score(end, metric) for end in interval)


def _explain(report: RunReport, answers: Answers, found: Mapping[str, Interval]) -> list[str]:
    """Explain the intervals, or why there are none."""
    if answers.main is None:
        return []
    frames = "Scores of frames have no interval" if answers_whole_utterances(report) else ""
    if frames and answers.unanswered:
        return [
            f"{frames}, nor have those of whole utterances, of which {answers.unanswered} have no answer and count "
            "as wrong."
        ]
    if frames and f"{report.headline_split}/file_accuracy" not in report.metrics:
        return [f"{frames}."]
    if frames and found:
        return [f"{frames}, but those of whole utterances. {_explain_intervals(answers.main)}"]
    if not found:
        return ["There is no interval: it needs two speakers, or both right and wrong answers."]
    return [_explain_intervals(answers.main)]


def _explain_intervals(main: ClassAnswers | ValueAnswers) -> str:
    if None in main.speakers:
        return "The speakers are unknown, so the interval takes utterances as independent, and is too narrow."
    line = " On the line from 0 to 1: the score, its interval, and the floor as a mark."
    return (
        f"The interval is for other speakers like the {len({*main.speakers})} of this split."
        + line * isinstance(main, ClassAnswers)
    )


def _results(report: RunReport) -> list[Section]:
    """Return confusion matrices, or predictions against truth, of each task; the headline split first."""
    splits = sorted(report.results, key=lambda split: split != report.headline_split)
    sections = []
    in_frames = ", in frames" * answers_whole_utterances(report)
    for split in splits:
        for result in report.results[split]:
            sections.append(result_section(result, f"{split}{in_frames}", metrics_of(report, split, result)))
    return sections


def _answers(
    run: RunFolder, report: RunReport, answers: Answers, material: Material | None, plane: Plane | None
) -> list[Section]:
    """Return the sections about single answers of the headline split."""
    if material is None or answers.main is None:
        return []
    step_s = _step_s(report, material)
    temperature = training.read_json(run.path / "calibration.json").get("temperature")
    main = answers.classes[0] if answers.classes else None
    unit = "whole utterances" if answers_whole_utterances(report) else "utterances"
    shown = answers.main.mean_over_steps() if isinstance(answers.main, ValueAnswers) else answers.main
    return [
        *group_sections(answers, material.seconds if step_s else None, unit=unit),
        *calibration_section(main, temperature, report.calibration),
        *wrong_sections(answers, material),
        *curve_section(answers, material.step_s),
        *embedding_section(plane, shown, report.unit),
    ]


def _step_s(report: RunReport, material: Material | None) -> float | None:
    """Return the duration of a step; None where all utterances have one step, which says nothing of their length."""
    if material is None or all((lengths == 1).all() for lengths in report.lengths.values()):
        return None
    return material.step_s


def _pictures(folder: Path) -> list[Section]:
    """Return the pictures of callbacks that are in the folder."""
    found = [
        Picture((folder / name).read_bytes(), title)
        for name, title in _PICTURES.items()
        if (folder / name).is_file()
    ]
    return [Section("More pictures", found)]
