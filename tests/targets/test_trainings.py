"""One tiny training a target on recordings that a table lists: trained, resumed, predicted, reported."""

import csv
import json
from pathlib import Path

import pytest
import torch

from ser.batching.datamodule import SpeechData
from ser.config.settings import Train
from ser.errors import ConfigError, DataError
from ser.training import setup
from tests.commands import TINY, run
from tests.fits import composed, fit

EMOTIONS = ("neutral", "joy", "sadness", "anger")
PLACES = {
    "01": ("neutral", 0.0, 0.0),
    "03": ("joy", 0.8, 0.8),
    "04": ("sadness", -0.7, -0.6),
    "05": ("anger", 0.9, -0.8),
}
SHORT = ("features.num_mel_bins=16", "batching.crop_frames=null", *TINY)


def rows_of(recordings: Path) -> list[dict[str, str]]:
    """The recordings with their emotion, and arousal and valence with gaps, each speaker's own take on them."""
    rows = []
    for place, path in enumerate(sorted(recordings.rglob("*.wav"))):
        code, speaker = path.stem.split("-")[2], path.stem.split("-")[-1]
        emotion, arousal, valence = PLACES[code]
        rows.append(
            {
                "path": path.relative_to(recordings).as_posix(),
                "speaker": speaker,
                "emotion": "" if place % 7 == 0 else emotion,
                "arousal": f"{arousal + 0.01 * int(speaker):.2f}",
                "valence": "" if place % 5 == 0 else f"{valence:.2f}",
                "rater_1": emotion,
                "rater_2": "neutral" if place % 3 == 0 else emotion,
                **{f"p_{name}": str(float(name == emotion)) for name in EMOTIONS},
            }
        )
    return rows


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.fixture(scope="module")
def table(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("table") / "table.csv", rows_of(recordings))


def train_resume_predict(
    recordings: Path, table: Path, cwd: Path, *overrides: str
) -> tuple[Path, list[dict[str, str]]]:
    """Train for two epochs, at once and with a break, compare both, and predict the table."""
    settings = (f"data.path={table}", *SHORT, *overrides, "schedule=none")
    for epochs in (1, 2):
        fit(recordings, cwd / "cut", *settings, f"trainer.max_epochs={epochs}", data="manifest")
    source = ("data=manifest", f"data.root={recordings}")
    run("train.py", *source, *settings, "trainer.max_epochs=2", "hydra.run.dir=run", cwd=cwd, plots=True)
    whole, resumed = (
        torch.load(cwd / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("run", "cut")
    )
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, msg=name)
    run("predict.py", "ckpt=run", f"input={table}", f"root={recordings}", "output=pred.csv", cwd=cwd)
    with (cwd / "pred.csv").open(newline="") as file:
        return cwd / "run", list(csv.DictReader(file))


def make_data(recordings: Path, table: Path, *overrides: str) -> SpeechData:
    """Read the splits and put batches together, as a training does before its first step."""
    config = composed("data=manifest", f"data.root={recordings}", f"data.path={table}", *SHORT, *overrides)
    settings = Train.of(config)
    return setup.make_data(settings, setup.read_splits(settings))


REGRESSION = ("target=regression", "target.fields=[arousal,valence]")


def test_regression_trains_resumes_and_predicts(recordings: Path, table: Path, tmp_path: Path) -> None:
    folder, rows = train_resume_predict(recordings, table, tmp_path, *REGRESSION)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {f"test/{name}" for name in ("ccc", "ccc_arousal", "mae_valence", "mse_floor")} <= metrics.keys()
    assert "test/accuracy" not in metrics
    assert [*rows[0]] == ["id", "arousal", "valence", "path", "start_s", "end_s"]
    assert len(rows) == 48
    assert len({row["arousal"] for row in rows}) > 10
    text = (folder / "report.md").read_text()
    assert text.startswith("# manifest: CNNEncoder\n\n**Test CCC ")
    assert "## Values of test" in text
    assert "![Prediction against truth of test](scatter.png)" in text
    assert (folder / "scatter.png").is_file()
    assert not (folder / "confusion.png").exists()
    kept = json.loads((folder / "splits.json").read_text())
    assert kept["splits"][0]["class_counts"] is None
    assert any("without regard to the labels arousal, valence" in line for line in kept["remarks"])


def test_a_text_among_values_is_named_with_its_row_and_column(
    recordings: Path, table: Path, tmp_path: Path
) -> None:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[3]["valence"] = "high"
    rows = [{**row, "id": f"u{place}"} for place, row in enumerate(rows)]
    with pytest.raises(DataError, match=r"utterance 'u3': valence is 'high', expected a number\. Correct it"):
        make_data(recordings, write(tmp_path / "wrong.csv", rows), *REGRESSION)


def test_a_field_that_the_table_lacks_is_named(recordings: Path, table: Path) -> None:
    with pytest.raises(DataError, match=r"has no labels 'arousl'\. Did you mean 'arousal'\?"):
        make_data(recordings, table, "target=regression", "target.fields=[arousl]")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "balance=oversample",
            r"balance=oversample: needs a target that predicts classes only.*balance=none",
        ),
        ("balance=ensemble", r"ensemble=auto: needs a target that predicts classes only.*Set ensemble=null"),
        ("loss=cross_entropy", r"loss=cross_entropy: measures classes, but the target predicts values"),
        ("augment.mixup=0.2", r"augment.mixup: .*Set augment.mixup=0"),
    ],
)
def test_what_needs_classes_is_refused_for_values(
    recordings: Path, table: Path, setting: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        make_data(recordings, table, *REGRESSION, setting)


def test_values_may_come_from_a_map_of_emotions(recordings: Path) -> None:
    config = composed(
        "data=ravdess", f"data.root={recordings}", "label_map=arousal_valence", "target=regression"
    )
    settings = Train.of(config)
    data = setup.make_data(settings, setup.read_splits(settings))
    assert data.target.label_names == ("arousal", "valence")
    found = data.datasets["train"].targets.unique(dim=0)
    torch.testing.assert_close(found, torch.tensor([[-0.7, -0.6], [0.0, 0.0], [0.8, 0.8], [0.9, -0.8]]))


def test_soft_labels_train_resume_and_predict(recordings: Path, table: Path, tmp_path: Path) -> None:
    raters = ("target=soft_classes", "target.raters=[rater_1,rater_2]")
    folder, rows = train_resume_predict(recordings, table, tmp_path, *raters)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"test/accuracy", "test/uar", "test/majority_floor"} <= metrics.keys()
    assert [*rows[0]] == [
        "id",
        "label",
        "path",
        "start_s",
        "end_s",
        *(f"p_{name}" for name in sorted(EMOTIONS)),
    ]
    assert (folder / "confusion.png").is_file()
    assert "no single most likely class" in (tmp_path / "run" / "train.log").read_text()


def test_probabilities_of_a_table_are_soft_labels(recordings: Path, table: Path) -> None:
    data = make_data(recordings, table, "target=soft_classes", f"target.class_names=[{','.join(EMOTIONS)}]")
    shares = data.datasets["train"].targets
    torch.testing.assert_close(shares.sum(-1), torch.ones(len(shares)))
    assert data.summaries()[0].class_counts is not None


def test_a_soft_label_that_does_not_sum_to_one_is_named(
    recordings: Path, table: Path, tmp_path: Path
) -> None:
    with table.open(newline="") as file:
        rows = [{**row, "id": f"u{place}"} for place, row in enumerate(csv.DictReader(file))]
    rows[5]["p_joy"] = "0.7"
    wrong = write(tmp_path / "wrong.csv", rows)
    with pytest.raises(
        DataError, match=r"utterance 'u5': p_neutral.* sum to .*expected probabilities that sum to 1"
    ):
        make_data(recordings, wrong, "target=soft_classes", f"target.class_names=[{','.join(EMOTIONS)}]")


def check_predictions(folder: Path, metrics: dict[str, float]) -> None:
    """predictions_test.csv has the labels of both tasks, missing ones included, and the scores of the run."""
    with (folder / "predictions_test.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    named = [row for row in rows if row["label_emotion"]]
    right = [row["label_emotion"] == row["prediction_emotion"] for row in named]
    assert sum(right) / len(right) == pytest.approx(metrics["test/emotion/accuracy"], abs=1e-6)
    valued = [row for row in rows if row["label_arousal"]]
    errors = [abs(float(row["label_arousal"]) - float(row["prediction_arousal"])) for row in valued]
    assert sum(errors) / len(errors) == pytest.approx(metrics["test/values/mae_arousal"], rel=1e-3)
    assert {bool(row["speaker"]) for row in rows} == {True}


MULTI_TASK = ("target=multi_task", "target.tasks.values.weight=0.5")


def test_several_tasks_train_resume_and_predict(recordings: Path, table: Path, tmp_path: Path) -> None:
    folder, rows = train_resume_predict(recordings, table, tmp_path, *MULTI_TASK)
    metrics = json.loads((folder / "metrics.json").read_text())
    check_predictions(folder, metrics)
    assert {
        "test/emotion/accuracy",
        "test/values/ccc",
        "test/values/mse_floor",
        "test/loss",
    } <= metrics.keys()
    columns = [f"p_emotion_{name}" for name in sorted(EMOTIONS)]
    assert [*rows[0]] == ["id", "emotion", "arousal", "valence", "path", "start_s", "end_s", *columns]
    text = (folder / "report.md").read_text()
    assert "**Test emotion accuracy " in text
    assert "**Test values CCC " in text
    for name in ("confusion_emotion.png", "scatter_values.png"):
        assert f"({name})" in text
        assert (folder / name).is_file()
    kept = json.loads((folder / "splits.json").read_text())
    assert int(kept["splits"][0]["labels"]["emotion: labelled"]) < kept["splits"][0]["utterances"]


def test_a_task_without_labels_in_a_split_is_refused(recordings: Path, table: Path, tmp_path: Path) -> None:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    places = {"01": "validation", "02": "test"}
    rows = [{**row, "split": places.get(row["speaker"], "train")} for row in rows]
    rows = [{**row, "arousal": "", "valence": ""} if row["split"] == "test" else row for row in rows]
    with pytest.raises(
        ConfigError, match=r"target\.tasks.values: no utterance of test has a label in arousal, valence"
    ):
        make_data(recordings, write(tmp_path / "gaps.csv", rows), *MULTI_TASK)


def test_scores_without_a_label_are_named_and_end_no_run(
    recordings: Path, table: Path, tmp_path: Path
) -> None:
    with table.open(newline="") as file:
        rows = [{**row, "id": f"u{place}"} for place, row in enumerate(csv.DictReader(file))]
    places = {"01": "validation", "02": "test"}
    rows = [{**row, "split": places.get(row["speaker"], "train")} for row in rows]
    held = [row["id"] for row in rows if row["split"] == "validation"]
    rows = [{**row, "emotion": "joy" * (row["id"] == held[-1])} if row["id"] in held else row for row in rows]
    source = f"data.path={write(tmp_path / 'gaps.csv', rows)}"
    limits = ("trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "batching.max_utterances=1")
    words = (f"data.root={recordings}", source, *SHORT, *MULTI_TASK, *limits, "trainer.max_epochs=1")
    done = run("train.py", "data=manifest", *words, "hydra.run.dir=run", cwd=tmp_path)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "validation/emotion/accuracy" not in metrics
    assert {"validation/loss", "validation/values/mae"} <= metrics.keys()
    text = (tmp_path / "run" / "report.md").read_text()
    assert "4 scores are undefined" in text
    assert "validation/emotion/accuracy, validation/emotion/uar" in text
    assert "validation/emotion/accuracy did not choose the epoch" in done.stdout
