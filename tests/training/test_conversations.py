"""Trainings on audio and words: scores over time, matching, constant labels."""

import json
from pathlib import Path

import pytest
import torch

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


def test_scores_of_each_field_are_learnt_and_reported(root: Path, tmp_path: Path) -> None:
    settings = (*SETTINGS, f"data.root={root}", "trainer.max_epochs=12", "optimizer.lr=1e-2")
    output = run("train.py", *settings, "target.match=moments", cwd=tmp_path).stdout
    found = metrics(tmp_path)
    fields = ("arousal", "valence", "liking")
    mean = sum(found[f"test/ccc_{field}"] for field in fields) / 3
    assert found["test/ccc_mean"] == pytest.approx(mean, abs=1e-6)
    assert found["test/ccc_mean"] > 0.4
    assert "Predictions are matched to the labels of train: scaled by" in output
    target = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["ser"]["target"]
    assert len(target["scale"]) == len(target["offset"]) == 3
    assert (
        "![Labels and predictions of a recording over time](values_0.png)"
        in (tmp_path / "run/report.md").read_text()
    )
    assert len([*(tmp_path / "run").glob("values_*.png")]) == 2  # recordings of the test split


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
