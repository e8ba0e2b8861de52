"""LoRA: what it adapts, what it trains, and that it can be merged."""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ser.checkpoints.checkpoint import rebuild
from ser.errors import ConfigError
from ser.export.encoder import write_encoder_of
from ser.models import MeanPooling
from ser.pretrained import PretrainedEncoder, merge_lora
from ser.training.task import parameter_groups
from tests.pretrained.tiny import EXACT, FAMILIES, classifier, trained, waveforms


def moved(encoder: PretrainedEncoder) -> PretrainedEncoder:
    """Give the added matrices values as after training."""
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if name.endswith(".up"):
                weight.normal_()
    return encoder


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_begins_as_the_encoder_and_merges(family: str, folder: Callable[[str], str]) -> None:
    audio, plain = waveforms(4000, 2500), PretrainedEncoder(1, path=folder(family)).eval()
    encoder = PretrainedEncoder(1, path=folder(family), lora_rank=2, lora_targets=["q_proj", "v_proj"]).eval()
    with torch.no_grad():
        assert torch.equal(encoder(audio).values, plain(audio).values)
        changed = moved(encoder)(audio)
        assert (changed.values - plain(audio).values).abs().max() > 1e-2
        merged = copy.deepcopy(encoder)
        merge_lora(merged)
        torch.testing.assert_close(merged(audio).values, changed.values, **EXACT)
    assert merged.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_trains_its_own_matrices_only(family: str, folder: Callable[[str], str]) -> None:
    encoder = moved(PretrainedEncoder(1, path=folder(family), lora_rank=2)).train()
    names = trained(encoder)
    assert len(names) == 3 * 2 * 2
    assert {name.rpartition(".")[2] for name in names} == {"down", "up"}
    MeanPooling(encoder.out_dim)(encoder(waveforms(4000, 3000))).square().sum().backward()
    assert {name for name, weight in encoder.named_parameters() if weight.grad is not None} == names


def test_lora_beside_freeze_freezes_its_projections(folder: Callable[[str], str]) -> None:
    options = {"path": folder("whisper"), "lora_rank": 2, "lora_targets": ["fc1"]}
    names = trained(PretrainedEncoder(1, **options, freeze=1))
    assert "network.model.layers.2.fc1.parametrizations.weight.original" not in names
    assert "network.model.layers.0.fc1.parametrizations.weight.0.up" in names
    assert "network.model.layers.2.fc2.weight" in names
    assert "network.model.layers.0.fc2.weight" not in names


def test_lora_learns_at_the_rate_of_the_head(folder: Callable[[str], str]) -> None:
    model, _ = classifier(folder("whisper"), lora_rank=2, freeze="none", lr_scale=0.1, layer_decay=0.5)
    groups = parameter_groups(model, lr=1e-3)
    rates = {id(weight): group.get("lr", 1e-3) for group in groups for weight in group["params"]}
    for name, weight in model.encoder.named_parameters():
        if name.endswith((".up", ".down")):
            assert rates[id(weight)] == 1e-3
    assert rates[id(model.encoder.network.layers[2].fc1.weight)] == pytest.approx(1e-4)


def test_lora_of_rank_1_is_the_outer_product(folder: Callable[[str], str]) -> None:
    encoder = moved(PretrainedEncoder(1, path=folder("whisper"), lora_rank=1, lora_alpha=3.0))
    projection = encoder.network.layers[0].self_attn.q_proj
    added = projection.parametrizations.weight[0]
    expected = projection.parametrizations.weight.original + 3 * torch.outer(added.up[:, 0], added.down[0])
    torch.testing.assert_close(projection.weight, expected)


@pytest.mark.parametrize("family", ["wavlm_layer", "whisper"])
def test_checkpoint_keeps_what_lora_learnt(family: str, folder: Callable[[str], str], tmp_path: Path) -> None:
    model, description = classifier(folder(family), lora_rank=2)
    moved(model.encoder)
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"ser": description, "state_dict": weights}, tmp_path / "best.ckpt")
    content = torch.load(tmp_path / "best.ckpt", weights_only=True)
    again, audio = rebuild(content, tmp_path / "best.ckpt").model, waveforms(4000, 2500)
    torch.testing.assert_close(again(audio), model.eval()(audio), **EXACT)


@pytest.mark.parametrize("family", ["wav2vec2_layer", "wavlm_group", "data2vec", "whisper"])
def test_exported_encoder_is_a_path(family: str, folder: Callable[[str], str], tmp_path: Path) -> None:
    model, description = classifier(folder(family), lora_rank=2, mask_time_prob=0.1)
    moved(model.encoder)
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"ser": description, "state_dict": weights}, tmp_path / "best.ckpt")
    assert write_encoder_of(tmp_path / "best.ckpt", tmp_path / "out") == [
        *("config.json", "model.safetensors", "preprocessor_config.json")
    ]
    again, audio = PretrainedEncoder(1, path=str(tmp_path / "out")).eval(), waveforms(4000, 2500)
    with torch.no_grad():
        torch.testing.assert_close(again(audio).values, model.encoder.eval()(audio).values, **EXACT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"lora_rank": 2, "lora_targets": ["q_proj", "query"]},
            "model.lora_targets: this encoder's layers have no projection query. "
            "Choose of fc1, fc2, k_proj, out_proj, q_proj, v_proj.",
        ),
        (
            {"lora_rank": 2, "layer": 0},
            "model.lora_targets: this encoder's layers have no projection q_proj. Set model.lora_rank=0.",
        ),
        ({"lora_rank": -1}, "model.lora_rank=-1: expected 0 or more. Write 8, or 0 for no LoRA."),
    ],
)
def test_lora_of_what_is_not_there_is_refused(
    settings: dict[str, object], message: str, folder: Callable[[str], str]
) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        PretrainedEncoder(1, path=folder("whisper"), **settings)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):  # before data is read
        PretrainedEncoder.waveform_rate({"path": folder("whisper"), **settings})
