"""Checkpoints: what is read back, and what is refused."""

import os
import pickle
import re
import resource
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser import archive
from ser.batch import Padded
from ser.checkpoints import checkpoint
from ser.errors import CheckpointError

CONFIG: dict[str, Any] = {
    "features": {"_target_": "ser.features.LogMel"},
    "frontend": {"_target_": "ser.models.Frontend", "delta_scale": 3.0},
    "model": {"_target_": "ser.models.CNNEncoder", "channels": [4, 4], "time_strides": [2, 2]},
    "pooling": {"_target_": "ser.models.MeanPooling"},
    "head": {"_target_": "ser.models.Head", "dropout": 0.0},
    "target": {"_target_": "ser.targets.Quadrant"},
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint as a run writes it, less what only training needs."""
    description = checkpoint.describe(CONFIG, feature_dim=26)
    model, _ = checkpoint.assemble(description)
    model.frontend.fit([torch.randn(100, 26) + 7])
    path = tmp_path / "best.ckpt"
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"ser": description, "state_dict": weights}, path)
    return path


def change(path: Path, **parts: object) -> Path:
    torch.save(torch.load(path, weights_only=True) | parts, path)
    return path


def test_a_model_comes_back_with_weights_and_normalisation(saved: Path, audio: Padded) -> None:
    weights = torch.load(saved, weights_only=True)["state_dict"]
    trained = checkpoint.load(saved)
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, weights[f"model.{name}"])
    assert not trained.model.training
    assert torch.equal(trained.model(audio), checkpoint.load(saved).model(audio))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.ckpt: no such checkpoint"):
        checkpoint.load(tmp_path / "nowhere.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_checkpoint_is_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"best\.ckpt"):
        checkpoint.load(saved)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    for name, content in {"text.ckpt": b"not a checkpoint", "json.ckpt": b'{"a": 1}'}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            checkpoint.load(tmp_path / name)


def test_a_checkpoint_of_another_program_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of ser"):
        checkpoint.load(tmp_path / "foreign.ckpt")


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_a_pickle_that_runs_code_does_not_run(saved: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for path, content in (
        (tmp_path / "plain.ckpt", pickle.dumps(_Touch(str(trap)))),
        (change(saved, extra=_Touch(str(trap))), None),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CheckpointError, match="it was not loaded"):
            checkpoint.load(path)
        assert not trap.exists()


@pytest.mark.parametrize("name", ["os.mkdir", "subprocess.run", "ser.files.write_atomic", "ser.nothing.Here"])
def test_a_description_that_names_foreign_code_does_not_run_it(saved: Path, name: str) -> None:
    description = torch.load(saved, weights_only=True)["ser"]
    change(saved, ser=description | {"pooling": {"_target_": name, "path": "trap"}})
    with pytest.raises(CheckpointError, match=rf"pooling\._target_={name}: "):
        checkpoint.load(saved)


def test_weights_of_another_shape_are_refused(saved: Path) -> None:
    description = torch.load(saved, weights_only=True)["ser"]
    change(saved, ser=description | {"feature_dim": 40})
    with pytest.raises(CheckpointError, match="do not fit together"):
        checkpoint.load(saved)


def test_another_format_is_refused(saved: Path) -> None:
    change(saved, ser={"format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        checkpoint.load(saved)


def forge(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Write an archive anew, with other content and right checksums."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(name, content))


def test_a_flipped_bit_anywhere_in_a_tensor_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        entries = [entry for entry in archive.infolist() if "/data/" in entry.filename]
    largest = max(entries, key=lambda entry: entry.file_size)
    body = content.index(largest.filename.encode()) + len(largest.filename)
    for place in np.random.default_rng(0).integers(body + 128, body + largest.file_size, 20):
        flipped = bytearray(content)
        flipped[place] ^= 1
        saved.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"best\.ckpt: is damaged"):
            checkpoint.load(saved)


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(saved: Path) -> None:
    def claim(name: str, content: bytes) -> bytes:
        return (
            content.replace(b"K\x1a\x85", b"J\xff\xff\xff\x7f\x85") if name.endswith("data.pkl") else content
        )

    forge(saved, claim)  # 8 GB for the mean of 26 values
    with pytest.raises(CheckpointError, match=r"claim more memory|not stored in full"):
        checkpoint.load(saved)


def test_tensors_that_share_a_storage_are_loaded(tmp_path: Path) -> None:
    """As the weights of an LSTM do after training on a GPU; `_check_sizes` used to count it once for each."""
    flat = torch.arange(6000.0)
    torch.save(
        {"state_dict": {"first": flat[:2000], "second": flat[2000:].view(40, 100)}}, tmp_path / "a.ckpt"
    )
    found = archive.read_archive(tmp_path / "a.ckpt", remedy="")["state_dict"]
    assert torch.equal(found["first"], flat[:2000])
    assert torch.equal(found["second"].flatten(), flat[2000:])


def test_a_tensor_that_claims_its_neighbours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"small": torch.zeros(3), "large": torch.zeros(1000)}, path)
    forge(path, lambda _, content: content.replace(b"K\x03\x85", b"K\x63\x85").replace(b"K\x03t", b"K\x63t"))
    with pytest.raises(CheckpointError, match=r"claim more memory|record size"):
        archive.read_archive(path, remedy="")


def test_a_tensor_that_repeats_one_value_is_refused(saved: Path) -> None:
    weights = torch.load(saved, weights_only=True)["state_dict"]
    name = "model.frontend.normalizer.mean"
    change(saved, state_dict=weights | {name: torch.zeros(1).expand(10**10)})
    with pytest.raises(CheckpointError, match="not stored in full"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    "settings", [{"channels": [40_000, 40_000]}, {"channels": [1] * 100_000, "time_strides": [1] * 100_000}]
)
def test_a_model_larger_than_its_weights_is_refused_before_it_is_built(
    saved: Path, settings: dict[str, Any]
) -> None:
    description = torch.load(saved, weights_only=True)["ser"]
    change(saved, ser=description | {"model": CONFIG["model"] | settings})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="do not fit together"):
        checkpoint.load(saved)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1e6  # KB; the larger model would take 14 GB


@pytest.mark.parametrize(
    "parts",
    [
        {"state_dict": None},
        {"state_dict": {"model.x": 1}},
        {"state_dict": {1: torch.zeros(1)}},
        {"state_dict": {}},
        {"ser": {"format": 2}},
        {"ser": {"format": 2, "feature_dim": "many"} | CONFIG},
        {"ser": {"format": 2, "feature_dim": 26} | CONFIG | {"model": []}},
        {"ser": {"format": 2, "feature_dim": 26} | CONFIG | {"model": {}}},
        {"ser": {"format": 2, "feature_dim": 26} | CONFIG | {"head": {"_target_": None}}},
        {"ser": {"format": 2, "feature_dim": 2**62} | CONFIG},
        {"ser": []},
    ],
)
def test_parts_of_the_wrong_type_are_refused(saved: Path, parts: dict[str, object]) -> None:
    change(saved, **parts)
    with pytest.raises(CheckpointError, match=r"best\.ckpt"):
        checkpoint.load(saved)


def test_a_folder_or_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ckpt")
    for path in (tmp_path, tmp_path / "pipe.ckpt"):
        with pytest.raises(CheckpointError, match="is not a file"):
            checkpoint.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(saved: Path, value: float) -> None:
    weights = torch.load(saved, weights_only=True)["state_dict"]
    weights["model.frontend.normalizer.mean"][3] = value
    change(saved, state_dict=weights)
    with pytest.raises(
        CheckpointError, match=r"1 of its \d+ tensors are not finite.*normalizer\.mean.*diverged"
    ):
        checkpoint.load(saved)


def test_logits_that_are_not_finite_are_refused(saved: Path) -> None:
    trained = checkpoint.load(saved)
    assert trained.check(torch.zeros(2, 4)).shape == (2, 4)
    with pytest.raises(CheckpointError, match="its outputs are not finite"):
        trained.check(torch.tensor([[0.0, torch.nan]]))


@pytest.mark.parametrize("part", ["loops", "optimizer_states", "callbacks", "ser_progress"])
def test_training_goes_on_from_complete_checkpoints_alone(saved: Path, part: str) -> None:
    whole: dict[str, object] = {"epoch": 1, "global_step": 7, "pytorch-lightning_version": "2.6.6"}
    whole |= {"loops": {"fit_loop": {"epoch_progress": {}}}, "callbacks": {}, "optimizer_states": []}
    change(saved, **whole, lr_schedulers=[], ser_progress={})
    assert checkpoint.read_training(saved)["global_step"] == 7
    change(saved, **{part: None})
    with pytest.raises(CheckpointError, match=rf"lacks what this run needs to resume \({part}"):
        checkpoint.read_training(saved)


def test_loading_draws_no_random_number(saved: Path) -> None:
    before = torch.get_rng_state()
    checkpoint.load(saved)
    assert torch.equal(before, torch.get_rng_state())


def test_the_folder_of_a_run_or_of_an_ensemble_stands_for_its_checkpoints(tmp_path: Path) -> None:
    members = [tmp_path / f"member_{number}" / "checkpoints" / "best.ckpt" for number in (0, 1, 2, 10)]
    for file in members:
        file.parent.mkdir(parents=True)
        file.touch()
    assert checkpoint.find(members[0]) == [members[0]]
    assert checkpoint.find(members[0].parents[1]) == [members[0]]
    assert checkpoint.find(tmp_path) == members
    assert checkpoint.find(tmp_path / "absent.ckpt") == [tmp_path / "absent.ckpt"]  # refused where it is read


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"holds no checkpoints/best\.ckpt.*Give a checkpoint, or the folder"
    ):
        checkpoint.find(tmp_path)


def test_a_pre_training_is_answered_with_the_training_on_its_encoder(tmp_path: Path) -> None:
    (tmp_path / "RUN" / "encoder").mkdir(parents=True)
    words = f"experiment=finetune model.path={tmp_path}/RUN/encoder, and give"
    with pytest.raises(CheckpointError, match=f"is a pre-training, .* with {re.escape(words)}"):
        checkpoint.find(tmp_path / "RUN")


@pytest.mark.parametrize("kind", [torch.int64, torch.complex64, torch.bool])
def test_weights_of_another_kind_of_number_are_refused(saved: Path, kind: torch.dtype) -> None:
    weights = torch.load(saved, weights_only=True)["state_dict"]
    name = "model.head.layers.0.weight" if "model.head.layers.0.weight" in weights else [*weights][-1]
    change(saved, state_dict=weights | {name: weights[name].to(kind)})
    with pytest.raises(CheckpointError, match=f"expected torch.float32, found {kind}"):
        checkpoint.load(saved)
