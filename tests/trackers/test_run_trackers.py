"""Trackers of a run: chosen one by one or together, and built in the first process only."""

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ser.config.command_line import App, read_command
from ser.config.settings import Train
from ser.errors import ConfigError, DataError, MissingPackageError
from ser.jobs import installed
from ser.runs import ranks
from ser.trackers import CSV, TensorBoard
from ser.trackers.base import read_id, write_id
from ser.trackers.mlflow_store import MLflow
from ser.trackers.run_trackers import build_trackers, watch_commands
from tests.conftest import REPOSITORY
from tests.fits import composed, fit

APP = App(REPOSITORY / "conf", "train", (), Train)


def settings_of(*words: str) -> Train:
    return Train.of(composed(*words))


def built(folder: Path, *words: str) -> list[Logger]:
    return build_trackers(settings_of(*words), folder)


def test_two_trackers_write_to_two_folders(tmp_path: Path) -> None:
    loggers: list[Any] = built(tmp_path, "logger=[tensorboard,csv]")
    assert [type(logger) for logger in loggers] == [TensorBoard, CSV]
    assert [logger.log_dir.rstrip("/") for logger in loggers] == [
        f"{tmp_path}/tensorboard",
        f"{tmp_path}/csv",
    ]


def test_none_builds_no_tracker(tmp_path: Path) -> None:
    assert built(tmp_path, "logger=none") == built(tmp_path, "~logger") == []


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "current_ranks", lambda: SimpleNamespace(is_first=False))
    (logger,) = built(tmp_path, "logger=[tensorboard,csv]")
    assert type(logger) is DummyLogger
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_missing_tracker_names_its_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_is_installed", lambda _: False)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(ConfigError, match=rf'logger={package}: .* -m pip install "{package}>='):
        read_command([f"logger=[csv,{package}]"], APP)
    with pytest.raises(
        MissingPackageError, match=f"logger={package}: the package {package} is not installed"
    ):
        installed.check_tracker(package)


def test_a_folder_named_as_a_package_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_tracker").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not installed._is_installed("a_tracker")


def test_a_setting_without_its_tracker_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(ConfigError, match=r"Did you mean 'logger\.tensorboard\.default_hp_metric'"):
        read_command(["logger.default_hp_metric=false"], APP)


def test_each_tracker_says_how_to_see_its_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = tmp_path / "logs" / "run"
    commands = watch_commands(settings_of("logger=[tensorboard,csv,mlflow,wandb]"), run)
    assert [command[1:] for command in commands] == [
        ["--logdir", "logs"],
        ["ui", "--backend-store-uri", "sqlite:///logs/mlflow.db"],
        ["sync", "logs/run/wandb/offline-run-*"],
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there")
    assert watch_commands(settings_of("logger=mlflow"), run) == []


def test_ids_in_trackers_are_remembered(tmp_path: Path) -> None:
    write_id(tmp_path, "mlflow", "a")
    write_id(tmp_path, "wandb", "b")
    assert (read_id(tmp_path, "mlflow"), read_id(tmp_path, "wandb"), read_id(tmp_path, "x")) == (
        "a",
        "b",
        None,
    )
    (tmp_path / "trackers.json").write_text("[1]")
    with pytest.raises(DataError, match=r"trackers\.json: does not hold the ids"):
        read_id(tmp_path, "mlflow")


def test_tensorboard_and_csv_hold_the_same_curves(challenge: Path, tmp_path: Path) -> None:
    fit(challenge, tmp_path, "logger=[tensorboard,csv]", "trainer.log_every_n_steps=1")
    file = next((tmp_path / "tensorboard").glob("events*"))
    events = EventAccumulator(str(file)).Reload()
    names = set(events.Tags()["scalars"])
    with (tmp_path / "csv" / "metrics.csv").open(newline="") as opened:
        rows = [*csv.DictReader(opened)]
    assert names == {*rows[0]} - {"step", "epoch", "validation/majority_floor"}
    for name in names:
        curve = {point.step: point.value for point in events.Scalars(name)}
        found = {int(row["step"]): float(row[name]) for row in rows if row[name]}
        assert found == pytest.approx(curve, rel=1e-6)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "run"


def test_mlflow_continues_a_resumed_run_and_ends_with_the_scores(run: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    run.mkdir()
    for step, rate in ((1, 0.1), (2, 0.2)):
        logger = MLflow(run)
        logger.log_settings({"optimizer": {"lr": rate}})
        logger.log_metrics({"validation/uar": step / 10}, step)
        logger.finalize("success")
        logger.log_metrics({"validation/uar": 0.9}, step)
    logger.log_scores({"validation/uar": 0.1, "test/recall_a&b": 0.5}, {}, step=2)
    client = tracking.MlflowClient(f"sqlite:///{run.parent / 'mlflow.db'}")
    name = json.loads((run / "trackers.json").read_text())["mlflow"]
    found = client.get_run(name)
    assert found.data.metrics == {"validation/uar": 0.1, "test/recall_a_b": 0.5}
    assert [point.value for point in client.get_metric_history(name, "validation/uar")] == [0.1, 0.2, 0.1]
    assert found.data.params["optimizer.lr"] == "0.1"
    assert found.data.tags["resumed with optimizer.lr"] == "0.2"
    assert found.info.status == "FINISHED"
