"""Classes of a user's own are checked as those that they derive from: by their attributes."""

from pathlib import Path
from typing import Any

import pytest

from ser.checkpoints.resume import is_planned
from ser.config.settings import Train, option_of
from ser.config.slots import trust
from ser.errors import ConfigError
from ser.targets import CrossEntropy
from ser.training.consistency import check_augment, check_frames
from ser.training.setup import read_splits
from tests.fits import composed, with_value

OWN = """
from ser.features import MFCC, LogMel, Waveform
from ser.models import EveryStep, MeanPooling
from ser.targets import Classes, FrameClasses
from torch.optim.lr_scheduler import ConstantLR

class Steps(EveryStep): pass
class Mean(MeanPooling): pass
class Frames(FrameClasses): pass
class Names(Classes): pass
class Samples(Waveform): pass
class Cepstra(MFCC): pass
class Mel(LogMel): pass
class Loudness(LogMel):
    def unit(self) -> str:
        return "sone"

def steady(optimizer):
    return {"scheduler": ConstantLR(optimizer)}

def planned(optimizer, total_steps):
    return {"scheduler": ConstantLR(optimizer, total_iters=total_steps)}
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_a_user.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    trust(["of_a_user"], str(tmp_path))


def settings_with(**nodes: str) -> dict[str, Any]:
    config = composed("data=challenge", "data.root=.")
    for node, name in nodes.items():
        config = with_value(config, f"{node}._target_", f"of_a_user.{name}")
    return config


def test_a_derived_target_of_frames_needs_steps() -> None:
    config = settings_with(pooling="Mean", target="Frames")
    with pytest.raises(
        ConfigError, match=r"pooling=of_a_user\.Mean, target=of_a_user\.Frames: one answers frames"
    ):
        check_frames(Train.of(config))
    config = settings_with(pooling="Steps", target="Names")
    with pytest.raises(ConfigError, match="one answers frames"):
        check_frames(Train.of(config))


def test_derived_frames_and_steps_are_refused_mixup() -> None:
    config = with_value(settings_with(pooling="Steps", target="Frames"), "callbacks.output_space", None)
    for piece in ("mixup", "time_stretch"):
        config = with_value(config, f"augment.{piece}", 0.0)
    check_frames(Train.of(config))
    with pytest.raises(ConfigError, match=r"augment\.mixup: .*target=of_a_user\.Frames answers frames"):
        check_frames(Train.of(with_value(config, "augment.mixup", 0.2)))


@pytest.mark.parametrize(
    ("kind", "piece", "fits"),
    [
        ("Samples", "time_stretch", False),
        ("Cepstra", "time_stretch", True),
        ("Cepstra", "frequency_warp", False),
        ("Cepstra", "mixup", False),
        ("Loudness", "frequency_masks", True),
        ("Loudness", "gain_db", False),
        ("Mel", "gain_db", True),
        ("Mel", "mixup", True),
    ],
)
def test_derived_features_say_what_they_are(kind: str, piece: str, fits: bool) -> None:
    config: dict[str, Any] = {
        "features": {"_target_": f"of_a_user.{kind}"},
        "frontend": {"normalize": "global"},
        "augment": {piece: 0.1},
        "target": {"_target_": "ser.targets.Classes"},
    }
    settings = Train.of(config)
    if fits:
        check_augment(settings)
        return
    with pytest.raises(ConfigError, match=rf"augment\.{piece}=0\.1: needs .*{kind} gives none"):
        check_augment(settings)


def test_a_schedule_is_planned_if_it_takes_the_number_of_steps() -> None:
    assert is_planned({"_target_": "ser.training.one_cycle"})
    assert is_planned({"_target_": "of_a_user.planned"})
    assert not is_planned({"_target_": "ser.training.plateau"})
    assert not is_planned({"_target_": "of_a_user.steady"})
    assert not is_planned(None)


@pytest.mark.parametrize("group", ["loss", "pooling", "schedule", "target"])
def test_an_option_of_every_group_can_be_named(group: str) -> None:
    assert option_of(group, Path) == "pathlib.Path"


def test_an_option_is_named_by_its_class() -> None:
    assert option_of("loss", CrossEntropy) == "cross_entropy"
    assert option_of("target", CrossEntropy) == "ser.targets.losses.CrossEntropy"


@pytest.mark.parametrize("node", ["batching", "target", "trainer"])
def test_splits_are_not_read_without_a_needed_node(node: str) -> None:
    config = composed("data=challenge", "data.root=.")
    del config[node]
    with pytest.raises(ConfigError, match=f"{node}: is deleted or null, but"):
        read_splits(Train.of(config))


def over_time(*overrides: str) -> Train:
    return Train.of(composed("experiment=semantic", "data=sewa", "data.root=.", *overrides))


def test_labels_over_time_are_not_normalised_by_speaker() -> None:
    with pytest.raises(ConfigError, match=r"Set frontend\.normalize=global"):
        check_frames(over_time("frontend.normalize=speaker"))


def test_waveform_augment_is_no_remedy_for_steps() -> None:
    with pytest.raises(ConfigError, match=r"Set augment\.frequency_warp=0\.$"):
        check_augment(over_time("augment=speed_and_warp"))


def test_decisions_on_recordings_need_classes() -> None:
    with pytest.raises(ConfigError, match=r"Set callbacks\.recordings=null"):
        check_frames(over_time("callbacks=language_id_stream"))
