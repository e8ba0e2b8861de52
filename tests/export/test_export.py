"""Exported models: what is written answers as the model does, without torch; other models are refused."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from ser.checkpoints import checkpoint
from ser.checkpoints.checkpoint import Trained
from ser.errors import ConfigError, DataError
from ser.export import write as writing
from ser.export.bundle import FILES
from ser.export.step import tensors_of_state
from ser.export.write import check_folder, write
from ser.scripts.export import export
from tests.inference.test_stream import FRAMES, a_model, spec_of_features
from tests.remedies import put_back

LSTM = {
    "features": spec_of_features("mask"),
    "frontend": {"_target_": "ser.models.Frontend"},
    "model": {"_target_": "ser.models.LSTMEncoder", "hidden_dim": [64, 32], "bidirectional": False},
    "pooling": {"_target_": "ser.models.EveryStep"},
    "head": {"_target_": "ser.models.Head", "hidden_dims": [20, 16], "normalize": "none"},
    "target": {**FRAMES, "silence": "mask"},
}


class Client:
    """A program that has the folder and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.session = onnxruntime.InferenceSession(folder / "step.onnx", providers=["CPUExecutionProvider"])
        self.meta = json.loads((folder / "meta.json").read_text())
        self.reset()

    def reset(self) -> None:
        self.states = {
            own["input"]: np.full(own["shape"], float(own["initial"]), own["type"])
            for own in self.meta["states"]
        }

    def push(self, frames: Tensor) -> dict[str, Tensor]:
        names = [*self.meta["outputs"], *(own["output"] for own in self.meta["states"])]
        found = dict(
            zip(names, self.session.run(names, {"frames": frames.numpy(), **self.states}), strict=True)
        )
        self.states = {own["input"]: found[own["output"]] for own in self.meta["states"]}
        return {name: torch.from_numpy(found[name]) for name in self.meta["outputs"]}

    def answers(self, frames: Tensor, size: int, name: str = "probabilities") -> Tensor:
        return torch.cat([self.push(chunk)[name] for chunk in torch.split(frames, size, dim=1)], 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, as a run leaves it."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("run")
    description = checkpoint.describe(LSTM, feature_dim=10)
    model, _ = checkpoint.assemble(description)
    model.frontend.fit([torch.randn(50, 10) * 8 - 3])
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    (folder / "checkpoints").mkdir()
    torch.save({"ser": description, "state_dict": weights}, folder / "checkpoints" / "best.ckpt")
    return folder


@pytest.fixture(scope="module")
def lstm(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """The model of the run, and the folder that the command has written."""
    output = tmp_path_factory.mktemp("lstm") / "exported"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ser", f"ckpt={run}", f"output={output}"])
        export()
    return checkpoint.load(run / "checkpoints" / "best.ckpt"), output


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """A model that hears silence, exported."""
    trained = a_model("gru", mode="class", hidden_dim=[12, 8])
    output = tmp_path_factory.mktemp("gru") / "exported"
    write(trained, output)
    return trained, output


def some_frames(count: int = 207, feature_dim: int = 10) -> Tensor:
    return torch.randn(1, count, feature_dim) * 8 - 3


@torch.inference_mode()
def in_torch(trained: Trained, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
    logits, state = trained.model.step(frames, trained.model.initial_state(1))
    return logits, tensors_of_state(state)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_file_answers_and_remembers_as_torch_does(kind, size, request):
    trained, folder = request.getfixturevalue(kind)
    frames = some_frames()
    logits, states = in_torch(trained, frames)
    client = Client(folder)
    found = client.answers(frames, size)
    torch.testing.assert_close(found, trained.target.scores(logits), atol=1e-5, rtol=0)
    assert len(states) == len(client.states) == {"lstm": 4, "gru": 2}[kind]
    for own, other in zip(client.states.values(), states, strict=True):
        torch.testing.assert_close(torch.from_numpy(own), other, atol=1e-5, rtol=0)


def test_a_state_carried_over_changes_the_answers_and_a_fresh_one_does_not(lstm):
    client = Client(lstm[1])
    first, second = some_frames(50), some_frames(50)
    alone = client.push(second)["probabilities"]
    client.reset()
    client.push(first)
    assert not torch.allclose(client.push(second)["probabilities"], alone, atol=1e-3)
    client.reset()
    assert torch.equal(client.push(second)["probabilities"], alone)


def test_each_frame_is_answered_when_it_comes(lstm):
    frames = some_frames(30)
    changed = torch.cat([frames[:, :20], some_frames(10)], 1)
    one, other = (Client(lstm[1]).answers(own, 30) for own in (frames, changed))
    torch.testing.assert_close(one[:, :20], other[:, :20], atol=1e-6, rtol=0)
    assert not torch.allclose(one[:, 20], other[:, 20], atol=1e-4)


def test_where_silence_is_a_class_the_file_says_what_is_speech(gru):
    trained, folder = gru
    frames = some_frames()
    logits, _ = in_torch(trained, frames)
    speech = logits[0].argmax(-1) < 3
    is_clear = (
        logits[0, :, :3].amax(-1) - logits[0, :, 3]
    ).abs() > 1e-4  # torch and onnxruntime agree to 1e-5
    assert 0 < speech.sum() < len(speech)
    assert is_clear.float().mean() > 0.9
    assert torch.equal(Client(folder).answers(frames, 7, "is_speech")[0][is_clear], speech[is_clear])


def test_sums_that_are_pooled_over_a_stream_are_part_of_the_state(tmp_path):
    trained = a_model(mode=None, pooling="AttentionPooling")
    write(trained, tmp_path / "exported")
    client = Client(tmp_path / "exported")
    frames = some_frames(60)
    logits, _ = in_torch(trained, frames)
    torch.testing.assert_close(client.answers(frames, 7), trained.target.scores(logits), atol=1e-5, rtol=0)
    assert [own["type"] for own in client.meta["states"]][-2:] == ["float64"] * 2
    assert "-inf" in [own["initial"] for own in client.meta["states"]]


def test_the_description_is_complete(lstm, gru):
    trained, folder = lstm
    meta = Client(folder).meta
    versions = meta.pop("versions")
    assert 0 < meta.pop("largest_difference") < 1e-5
    assert all(versions[name] for name in ("torch", "onnx", "onnxruntime"))
    sizes = [64, 64, 32, 32]
    assert meta == {
        "format": 1,
        "class_names": ["en", "hi", "cmn"],
        "silence_is_a_class": False,
        "sample_rate": 8000,
        "frame_shift_ms": 10.0,
        "features": trained.features,
        "inputs": {"frames": [1, "n", 10]},
        "outputs": {"probabilities": [1, "n", 3]},
        "states": [
            {
                "input": f"state_{n}",
                "output": f"next_state_{n}",
                "shape": [1, size],
                "type": "float32",
                "initial": 0.0,
            }
            for n, size in enumerate(sizes)
        ],
    }
    assert Client(gru[1]).meta["silence_is_a_class"]
    assert Client(gru[1]).meta["outputs"] == {"probabilities": [1, "n", 3], "is_speech": [1, "n"]}


def test_the_file_has_the_names_and_shapes_that_are_described(lstm):
    client = Client(lstm[1])
    for values, described in (
        (
            client.session.get_inputs(),
            client.meta["inputs"] | {own["input"]: own["shape"] for own in client.meta["states"]},
        ),
        (
            client.session.get_outputs(),
            client.meta["outputs"] | {own["output"]: own["shape"] for own in client.meta["states"]},
        ),
    ):
        assert {value.name: value.shape for value in values} == described


def test_the_file_holds_no_path_of_this_machine(lstm):
    content = (lstm[1] / "step.onnx").read_bytes()
    assert b".py" not in content
    assert len(content) < 4 * sum(parameter.numel() for parameter in lstm[0].model.parameters()) + 20_000


def test_only_an_exported_model_is_replaced_and_only_if_asked(lstm, tmp_path):
    trained, _ = lstm
    output = tmp_path / "exported"
    output.mkdir()
    (output / "meta.json").write_text('{"states": []}')
    with pytest.raises(DataError, match=r"exported: exists already\. Set overwrite=true"):
        write(trained, output)
    assert (output / "meta.json").read_text() == '{"states": []}'
    write(trained, output, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]
    assert {path.name for path in output.iterdir()} == {"step.onnx", "meta.json"}
    (output / "thesis.tex").touch()
    with pytest.raises(
        DataError, match=r"is not an exported model, so it is not replaced\. Give another output"
    ):
        write(trained, output, overwrite=True)
    with pytest.raises(DataError, match=r"folder is missing\. Make the folder"):
        write(trained, tmp_path / "nowhere" / "exported")


@pytest.mark.parametrize("content", ["", "[]", '{"model_type": "wav2vec2"}'])
def test_a_folder_of_another_program_is_not_replaced(content, tmp_path):
    output = tmp_path / "other"
    output.mkdir()
    (output / "config.json").write_text(content)
    (output / "README.md").write_text("mine")
    with pytest.raises(DataError, match="is not an exported model, so it is not replaced"):
        check_folder(output, overwrite=True, files=FILES, marks={"config.json": "ser_bundle"})
    (output / "config.json").write_text('{"ser_bundle": 1}')
    check_folder(output, overwrite=True, files=FILES, marks={"config.json": "ser_bundle"})
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", overwrite=True)


def test_a_file_that_answers_otherwise_is_refused_and_nothing_is_left(lstm, tmp_path, monkeypatch):
    def save_another(*arguments: Any) -> None:
        arguments[-1].write_bytes((lstm[1] / "step.onnx").read_bytes())

    monkeypatch.setattr(writing, "save_step", save_another)
    other = checkpoint.load(lstm[0].path)
    with torch.no_grad():
        other.model.encoder.layers[1].cell.bias_hh_l0[0] += 0.1
    with pytest.raises(
        ConfigError,
        match=r"LSTMEncoder has other outputs in step\.onnx than in torch, by .*nothing was written",
    ):
        write(other, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_has_left_is_removed(tmp_path):
    left = tmp_path / f".{'0f' * 16}.tmp"
    left.mkdir()
    (left / "model.onnx").touch()
    with writing.written_whole(tmp_path / "exported") as folder:
        (folder / "meta.json").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_a_full_disk_leaves_nothing_behind(lstm, tmp_path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "save_step", full)
    with pytest.raises(DataError, match=r"exported: cannot be written \(no space left on device\)\. Give"):
        write(lstm[0], tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bidirectional": True}, r"model\.bidirectional=true: .*Train with model\.bidirectional=false"),
        (
            {"pooling": "MeanPooling", "mode": None, "subsampling": 2},
            r"model\.subsampling=2: LSTMEncoder keeps a varying .*Train with model\.subsampling=1",
        ),
        (
            {"frontend": {"delta_scale": 3.0, "delta_align": "causal"}},
            r"frontend\.delta_scale=3\.0: .*Train with frontend\.delta_scale=0",
        ),
        (
            {"pooling": "MaxPooling", "mode": None},
            r"ckpt: LSTMEncoder with MaxPooling cannot be written as ONNX \(No ONNX function.*cummax.*pooling=none",
        ),
    ],
)
def test_models_that_cannot_be_exported_are_refused_and_nothing_is_left(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        write(a_model(**settings), tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_what_installs_it(package, lstm, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ConfigError, match=rf'cannot be imported \(.*{package}.*\)\. Run: .*pip install "onnx>='
    ):
        write(lstm[0], tmp_path / "exported")


def test_an_ensemble_is_refused_with_a_member_to_take(run, tmp_path, monkeypatch, capsys):
    for number in range(2):
        (tmp_path / f"member_{number}" / "checkpoints").mkdir(parents=True)
        (tmp_path / f"member_{number}" / "checkpoints" / "best.ckpt").write_bytes(
            (run / "checkpoints" / "best.ckpt").read_bytes()
        )
    monkeypatch.setattr(sys, "argv", ["ser", f"ckpt={tmp_path}", f"output={tmp_path / 'exported'}"])
    with pytest.raises(SystemExit):
        export()
    said = capsys.readouterr().err
    assert "holds 2 models, but one is needed. Give one of its checkpoints" in said
    assert str(tmp_path / "member_0" / "checkpoints" / "best.ckpt") in said


def test_what_the_command_tells_to_type_leads_to_a_model(run, tmp_path, monkeypatch, capsys):
    for number in range(2):
        shutil.copytree(run / "checkpoints", tmp_path / "run" / f"member_{number}" / "checkpoints")
    words = [f"ckpt={tmp_path / 'run'}", f"output={tmp_path / 'exported'}", "format=encoder"]  # the fast one
    refusals: list[str] = []
    for _ in range(4):  # refused, written, refused, replaced
        monkeypatch.setattr(sys, "argv", ["ser", *words])
        try:
            export()
        except SystemExit:
            refusals.append(capsys.readouterr().err)
            (words,) = put_back(words, refusals[-1], "export")
    assert len(refusals) == 2
    assert "holds 2 models" in refusals[0]
    assert "exists already" in refusals[1]
