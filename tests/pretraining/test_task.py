"""Pre-trainings of a tiny network on small recordings: resumed, collapsed, without labels, and refused."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import lightning as L
import pytest
import torch
from torch import nn

from ser.batch import Padded
from ser.checkpoints import checkpoint
from ser.config.instantiate import build
from ser.config.settings import Train
from ser.errors import CheckpointError, ConfigError, DivergedError
from ser.pretrained.networks import read_encoder
from ser.pretraining import data as pretraining_data
from ser.pretraining import run as pretraining_run
from ser.pretraining.task import Pretraining, fill_ends
from ser.report import figures
from ser.runs.run_folder import RunFolder
from ser.training import setup
from ser.training.consistency import check_training
from ser.training.trainer import build_trainer, set_run_folder
from tests import blank_plots
from tests.commands import run
from tests.fits import composed
from tests.html_report.page_reader import Reader

TINY = (
    *("experiment=byol_s", "batching.crop_frames=16", "batching.max_utterances=16", "logger=none"),
    *("pretraining.hidden_dim=32", "pretraining.projection_dim=16", "pretraining.memory=20"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=2"),
)
RAVDESS = ("data=ravdess", "split=speaker", "data.split.validation=0.34", "data.split.test=0.34")


def settings_of(root: Path, *overrides: str) -> Train:
    cache = f"data.cache_dir={root.parent / 'cache'}"
    settings = Train.of(composed(*TINY, *overrides, f"data.root={root}", cache))
    check_training(settings)
    return settings


def made(settings: Train, folder: Path) -> tuple[L.Trainer, Pretraining, Any, RunFolder]:
    setup.prepare(settings)
    recipe = build(settings.pretraining or {}, slot="pretraining")
    data, probe = pretraining_data.read_data(settings, recipe)
    task = pretraining_run.make_task(settings, recipe, data, probe)
    trainer, run = build_trainer(settings), RunFolder(folder)
    set_run_folder(trainer, settings, run)
    return trainer, task, data, run


class Interrupt(L.Callback):
    """Ends a training as an error would, after a step in the middle of an epoch."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 3:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")
            raise InterruptedError


def test_a_resumed_pretraining_equals_the_whole_one(recordings: Path, tmp_path: Path) -> None:
    settings = settings_of(recordings, *RAVDESS, "batching.max_utterances=8")
    trainer, whole, data, run = made(settings, tmp_path / "whole")
    pretraining_run.fit(trainer, whole, data, run)
    trainer, task, data, run = made(settings, tmp_path / "again")
    trainer.callbacks.append(Interrupt())  # type: ignore[attr-defined]
    with pytest.raises(InterruptedError):
        pretraining_run.fit(trainer, task, data, run)
    trainer, resumed, data, run = made(settings, tmp_path / "again")
    pretraining_run.fit(trainer, resumed, data, run)
    assert trainer.global_step == 4
    assert resumed.curves == whole.curves
    assert {*whole.curves} >= {"train/loss", "train/embedding_rank", "probe/accuracy", "probe/uar"}
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert torch.equal(whole.views.memory.inputs, resumed.views.memory.inputs)


def test_a_pretraining_without_predictor_collapses_and_stops(recordings: Path, tmp_path: Path) -> None:
    words = ("data=folder", "trainer.max_epochs=8", "optimizer.lr=0.03", "pretraining.collapse_below=0.3")
    settings = settings_of(recordings, *words, "pretraining.decay=0.9")
    trainer, task, data, run = made(settings, tmp_path / "kept")
    pretraining_run.fit(trainer, task, data, run)
    assert min(task.curves["train/projection_deviation"].values()) > 0.3
    trainer, task, data, run = made(settings, tmp_path / "removed")
    task.model.predictor = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(DivergedError, match="has collapsed"):
        pretraining_run.fit(trainer, task, data, run)


def test_a_folder_without_labels_or_speakers_is_all_train(recordings: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(recordings.rglob("*.wav"))[:20]):
        (flat / f"{number}.wav").symlink_to(file)
    settings = settings_of(flat, "data=folder", "trainer.max_epochs=1", "pretraining.crop=start")
    recipe = build(settings.pretraining or {}, slot="pretraining")
    data, probe = pretraining_data.read_data(settings, recipe)
    assert probe is None
    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 20}
    assert set(data.datasets["train"].store.lengths) == {16}
    assert "reads 20 recordings of train" in data.facts.remarks[-1]


def test_a_run_leaves_an_encoder_folder_and_curves(recordings: Path, tmp_path: Path) -> None:
    settings = settings_of(recordings, *RAVDESS, "trainer.max_epochs=1")
    trainer, run = build_trainer(settings), RunFolder(tmp_path / "run")
    run.path.mkdir()
    with mock.patch.multiple(figures, to_image=blank_plots.to_image, save=blank_plots.save):
        loss = pretraining_run.train(settings, run, trainer, started=0.0)
    assert 2 < loss < 6
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert metrics["train/loss"] == pytest.approx(loss)
    assert 0 <= metrics["probe/accuracy"] <= 1
    assert "recordings of train" in (run.path / "report.md").read_text()
    page = Reader((run.path / "report.html").read_text())
    drawn = [node.text for node in page.section("Curves") if node.tag == "figcaption"]
    assert drawn == ["Loss", "Deviation", "Effective rank", "Linear probe"]
    assert dict(page.table("The last epoch"))["train/loss"] == f"{loss:.4f}"
    titles = [node.text for node in page.all("h2")]
    assert titles == ["Curves", "Training", "Data", "Leaks", "Command and environment", "Next"]
    encoder = read_encoder(run.path / "encoder", "model.path")
    saved = checkpoint.read(run.last)
    assert saved["ser"]["pretraining"]["mean"] == encoder.mean
    for name, value in encoder.network.state_dict().items():
        assert torch.equal(value, saved["state_dict"][f"model.encoder.{name}"]), name
    with pytest.raises(CheckpointError, match="is of a pre-training"):
        checkpoint.load(run.last)


def test_short_recordings_are_filled_at_both_ends() -> None:
    audio = Padded(torch.arange(1.0, 13).view(2, 3, 2), torch.tensor([3, 1]))
    filled = fill_ends(audio, 4, -9.0)
    assert filled[..., 0].tolist() == [[1, 3, 5, -9], [-9, 7, -9, -9]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data=folder", "features=waveform"), r"needs log-mels .* Set features=serab"),
        (("data=folder", "features=mfcc"), r"needs log-mels .* Set features=serab"),
        (("data=challenge",), r"data=challenge: pre-training reads recordings"),
        (("data=folder", "schedule=plateau"), r"schedule: .* Set schedule=cosine"),
        (("data=folder", "trainer.precision=16-true"), r"Set trainer.precision=bf16-mixed"),
        (("data=folder", "batching.balance=oversample"), r"Set batching.balance=none"),
        (("data=folder", "batching.crop_frames=null"), r"Set batching.crop_frames=96"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(words: tuple[str, ...], message: str) -> None:
    settings = Train.of(composed("experiment=byol_s", *words, "data.root=data"))
    with pytest.raises(ConfigError, match=message):
        pretraining_data.check_pretraining(settings)


def test_the_command_ends_at_a_collapse_with_a_message(recordings: Path, tmp_path: Path) -> None:
    words = ("data=folder", f"data.root={recordings}", "hydra.run.dir=run", "trainer.max_epochs=1")
    ended = run("train.py", *TINY, *words, "pretraining.collapse_below=0.999", cwd=tmp_path, code=1)
    assert "epoch 1: the encoder has collapsed" in ended.stderr
    assert not (tmp_path / "run" / "encoder").exists()
