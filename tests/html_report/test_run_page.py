"""report.html of a run: what it shows of each kind of task, and that no name in it is read as HTML."""

import base64
import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ser.config.paths import literal_path
from ser.data.manifest import Manifest, Utterance
from ser.html_report.answers import sort_answers
from ser.html_report.run_page import write_run_page
from ser.html_report.scores import confusion
from ser.html_report.training import leak_remarks
from ser.html_report.wrong_answers import share_clips
from ser.runs.predictions_file import write_predictions
from ser.splits.leak_report import report_leaks
from tests.html_report.conftest import CASES, CLASSES, EVIL, TASKS, Case
from tests.html_report.page_reader import Reader

MOST_BYTES = 5_000_000


def read_rows(case: Case) -> list[dict[str, str]]:
    text = (case.run.path / "predictions_test.csv").read_text()
    return [*csv.DictReader(io.StringIO(text))]


def write(case: Case) -> Path:
    return write_run_page(case.run, case.report, case.material, case.plane)


def read(case: Case) -> Reader:
    return Reader(write(case).read_text())


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_names_are_text_and_nothing_is_loaded(case: Case) -> None:
    page = read(case)
    assert not {node.tag for node in page.nodes} & {"script", "iframe", "object", "embed", "b"}
    names = {name for node in page.nodes for name in node.given}
    assert [name for name in names if name.startswith("on")] == []
    links = [node.given[name] or "" for node in page.nodes for name in ("src", "href") if name in node.given]
    assert {link.partition(":")[0] for link in links if not link.startswith("#section-")} <= {"data"}
    assert EVIL in page.all("h1")[0].text
    assert EVIL in "".join(node.text for node in page.all("pre"))


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_pictures_have_texts_and_tables_have_heads(case: Case) -> None:
    page = read(case)
    assert all(node.given.get("alt") for node in page.all("img"))
    drawn = [node for node in page.all("svg") if node.given.get("aria-hidden") != "true"]
    assert drawn
    assert all(node.given["role"] == "img" and node.given["aria-label"] for node in drawn)
    captions = {id(node.parents[-1]) for node in page.all("caption") if node.text}
    assert captions == {id(table) for table in page.all("table")}
    assert all(node.given["scope"] in ("row", "col") for node in page.all("th"))
    headings = [int(node.tag[1]) for node in page.nodes if node.tag in ("h1", "h2", "h3")]
    assert headings[0] == 1
    assert max(np.diff(headings)) <= 1


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_a_page_is_small(case: Case) -> None:
    assert write(case).stat().st_size < MOST_BYTES


def test_a_run_of_classes_shows_all_its_sections(of_classes: Case) -> None:
    titles = [node.text for node in read(of_classes).all("h2")]
    assert titles == [
        *("Scores", "What these scores do not show", "Classes of test", "By speaker", "By length"),
        *("Calibration", "The most confident wrong answers", "Embeddings", "Training", "Data", "Leaks"),
        *("Command and environment", "Next"),
    ]


def test_the_headline_has_the_interval_and_the_floor(of_classes: Case) -> None:
    page = read(of_classes)
    (name,) = page.all("dt")
    value, note = page.all("dd")
    assert name.text == "test accuracy"
    assert value.text == f"{of_classes.report.metrics['test/accuracy']:.1%}"
    assert "95%: " in note.text
    assert note.text.endswith("majority floor 30.0%")


def test_intervals_of_whole_utterances_are_not_those_of_frames(of_frames: Case) -> None:
    page = read(of_frames)
    (expected,) = sort_answers(read_rows(of_frames)).classes
    low, high = expected.intervals()["accuracy"]
    (name,) = page.all("dt")
    value, note = page.all("dd")
    assert (name.text, value.text) == ("test accuracy of frames", "42.1%")
    whole = of_frames.report.metrics["test/file_accuracy"]
    ends = f"95%: {low:.1%} to {high:.1%}"
    assert note.text == f"majority floor 30.0%; accuracy of whole utterances {whole:.1%}; {ends}"
    rows = {row[0]: row[2] for row in page.table("Scores of each split")}
    assert rows["accuracy of whole utterances"] == f"{low:.1%} to {high:.1%}"
    assert (rows["accuracy"], rows["UAR"]) == ("", "")
    assert rows["UAR of whole utterances"]
    assert page.table("Scores by speaker")[0] == ["speaker", "accuracy", "UAR", "whole utterances"]
    assert page.section("Classes of test, in frames")


def test_whole_utterances_without_an_answer_leave_no_interval(of_frames: Case) -> None:
    rows = read_rows(of_frames)
    rows[0] = {key: "" if key.startswith("p") else value for key, value in rows[0].items()}
    write_predictions(of_frames.run.path, "test", rows)
    page = read(of_frames)
    assert "95%" not in page.all("dd")[1].text
    text = "".join(node.text for node in page.section("Scores"))
    assert "of which 1 have no answer and count as wrong" in text


def test_each_task_has_its_own_classes_and_intervals(of_tasks: Case) -> None:
    page = read(of_tasks)
    answers = sort_answers(read_rows(of_tasks))
    assert {each.task: each.classes for each in answers.classes} == {
        name: [*TASKS[name]] for name in ("emotion", "emotion_fine")
    }
    rows = {row[0]: row[2] for row in page.table("Scores of each split")}
    for task in answers.classes:
        everything = np.arange(len(task.ids))
        assert task.scores(everything)["accuracy"] == of_tasks.report.metrics[f"test/{task.task}/accuracy"]
        low, high = task.intervals()["accuracy"]
        assert rows[f"{task.task}: accuracy"] == f"{low:.1%} to {high:.1%}"
    ends = {each.field: each.interval() for each in answers.values}
    titles = {"arousal": "mood: CCC of arousal", "valence": "mood: CCC of valence", "liking": "taste: CCC"}
    for name, title in titles.items():
        interval = ends[name]
        assert interval is not None
        assert rows[title] == f"{interval.low:.3f} to {interval.high:.3f}"
    headlines = dict(zip([node.text for node in page.all("dt")], page.all("dd")[1::2], strict=True))
    assert headlines["test taste CCC"].text.startswith(f"95%: {rows['taste: CCC']}")


def test_the_table_of_speakers_agrees_with_the_predictions(of_classes: Case) -> None:
    text = (of_classes.run.path / "predictions_test.csv").read_text()
    right: dict[str, list[bool]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        right.setdefault(row["speaker"], []).append(row["label"] == row["prediction"])
    head, *rows = read(of_classes).table("Scores by speaker")
    assert head == ["speaker", "accuracy", "UAR", "utterances"]
    assert {row[0]: row[1] for row in rows} == {name: f"{np.mean(own):.1%}" for name, own in right.items()}
    shares = [float(row[1][:-1]) for row in rows]
    assert shares == sorted(shares)


def test_the_confusion_is_that_of_the_result(of_classes: Case) -> None:
    (result,) = of_classes.report.results["test"]
    head, *rows = read(of_classes).table("Confusion of test")
    assert head[1:] == [*CLASSES]
    assert [[int(cell) for cell in row[1:]] for row in rows] == result.counts.tolist()  # type: ignore[attr-defined]


def test_wrong_answers_are_the_most_confident_ones_and_can_be_heard(of_classes: Case) -> None:
    soundfile = pytest.importorskip("soundfile")
    page = read(of_classes)
    clips = page.all("article")
    first = clips[0]
    assert f"{CLASSES[0]}, not {CLASSES[1]}" in first.text
    assert f"0{EVIL}" in first.text
    shares = [float(clip.text.partition("%")[0].split()[-1]) for clip in clips]
    assert shares == sorted(shares, reverse=True)
    sounds = page.all("audio")
    assert len(sounds) == len(clips) <= 12
    content = base64.b64decode((sounds[0].given["src"] or "").partition(",")[2])
    waveform, rate = soundfile.read(io.BytesIO(content))
    assert rate == 16_000
    assert len(waveform) / rate == pytest.approx(8, abs=0.2)  # of 10 s
    assert "contains recordings of people" in "".join(node.text for node in page.all("header"))


def test_without_audio_there_are_spectrograms_alone(of_classes: Case) -> None:
    page = read(replace(of_classes, material=replace(of_classes.material, has_audio=False)))
    assert page.all("audio") == []
    assert "contains recordings of people" not in "".join(node.text for node in page.all("header"))
    assert all(node.given["alt"].startswith("Spectrogram of") for node in page.all("img"))  # type: ignore[union-attr]


def test_the_setting_that_leaves_recordings_out_is_no_path() -> None:
    assert literal_path("report.audio=false", is_sweep=False) == "report.audio=false"
    assert literal_path("audio=1.5", is_sweep=False) == 'audio="1.5"'  # a file of `ser align`


def test_a_recording_that_is_gone_is_named(of_classes: Case, tmp_path: Path) -> None:
    gone = {name: Utterance(str(name), tmp_path / "gone.wav") for name in of_classes.material.store.ids}
    page = read(replace(of_classes, material=replace(of_classes.material, recordings=gone)))
    assert page.all("audio") == []
    assert "Its recording cannot be read: " in page.all("article")[0].text
    assert "gone.wav: no such file" in page.all("article")[0].text
    assert all(node.given["alt"].startswith("Features of") for node in page.all("img"))  # type: ignore[union-attr]


def test_utterances_that_were_left_out_are_counted(of_classes: Case) -> None:
    page = read(of_classes)
    assert page.table("1 utterance could not be read") == [["id", "reason"], [EVIL, "no such file"]]
    assert "leaves out 2 utterances" in "".join(node.text for node in page.section("Data"))
    assert f"LEAK: train and test share {EVIL}" in "".join(node.text for node in page.section("Leaks"))


def test_unknown_speakers_stand_beside_the_leaks() -> None:
    nobody = Manifest((Utterance("a", path=Path("a.wav")), Utterance("b", path=Path("b.wav"))), "table.csv")
    halves = {"train": np.array([0]), "test": np.array([1])}
    found = report_leaks(nobody, halves, None, declared=(), unknown_remedy=" Fill in speaker.")
    assert leak_remarks({"remarks": [*found.remarks, "Labels of train are moved back."]}) == [
        "Leaks: none between the splits.",
        "Leaks not checked: the speakers of 2 utterances are unknown, so splits may share speakers. Fill in speaker.",
    ]


def test_learning_curves_have_floor_and_learning_rate(of_classes: Case) -> None:
    nodes = read(of_classes).section("Training")
    titles = [node.text for node in nodes if node.tag == "figcaption"]
    assert titles == ["Loss", "Accuracy", "Learning rate at the start of an epoch"]
    legends = [node.text.strip() for node in nodes if node.tag == "li"]
    assert "floor of validation 30.0%" not in legends  # it is the floor of test
    assert "best epoch 2" in legends


def test_all_right_answers_are_said_to_be_right(of_classes: Case) -> None:
    path = of_classes.run.path / "predictions_test.csv"
    rows = [*csv.DictReader(io.StringIO(path.read_text()))]
    right = [row for row in rows if row["label"] == row["prediction"]]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(right)
    page = read(of_classes)
    assert page.all("article") == []
    assert f"All {len(right)} answers are right." in "".join(
        node.text for node in page.section("The most confident wrong answers")
    )


def test_values_show_errors_of_each_field_and_points(of_values: Case) -> None:
    page = read(of_values)
    titles = [node.text for node in page.all("h2")]
    assert "The largest errors of arousal" in titles
    assert "The largest errors of valence" in titles
    assert "By speaker" in titles
    assert "Calibration" not in titles
    labelled = page.table("Scores of each field of test")
    assert [row[-1] for row in labelled] == ["labelled", "40", "39"]
    assert page.all("audio") == []  # there are features alone
    assert len(page.all("article")) == 12


def test_all_tasks_share_twelve_utterances_and_each_is_held_once(of_tasks: Case) -> None:
    page = read(of_tasks)
    clips = page.all("article")
    assert len(clips) == 12
    names = [clip.text.strip().splitlines()[-1].partition(",")[0] for clip in clips]
    sounds = page.all("audio")
    assert len(sounds) == len(page.all("img")) == len({*names}) < 12
    again = [clip.text for clip in clips if "It is also shown above, in: The " in clip.text]
    assert len(again) == 12 - len(sounds)


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ([60], [12]),
        ([5, 40, 40], [4, 4, 4]),
        ([1, 40, 0], [1, 11, 0]),
        ([2] * 14, [1] * 12 + [0] * 2),
        ([], []),
    ],
)
def test_sections_share_the_utterances_of_a_page(available: list[int], expected: list[int]) -> None:
    assert share_clips(available) == expected


def test_values_over_time_show_the_best_and_the_worst_recording(over_time: Case) -> None:
    page = read(over_time)
    captions = [node.text for node in page.section("Over time") if node.tag == "figcaption"]
    assert captions == ["arousal of talk4", "arousal of talk2", "arousal of talk0"]
    assert page.all("article") == []


def test_a_run_without_scores_has_a_page(of_classes: Case) -> None:
    (of_classes.run.path / "predictions_test.csv").unlink()
    report = replace(of_classes.report, results={}, metrics={}, monitor=None, calibration=())
    page = Reader(write_run_page(of_classes.run, report, None, None).read_text())
    assert "Nothing was scored" in "".join(node.text for node in page.section("Scores"))
    assert "Embeddings" not in [node.text for node in page.all("h2")]


def test_an_overlong_confusion_becomes_a_list() -> None:
    counts = np.eye(40, dtype=int) * 5
    counts[3, 7] = 4
    scores, confusions = confusion(counts, [f"class {place}" for place in range(40)], "test")
    assert len(scores.rows) == 40  # type: ignore[union-attr]
    assert confusions.rows == [["class 3", "class 7", "4"]]  # type: ignore[union-attr]
