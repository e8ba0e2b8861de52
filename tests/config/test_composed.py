"""The config tree: composed settings are stored, so that a change to them is seen and meant."""

import copy
import functools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ser.checkpoints.checkpoint import assemble, describe
from ser.config.instantiate import build, find_class
from ser.config.validate import check
from ser.errors import ConfigError
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "configs"
NEEDED = {
    "finetune": ["model.path=DIR"],
    "frozen": ["features.path=DIR"],
    "cross_corpus": ["features.path=DIR"],
}
"""Settings that a file leaves to the user."""
CASES = {
    "train": ("train", []),
    "predict": ("predict", ["ckpt=best.ckpt", "input=file.json"]),
    **{f"model_{name}": ("train", [f"model={name}"]) for name in ("lstm", "transformer", "cnn_lstm")},
    **{
        f"target_{name}": ("train", [f"target={name}", *more])
        for name, more in {
            "regression": ("data=ravdess", "data.root=DIR", "label_map=arousal_valence"),
            "soft_classes": (),
            "multi_task": ("data=ravdess", "data.root=DIR", "label_map=arousal_valence"),
        }.items()
    },
    **{f"loss_{name}": ("train", ["target=regression", f"loss={name}"]) for name in ("mse", "l1")},
    **{
        f"{group}_{path.stem}": ("train", [f"{group}={path.stem}", *NEEDED.get(path.stem, ())])
        for group in ("experiment", "debug")
        for path in sorted((REPOSITORY / "conf" / group).glob("*.yaml"))
    },
}


def composed(name: str, overrides: list[str]) -> dict[str, Any]:
    return copy.deepcopy(_composed(name, *overrides))


@functools.cache
def _composed(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return check(compose(name, overrides=[*overrides]))


@pytest.mark.parametrize("case", CASES)
def test_composed_settings_are_the_stored_ones(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To accept a change: SER_UPDATE_GOLDEN=1 pytest tests/config/test_composed.py, then read the difference.

    train.yaml and predict.yaml are whole; a file of another case holds what differs from train.yaml.
    """
    monkeypatch.delenv("SER_CACHE_DIR", raising=False)
    settings = composed(*CASES[case])
    if case not in ("train", "predict"):
        settings = differences(composed("train", []), settings)
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get("SER_UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(settings, sort_keys=False))
    assert yaml.safe_load(file.read_text()) == settings


ABSENT = "(absent)"


def differences(base: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from others; a node with another `_target_` is whole."""
    found: dict[str, Any] = {name: ABSENT for name in base if name not in settings}
    for name, value in settings.items():
        other = base.get(name, ABSENT)
        if value == other:
            continue
        is_same = isinstance(value, dict) and isinstance(other, dict)
        if is_same and value.get("_target_") == other.get("_target_"):
            value = differences(other, value)
        found[name] = value
    return found


def test_differences_hold_what_changed_came_and_went() -> None:
    base = {
        "seed": 0,
        "model": {"_target_": "A", "width": 1},
        "loss": {"_target_": "L", "weight": 1},
        "gone": 2,
    }
    settings = {
        "seed": 0,
        "model": {"_target_": "B", "width": 1},
        "loss": {"_target_": "L", "weight": 3},
        "new": 4,
    }
    expected = {"gone": ABSENT, "model": settings["model"], "loss": {"weight": 3}, "new": 4}
    assert differences(base, settings) == expected


def options(group: str) -> list[str]:
    return [path.stem for path in sorted((REPOSITORY / "conf" / group).glob("*.yaml"))]


OF_WORDS = {
    name: [f"model={name}", "model.text_dim=8", "frontend.delta_scale=0"] for name in ("fusion", "semantic")
}
"""Settings of models that read audio and words, which default data has not."""


MODELS = [name for name in options("model") if name != "pretrained"]
"""All but the one that needs a folder, which tests/pretrained makes."""


def model_settings(model: str) -> list[str]:
    return OF_WORDS.get(model, [f"model={model}"])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("pooling", [name for name in options("pooling") if name != "none"])
def test_every_model_and_pooling_can_be_built(model: str, pooling: str) -> None:
    config = composed("train", model_settings(model))
    config["pooling"] = composed("train", [f"pooling={pooling}"])["pooling"]
    classifier, target = assemble(describe(config, feature_dim=26))
    assert sum(parameter.numel() for parameter in classifier.parameters()) > 100
    assert target.out_dim == 4


@pytest.mark.parametrize("model", MODELS)
def test_every_frame_is_answered_by_the_models_that_join_none(model: str) -> None:
    config = composed("train", model_settings(model))
    config["pooling"] = composed("train", ["pooling=none"])["pooling"]
    description = describe(config, feature_dim=26)
    channels = 1 if model in OF_WORDS else 2
    joined = build(description["model"], slot="model", in_dim=26 * channels, in_channels=channels).subsampling
    if joined == 1:
        classifier, target = assemble(description)
        assert classifier.head(torch.randn(2, classifier.pooling.out_dim)).shape == (2, target.out_dim)
    else:
        with pytest.raises(ConfigError, match=rf"pooling=none: .* joins {joined} frames to a step"):
            assemble(description)


@pytest.mark.parametrize("group", ["loss", "augment", "target", "features"])
def test_every_option_of_a_group_can_be_built(group: str) -> None:
    for option in options(group):
        if (group, option) == ("features", "pretrained"):  # needs a folder: tests/pretrained
            continue
        spec = composed("train", [f"{group}={option}"])[group]
        if group == "target":
            named = {"class_names": ["a", "b"]} if "class_names" in spec else {}
            spec = find_class(spec, slot=group).example({**spec, **named})
        build(spec, slot=group)


GROUPS_WITH_MEANINGS = sorted(
    path
    for path in (REPOSITORY / "conf").rglob("*.yaml")
    if path.parent.name
    not in ("debug", "experiment", "hydra", "label_map")  # variants: their first lines say what for
)


@pytest.mark.parametrize("file", GROUPS_WITH_MEANINGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_setting_says_what_it_means(file: Path) -> None:
    text = file.read_text().partition("    space:")[0]  # a space names settings that are explained elsewhere
    for line in text.splitlines():
        key, colon, value = line.strip().partition(":")
        if colon and value.strip() and key.isidentifier() and key not in ("_target_", "defaults"):
            assert "#" in value, f"{file.name}: {line}"


def test_composition_leaves_no_interpolation_behind() -> None:
    settings = composed("train", [])
    assert "${" not in OmegaConf.to_yaml(OmegaConf.create(settings))
