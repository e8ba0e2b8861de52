"""Networks of log-mels: published sizes, padding, and the same numbers as the published layout."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.config.instantiate import build
from ser.embeddings.base import SERAB
from ser.errors import CheckpointError
from ser.pretrained import AudioNTT, CvT
from ser.pretrained.log_mel import LogMelNetwork, normalize_image
from ser.pretrained.networks import (
    PUBLISHED_SIZES,
    LogMelEncoder,
    build_for_weights,
    build_network,
    describe_network,
    find_misfit,
    read_encoder,
    write_encoder,
)
from tests.conftest import alone

SIZES = {
    "audio_ntt_512": (600_192, 512),
    "audio_ntt_1024": (1_649_792, 1024),
    "audio_ntt_2048": (5_321_856, 2048),
    "cvt_small": (1_583_488, 256),
    "cvt_large": (5_012_992, 512),
    "cvt_large_2048": (5_012_992, 2048),
}
SMALL = {
    "audio_ntt": {"model_type": "audio_ntt", "width": 24},
    "cvt": {"model_type": "cvt", "widths": [8, 12, 16]},
    "cvt_flat": {"model_type": "cvt", "widths": [8, 12, 16], "frequency": "flat"},
}


def worn(name: str) -> LogMelNetwork:
    """A small network whose batch norms have seen something, in evaluation mode."""
    network = build_network(SMALL[name]).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            network(Padded(torch.randn(4, 40, 64) * 2 + 1, torch.full((4,), 40)))
    return network.eval()


def cvt_reference(weights: dict[str, Tensor], image: Tensor, *, mean: bool) -> Tensor:
    """What the published code makes of one image [1, 1, F, T], written from its layout: [1, D]."""

    def convolve(x: Tensor, name: str, **options: Any) -> Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)

    def norm(x: Tensor, name: str) -> Tensor:
        deviation, average = x.var(1, correction=0, keepdim=True).sqrt(), x.mean(1, keepdim=True)
        return (x - average) / (deviation + 1e-5) * weights[f"{name}.g"] + weights[f"{name}.b"]

    def project(x: Tensor, name: str, stride: int) -> Tensor:
        x = convolve(x, f"{name}.net.0", stride=stride, padding=1, groups=x.shape[1])
        parts = [
            weights[f"{name}.net.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        ]
        return convolve(functional.batch_norm(x, *parts), f"{name}.net.2")

    for stage, (kernel, stride, heads) in enumerate(((7, 4, 1), (3, 2, 3), (3, 2, 6))):
        image = norm(
            convolve(image, f"layers.{stage}.0", stride=stride, padding=kernel // 2), f"layers.{stage}.1"
        )
        block = f"layers.{stage}.2.layers.0"
        x = norm(image, f"{block}.0.norm")
        q = project(x, f"{block}.0.fn.to_q", 1)
        k, v = project(x, f"{block}.0.fn.to_kv", 2).chunk(2, dim=1)
        rows = [part.reshape(heads, 64, -1).transpose(1, 2) for part in (q, k, v)]
        attended = (rows[0] @ rows[1].transpose(1, 2) / 8).softmax(-1) @ rows[2]
        x = attended.transpose(1, 2).reshape(q.shape)
        image = image + convolve(x, f"{block}.0.fn.to_out.0")
        x = norm(image, f"{block}.1.norm")
        image = image + convolve(functional.gelu(convolve(x, f"{block}.1.fn.net.0")), f"{block}.1.fn.net.3")
    if mean:
        return image.mean((2, 3))
    steps = image.permute(0, 3, 2, 1).flatten(2)
    return steps.mean(1) + steps.amax(1)


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_a_network_has_as_many_parameters_as_published(name: str) -> None:
    with torch.device("meta"):
        network = build_network(PUBLISHED_SIZES[name])
    assert (sum(each.numel() for each in network.parameters()), network.out_dim) == SIZES[name]


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_padding_and_mates_change_no_step(name: str) -> None:
    network = worn(name)
    audio = Padded(torch.randn(6, 371, 64) * 2, torch.tensor([371, 370, 97, 31, 16, 8]))
    together, pooled = network(audio), network.embed(audio)
    for row in range(6):
        single = network(alone(audio, row))
        length = int(single.lengths[0])
        assert int(together.lengths[row]) == length == single.values.shape[1]
        torch.testing.assert_close(together.values[row, :length], single.values[0], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(pooled[row], network.embed(alone(audio, row))[0], atol=2e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["cvt", "cvt_flat"])
def test_cvt_computes_what_the_published_layout_does(name: str) -> None:
    network = worn(name)
    log_mels = torch.randn(2, 75, 64) * 2
    expected = torch.cat(
        [
            cvt_reference(network.state_dict(), each.T[None, None], mean=network.pooling == "mean")
            for each in log_mels
        ]
    )
    torch.testing.assert_close(network.embed_crops(log_mels), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_crops_of_one_length_train_as_padded_ones(name: str) -> None:
    network = build_network({**SMALL[name], "dropout": 0.0}).train()
    crops, lengths = torch.randn(3, 37, 64), torch.full((3,), 37)
    padded = Padded(torch.cat([crops, torch.randn(3, 27, 64)], 1), lengths)
    assert network(Padded(crops, lengths)).lengths.equal(network(padded).lengths)
    found = []
    for embed in (
        lambda: network.embed_crops(crops),
        lambda: network.embed(Padded(crops, lengths)),
        lambda: network.embed(padded),
    ):
        network.zero_grad()
        state = {key: value.clone() for key, value in network.state_dict().items()}
        (embed() * torch.linspace(-1, 1, network.out_dim)).sum().backward()
        found.append([each.grad.clone() for each in network.parameters() if each.grad is not None])
        found[-1] += [buffer.clone().float() for buffer in network.buffers()]
        network.load_state_dict(state)
    for crop, full, masked in zip(*found, strict=True):
        torch.testing.assert_close(crop, masked, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(full, masked, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_batch_norm_in_training_counts_no_padding(order: torch.memory_format) -> None:
    lengths = torch.tensor([6, 4])
    image = torch.randn(2, 3, 5, 6)
    noisy = image.clone(memory_format=order)
    noisy[1, :, :, 4:] = 1e3
    real = torch.cat([image[0].flatten(1), image[1, :, :, :4].flatten(1)], 1)
    norm = nn.BatchNorm2d(3).train()
    found = normalize_image(norm, noisy, lengths)
    expected = nn.BatchNorm1d(3).train()
    flat = expected(real.T)
    torch.testing.assert_close(found[0].flatten(1).T, flat[:30], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1, :, :, :4].flatten(1).T, flat[30:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.running_mean, expected.running_mean)
    torch.testing.assert_close(norm.running_var, expected.running_var)


def test_batch_norm_of_padded_half_precision_does_not_overflow() -> None:
    image = torch.randn(2, 3, 4, 9000, dtype=torch.float16) + 20
    found = normalize_image(nn.BatchNorm2d(3).train(), image, torch.tensor([9000, 8000]))
    assert found.isfinite().all()
    torch.testing.assert_close(found[0].float().mean(), torch.tensor(0.0), atol=5e-2, rtol=0)


@pytest.mark.parametrize("name", SMALL)
def test_a_network_is_rebuilt_from_its_description(name: str) -> None:
    network = build_network(SMALL[name])
    again = build_network({**describe_network(network), "written_by": "another program"})
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }
    assert describe_network(again) == describe_network(network)


def test_default_sizes_are_published_ones() -> None:
    assert AudioNTT().out_dim == 512
    assert CvT().widths == [64, 128, 256]


def make_encoder(name: str) -> LogMelEncoder:
    features = {**SERAB, "silence": None}
    return LogMelEncoder(worn(name), features, -6.5, 4.25)


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_an_encoder_folder_round_trips(name: str, tmp_path: Path) -> None:
    written = make_encoder(name)
    write_encoder(tmp_path / "encoder", written)
    read = read_encoder(tmp_path / "encoder", "model.path")
    assert (read.features, read.mean, read.std) == (written.features, -6.5, 4.25)
    assert build(read.features, slot="features").feature_dim == 64
    crops = torch.randn(2, 48, 64)
    assert torch.equal(read.network.embed_crops(crops), written.network.embed_crops(crops))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"{}", r"cannot be read as an encoder of log-mels \(KeyError"),
        ("model.safetensors", b"nothing", "cannot be read as an encoder of log-mels"),
        (
            "config.json",
            b'{"model_type": "audio_ntt", "width": 8}',
            r"fc\.0\.weight is \[24, 512\], expected \[8",
        ),
    ],
)
def test_a_damaged_encoder_folder_is_refused(file: str, content: bytes, message: str, tmp_path: Path) -> None:
    write_encoder(tmp_path / "encoder", make_encoder("audio_ntt"))
    (tmp_path / "encoder" / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_encoder(tmp_path / "encoder", "model.path")


@pytest.mark.parametrize("name", ["audio_ntt", "cvt"])
def test_published_weights_name_their_network(name: str) -> None:
    network = build_network(SMALL[name])
    found = build_for_weights(network.state_dict())
    assert found is not None
    assert find_misfit(found, network.state_dict()) == ""
    assert build_for_weights({"x": torch.zeros(1)}) is None
