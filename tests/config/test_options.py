"""Every documented option has the effect that its file states, or is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from ser.config.settings import Train
from ser.config.validate import check
from ser.errors import ConfigError
from ser.training import setup
from tests.conftest import REPOSITORY

CONF = REPOSITORY / "conf"
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("hydra", "extractor", "search")
)


def compose_train(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=[*overrides])


def composed(*overrides: str) -> dict[str, Any]:
    return OmegaConf.to_container(compose_train(*overrides), resolve=False)  # type: ignore[return-value]


def leaves(node: Any, path: str = "") -> dict[str, Any]:
    """Full key -> value of everything in a config that is no mapping."""
    if not isinstance(node, dict) or not node:
        return {path: node} if path else {}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= leaves(value, f"{path}.{key}" if path else str(key))
    return found


def stated(option: str) -> dict[str, Any]:
    """What the file of an option says, by full key."""
    group, _, name = option.partition("=")
    file = CONF / group / f"{name}.yaml"
    text = file.read_text()
    package = next((line.split()[-1] for line in text.splitlines() if line.startswith("# @package")), group)
    content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    content.pop("defaults", None)
    return leaves(content, "" if package == "_global_" else package)


LISTED = [
    pytest.param(group, comment, id=group)
    for group, comment in re.findall(
        r"^  - (\w+): \S+ +# (.*)$", (CONF / "train.yaml").read_text(), re.MULTILINE
    )
    if len(re.findall(r"\w+", comment)) > 1 and (CONF / group).is_dir()
]


@pytest.mark.parametrize(("group", "comment"), LISTED)
def test_lists_of_options_are_complete_or_say_that_they_are_not(group: str, comment: str) -> None:
    options = {path.stem for path in (CONF / group).glob("*.yaml")}
    named = options & {*re.findall(r"\w+", comment)}
    assert len(named) < 2 or "..." in comment or named == options


NEEDED = {
    "data=manifest": ("data.path=data",),
    "data=import": ("data.path=data",),
    "data=mix": ("data.corpora=[ravdess,emodb]",),
    "data=pattern": ("data.pattern=x",),
    "experiment=finetune": ("model.path=data",),
    "experiment=frozen": ("features.path=data",),
    "experiment=cross_corpus": ("features.path=data",),
    "features=pretrained": ("features.path=data",),
    "model=pretrained": ("model.path=data",),
    "words=file": ("data.words.path=data",),
    "words=text_model": ("data.words.path=data",),
    "waveform_augment=noises_and_rooms": (
        "waveform_augment.noises.root=data",
        "waveform_augment.impulses.root=data",
    ),
}
"""What an option needs beside it."""


@pytest.fixture(scope="module", params=OPTIONS)
def chosen(request: pytest.FixtureRequest) -> tuple[str, DictConfig]:
    """Return an option and the config of a training that chooses it, composed once for several tests."""
    option = request.param
    of_recordings = ["data=folder"] if option.startswith(("split=", "label_map=")) else []
    of_recordings += ["data=sewa"] if option.startswith("words=") else []
    root = [] if option in ("data=manifest", "data=mix") else ["data.root=data"]
    target = ["target=regression"] if option in ("loss=ccc", "loss=l1", "loss=mse") else []
    return option, compose_train(*of_recordings, option, *target, *root, *NEEDED.get(option, ()))


def test_an_option_sets_what_its_file_states(chosen: tuple[str, DictConfig]) -> None:
    option, cfg = chosen
    typed = {word.partition("=")[0] for word in NEEDED.get(option, ())} | {"data.root"}
    found = leaves(OmegaConf.to_container(cfg, resolve=False))
    expected = {
        key: value for key, value in stated(option).items() if value not in (None, {}) and key not in typed
    }
    assert {key: found.get(key) for key in expected} == expected


def test_an_option_passes_the_check(chosen: tuple[str, DictConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    keys = {*OmegaConf.load(CONF / "train.yaml"), *(path.name for path in CONF.iterdir())}
    check(chosen[1], root_keys=keys)


@pytest.mark.parametrize("model", [name.partition("=")[2] for name in OPTIONS if name.startswith("model=")])
def test_an_optimizer_has_its_own_learning_rate(model: str) -> None:
    for optimizer, rate in {"sgd": 3e-2, "adam": 1e-3}.items() if model == "cnn" else [("sgd", 3e-2)]:
        node = composed(f"model={model}", f"optimizer={optimizer}")["optimizer"]
        assert float(node["lr"]) == rate
        assert float(node["weight_decay"]) < 1e-3


def test_a_model_brings_its_own_learning_rate_for_adamw() -> None:
    rates = {model: composed(f"model={model}")["optimizer"]["lr"] for model in ("cnn", "lstm", "transformer")}
    assert {model: float(rate) for model, rate in rates.items()} == {
        "cnn": 3e-3,
        "lstm": 2e-3,
        "transformer": 1.5e-3,
    }


def data_of(root: Path, *overrides: str) -> Any:
    """The data of a training from recordings."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = check(compose("train", overrides=["data=ravdess", f"data.root={root}", *overrides]))
    settings = Train.of(config)
    return setup.make_data(settings, setup.read_splits(settings))


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_waveforms_are_cropped_by_frames_of_10_ms(recordings: Path, rate: int) -> None:
    waveform = ("features=waveform", f"features.sample_rate={rate}", "model=waveform_cnn")
    data = data_of(recordings, *waveform, "batching.crop_frames=20")
    assert set(data.datasets["train"].lengths) == {rate // 5}
    assert data.limits["max_frames"] == 16_000 * rate // 100


def test_waveforms_are_not_cropped_to_milliseconds_by_default(recordings: Path) -> None:
    data = data_of(recordings, "features=waveform", "model=waveform_cnn")
    assert data.datasets["train"].lengths.min() >= 6_400


def test_features_made_in_every_step_are_cropped_by_their_shift(recordings: Path) -> None:
    data = data_of(recordings, "waveform_augment=noise_and_speed", "batching.crop_frames=20")
    assert set(data.datasets["train"].lengths) == {3_200}  # 20 frames of 10 ms at 16 kHz


@pytest.mark.parametrize("option", ["silence=remove", "silence=mute", "features=mfcc", "features=log_mel"])
def test_features_cannot_be_chosen_where_files_hold_them(challenge: Path, option: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = check(compose("train", overrides=["data=challenge", f"data.root={challenge}", option]))
    with pytest.raises(ConfigError, match="the challenge's files hold frames"):
        setup.read_splits(Train.of(config))
