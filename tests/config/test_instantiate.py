"""Building objects from specs, and reading signatures without importing."""

import inspect
import sys
from importlib import import_module

import pytest
import torch
import yaml

from ser.config.instantiate import build
from ser.config.slots import SLOTS, Slot, resolve
from ser.config.types import signature
from ser.errors import ConfigError
from tests.conftest import REPOSITORY

ROOT = REPOSITORY
TARGETS = sorted(
    {
        line.split("_target_:")[1].split("#")[0].strip()
        for path in (ROOT / "conf").rglob("*.yaml")
        for line in path.read_text().splitlines()
        if "_target_:" in line and "hydra_plugins." not in line  # Hydra builds its plugins
    }
)

LSTM = "ser.models.LSTMEncoder"


def test_build_calls_the_target_with_its_keys_and_what_the_program_supplies():
    encoder = build({"_target_": LSTM, "hidden_dim": 3, "bidirectional": False}, slot="model", in_dim=5)
    assert (encoder.out_dim, type(encoder).__name__) == (3, "LSTMEncoder")


def test_build_makes_nested_targets_first():
    spec = {
        "_target_": "sample_module.Outer",
        "parts": [{"_target_": "sample_module.Part", "size": 1}],
        "named": {"a": {"_target_": "sample_module.Part", "size": 2}},
    }
    outer = build(spec, slot="sample")
    assert [part.size for part in outer.parts] == [1]
    assert outer.named["a"].size == 2


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "serious.Model",
        "ser.runs.sweep.record_status",  # ours, but writes a file
        "ser.models.lstm.nn",
        "ser.models.lstm.nn.Module",
        "ser.models.lstm.Padded",
        "ser.models.lstm.torch.load",
        "ser.models.lstm.LSTMEncoder.__init__",
        "ser.models.lstm.Forwards",
        "ser.models..lstm.LSTMEncoder",
        "LSTMEncoder",
        "",
        7,
        ["ser.models.LSTMEncoder"],
    ],
)
def test_build_refuses_whatever_is_not_a_public_part_of_an_allowed_module(name):
    for slot in ("model", "head", "trainer.nothing"):
        with pytest.raises(ConfigError):
            build({"_target_": name}, slot=slot)


def test_build_refuses_a_forbidden_target_hidden_in_an_argument(tmp_path):
    victim = tmp_path / "victim"
    hidden = {"_target_": "pathlib.Path.touch", "self": str(victim)}
    with pytest.raises(ConfigError, match=r"pathlib\.Path\.touch: nothing is built here"):
        build({"_target_": LSTM, "cell": [{"x": hidden}]}, slot="model", in_dim=1)
    assert not victim.exists()


def test_each_slot_holds_its_own_kind():
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    spec = {"_target_": "torch.optim.SGD", "lr": 0.5}
    assert build(spec, slot="optimizer", params=parameters).defaults["lr"] == 0.5
    with pytest.raises(ConfigError, match=r"model\._target_=torch\.optim\.SGD: is not an encoder"):
        build(spec, slot="model", params=parameters)


@pytest.mark.parametrize(
    ("slot", "name"),
    [
        ("data", "ser.files.write_atomic"),
        ("data", "ser.splits.leaks.find_leaks"),
        ("data", "ser.corpora.recordings.measure_speech"),
        ("data", "ser.audio.FolderBank"),
        ("data", "ser.corpora.recordings.Extractor"),
        ("data.split", "ser.corpora.FolderCorpus"),
        ("data.split", "ser.splits.rules.np"),
        ("features", "ser.features.Silence"),
        ("model", "ser.models.MeanPooling"),
        ("model", "ser.models.Classifier"),
        ("pooling", "ser.models.CNNEncoder"),
        ("target", "ser.targets.classification.QUADRANTS"),
        ("loss", "ser.targets.losses.Objective"),
        ("optimizer", "torch.optim.lr_scheduler.StepLR"),
        ("optimizer", "torch.optim.swa_utils.AveragedModel"),
        ("optimizer", "torch.load"),
        ("schedule", "ser.targets.Quadrant"),
        ("callbacks.best", "ser.training.plot_callbacks.data_of"),
        ("callbacks.best", "lightning.pytorch.Trainer"),
        ("callbacks.best", "lightning.pytorch.callbacks.model_checkpoint.Path"),
        ("callbacks.best", "lightning.pytorch.callbacks.model_checkpoint.os"),
        ("trainer", "lightning.pytorch.LightningModule"),
        ("logger.own", "lightning.pytorch.callbacks.ModelCheckpoint"),
        ("logger.own", "lightning.pytorch.loggers.tensorboard.rank_zero_only"),
        ("extractor", "ser.pretrained.AudioNTT"),
        ("extractor", "ser.embeddings.byol.load_network"),
        ("seed", "ser.targets.Quadrant"),
    ],
)
def test_what_belongs_elsewhere_is_refused(slot, name):
    with pytest.raises(ConfigError, match=r"belongs here|nothing is built here|no class or function"):
        build({"_target_": name}, slot=slot)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/golden/configs").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_node_of_a_composed_config_is_in_its_slot(path):
    def nodes(value, key):
        if isinstance(value, dict):
            if "_target_" in value:
                yield key, value["_target_"]
            for name, item in value.items():
                yield from nodes(item, f"{key}.{name}".strip("."))

    found = [*nodes(yaml.safe_load(path.read_text()), "")]
    assert len(found) > 10 or path.stem != "train"  # the others hold what differs
    for key, name in found:
        resolve(key, name)


def test_a_name_that_does_not_exist_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'LSTMEncodr'.*Did you mean 'LSTMEncoder'"):
        build({"_target_": "ser.models.lstm.LSTMEncodr"}, slot="model")


def test_a_misspelt_file_of_a_room_is_answered_with_the_nearest_class():
    with pytest.raises(
        ConfigError, match=r"No module named 'ser\.models\.xyz'.*Did you mean 'ser\.models\.CNNEncoder'"
    ):
        build({"_target_": "ser.models.xyz.CNNEncoder"}, slot="model")


def test_a_class_in_a_file_of_its_room_is_found():
    assert resolve("model", "ser.models.cnn.CNNEncoder") is resolve("model", "ser.models.CNNEncoder")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hiden_dim": 3}, "unexpected keyword argument 'hiden_dim'"),
        ({"hidden_dim": -3}, r"hidden_dim=-3.*ValueError: hidden_size must be greater than zero"),
        ({"dropout": {"_": 1}}, "TypeError"),
    ],
)
def test_arguments_that_are_refused_end_as_a_config_error_with_the_cause(settings, words):
    with pytest.raises(ConfigError, match=words) as caught:
        build({"_target_": LSTM} | settings, slot="model", in_dim=2)
    assert LSTM in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_missing_argument_and_a_missing_target_are_named():
    with pytest.raises(ConfigError, match="missing a required argument: 'in_dim'"):
        build({"_target_": LSTM}, slot="model")
    with pytest.raises(ConfigError, match="no `_target_`"):
        build({"hidden_dim": 3}, slot="model")


def test_a_setting_that_follows_from_the_data_is_refused():
    with pytest.raises(ConfigError, match="in_dim follows from the data"):
        build({"_target_": LSTM, "in_dim": 7}, slot="model", in_dim=5)


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_of_our_configs_has_typed_parameters(name: str) -> None:
    module, _, leaf = name.rpartition(".")
    target = getattr(import_module(module), leaf)
    parameters, is_open = signature(target)
    named = [
        each
        for each in inspect.signature(target).parameters
        if each not in ("args", "kwargs", "settings", "rest")
    ]
    assert {*named} <= {*parameters}
    assert is_open == (leaf in ("WaveformCNNLSTMEncoder", "TensorBoard"))  # which hand the rest on to a part


SAMPLE = '''
from __future__ import annotations
import typing
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Optional, Union
from collections.abc import Mapping, Sequence
import torch

Shape = Literal["round", "square"]
Size = Union[Shape, int]
MaybeSize = Optional[Size]


class Part:
    def __init__(self, size: int = 0): self.size = size


class Outer:
    def __init__(self, parts: list[Part], named: dict[str, Part]): self.parts, self.named = parts, named


class Inherits(Outer):
    """Takes what Outer takes."""


class Nothing: ...


class FromElsewhere(torch.Tensor): ...


@dataclass(frozen=True)
class Base:
    first: int
    made: int = field(init=False)
    shared: ClassVar[int] = 3


@dataclass(frozen=True)
class Extended(Base):
    _: KW_ONLY
    second: list[int] = field(default_factory=list)


class HandsOn(Extended):
    def __init__(self, own: int, **rest: Any) -> None:
        super().__init__(first=own, **rest)


def function(
    any_, positional: int, *, whole: int = 1, real: float = 1.0, text: str = "", flag: bool = False,
    maybe: float | None = None, implicit: int = None, either: Union[int, str, None] = 1,
    tensor: float | torch.Tensor = 0.1, only_tensor: torch.Tensor = None, shape: Shape = "round",
    size: MaybeSize = None, noted: Annotated[int, "unit"] = 3, path: str | Path = "",
    numbers: Sequence[int] = (), pair: tuple[int, float] = (1, 2), row: tuple[int, ...] = (), bag: list = [],
    table: Mapping[str, int] = {}, object_: Part = None, qualified: typing.Literal["a", 2] = "a",
    parts: list[Part] | Part = (), anything: Any = None,
): ...


def open_(**kwargs): ...
'''


@pytest.fixture(autouse=True, scope="module")
def sample_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    (folder / "sample_module.py").write_text(SAMPLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        for slot in ("sample", "sample.parts", "sample.named.a"):
            patch.setitem(SLOTS, slot, Slot("a sample", "collections.abc.Hashable", ("sample_module",)))
        import_module("sample_module")
        yield


def parameters_of(name):
    return signature(getattr(sys.modules["sample_module"], name))[0]


def accepts(name, value):
    return parameters_of("function")[name].accepts(value)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("any_", [1, "a", None, [1]], []),
        ("whole", [1, -1], [1.0, "1", True, None, [1]]),
        ("real", [1, 1.5], ["1.5", True, None]),
        ("text", ["", "a"], [1, None, True]),
        ("flag", [True], [0, 1, "true", None]),
        ("maybe", [None, 1, 0.5], ["a"]),
        ("implicit", [None, 1], ["a"]),
        ("either", [1, "a", None], [1.5, [1]]),
        ("tensor", [1, 0.5, {"_target_": "x"}], ["abc", None, True]),
        ("only_tensor", ["a", 1, None], []),
        ("shape", ["round", "square"], ["oval", 1, None]),
        ("size", ["round", 3, None], ["oval", 1.5]),
        ("noted", [1], ["a"]),
        ("path", ["a/b"], [3, None]),
        ("numbers", [[], [1, 2]], ["12", [1, "a"], 3, {"a": 1}]),
        ("pair", [[1, 2.5]], [[1], [1.5, 2], 3]),
        ("row", [[], [1, 2, 3]], [["a"]]),
        ("bag", [[], ["a", 1]], ["a", {}]),
        ("table", [{}, {"a": 1}], [{"a": "b"}, [1], "a"]),
        ("object_", [{"_target_": "x"}], []),
        ("qualified", ["a", 2], ["b", 3]),
        ("parts", [[{"_target_": "x"}], {"_target_": "x"}], []),
        ("anything", [1, "a", None, [], {}], []),
    ],
)
def test_annotations_accept_what_they_say(name, good, bad):
    assert [value for value in good if not accepts(name, value)] == []
    assert [value for value in bad if accepts(name, value)] == []


def test_expectations_are_put_in_words():
    parameters = parameters_of("function")
    assert parameters["real"].expected == "float (default 1.0)"
    assert parameters["tensor"].expected == "float (default 0.1)"
    assert parameters["either"].expected == "int, str or null (default 1)"
    assert parameters["size"].expected == "'round', 'square', int or null"
    assert parameters["size"].choices == ["round", "square"]
    assert parameters["whole"].choices == []


def test_constructors_are_found_where_python_finds_them():
    def names(of):
        return list(parameters_of(of))

    assert names("Inherits") == ["parts", "named"]
    assert names("Nothing") == []
    assert names("Base") == ["first"]
    assert names("Extended") == ["first", "second"]
    assert names("HandsOn") == ["own", "first", "second"]
    assert signature(sys.modules["sample_module"].open_)[1]


def test_a_long_value_is_shortened_in_a_message():
    with pytest.raises(ConfigError) as caught:
        build({"_target_": "ser.models.CNNEncoder", "channels": [8] * 10_000, "bogus": 1}, slot="model")
    assert len(str(caught.value)) < 500
