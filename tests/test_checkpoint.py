"""Checkpoints: what is read back, and what is refused."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from ser import checkpoint
from ser.batch import Padded
from ser.errors import CheckpointError
from ser.models.classifier import Classifier

CONFIG = {
    "features": {"_target_": "ser.features.extract.LogMel"},
    "frontend": {"_target_": "ser.features.frontend.Frontend", "delta_scale": 3.0},
    "model": {"_target_": "ser.models.cnn.CNNEncoder", "channels": [4, 4], "time_strides": [2, 2]},
    "pooling": {"_target_": "ser.models.pooling.MeanPooling"},
    "head": {"_target_": "ser.models.classifier.Head", "dropout": 0.0},
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
    with pytest.raises(CheckpointError, match="do not fit together"):
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


def fresh(**changed: object) -> Classifier:
    model, _ = checkpoint.assemble(checkpoint.describe(CONFIG | changed, feature_dim=26))
    return model


def test_training_can_begin_with_the_network_of_a_checkpoint_but_not_its_statistics(saved: Path) -> None:
    trained, model = checkpoint.load(saved).model, fresh()
    checkpoint.initialize(model, saved)
    for name, tensor in model.state_dict().items():
        is_taken = not name.startswith("frontend.")
        assert torch.equal(tensor, trained.state_dict()[name]) == is_taken, name


def test_a_head_of_other_classes_begins_anew(saved: Path) -> None:
    model = fresh(target={"_target_": "ser.targets.TwoBinary"})
    before = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    checkpoint.initialize(model, saved)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.head.state_dict().items())
    kernel = "stages.0.reduce.0.weight"
    assert torch.equal(
        model.encoder.state_dict()[kernel], checkpoint.load(saved).model.encoder.state_dict()[kernel]
    )


def test_another_network_cannot_begin_with_a_checkpoint(saved: Path) -> None:
    model = fresh(model=CONFIG["model"] | {"channels": [4, 8]})
    with pytest.raises(CheckpointError, match=r"init=.*best\.ckpt: its network has no encoder\.stages\.1"):
        checkpoint.initialize(model, saved)


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
