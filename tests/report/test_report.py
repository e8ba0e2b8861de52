import dataclasses
import io
import json
import math
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console
from sklearn.metrics import precision_recall_fscore_support

from ser.data.summary import SplitSummary, summarize
from ser.errors import DataError
from ser.report.facts import RunReport
from ser.report.next_commands import next_commands, tensorboard_command
from ser.report.report import closing_table, markdown, write_facts, write_metrics, write_report
from ser.splits.leaks import Leak
from ser.targets.metrics import Confusion
from ser.targets.quadrants import QUADRANTS

CONFUSION = np.array([[4, 1, 0, 0], [2, 5, 1, 0], [0, 0, 0, 0], [1, 1, 0, 2]])
METRICS = {
    "train/loss": 0.41,
    "train/accuracy": 0.91,
    "train/padding_ratio": 1.04,
    "validation/accuracy": 11 / 17,
    "validation/majority_floor": 8 / 17,
    "validation/uar": 0.64,
    "validation/loss": 0.812,
    "test/accuracy": 0.718,
    "test/majority_floor": 0.407,
    "test/uar": 0.653,
    "test/macro_f1": 0.66,
    "test/valence_accuracy": 0.81,
    "test/activation_accuracy": 0.89,
    "test/loss": 0.9,
}


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run as the default config names it, seen from the folder where it was started."""
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "logs" / "challenge" / "2026-01-02_03-04-05"
    run_dir.mkdir(parents=True)
    return run_dir


@pytest.fixture
def report(run_dir: Path) -> RunReport:
    lengths = {split: np.array([30, 80, 200, 1707]) for split in ("train", "validation", "test")}
    return RunReport(
        title="cnn on challenge",
        command="python train.py data=challenge 'data.root=my data'",
        seed=7,
        duration_s=252.4,
        num_parameters=412_345,
        epochs=40,
        best_epoch=27,
        monitor="validation/accuracy",
        mode="max",
        checkpoint=run_dir / "checkpoints" / "best.ckpt",
        metrics=METRICS,
        results={split: [Confusion(CONFUSION, QUADRANTS)] for split in ("validation", "test")},
        splits=[summarize(name, lengths[name], np.array([1, 1, 3, 0]), QUADRANTS) for name in lengths],
        lengths=lengths,
        curves={"train/loss": {1: 1.2, 2: 0.8}},
        overrides=["data=challenge", "data.root=my data"],
        watch=[tensorboard_command(run_dir)],
    )


def shown(run_dir: Path, report: RunReport) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(closing_table(run_dir, report), soft_wrap=True)
    return console.export_text()


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def typed(command: list[str]) -> list[str]:
    """The words a shell makes of a suggested command."""
    return shlex.split(" ".join(command))


def test_a_run_folder_holds_the_report_and_whole_pictures(run_dir: Path, report: RunReport) -> None:
    write_report(run_dir, report)
    text = (run_dir / "report.md").read_text()
    pictures = set(re.findall(r"!\[[^]]+\]\(([^)]+)\)", text))
    assert pictures == {
        *("confusion_validation.png", "confusion.png", "lengths.png", "classes.png", "curves.png")
    }
    assert {path.name for path in run_dir.iterdir()} == pictures | {"report.md", "metrics.json", "facts.json"}
    assert all((run_dir / name).read_bytes().endswith(b"IEND\xaeB`\x82") for name in pictures)


def test_the_headline_has_the_floor_beside_the_test_accuracy(run_dir: Path, report: RunReport) -> None:
    lines = [line for line in markdown(run_dir, report).splitlines() if line]
    assert lines[0] == "# cnn on challenge"
    assert lines[1] == "**Test accuracy 71.8%** (valence and activation both right), majority floor 40.7%."
    assert lines[2] == "**Validation accuracy 64.7%**, majority floor 47.1%."


def test_without_test_labels_the_headline_is_of_validation(run_dir: Path, report: RunReport) -> None:
    metrics = {name: value for name, value in METRICS.items() if not name.startswith("test/")}
    report = dataclasses.replace(
        report, metrics=metrics, results={"validation": [Confusion(CONFUSION, QUADRANTS)]}
    )
    text = markdown(run_dir, report)
    assert text.splitlines()[2].startswith("**Validation accuracy 64.7%**")
    assert "(confusion.png)" not in text


def test_without_test_labels_the_confusion_matrix_is_of_validation(run_dir: Path, report: RunReport) -> None:
    write_report(
        run_dir, dataclasses.replace(report, results={"validation": [Confusion(CONFUSION, QUADRANTS)]})
    )
    names = ("confusion.png", "confusion_validation.png")
    first, second = ((run_dir / name).read_bytes() for name in names)
    assert first == second


def test_pictures_of_callbacks_are_shown_where_they_are(run_dir: Path, report: RunReport) -> None:
    names = ("loss_curve.png", "pca.png", "waveforms.png", "architecture.png")
    assert not any(name in markdown(run_dir, report) for name in names)
    for name in names:
        (run_dir / name).touch()
    text = markdown(run_dir, report)
    assert [text.count(f"]({name})") for name in names] == [1] * 4
    assert text.index("## Training") < text.index("(loss_curve.png)") < text.index("## Next")
    assert text.index("## Data") < text.index("(waveforms.png)") < text.index("## Training")


def test_scores_stand_side_by_side_and_missing_ones_are_dashes(run_dir: Path, report: RunReport) -> None:
    table = rows(markdown(run_dir, report))
    assert ["", "train", "validation", "test"] in table
    assert ["accuracy", "91.0%", "64.7%", "71.8%"] in table
    assert ["majority floor", "-", "47.1%", "40.7%"] in table
    assert ["activation accuracy", "-", "-", "89.0%"] in table
    assert ["loss", "0.410", "0.812", "0.900"] in table


def test_scores_of_classes_agree_with_scikit_learn(run_dir: Path, report: RunReport) -> None:
    true, predicted = np.nonzero(CONFUSION)
    repeats = CONFUSION[true, predicted]
    precision, recall, f1, support = precision_recall_fscore_support(
        true.repeat(repeats), predicted.repeat(repeats), labels=range(4), zero_division=np.nan
    )
    expected = [
        [name, *("-" if math.isnan(score) else f"{score:.1%}" for score in scores), str(count)]
        for name, *scores, count in zip(QUADRANTS, recall, precision, f1, support, strict=True)
    ]
    table = rows(markdown(run_dir, report))
    assert ["class", "recall", "precision", "F1", "support"] in table
    assert expected[2] == ["pleasure", "-", "0.0%", "0.0%", "0"]
    assert all(row in table for row in expected)


def test_the_confusion_matrix_is_a_table_too(run_dir: Path, report: RunReport) -> None:
    table = rows(markdown(run_dir, report))
    assert ["", *QUADRANTS] in table
    assert ["anger", "2", "5", "1", "0"] in table


def test_the_report_says_how_it_came_about(run_dir: Path, report: RunReport) -> None:
    text = markdown(run_dir, report)
    assert "- command: `python train.py data=challenge 'data.root=my data'`\n" in text
    assert "- seed: 7\n" in text
    assert "- duration: 4 min 12 s\n" in text
    assert "- best epoch: 27 of 40, chosen by the highest validation/accuracy\n" in text
    assert "- parameters: 412,345\n" in text
    assert "- checkpoint: `logs/challenge/2026-01-02_03-04-05/checkpoints/best.ckpt`" in text


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.7, "1 min 0 s"), (3900, "1 h 5 min")])
def test_durations_read_naturally(run_dir: Path, report: RunReport, seconds: float, words: str) -> None:
    assert f"- duration: {words}\n" in markdown(run_dir, dataclasses.replace(report, duration_s=seconds))


def test_stamps_stand_above_the_numbers_in_both_places(run_dir: Path, report: RunReport) -> None:
    stamps = ["generated speech: a demonstration, not a result", "LEAK: train and test share speakers (24)"]
    report = dataclasses.replace(report, stamps=stamps)
    text = markdown(run_dir, report)
    for stamp in stamps:
        assert text.index(f"> **Note:** {stamp}") < text.index("Test accuracy")
        assert stamp in shown(run_dir, report)


PAIR = Confusion(np.diag([75, 25]), ("en", "es"))


def limits(run_dir: Path, report: RunReport, **changes: object) -> str:
    """The section on what the scores do not say."""
    changes = {"results": {"test": [PAIR]}} | changes
    text = markdown(run_dir, dataclasses.replace(report, **changes))
    return text.partition("## What these scores do not show")[2].partition("##")[0].strip()


def summaries(speakers: int | None, *, utterances: int = 100) -> list[SplitSummary]:
    """Train and test of one size; three utterances in four are of one class."""
    classes = np.arange(utterances) % 4 // 3
    lengths = np.ones(utterances)
    return [summarize(name, lengths, classes, ("en", "es"), speakers=speakers) for name in ("train", "test")]


def leak(kind: str, first: str, second: str, shared: int) -> Leak:
    return Leak(kind, (first, second), shared, 10, 100, ())


def test_the_standard_error_is_that_of_utterances_and_of_speakers(run_dir: Path, report: RunReport) -> None:
    text = limits(run_dir, report, metrics={"test/accuracy": 0.7}, splits=summaries(5), leaks=[])
    assert (
        "The test accuracy of 70.0% over 100 utterances has a standard error of 4.6 points if each is independent "
        "of the others, and of up to 20.5 points if those of a speaker are right or wrong together (5 speakers)."
    ) in text  # 100 * sqrt(0.7 * 0.3 / 100) and / 5


def test_without_a_mistake_the_margin_is_not_zero(run_dir: Path, report: RunReport) -> None:
    text = limits(run_dir, report, metrics={"test/accuracy": 1.0}, splits=summaries(1), leaks=[])
    assert "100.0% over 100 utterances has a 95% margin of error of 3.0 points if each" in text
    assert "up to 100.0 points if those of a speaker are right or wrong together (1 speaker)." in text


def test_without_a_right_answer_the_margin_is_not_zero_either(run_dir: Path, report: RunReport) -> None:
    text = limits(run_dir, report, metrics={"test/accuracy": 0.0}, splits=summaries(1), leaks=[])
    assert "0.0% over 100 utterances has a 95% margin of error of 3.0 points if each" in text


def test_speakers_that_are_not_known_make_the_score_doubtful(run_dir: Path, report: RunReport) -> None:
    text = limits(run_dir, report, metrics={"test/accuracy": 0.7}, splits=summaries(None), leaks=[])
    assert (
        "4.6 points if each is independent of the others, and a larger one if speakers have several" in text
    )
    assert "The speakers are not known, so test may contain speakers of train" in text


@pytest.mark.parametrize(
    ("leaks", "words"),
    [
        ([], "No speaker of test is in train, so the score is about new speakers."),
        ([leak("speaker", "train", "test", 3)], "3 speakers of test also talk in train"),
        ([leak("speaker", "train", "test", 1)], "1 speaker of test also talks in train"),
        ([leak("text", "train", "test", 3)], "No speaker of test is in train"),
        ([leak("speaker", "train", "validation", 3)], "No speaker of test is in train"),
        (None, "It is not recorded whether the splits share speakers."),
    ],
)
def test_shared_speakers_are_told(
    run_dir: Path, report: RunReport, leaks: list[Leak] | None, words: str
) -> None:
    assert words in limits(run_dir, report, splits=summaries(5), leaks=leaks)


def test_unequal_classes_and_generated_speech_are_told(run_dir: Path, report: RunReport) -> None:
    stamps = ["generated speech: a demonstration, not a result", "LEAK: train and test share texts (24)"]
    text = limits(run_dir, report, splits=summaries(5), stamps=stamps)
    assert text.startswith("The data is generated speech: a demonstration, not a result.")
    assert "LEAK" not in text  # it stands above the scores
    assert "In train en makes up 75.0% and es 25.0%: accuracy counts frequent classes more" in text
    equal = [summarize("train", np.ones(4), np.array([0, 1, 0, 1]), ("en", "es"))]
    assert "All classes have equally many training utterances." in limits(run_dir, report, splits=equal)


def test_without_test_labels_the_limits_are_of_validation(run_dir: Path, report: RunReport) -> None:
    text = limits(run_dir, report, results={"validation": [PAIR]})
    assert text.startswith("The validation accuracy of 64.7% over 100 utterances")
    assert "The epoch was chosen by this split, so its score is somewhat too good." in text


def test_facts_name_parameters_and_duration(run_dir: Path, report: RunReport) -> None:
    write_facts(run_dir / "facts.json", report)
    stored = json.loads((run_dir / "facts.json").read_text())
    assert stored == {
        "parameters": 412_345,
        "duration_s": 252.4,
        "epochs": 40,
        "best_epoch": report.best_epoch,
        "chosen_by": report.monitor,
    }


def test_metrics_come_back_equal_and_sorted(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.json", METRICS)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored == METRICS
    assert list(stored) == sorted(METRICS)


def test_metrics_of_any_number_type_become_plain_floats(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.json", {"b": np.float32(0.5), "a": 1})
    assert (tmp_path / "metrics.json").read_text() == '{\n  "a": 1.0,\n  "b": 0.5\n}\n'


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_is_refused(run_dir: Path, report: RunReport, value: float) -> None:
    report = dataclasses.replace(report, metrics=METRICS | {"validation/loss": value})
    with pytest.raises(DataError, match=r"metrics.json: validation/loss is (nan|inf).*lower optimizer.lr"):
        write_report(run_dir, report)
    assert not list(run_dir.iterdir())


def test_a_missing_run_folder_is_named(tmp_path: Path, report: RunReport) -> None:
    with pytest.raises(DataError, match=r"gone/metrics.json: cannot be written.*Make the folder"):
        write_report(tmp_path / "gone", report)


def test_the_closing_table_fits_into_80_columns(run_dir: Path, report: RunReport) -> None:
    lines = shown(run_dir, report).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    words = [line.split() for line in lines]
    assert ["accuracy", "91.0%", "64.7%", "71.8%"] in words
    assert ["majority", "floor", "-", "47.1%", "40.7%"] in words
    assert ["run", "folder", "logs/challenge/2026-01-02_03-04-05"] in words


def test_the_closing_table_names_the_reports_that_there_are(run_dir: Path, report: RunReport) -> None:
    write_report(run_dir, report)
    assert ["report", "logs/challenge/2026-01-02_03-04-05/report.md"] in map(
        str.split, shown(run_dir, report).splitlines()
    )
    assert "report.html" not in shown(run_dir, report)
    (run_dir / "report.html").touch()
    assert "logs/challenge/2026-01-02_03-04-05/report.html" in shown(run_dir, report)


def test_folded_commands_can_be_copied_into_a_shell(run_dir: Path, report: RunReport) -> None:
    text = shown(run_dir, report).replace("\\\n", "")
    for purpose, command in next_commands(report):
        assert purpose in text
        assert any(shlex.split(line) == typed(command) for line in text.splitlines())


def test_a_path_wider_than_the_terminal_is_not_broken(run_dir: Path, report: RunReport) -> None:
    checkpoint = run_dir / ("long" * 30) / "best.ckpt"
    assert f"{'long' * 30}/best.ckpt" in shown(run_dir, dataclasses.replace(report, checkpoint=checkpoint))


def test_brackets_in_a_path_are_not_taken_for_markup(tmp_path: Path, report: RunReport) -> None:
    folder = tmp_path / "[bold]runs"
    report = dataclasses.replace(report, watch=[tensorboard_command(folder)])
    assert shown(folder, report).count("[bold]runs") == 2  # the folder, and where to watch it


def test_the_next_commands_predict_watch_and_sweep(report: RunReport) -> None:
    predict, watch, sweep = (typed(command)[1:] for _, command in next_commands(report))
    checkpoint = "ckpt=logs/challenge/2026-01-02_03-04-05/checkpoints/best.ckpt"
    assert predict == ["predict.py", checkpoint, "input=FILE", "output=pred.json"]
    assert watch == ["--logdir", "logs"]
    assert sweep[:4] == ["train.py", "-m", "data=challenge", "data.root=my data"]
    assert sweep[4:] == ["optimizer.lr=1e-3,3e-4", "model=cnn,lstm"]


def test_an_experiment_is_swept_with_the_model_it_brings(report: RunReport) -> None:
    other = dataclasses.replace(report, overrides=["experiment=language_id"])
    _, _, (_, sweep) = next_commands(other)
    assert sweep[2:] == ["-m", "experiment=language_id", "optimizer.lr=1e-3,3e-4", "seed=0,1,2"]


def test_the_suggested_sweep_repeats_all_settings_but_the_varied(report: RunReport) -> None:
    kept = [
        "data=folder",
        "split=random",
        "label_map=quadrant",
        "loss=focal",
        "~callbacks.early_stopping",
        "+x=1",
    ]
    other = dataclasses.replace(report, overrides=["optimizer.lr=1", "model=lstm", "seed=3", *kept])
    _, _, (_, sweep) = next_commands(other)
    assert sweep[2:] == ["-m", "model=lstm", *map(shlex.quote, kept), "optimizer.lr=1e-3,3e-4", "seed=0,1,2"]


def test_the_suggested_sweep_has_a_validation_split(report: RunReport) -> None:
    words = ["data=challenge", "data.validation=none"]
    other = dataclasses.replace(report, overrides=words, monitor=None, best_epoch=None)
    _, _, (_, sweep) = next_commands(other)
    assert sweep[2:] == ["-m", "data=challenge", "optimizer.lr=1e-3,3e-4", "model=cnn,lstm"]
    _, _, (_, sweep) = next_commands(dataclasses.replace(report, overrides=["data.validation=dev_2.json"]))
    assert sweep[2:4] == ["-m", "data.validation=dev_2.json"]


def test_a_run_outside_logs_is_watched_where_it_is(tmp_path: Path, report: RunReport) -> None:
    report = dataclasses.replace(report, watch=[tensorboard_command(tmp_path / "my runs")])
    _, watch, _ = (typed(command) for _, command in next_commands(report))
    assert watch[1:] == ["--logdir", "my runs"]


@pytest.mark.parametrize(
    "folder", ["plain", "lr=1e-3,model=cnn", "with blanks", "süß", 'a"b', "it's", "[a]{b}"]
)
def test_hydra_reads_the_suggested_checkpoint_back(run_dir: Path, report: RunReport, folder: str) -> None:
    report = dataclasses.replace(report, checkpoint=run_dir / folder / "best.ckpt")
    word = typed(next_commands(report)[0][1])[2]
    override = OverridesParser.create().parse_override(word)
    assert override.key_or_group == "ckpt"
    assert run_dir.parents[2] / str(override.value()) == report.checkpoint


def test_a_shell_without_the_environment_gets_the_path_of_its_python(
    run_dir: Path, report: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Path.cwd() / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "tensorboard"):
        (programs / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    report = dataclasses.replace(report, watch=[tensorboard_command(run_dir)])
    commands = [command[0] for _, command in next_commands(report)]
    assert commands == [".venv/bin/python", ".venv/bin/tensorboard", ".venv/bin/python"]
    monkeypatch.setenv("PATH", str(programs))
    report = dataclasses.replace(report, watch=[tensorboard_command(run_dir)])
    commands = [command[0] for _, command in next_commands(report)]
    assert commands == ["python", "tensorboard", "python"]


FOLDS = ["split=speaker_kfold", "data.split.fold=0,1,2,3,4"]


@pytest.mark.parametrize(
    ("speakers", "folds", "is_named"),
    [(1, FOLDS, True), (2, FOLDS, True), (3, FOLDS, False), (2, [], False), (None, FOLDS, False)],
)
def test_one_or_two_test_speakers_name_cross_validation(
    run_dir: Path, report: RunReport, speakers: int | None, folds: list[str], is_named: bool
) -> None:
    text = limits(run_dir, report, splits=summaries(speakers), leaks=[], cross_validation=folds)
    assert ("cannot stand for others: cross-validate over speakers" in text) == is_named
    assert ("(-m split=speaker_kfold data.split.fold=0,1,2,3,4)" in text) == is_named


def test_cross_validation_is_suggested_without_the_split_of_the_run(report: RunReport) -> None:
    words = ["data=ravdess", "data.root=my data", "split=random", "data.split.test=0.1", "hydra.run.dir=x"]
    changes: dict[str, Any] = {"splits": summaries(2), "cross_validation": FOLDS, "overrides": words}
    found = dict(next_commands(dataclasses.replace(report, **changes)))
    assert typed(found["Cross-validate over speakers"])[2:] == [
        "-m",
        "data=ravdess",
        "data.root=my data",
        *FOLDS,
    ]
    plain = dataclasses.replace(report, **changes | {"splits": summaries(3)})
    assert "Cross-validate over speakers" not in dict(next_commands(plain))


def test_the_next_commands_of_an_own_model_trust_its_package(report: RunReport) -> None:
    own = dataclasses.replace(report, unit="frame", trust=["'trust=[mypackage]'"])
    commands = dict(next_commands(own))
    for purpose in ("Predict a file", "Stream a recording"):
        assert commands[purpose].count("'trust=[mypackage]'") == 1


def test_the_next_commands_of_values_over_time_name_words(report: RunReport) -> None:
    own = dataclasses.replace(report, unit="frame", labelled_at="frame")
    assert "Stream a recording" not in dict(next_commands(own))
    assert "words=FILE" not in dict(next_commands(own))["Predict a file"]
    with_words = dict(next_commands(dataclasses.replace(own, takes_words=True)))
    assert with_words["Predict a file"][-3:-1] == ["input=FILE", "words=FILE"]
