"""Encoders that are exported alone: other people's code loads them, and they round-trip."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ser.embeddings.base import SERAB
from ser.embeddings.byol import load_network
from ser.errors import CheckpointError, DataError
from ser.export.encoder import find_checkpoint, find_log_mel_encoder, write_encoder_of
from ser.pretrained import PretrainedEncoder
from ser.pretrained.networks import (
    LogMelEncoder,
    build_network,
    describe_network,
    read_encoder,
    write_encoder,
)
from tests.pretrained.test_networks import cvt_reference, worn


class PublishedAudioNTT(nn.Module):
    """The published module, written anew from its description: [B, 1, F, T] to [B, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = []
        for channels in (1, 64, 64):
            layers += [nn.Conv2d(channels, 64, 3, stride=1, padding=1), nn.BatchNorm2d(64)]
            layers += [nn.ReLU(), nn.MaxPool2d(2, stride=2)]
        self.features = nn.Sequential(*layers)
        self.fc = nn.Sequential(
            nn.Linear(512, width), nn.ReLU(), nn.Dropout(p=0.3), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(image).permute(0, 3, 2, 1)
        x = self.fc(x.reshape(*x.shape[:2], -1))
        return x.max(1).values + x.mean(1)


def save_pretraining(path: Path, name: str) -> nn.Module:
    """A checkpoint as a pre-training writes it."""
    network = worn(name)
    about = {"encoder": describe_network(network), "features": dict(SERAB), "mean": -6.0, "std": 4.0}
    weights = {f"model.encoder.{key}": value for key, value in network.state_dict().items()}
    weights["model.predictor.weight"] = torch.ones(2)
    path.parent.mkdir(parents=True)
    torch.save({"ser": {"format": 2, "pretraining": about}, "state_dict": weights}, path)
    return network


@torch.no_grad()
def test_an_exported_audio_ntt_loads_in_the_published_module(tmp_path: Path) -> None:
    own = save_pretraining(tmp_path / "run" / "checkpoints" / "last.ckpt", "audio_ntt")
    source = find_checkpoint(str(tmp_path / "run"))
    files = write_encoder_of(source, tmp_path / "out")
    assert files == ["config.json", "encoder.pth", "model.safetensors", "preprocessor_config.json"]
    weights = torch.load(tmp_path / "out" / "encoder.pth", weights_only=True)
    other = PublishedAudioNTT(24).eval()
    other.load_state_dict(weights)
    crops = torch.randn(2, 96, 64)
    expected = own.embed_crops(crops)  # type: ignore[operator]
    torch.testing.assert_close(other(crops.transpose(1, 2)[:, None]), expected, atol=1e-5, rtol=1e-4)
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == weights.keys()
    read = read_encoder(tmp_path / "out", "model.path")
    assert (read.mean, read.std) == (-6.0, 4.0)
    assert torch.equal(read.network.embed_crops(crops), expected)


@torch.no_grad()
def test_an_exported_cvt_loads_by_the_published_names(tmp_path: Path) -> None:
    own = save_pretraining(tmp_path / "run" / "checkpoints" / "last.ckpt", "cvt")
    write_encoder_of(tmp_path / "run" / "checkpoints" / "last.ckpt", tmp_path / "out")
    weights = torch.load(tmp_path / "out" / "encoder.pth", weights_only=True)
    crop = torch.randn(1, 96, 64)
    found = cvt_reference(weights, crop.transpose(1, 2)[:, None], mean=True)
    torch.testing.assert_close(found, own.embed_crops(crop), atol=2e-5, rtol=1e-4)  # type: ignore[operator]


def test_published_weights_round_trip(shared: Path, tmp_path: Path) -> None:
    file = shared / "weights" / "byol_s_512.pth"
    if not file.is_file():
        pytest.skip("no published weights beside the checkout")
    published = torch.load(file, weights_only=True)
    network = load_network(file)
    write_encoder(tmp_path / "out", LogMelEncoder(network, SERAB, -6.0, 4.0))
    read = read_encoder(tmp_path / "out", "model.path").network.state_dict()
    assert [*read] == [*published]
    assert all(torch.equal(read[name], value) for name, value in published.items())
    other = PublishedAudioNTT(512)
    assert [*other.state_dict()] == [*published]


def test_an_existing_folder_is_replaced_only_if_allowed(tmp_path: Path) -> None:
    save_pretraining(tmp_path / "run" / "checkpoints" / "last.ckpt", "audio_ntt")
    source = find_checkpoint(str(tmp_path / "run"))
    write_encoder_of(source, tmp_path / "out")
    with pytest.raises(DataError, match="exists already"):
        write_encoder_of(source, tmp_path / "out")
    write_encoder_of(source, tmp_path / "out", overwrite=True)
    write_encoder(tmp_path / "other", LogMelEncoder(worn("audio_ntt"), SERAB, -6.0, 4.0))
    with pytest.raises(DataError, match="is not an exported model"):
        write_encoder_of(source, tmp_path / "other", overwrite=True)
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(DataError, match="is not an exported model"):
        write_encoder_of(source, tmp_path / "out", overwrite=True)


def test_a_checkpoint_whose_parts_do_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    save_pretraining(path, "audio_ntt")
    content = torch.load(path, weights_only=True)
    content["ser"]["pretraining"]["encoder"]["width"] = 7
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="do not fit together"):
        write_encoder_of(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_encoders_become_weights_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    trained = tiny_checkpoint(path)
    assert write_encoder_of(path, tmp_path / "out") == ["config.json", "model.safetensors"]
    weights = load_file(tmp_path / "out" / "model.safetensors")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model"]["_target_"] == "ser.models.CNNEncoder"
    assert all(torch.equal(weights[name], value) for name, value in trained.items())


def tiny_checkpoint(path: Path) -> dict[str, Tensor]:
    """A checkpoint of a CNN; the weights of its encoder."""
    from ser.checkpoints.checkpoint import assemble

    description = {
        "format": 2,
        "feature_dim": 26,
        "features": {"_target_": "ser.features.LogMel"},
        "frontend": {"_target_": "ser.models.Frontend"},
        "model": {"_target_": "ser.models.CNNEncoder", "channels": [4, 6], "time_strides": [2, 1]},
        "pooling": {"_target_": "ser.models.MeanPooling"},
        "head": {"_target_": "ser.models.Head"},
        "target": {"_target_": "ser.targets.Classes", "class_names": ["a", "b"], "field": "label"},
    }
    model, _ = assemble(description)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"ser": description, "state_dict": weights}, path)
    return model.encoder.state_dict()


def test_networks_are_described_by_what_builds_them() -> None:
    network = build_network({"model_type": "cvt", "widths": [8, 12, 16], "frequency": "flat"})
    assert describe_network(network)["frequency"] == "flat"


def test_a_fine_tuned_audio_ntt_is_found_in_its_encoder(tmp_path: Path) -> None:
    network = worn("audio_ntt")
    write_encoder(tmp_path / "encoder", LogMelEncoder(network, SERAB, -6.0, 4.0))
    found = find_log_mel_encoder(PretrainedEncoder(1, path=str(tmp_path / "encoder")))
    assert found is not None
    assert (dict(found.features), found.mean, found.std) == (dict(SERAB), -6.0, 4.0)
    crops = torch.randn(1, 32, 64)
    assert torch.equal(found.network.eval().embed_crops(crops), network.embed_crops(crops))
    write_encoder(tmp_path / "again", found)
    assert find_log_mel_encoder(nn.Linear(1, 1)) is None
