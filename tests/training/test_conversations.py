"""Trainings on audio and words: scores over time, matching, constant labels."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import ser
from tests.commands import run
from tests.conversations import write_sewa

pytest.importorskip("soundfile")

SETTINGS = (
    *("experiment=semantic", "data=sewa", "words=trained", "data.words.dim=6", "features.num_mel_bins=8"),
    *("model.dim=16", "model.hidden_dim=16", "batching.cut_frames=40", "trainer.accelerator=cpu"),
    *("trainer.enable_progress_bar=false", "hydra.run.dir=run"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sewa(tmp_path_factory.mktemp("sewa") / "corpus")


def metrics(cwd: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((cwd / "run" / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a run, whose predictions are matched, and what the training printed."""
    folder = tmp_path_factory.mktemp("trained")
    settings = (*SETTINGS, f"data.root={root}", "trainer.max_epochs=12", "optimizer.lr=1e-2")
    return folder, run("train.py", *settings, "target.match=moments", cwd=folder).stdout


def test_scores_of_each_field_are_learnt_and_reported(trained: tuple[Path, str]) -> None:
    folder, output = trained
    found = metrics(folder)
    fields = ("arousal", "valence", "liking")
    mean = sum(found[f"test/ccc_{field}"] for field in fields) / 3
    assert found["test/ccc_mean"] == pytest.approx(mean, abs=1e-6)
    assert found["test/ccc_mean"] > 0.4
    assert "Predictions are matched to the labels of train: scaled by" in output
    assert f"CCC of valence {found['validation/ccc_valence']:.3f}" in " ".join(output.split())
    target = torch.load(folder / "run" / "checkpoints" / "best.ckpt", weights_only=True)["ser"]["target"]
    assert len(target["scale"]) == len(target["offset"]) == 3
    assert (
        "![Labels and predictions of a recording over time](values_0.png)"
        in (folder / "run/report.md").read_text()
    )
    assert len([*(folder / "run").glob("values_*.png")]) == 2  # recordings of the test split


def test_predictions_over_time_add_up_to_the_scores(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    with (folder / "run" / "predictions_test.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert {"id", "speaker", "step", "label_arousal", "prediction_arousal"} <= rows[0].keys()
    pairs = [(row["label_arousal"], row["prediction_arousal"]) for row in rows if row["label_arousal"]]
    truth, predicted = np.array(pairs, dtype=float).T
    ccc = 2 * np.cov(truth, predicted, ddof=0)[0, 1]
    ccc /= truth.var() + predicted.var() + (truth.mean() - predicted.mean()) ** 2
    assert ccc == pytest.approx(metrics(folder)["test/ccc_arousal"], abs=1e-3)


def test_predictions_of_recordings_have_the_scores_of_the_run(root: Path, trained: tuple[Path, str]) -> None:
    folder, output = trained
    names = sorted(path.stem for path in (root / "audio").glob("Test_*.wav"))
    answers = ser.load(folder / "run").predict(
        [root / "audio" / f"{name}.wav" for name in names],
        words=[root / "speech2vec/segmentation" / f"{name}.csv" for name in names],
        turns=[root / "turns" / f"{name}.csv" for name in names],
    )
    labels = np.concatenate(
        [np.genfromtxt(root / "labels" / f"{name}.csv", delimiter=";")[:, 2:] for name in names]
    )
    found = metrics(folder)
    for field, truth in zip(("arousal", "valence", "liking"), labels.T, strict=True):
        predicted = np.concatenate([answer.values[field] for answer in answers])
        covariance = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
        ccc = 2 * covariance / (truth.var() + predicted.var() + (truth.mean() - predicted.mean()) ** 2)
        assert found[f"test/ccc_{field}"] == pytest.approx(ccc, abs=1e-4)
    assert "words=FILE" in output
    assert "stream=true" not in output


def test_delay_is_refused_where_train_is_scored(root: Path, tmp_path: Path) -> None:
    settings = (*SETTINGS, f"data.root={root}", "trainer.max_epochs=1")
    output = run("train.py", *settings, "batching.overfit=2", "target.delay_s=0.5", cwd=tmp_path, code=1)
    assert "which batching.overfit also scores. Set target.delay_s=0" in output.stderr


def test_constant_labels_are_named_and_cost_what_is_published(tmp_path: Path) -> None:
    """Of constant labels, 1 - CCC is 1 in each field: 1 + 1/2 + 1/3 with the published weights."""
    root = write_sewa(tmp_path / "corpus", constant=True)
    settings = (*SETTINGS, f"data.root={root}", "trainer.max_epochs=1", "loss.weights=upstream")
    output = run("train.py", *settings, cwd=tmp_path).stdout
    found = metrics(tmp_path)
    assert found["validation/loss"] == pytest.approx(1.8333, abs=1e-3)
    assert found["test/ccc_mean"] == 0
    assert all(value == value for value in found.values())
    assert "'valence' has the value 0 alone in train" in output
