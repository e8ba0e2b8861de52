"""Train in this process, which takes a second where a command takes ten."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import lightning as L
from hydra import compose, initialize_config_dir

from ser.batching.datamodule import SpeechData
from ser.config.settings import Train
from ser.config.validate import check
from ser.report import figures
from ser.runs.run_folder import RunFolder
from ser.training import setup
from ser.training.consistency import check_augment, check_training, without_validation
from ser.training.task import Task
from ser.training.trainer import fit_task, make_trainer
from tests import blank_plots
from tests.commands import TINY
from tests.conftest import REPOSITORY


@dataclass
class Fitted:
    """What a training has left."""

    settings: Train
    run: RunFolder
    trainer: L.Trainer
    task: Task
    data: SpeechData


def composed(*overrides: str) -> dict[str, Any]:
    """A checked config of train.py."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return check(compose("train", overrides=[*overrides]))


def fit(root: Path, folder: Path, *overrides: str, data: str = "challenge") -> Fitted:
    """Train a tiny CNN on the challenge's small files, or go on in a folder that holds a run."""
    is_cnn = not any(setting.startswith("model=") for setting in overrides)
    tiny = [setting for setting in TINY if is_cnn or not setting.startswith("model.")]
    config = composed(f"data={data}", f"data.root={root}", *tiny, "trainer.max_epochs=1", *overrides)
    settings = without_validation(Train.of(config))
    check_training(settings)
    check_augment(settings)
    setup.prepare(settings)
    run = RunFolder(folder)
    utterances = setup.make_data(settings, setup.read_splits(settings))
    task = setup.make_task(settings, utterances)
    trainer = make_trainer(settings, run)
    with mock.patch.multiple(figures, to_image=blank_plots.to_image, save=blank_plots.save):
        fit_task(trainer, task, utterances, run)
    return Fitted(settings, run, trainer, task, utterances)


def with_value(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a config with another value of one key, which may be new."""
    config = copy.deepcopy(config)
    *owners, leaf = key.split(".")
    node = config
    for owner in owners:
        node = node[owner]
    node[leaf] = value
    return config
