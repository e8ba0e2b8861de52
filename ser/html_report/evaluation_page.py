"""Write report.html of what is scored after trainings: by `ser evaluate`, and by `ser ensemble`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ser.calibration.run import FILE as TEMPERATURE
from ser.config.instantiate import build
from ser.errors import counted
from ser.evaluation.corpus import LabelledCorpus
from ser.evaluation.evaluate import Scored
from ser.evaluation.report import (
    ReportFacts,
    describe_left_out,
    describe_scored,
    group_table,
)
from ser.evaluation.score_rows import score_rows, show_interval
from ser.evaluation.scores import Evaluation
from ser.features.extractors import Extractor
from ser.files import short
from ser.html_report.answers import ClassAnswers, read_answers
from ser.html_report.calibration import calibration_elsewhere, calibration_section
from ser.html_report.elements import Cell, Code, Element, Page, Section, Table, Text
from ser.html_report.material import Material
from ser.html_report.page import FILE, write_page
from ser.html_report.page import has_audio as holds_audio
from ser.html_report.scores import confusion, found_intervals, group_sections, result_section, score_cell
from ser.html_report.training import environment_table, read_json
from ser.html_report.wrong_answers import wrong_sections
from ser.report.score_table import METRICS
from ser.runs.environment import Environment, typed_line
from ser.runs.predictions_file import predictions_path


def write_evaluation_page(
    folder: Path, scored: Scored, facts: ReportFacts, *, has_audio: bool, temperature: float | None = None
) -> Path:
    """Write report.html of an evaluation, from its scores and predictions.csv in the folder.

    Args:
        folder: Folder of the evaluation.
        scored: Scores of the corpus.
        facts: What a report says beside them.
        has_audio: Whether the page may hold recordings.
        temperature: Temperature of the training; None if it is unknown, or the answers are scaled already.

    Returns:
        Path of the file.

    Raises:
        DataError: A file cannot be read or written.
    """
    found, corpus = scored.evaluation, scored.corpus
    answers = read_answers(folder / "predictions.csv")
    material = material_of(corpus, has_audio=has_audio)
    by_length = [each for each in group_sections(answers, material.seconds) if each.title == "By length"]
    sections = [
        _scores(found),
        _labels(corpus),
        *(result_section(result, facts.name, _own_metrics(found, result.name)) for result in found.results),
        *(
            Section(f"By {column}", [Table(*group_table(column, groups))])
            for column, groups in found.groups.items()
        ),
        *(by_length if (corpus.store.lengths > 1).any() else []),
        *calibration_elsewhere(answers.classes[0] if answers.classes else None, temperature),
        *wrong_sections(answers, material),
        _left_out(found),
        _origin(scored, facts),
    ]
    page = Page(
        facts.title, _headlines(found), sections, stamps=facts.stamps, has_audio=holds_audio(sections)
    )
    write_page(folder / FILE, page)
    return folder / FILE


def write_ensemble_page(
    folder: Path, runs: Table, scores: Mapping[str, Mapping[str, float]], sentences: Sequence[str]
) -> Path:
    """Write report.html of an ensemble of finished runs, from the predictions of its mean in the folder.

    Args:
        folder: Folder of the ensemble.
        runs: Weights and scores of the runs.
        scores: Scores of the mean, by split; the page is about the last.
        sentences: What is known of the probabilities.

    Returns:
        Path of the file.

    Raises:
        DataError: A file cannot be read or written.
    """
    split, own = [*scores.items()][-1]
    answers = read_answers(predictions_path(folder, split))
    found = {} if answers.unanswered else found_intervals(answers)
    ends = {name: show_interval(found.get(name), name) for name in ("accuracy", "uar")}
    floors = {"accuracy": own["majority_floor"]}
    rows: list[list[Cell]] = [
        [METRICS[name], f"{own[name]:.1%}", score_cell(text, own[name], found.get(name), floors.get(name))]
        for name, text in ends.items()
    ]
    silent = (
        f"Without an answer: {counted(answers.unanswered, 'utterance')}, counted as wrong in these scores. Intervals "
        "are left out, as they would be those of the others alone."
    )
    mean = Table(
        f"Scores of the mean on {split}", ["", "score", "95% interval, and the floor as a mark"], rows
    )
    environment = Environment(command=typed_line(), seed=0, data={})
    temperature = read_json(folder / TEMPERATURE).get("temperature")
    sections = [
        Section("Scores", [mean, runs, *[Text(silent)] * bool(answers.unanswered)]),
        *(_classes(task, split) for task in answers.classes),
        *group_sections(answers, None),
        *calibration_section(answers.classes[0] if answers.classes else None, temperature, sentences),
        *wrong_sections(answers, None),
        Section(
            "Command and environment",
            [Code(environment.command), environment_table(asdict(environment))],
        ),
    ]
    notes = [f"95%: {ends['accuracy']}"] * bool(ends["accuracy"])
    notes.append(f"majority floor {own['majority_floor']:.1%}")
    headline = (f"{split} accuracy", f"{own['accuracy']:.1%}", "; ".join(notes))
    write_page(folder / FILE, Page(f"Ensemble {short(folder)}", [headline], sections))
    return folder / FILE


def _classes(task: ClassAnswers, split: str) -> Section:
    """Return the confusion of the answers to a split."""
    counts = np.zeros((len(task.classes), len(task.classes)), dtype=int)
    np.add.at(counts, (task.labels, task.predicted), 1)
    return Section(f"Classes of {split}", confusion(counts, task.classes, split))


def material_of(corpus: LabelledCorpus, *, has_audio: bool) -> Material:
    """Return recordings and features of a corpus."""
    given = corpus.inputs[0]
    extractor: Extractor = build(given.models[0].features, slot="features")
    is_raw = given.to_features is not None
    return Material(
        store=corpus.store,
        step_s=1 / extractor.sample_rate if is_raw else extractor.frame_shift_s,
        is_waveform=is_raw or extractor.is_waveform,
        recordings=corpus.recordings,
        has_audio=has_audio,
    )


def _own_metrics(found: Evaluation, task: str) -> dict[str, float]:
    prefix = f"{task}/" if task else ""
    return {
        name.removeprefix(prefix): value for name, value in found.metrics.items() if name.startswith(prefix)
    }


def _headlines(found: Evaluation) -> list[tuple[str, str, str]]:
    """Return the headline of each task with its interval and floor."""
    rows = {row.title: row.cells() for row in score_rows(found)}
    shown = []
    for result in found.results:
        title = f"{result.name}: {result.title}" if result.name else result.title
        if title in rows:
            _, value, interval, floor = rows[title]
            notes = [f"95%: {interval}"] * bool(interval) + [f"floor {floor}"] * bool(floor)
            shown.append((title, value, "; ".join(notes)))
    return shown


def _scores(found: Evaluation) -> Section:
    """Return the scores with their intervals and floors; percentages are drawn."""
    cells: list[list[Cell]] = []
    for row in score_rows(found):
        title, value, interval, floor = row.cells()
        share = row.value if row.is_share else None
        cells.append([title, value, floor, score_cell(interval, share, row.interval, row.floor)])
    head = ["", "score", "floor", f"95%, {found.clustered_by}"]
    return Section("Scores", [Table("Scores", head, cells), Text(" ".join(describe_scored(found)))])


def _labels(corpus: LabelledCorpus) -> Section:
    """Return which labels of the corpus are which classes of the model."""
    rows = [[raw, new or "left out", f"{count:,}"] for raw, (new, count) in corpus.counts.items()]
    head = ["label of the corpus", "class of the model", "utterances"]
    return Section(
        "Labels", [Table("Labels of the corpus and classes of the model", head, rows)] if rows else []
    )


def _left_out(found: Evaluation) -> Section:
    """Count the utterances that are left out by reason."""
    rows = [[reason, label, f"{count:,}", first] for reason, label, count, first in describe_left_out(found)]
    title = f"{len(found.left_out):,} utterances are left out; left_out.csv has all of them"
    return Section(
        "Left out", [Table(title, ["reason", "label", "utterances", "first"], rows)] if rows else []
    )


def _origin(scored: Scored, facts: ReportFacts) -> Section:
    """Return the command, the corpus, the models, and the environment of this evaluation."""
    models = [[f"model {place}", str(short(path))] for place, path in enumerate(facts.checkpoints, start=1)]
    elements: list[Element] = [
        Code(facts.command),
        *map(Text, facts.remarks),
        Table("Data and models", ["", ""], [["corpus", str(scored.corpus.source)], *models]),
    ]
    environment = Environment(
        command=facts.command, seed=0, data={str(scored.corpus.source): scored.corpus.store.fingerprint}
    )
    return Section("Data, models and environment", [*elements, environment_table(asdict(environment))])
