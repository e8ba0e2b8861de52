"""The command `ser evaluate`."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from ser.scripts.evaluate import known_temperature
from tests.commands import TINY, run

ONCE = (*TINY, "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def folder(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run of quadrants (RUN), and recordings in a folder for each class."""
    cwd = tmp_path_factory.mktemp("evaluate")
    names = {"neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "awe"}
    for emotion, name in names.items():
        shutil.copytree(recordings / emotion, cwd / "classes" / name)
    whole = sorted((cwd / "classes" / "sad").glob("*.wav"))[0]
    (cwd / "classes" / "sad" / "broken.wav").write_bytes(whole.read_bytes()[:60])
    quadrants = ("data=ravdess", f"data.root={recordings}", "label_map=quadrant", "target=quadrant")
    run("train.py", *quadrants, *ONCE, "test_sets=[folder:classes]", "hydra.run.dir=RUN", cwd=cwd)
    return cwd


def table(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(path.read_text().splitlines())]


def test_the_test_split_gets_the_scores_of_the_training(folder: Path, recordings: Path) -> None:
    data = ("data=ravdess", f"data.root={recordings}")
    result = run("predict.py", "ckpt=RUN", *data, "subset=test", cwd=folder)  # does the same
    assert "LEAK" not in result.stdout
    output = folder / "RUN" / "evaluations" / "ravdess_test"
    found = json.loads((output / "metrics.json").read_text())
    trained = json.loads((folder / "RUN" / "metrics.json").read_text())
    for name in ("accuracy", "uar", "macro_f1", "valence_accuracy"):
        assert found[name] == pytest.approx(trained[f"test/{name}"], abs=1e-6)
    assert (output / "confusion.png").is_file()
    for place in (output, folder / "RUN"):
        page = (place / "report.html").read_text()
        assert "The most confident wrong answers" in page
        assert "<audio " in page
    assert "Embeddings</h2>" in page  # of the run
    own, other = table(output / "predictions.csv"), table(folder / "RUN" / "predictions_test.csv")
    assert {row["id"]: row["prediction"] for row in own} == {row["id"]: row["prediction"] for row in other}


def test_a_folder_for_each_class_is_scored_and_leaks_are_named(folder: Path) -> None:
    result = run("ser", "evaluate", "ckpt=RUN", "data=folder", "data.root=classes", cwd=folder)
    output = folder / "RUN" / "evaluations" / "folder_classes"
    found, rows = json.loads((output / "metrics.json").read_text()), table(output / "predictions.csv")
    assert found["utterances"] == len(rows) == 36
    right = [row["label"] == row["prediction"] for row in rows]
    assert found["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-6)
    reasons = [row["reason"].partition(":")[0] for row in table(output / "left_out.csv")]
    assert sorted({*reasons}) == ["cannot be read", "no class of the model"]
    assert reasons.count("no class of the model") == 12
    assert "LEAK: the model was trained on" in result.stdout
    report = (output / "report.md").read_text()
    assert "> **Note:** LEAK: the model was trained on" in report
    assert "## By training" in report
    assert "No utterance has the class anger" in report
    trained = json.loads((folder / "RUN" / "metrics.json").read_text())
    assert trained["test_sets/classes/uar"] == pytest.approx(found["uar"], abs=1e-6)
    assert table(folder / "RUN" / "predictions_classes.csv") == rows
    assert "| classes | UAR | " in (folder / "RUN" / "report.md").read_text()
    again = run("predict.py", "ckpt=RUN", "data=folder", "data.root=classes", cwd=folder, code=1)
    assert "holds an evaluation already. Add overwrite=true" in again.stderr


def test_a_file_of_the_challenge_is_scored(folder: Path, challenge: Path) -> None:
    words = ("data=challenge", f"data.root={challenge}", *ONCE, "report.html=false")
    run("train.py", *words, "hydra.run.dir=CHA", cwd=folder)
    assert not (folder / "CHA" / "report.html").exists()
    words = ("data=challenge", f"data.root={challenge}", "output=cha")
    result = run("ser", "evaluate", "ckpt=CHA", *words, "report.audio=false", cwd=folder)
    assert "<audio " not in (folder / "cha" / "report.html").read_text()
    found = json.loads((folder / "cha" / "metrics.json").read_text())
    assert (found["utterances"], found["trained_on"]) == (96, 64)
    assert "trained on 64 of the 96 utterances, the first is 'train/0'" in result.stdout
    (validation,) = (row for row in table(folder / "cha" / "groups.csv") if row["value"] == "validation")
    trained = json.loads((folder / "CHA" / "metrics.json").read_text())
    assert float(validation["accuracy"]) == pytest.approx(trained["validation/accuracy"], abs=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=lstm",), "model=lstm: is a setting of trainings"),
        (("output=x.csv",), "output=x.csv: is written as a folder."),
        (("output=RUN",), "output=RUN: is the folder of a run. Give another folder."),
        (("ckpt=[RUN,RUN]",), "2 checkpoints have no folder in common. Set output=FOLDER."),
        (
            ("ckpt=EXPORTED",),
            "EXPORTED is an exported model, in whose folder no evaluation is written. Set output=",
        ),
        (("output=EXPORTED",), "output=EXPORTED: is the folder of an exported model. Give another folder."),
        (("by=[sexx]", "output=by"), "by=[sexx]: classes has no such column. Did you mean 'sex'?"),
    ],
)
def test_an_evaluation_that_cannot_be_meant_is_refused(
    words: tuple[str, ...], message: str, folder: Path
) -> None:
    (folder / "EXPORTED").mkdir(exist_ok=True)
    (folder / "EXPORTED" / "config.json").write_text("{}")
    given = ("ckpt=RUN", *words) if not words[0].startswith("ckpt") else words
    result = run("ser", "evaluate", *given, "data=folder", "data.root=classes", cwd=folder, code=1)
    assert message in result.stderr


def test_the_page_knows_the_temperature_of_the_best_checkpoint_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    best, last = (tmp_path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    assert known_temperature([tmp_path]) is None
    (tmp_path / "calibration.json").write_text('{"temperature": 1.7}')
    assert known_temperature([tmp_path]) == known_temperature([best]) == 1.7
    assert known_temperature([last]) is known_temperature([tmp_path, tmp_path]) is None


def test_a_damaged_temperature_is_refused_with_the_page_as_reason(folder: Path) -> None:
    (folder / "DAMAGED").mkdir()
    shutil.copytree(folder / "RUN" / "checkpoints", folder / "DAMAGED" / "checkpoints")
    (folder / "DAMAGED" / "calibration.json").write_text("{")
    words = ("ser", "evaluate", "ckpt=DAMAGED", "data=folder", "data.root=classes", "output=damaged")
    result = run(*words, cwd=folder, code=1)
    assert "calibration.json: is damaged" in result.stderr
    assert "Copy it again, or set report.html=false." in result.stderr
    assert not (folder / "damaged").exists()
    run(*words, "report.html=false", cwd=folder)
