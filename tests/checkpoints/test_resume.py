"""What an interrupted run may change, where it may lie, and what it goes on with."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ser.checkpoints.resume import check_same_data, check_unchanged
from ser.config.settings import Train
from ser.errors import CheckpointError, ConfigError, DataError
from ser.features.extractors import Waveform
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.runs.run_folder import RunFolder
from ser.training import setup
from ser.training.callbacks import LastCheckpoint
from ser.training.consistency import check_training
from ser.training.trainer import best_checkpoint
from tests.conftest import write_challenge
from tests.fits import Fitted, fit, with_value

CONSTANT = ("schedule=none", "trainer.max_epochs=2")


@pytest.fixture(scope="module")
def begun(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A run of two epochs, with the files that a resumed run reads."""
    fitted = fit(challenge, tmp_path_factory.mktemp("begun") / "run", *CONSTANT)
    setup.record(fitted.settings, fitted.run, fitted.data)
    return fitted


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.accumulate_grad_batches", 2),
        ("trainer.precision", "bf16-mixed"),
        ("trainer.gradient_clip_val", None),
        ("trainer.gradient_clip_algorithm", "value"),
        ("trainer.limit_train_batches", 3),
        ("trainer.limit_val_batches", 1),
        ("trainer.check_val_every_n_epoch", 2),
        ("trainer.val_check_interval", 0.5),
        ("trainer.max_steps", 7),
        ("trainer.deterministic", True),
        ("callbacks.averaged_weights", None),
        ("callbacks.averaged_weights.decay", 0.9),
        ("callbacks.early_stopping.patience", 3),
        ("callbacks.early_stopping", None),
        ("callbacks.best.monitor", "validation/uar"),
        ("callbacks.own", {"_target_": "lightning.pytorch.callbacks.GradientAccumulationScheduler"}),
        ("compile", True),
        ("optimizer.lr", 1.0),
        ("data.train", "other.json"),
        ("batching.crop_frames", None),
    ],
)
def test_a_setting_that_changes_the_result_stays_as_it_was(begun: Fitted, key: str, value: Any) -> None:
    name = key if key.startswith(("trainer.", "callbacks.")) else key.partition(".")[0]
    with pytest.raises(ConfigError, match=rf"{name}.* cannot change within a run"):
        check_unchanged(Train.of(with_value(begun.settings.config, key, value)), begun.run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.accelerator", "auto"),
        ("trainer.enable_progress_bar", True),
        ("trainer.log_every_n_steps", 1),
        ("callbacks.last.every_n_steps", 10),
        ("callbacks.pictures", None),
        ("batching.num_workers", 1),
        ("trainer.max_epochs", 3),
    ],
)
def test_a_setting_that_changes_no_result_may_change(begun: Fitted, key: str, value: Any) -> None:
    check_unchanged(Train.of(with_value(begun.settings.config, key, value)), begun.run)


def test_fewer_epochs_are_refused(begun: Fitted) -> None:
    with pytest.raises(ConfigError, match=r"max_epochs=1: the run was started for 2 epochs"):
        check_unchanged(Train.of(with_value(begun.settings.config, "trainer.max_epochs", 1)), begun.run)


def test_more_epochs_of_a_planned_schedule_name_init(begun: Fitted, tmp_path: Path) -> None:
    config = with_value(begun.settings.config, "schedule", {"_target_": "ser.training.one_cycle"})
    run = RunFolder(tmp_path)
    run.config.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=rf"from 2 to 3, as schedule=one_cycle .*init={run.best}"):
        check_unchanged(Train.of(with_value(config, "trainer.max_epochs", 3)), run)


def test_data_that_moved_are_compared_by_content(begun: Fitted, challenge: Path, tmp_path: Path) -> None:
    shutil.copytree(challenge, tmp_path / "moved")
    config = with_value(begun.settings.config, "data.root", str(tmp_path / "moved"))
    check_unchanged(Train.of(config), begun.run)
    settings = Train.of(config)
    check_same_data(setup.make_data(settings, setup.read_splits(settings)), begun.run)
    write_challenge(tmp_path / "moved", {"train": 64, "dev": 32}, seed=1)
    data = setup.make_data(settings, setup.read_splits(settings))
    with pytest.raises(DataError, match="train, validation: the data are not those"):
        check_same_data(data, begun.run)


def test_a_data_folder_that_is_not_there_is_named(begun: Fitted) -> None:
    with pytest.raises(ConfigError, match=r"data\.root=nowhere: no such file or folder"):
        check_unchanged(Train.of(with_value(begun.settings.config, "data.root", "nowhere")), begun.run)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"data": 5}'])
def test_a_damaged_environment_is_named(begun: Fitted, tmp_path: Path, text: str) -> None:
    (tmp_path / "environment.json").write_text(text)
    with pytest.raises(DataError, match=r"environment\.json: does not hold the hashes"):
        check_same_data(begun.data, RunFolder(tmp_path))


@pytest.mark.parametrize("key", ["trainer", "callbacks", "batching"])
def test_a_node_that_is_a_word_is_named(begun: Fitted, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected settings, found 'x'"):
        check_training(Train.of(with_value(begun.settings.config, key, "x")))


def test_a_run_that_was_moved_keeps_its_best_epoch(begun: Fitted, challenge: Path, tmp_path: Path) -> None:
    shutil.copytree(begun.run.path, tmp_path / "moved")
    again = fit(challenge, tmp_path / "moved", *CONSTANT)
    then, now = (best_checkpoint(fitted.trainer) for fitted in (begun, again))
    assert now.best_model_score == then.best_model_score
    assert now.best_model_path == str(again.run.best)
    assert [*now.best_k_models] == [str(again.run.best)]
    assert again.task.best_epoch == begun.task.best_epoch


def test_a_run_without_its_best_checkpoint_is_refused(begun: Fitted, challenge: Path, tmp_path: Path) -> None:
    shutil.copytree(begun.run.path, tmp_path / "moved")
    (tmp_path / "moved/checkpoints/best.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt: the best checkpoint so far is not there"):
        fit(challenge, tmp_path / "moved", *CONSTANT)


def test_a_run_goes_on_for_more_epochs(begun: Fitted, challenge: Path, tmp_path: Path) -> None:
    shutil.copytree(begun.run.path, tmp_path / "longer")
    longer = fit(challenge, tmp_path / "longer", "schedule=none", "trainer.max_epochs=3")
    whole = fit(challenge, tmp_path / "whole", "schedule=none", "trainer.max_epochs=3")
    assert longer.task.curves["validation/loss"] == pytest.approx(whole.task.curves["validation/loss"])


def test_a_plateau_lowers_the_rate_of_a_resumed_run(
    challenge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends once the last batch of an epoch is in its checkpoint, before the epoch has lowered the rate."""
    plateaus = ("schedule=plateau", "schedule.patience=0", "schedule.factor=0.1", "trainer.max_epochs=4")
    whole = fit(challenge, tmp_path / "whole", *plateaus)
    last = len(whole.data.train_dataloader())
    save = LastCheckpoint._save

    def save_and_end(self: LastCheckpoint, trainer: Any) -> None:
        save(self, trainer)
        saved = torch.load(RunFolder(tmp_path / "ended").last, weights_only=True)
        batches = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"]
        if trainer.current_epoch == 2 and batches == last:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "_save", save_and_end)
        with pytest.raises(InterruptedError):
            fit(challenge, tmp_path / "ended", *plateaus)
    resumed = fit(challenge, tmp_path / "ended", *plateaus)
    schedules = [
        torch.load(fitted.run.last, weights_only=True)["lr_schedulers"] for fitted in (whole, resumed)
    ]
    assert schedules[0][0]["last_epoch"] == 4
    assert schedules[1] == schedules[0]


def test_no_checkpoint_is_saved_while_gradients_are_accumulated(
    challenge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []

    def note(_: LastCheckpoint, trainer: Any) -> None:
        saved.append(trainer.fit_loop.epoch_loop.batch_progress.current.ready)

    monkeypatch.setattr(LastCheckpoint, "_save", note)
    fitted = fit(challenge, tmp_path, "callbacks.last.every_n_steps=1", "trainer.accumulate_grad_batches=3")
    batches = len(fitted.data.train_dataloader())
    assert saved == [*range(3, batches, 3), batches]


def test_a_run_that_saved_nothing_begins_anew(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.config.write_text("seed: 0")
    for resuming in (True, False):
        with run.hold(resuming=resuming):
            pass


@pytest.mark.parametrize("left", ["metrics.json", "checkpoints/best.ckpt", "member_1/checkpoints/last.ckpt"])
def test_a_run_that_left_something_is_not_begun_anew(tmp_path: Path, left: str) -> None:
    run = RunFolder(tmp_path)
    run.config.write_text("seed: 0")
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).touch()
    with pytest.raises(ConfigError, match="holds a run already"), run.hold(resuming=False):
        pass
    with pytest.raises(ConfigError, match=r"no checkpoints/last\.ckpt"), run.hold(resuming=True):
        pass


def test_a_checkpoint_of_the_first_version_is_gone_on_from(begun: Fitted) -> None:
    saved = torch.load(begun.run.last, weights_only=True)
    progress = saved["ser_progress"]
    first_version = {"curves": progress["curves"], **progress["ranks"][0]}
    begun.task.on_load_checkpoint({"ser_progress": first_version})
    assert torch.equal(begun.task.totals["train"].state(), progress["ranks"][0]["tally"])


def test_a_run_of_waveforms_of_the_first_version_is_refused(begun: Fitted) -> None:
    task = copy.copy(begun.task)
    task.to_features = OnTheFlyFeatures(Waveform(sample_rate=8000))
    with pytest.raises(CheckpointError, match="frames of 10 ms"):
        task.on_load_checkpoint({"ser_progress": {"curves": {}, "tally": torch.zeros(6), "carried": None}})
