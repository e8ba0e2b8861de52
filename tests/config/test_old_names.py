"""Names of version 0.1: what its runs and checkpoints hold is found where it is today."""

import importlib
from typing import Any

import pytest
import yaml

from ser.config.instantiate import build
from ser.config.old_names import current_name, with_current_names
from ser.errors import ConfigError
from tests.conftest import REPOSITORY

OF_VERSION_1 = (REPOSITORY / "tests/golden/version_1_names.txt").read_text().split()
"""Every `_target_` of ours in conf/ at commit f9f63bb."""


@pytest.mark.parametrize("name", OF_VERSION_1)
def test_every_name_of_version_1_is_a_public_name_today(name: str) -> None:
    room, _, leaf = current_name(name).rpartition(".")
    assert leaf in importlib.import_module(room).__all__


@pytest.mark.parametrize(
    "name",
    ["ser.models.CNNEncoder", "torch.optim.AdamW", "lightning.pytorch.callbacks.EarlyStopping", "own.Model"],
)
def test_other_names_stay_as_they_are(name: str) -> None:
    assert current_name(name) == name


def test_names_are_renewed_at_every_depth() -> None:
    bank = {"_target_": "ser.data.banks.FolderBank", "root": "x"}
    node = {"waveform_augment": {"noises": bank, "more": [bank, 1]}, "seed": 0}
    renewed = {"_target_": "ser.audio.FolderBank", "root": "x"}
    assert with_current_names(node) == {
        "waveform_augment": {"noises": renewed, "more": [renewed, 1]},
        "seed": 0,
    }
    assert bank["_target_"] == "ser.data.banks.FolderBank"


def test_the_one_logger_of_an_old_run_is_one_of_several() -> None:
    old = {"_target_": "ser.training.RunLogger", "default_hp_metric": False}
    new = {"_target_": "ser.trackers.TensorBoard", "default_hp_metric": False}
    assert with_current_names({"logger": old}) == {"logger": {"tensorboard": new}}
    assert with_current_names({"logger": {"csv": {"_target_": "ser.trackers.CSV"}} | old}) == {
        "logger": {"csv": {"_target_": "ser.trackers.CSV"}, "tensorboard": new}
    }
    assert with_current_names({"logger": None}) == {"logger": None}


def test_a_class_that_is_gone_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"target\._target_=ser\.targets\.Quadrants: .*'Quadrants'.*'Quadrant'"
    ):
        build({"_target_": "ser.targets.Quadrants"}, slot="target")


def test_a_config_of_version_1_names_no_class_that_is_gone() -> None:
    """config.yaml of a run that commit f9f63bb trained on RAVDESS."""
    config = with_current_names(yaml.safe_load((REPOSITORY / "tests/golden/version_1.yaml").read_text()))
    names = [*names_of(config)]
    assert len(names) > 15
    for name in names:
        module, _, leaf = name.rpartition(".")
        assert hasattr(importlib.import_module(module), leaf), name


def names_of(node: Any) -> Any:
    if isinstance(node, dict):
        yield from ([node["_target_"]] if "_target_" in node else [])
        for value in node.values():
            yield from names_of(value)


def test_pretrained_encoder_has_a_room_of_its_own() -> None:
    assert current_name("ser.models.PretrainedEncoder") == "ser.pretrained.PretrainedEncoder"
