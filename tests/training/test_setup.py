"""The pieces of a run that the scripts' tests see only from afar."""

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from ser.config.settings import Train
from ser.errors import CheckpointError, ConfigError, DataError, DivergedError
from ser.models.cnn import CNNEncoder
from ser.models.lstm import LSTMEncoder
from ser.runs.run_folder import RunFolder
from ser.training import schedules
from ser.training.callbacks import AveragedWeights
from ser.training.consistency import check_augment, check_complete, check_training
from ser.training.divergence import LossWatch
from ser.training.setup import compile_in_place, read_splits
from ser.training.task import parameter_groups
from ser.training.trainer import WholeCheckpoints, make_trainer
from tests.conftest import REPOSITORY
from tests.fits import composed

CONF = REPOSITORY / "conf"


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="no space left"):
        WholeCheckpoints().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("part", ["state_dict", "current_model_state"])
def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, part: str) -> None:
    path = tmp_path / "best.ckpt"
    WholeCheckpoints().save_checkpoint({part: {"model.a": torch.zeros(1)}}, path)
    before = path.read_bytes()
    with pytest.raises(
        DivergedError, match=r"model\.b are not finite.*Train again with optimizer\.lr=0\.001"
    ):
        WholeCheckpoints(1e6).save_checkpoint({part: {"model.b": torch.tensor([0, torch.inf])}}, path)
    assert path.read_bytes() == before


def test_a_checkpoint_to_go_on_from_is_read_with_all_checks(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for content in (b"", b"PK\x03\x04", pickle.dumps({"state_dict": {}})):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"last\.ckpt: is cut, empty or of another kind"):
            WholeCheckpoints().load_checkpoint(path)


def losses_watched(losses: list[float], *, is_scaled: bool) -> int:
    watch = LossWatch(is_scaled=is_scaled)
    for step, loss in enumerate(losses, 1):
        watch.add(torch.tensor(loss), step)
    return int(watch.first)


def test_the_first_loss_that_is_not_finite_is_found() -> None:
    assert losses_watched([1.0, 0.5], is_scaled=False) == -1
    assert losses_watched([1.0, float("inf"), 1.0, float("nan")], is_scaled=False) == 2


def test_a_gradient_scaler_may_lose_single_steps() -> None:
    lost = [float("nan")]
    assert losses_watched([1.0, *lost * 10, 1.0, *lost * 10, 1.0], is_scaled=True) == -1
    assert losses_watched([1.0, *lost * 11], is_scaled=True) == 2


def test_weight_decay_is_for_matrices_and_kernels_only() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    matrices, rest = parameter_groups(model)
    assert {parameter.ndim for parameter in matrices["params"]} == {2, 4}
    assert {parameter.ndim for parameter in rest["params"]} == {1}
    assert rest["weight_decay"] == 0.0
    assert "weight_decay" not in matrices
    assert len(matrices["params"]) + len(rest["params"]) == len(list(model.parameters()))


def rates(schedule: schedules.Schedule, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    return seen


def test_one_cycle_peaks_at_the_learning_rate_after_the_warm_up() -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.3)
    seen = rates(schedules.one_cycle(optimizer, 100, warmup_share=0.25), optimizer, 100)
    assert max(seen) == pytest.approx(0.3)
    assert seen.index(max(seen)) == pytest.approx(24, abs=1)
    assert seen[-1] < 1e-4


@pytest.mark.parametrize("steps", range(1, 9))
def test_one_cycle_bears_trainings_of_a_few_steps(steps: int) -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.3)
    assert all(0 < rate <= 0.3 for rate in rates(schedules.one_cycle(optimizer, steps), optimizer, steps))


@pytest.mark.parametrize("share", [0.0, 0.01, 1.0])
def test_one_cycle_ends_near_zero_however_short_or_long_its_way_up_is(share: float) -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.3)
    seen = rates(schedules.one_cycle(optimizer, 45, warmup_share=share), optimizer, 45)
    assert max(seen) == pytest.approx(0.3, rel=0.02)
    assert seen[-1] < 1e-4


@pytest.mark.parametrize("share", [-0.1, 25.0])
def test_one_cycle_refuses_a_way_up_that_is_no_share(share: float) -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.3)
    with pytest.raises(ConfigError, match=rf"schedule\.warmup_share={share}: expected a share.* 0 to 1"):
        schedules.one_cycle(optimizer, 45, warmup_share=share)


@pytest.mark.parametrize(("momentum", "low", "high"), [(0.0, 0.0, 0.0), (0.5, 0.45, 0.55), (0.9, 0.85, 0.95)])
def test_one_cycle_moves_momentum_around_that_of_the_optimiser(
    momentum: float, low: float, high: float
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3, momentum=momentum)
    scheduler = schedules.one_cycle(optimizer, 40)["scheduler"]
    seen = []
    for _ in range(40):
        seen.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    assert (min(seen), max(seen)) == pytest.approx((low, high))


def test_one_cycle_bears_optimisers_without_momentum() -> None:
    optimizer = torch.optim.Adagrad([nn.Parameter(torch.zeros(1))], lr=0.3)
    assert rates(schedules.one_cycle(optimizer, 40), optimizer, 40)[-1] < 1e-4


def test_cosine_falls_to_its_final_share() -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.3)
    seen = rates(schedules.cosine(optimizer, 100, final_share=0.1), optimizer, 101)
    assert seen[0] == pytest.approx(0.3)
    assert seen[-1] == pytest.approx(0.03)
    assert seen == sorted(seen, reverse=True)


def test_cosine_lowers_slow_groups_as_well() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": weights[:1]}, {"params": weights[1:], "lr": 3e-4}], lr=0.3)
    schedule = schedules.cosine(optimizer, 10, final_share=0.1)["scheduler"]
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.03, 3e-5])


def test_plateau_lowers_the_rate_when_the_loss_stays() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    schedule = schedules.plateau(optimizer, factor=0.5, patience=2)
    for _ in range(5):
        schedule["scheduler"].step(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)
    assert schedule["monitor"] == "validation/loss"


def test_averaged_weights_follow_closely_at_first_and_by_the_decay_later() -> None:
    callback = AveragedWeights(decay=0.9)
    average, count = torch.zeros(1), torch.tensor(0)
    callback._move([(average, torch.ones(1)), (count, torch.tensor(7))])
    assert (average.item(), count.item()) == (1.0, 7)
    callback._latest_update_step = 1
    callback._move([(average, torch.zeros(1)), (count, torch.tensor(8))])
    assert average.item() == pytest.approx(1 - 9 / 11)
    assert count.item() == 8
    callback._latest_update_step = 1000
    callback._move([(average, torch.zeros(1))])
    assert average.item() == pytest.approx(0.9 * (1 - 9 / 11))


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # torch.compile's own imports
def test_compile_refuses_recurrent_layers_and_keeps_the_names_of_others() -> None:
    with pytest.raises(ConfigError, match=r"compile=true: torch\.compile skips LSTM layers"):
        compile_in_place(nn.Sequential(LSTMEncoder(26)))
    model = CNNEncoder(26)
    names = list(model.state_dict())
    compile_in_place(model)
    assert list(model.state_dict()) == names


def best_with(**settings: Any) -> dict[str, Any]:
    """A change of callbacks.best."""
    best = {
        "filename": "best",
        "monitor": "validation/accuracy",
        "mode": "max",
        "enable_version_counter": False,
    }
    return {"callbacks": {"best": best | settings}}


def averaged() -> dict[str, Any]:
    """Callbacks with averaged weights."""
    return {"callbacks": {**best_with()["callbacks"], "averaged_weights": {"decay": 0.99}}}


def callback_with(name: str, **settings: Any) -> dict[str, Any]:
    """A callback of Lightning beside callbacks.best."""
    return {"callbacks": {**best_with()["callbacks"], "own": callback_node(name, **settings)}}


def callback_node(name: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"lightning.pytorch.callbacks.{name}", **settings}


def settings_of(**changes: Any) -> dict[str, Any]:
    """The checked nodes of a config; names with two underscores are settings of the trainer."""
    own = {name: value for name, value in changes.items() if not name.startswith("trainer__")}
    trainer = {name.removeprefix("trainer__"): value for name, value in changes.items() if name not in own}
    schedule = {"_target_": "ser.training.one_cycle"}
    needed = ("data", "batching", "features", "frontend", "target", "model", "pooling", "head")
    others: dict[str, Any] = {name: {} for name in (*needed, "augment", "loss", "optimizer", "logger")}
    others["target"] = {"_target_": "ser.targets.Quadrant"}
    others["model"] = {"_target_": "ser.models.CNNEncoder"}
    others["callbacks"] = {"best": {"monitor": "validation/accuracy"}}
    defaults = others | {"seed": 0, "monitor": "validation/accuracy", "mode": "max", "schedule": schedule}
    return {**defaults, "trainer": {"max_epochs": 45, "check_val_every_n_epoch": 1} | trainer} | own


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augment": None}, r"augment: is deleted or null, but .* Leave out '~augment' and 'augment=null'"),
        ({"seed": None}, r"seed: is deleted or null"),
        ({"callbacks": {"best": None}}, r"callbacks\.best: is deleted or null, .* Leave it on"),
        ({"seed": -1}, r"seed=-1: expected 0 to 4294967295\. Choose"),
        ({"seed": 2**32}, r"seed=4294967296: expected 0 to"),
        ({"trainer__fast_dev_run": True}, r"trainer\.fast_dev_run: .* Use debug=fast"),
        (
            {"trainer__limit_train_batches": 0},
            r"trainer\.limit_train_batches=0: expected more than 0\. Leave it",
        ),
        ({"trainer__limit_val_batches": 0.0}, r"trainer\.limit_val_batches=0\.0: expected more"),
        ({"trainer__accumulate_grad_batches": 0}, r"trainer\.accumulate_grad_batches=0: expected more"),
        (
            {"trainer__log_every_n_steps": -1},
            r"trainer\.log_every_n_steps=-1: expected 0, for never, or more",
        ),
        ({"trainer__max_steps": 0}, r"trainer\.max_steps=0: nothing is trained"),
        ({"trainer__enable_checkpointing": False}, r"enable_checkpointing=false.* nothing would be saved"),
        (
            {"trainer__strategy": "fsdp", **averaged()},
            r"trainer\.strategy=fsdp: no process has all .* Set callbacks\.averaged_weights=null",
        ),
        ({"trainer__max_epochs": 0}, r"trainer\.max_epochs=0: nothing is trained\. Set 1 or more"),
        ({"trainer__max_epochs": -1}, r"trainer\.max_epochs=-1: no schedule .* endless .* Set 1 or more"),
        ({"trainer__check_val_every_n_epoch": 46}, r"check_val_every_n_epoch=46: .*max_epochs=45.* Set 1,"),
        ({"trainer__check_val_every_n_epoch": 0}, r"check_val_every_n_epoch=0: .*nothing would be validated"),
        ({"monitor": "validation/loss"}, r"monitor=validation/loss, mode=max: the worst .* Set mode=min"),
        (
            best_with(monitor="validation/loss", mode="max"),
            r"callbacks\.best\.monitor=validation/loss, callbacks\.best\.mode=max: .* Set callbacks\.best\.mode=min",
        ),
        (
            best_with(monitor="validation/uar", mode="min"),
            r"callbacks\.best\.mode=min: the worst .* Set callbacks\.best\.mode=max",
        ),
        (best_with(save_top_k=2), r"callbacks\.best\.save_top_k=2: .* not the best epoch\. Leave it out"),
        (best_with(filename="other"), r"callbacks\.best\.filename=other: .*absent"),
        (best_with(save_weights_only=True), r"callbacks\.best\.save_weights_only=true: "),
        (
            callback_with("EarlyStopping", monitor="validation/accuracy"),
            r"callbacks\.own\.monitor=validation/accuracy, callbacks\.own\.mode=min: .* Set callbacks\.own\.mode=max",
        ),
        (
            callback_with("ModelCheckpoint", monitor="validation/uar"),
            r"callbacks\.own\.mode=min: .* Set callbacks\.own\.mode=max",
        ),
        (
            {"monitor": "train/loss", "mode": "min", "trainer__check_val_every_n_epoch": 2},
            r"monitor=train/loss: is known at the end of an epoch.* set monitor=validation/loss",
        ),
        (
            {"batching": {"balance": "oversample"}, "loss": {"class_weights": "balanced"}},
            r"batching\.balance=oversample, loss\.class_weights=balanced: both .* Set loss\.class_weights=none or",
        ),
        ({"mode": "min"}, r"monitor=validation/accuracy, mode=min: the worst .* Set mode=max"),
    ],
)
def test_a_training_that_would_come_to_nothing_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_training(Train.of(settings_of(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 2**32 - 1},
        {"monitor": "validation/loss", "mode": "min"},
        {"trainer__max_epochs": -1, "schedule": None},
        {"trainer__max_epochs": -1, "trainer__max_steps": 100},
        {"trainer__max_epochs": None, "trainer__limit_val_batches": None},
        {"trainer__check_val_every_n_epoch": None, "trainer__val_check_interval": 10},
    ],
)
def test_a_training_that_can_end_is_not_refused(changes: dict[str, Any]) -> None:
    check_training(Train.of(settings_of(**changes)))


def features_of(kind: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"ser.features.extractors.{kind}", **settings}


@pytest.mark.parametrize(
    ("features", "augment", "words"),
    [
        (
            features_of("MFCC", log="decibel"),
            {"frequency_warp": 0.1},
            r"frequency_warp=0\.1: .* Set .*=0, and",
        ),
        (features_of("MFCC", log="natural"), {"frequency_masks": 1}, r"frequency_masks=1: needs mel bands"),
        (
            features_of("MFCC", log="natural"),
            {"mixup": 0.3},
            r"mixup=0\.3: needs natural .* Set augment.mixup=0\.",
        ),
        (features_of("LogMel", log="decibel"), {"gain_db": 6.0}, r"gain_db=6\.0: needs natural logarithms"),
        (
            features_of("Waveform"),
            {"time_stretch": 0.2},
            r"time_stretch=0\.2: needs spectra.* waveform_augment",
        ),
    ],
)
def test_augmentation_of_mel_bands_is_refused_for_other_features(
    features: dict[str, Any], augment: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        check_augment(Train.of(settings_of(features=features, augment=augment)))


def test_energies_that_are_z_scores_of_a_speaker_are_not_added() -> None:
    config = settings_of(features=features_of("LogMel"), augment={"mixup": 0.3})
    check_augment(Train.of(config))
    with pytest.raises(ConfigError, match=r"mixup=0\.3"):
        check_augment(Train.of(config | {"frontend": {"normalize": "speaker"}}))


def test_features_switch_off_the_augmentation_that_they_cannot_have() -> None:
    for features in ("mfcc", "waveform", "log_mel"):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose("train", overrides=[f"features={features}"])
        check_augment(Train.of(yaml.safe_load(OmegaConf.to_yaml(composed))))


@pytest.mark.parametrize("monitor", ["validation/losss", "validation/accuracy"])
def test_a_schedule_waits_for_a_logged_loss_only(monitor: str) -> None:
    config = settings_of(
        schedule={"_target_": "ser.training.plateau", "monitor": monitor},
        target={"_target_": "ser.targets.Quadrant"},
        loss={"_target_": "ser.targets.CrossEntropy"},
        pooling={"_target_": "ser.models.MeanPooling"},
        batching={"carry_state": False},
        callbacks={},
        features={"_target_": "ser.features.LogMel"},
    )
    with pytest.raises(ConfigError, match=rf"schedule\.monitor={monitor}: no such metric.*validation/loss"):
        read_splits(Train.of(config))


@pytest.mark.parametrize("callback", ["EarlyStopping", "ModelCheckpoint"])
def test_a_misspelt_monitor_of_any_callback_is_refused(callback: str) -> None:
    config = settings_of(
        **callback_with(callback, monitor="validation/los", mode="min"),
        target={"_target_": "ser.targets.Quadrant"},
        loss={"_target_": "ser.targets.CrossEntropy"},
        pooling={"_target_": "ser.models.MeanPooling"},
        batching={"carry_state": False},
        features={"_target_": "ser.features.LogMel"},
    )
    with pytest.raises(ConfigError, match=r"callbacks\.own\.monitor=validation/los: .*'validation/loss'"):
        read_splits(Train.of(config))


@pytest.mark.parametrize(
    "key",
    [
        *("trainer.max_epochs", "frontend.delta_scale", "loss._target_", "callbacks.best.monitor"),
        "batching.crop_frames",
    ],
)
def test_a_deleted_setting_that_is_read_is_refused(key: str) -> None:
    config = composed()
    owner: Any = config
    for part in key.split(".")[:-1]:
        owner = owner[part]
    del owner[key.rpartition(".")[2]]
    with pytest.raises(ConfigError, match=rf"~{key}: is deleted"):
        check_complete(Train.of(config))
    owner.clear()  # as `~GROUP` leaves a node
    with pytest.raises(ConfigError, match="is deleted, but every training reads it"):
        check_complete(Train.of(config))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_absent_gpu_is_answered_in_one_short_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make_trainer(Train.of(composed("trainer=gpu")), RunFolder(tmp_path))
    message = str(caught.value)
    assert message.startswith("trainer.accelerator=gpu, trainer.devices=1: ")
    assert message.endswith("Use trainer.accelerator=auto trainer.devices=1.")
    assert len(message) < 200
