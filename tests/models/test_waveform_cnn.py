"""Networks on raw waveforms."""

import logging

import pytest
import torch
import yaml
from torch import nn

from ser.batch import Padded
from ser.config.instantiate import build
from ser.models.classifier import Classifier, Head
from ser.models.frontend import Frontend
from ser.models.pooling import AttentiveStatisticsPooling, MeanPooling, Pooling
from ser.models.waveform_cnn import WaveformCNNEncoder, WaveformCNNLSTMEncoder, _max_pool, repeat_short
from tests.commands import REPOSITORY
from tests.conftest import alone

ENCODERS = {"cnn": WaveformCNNEncoder, "cnn_lstm": WaveformCNNLSTMEncoder}


def classifier(encoder: nn.Module, pooling: type[Pooling] = MeanPooling) -> Classifier:
    """A classifier of six, whose batch norms have seen something."""
    pool = pooling(encoder.out_dim)
    model = Classifier(Frontend(1), encoder, pool, Head(pool.out_dim, 6))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.bias, 0, 1)
    return model.eval()


def configured(name: str) -> nn.Module:
    """An encoder as conf/model has it, on one channel."""
    found: dict = {}
    for each in ("waveform_cnn", name):
        found |= yaml.safe_load((REPOSITORY / "conf" / "model" / f"{each}.yaml").read_text())["model"]
    return build(found, slot="model", in_dim=1, in_channels=1)


@pytest.mark.parametrize("pooling", [MeanPooling, AttentiveStatisticsPooling])
@pytest.mark.parametrize("name", ENCODERS)
def test_padding_and_batch_mates_never_change_logits(name: str, pooling: type[Pooling]) -> None:
    lengths = torch.tensor([40_000, 8_000, 1, 6_848, 6_849, 12_345, 39_999, 100])
    waveforms = Padded(torch.randn(8, 40_000, 1), lengths)  # padding is garbage, not zeros
    model = classifier(ENCODERS[name](1), pooling)
    with torch.no_grad():
        together = model(waveforms)
        single = torch.cat([model(alone(waveforms, index)) for index in range(8)])
    assert together.std() > 1e-3
    assert torch.allclose(together, single, atol=1e-5)


@pytest.mark.parametrize("seconds", [1, 1.37, 5, 13.7, 60])
@pytest.mark.parametrize("name", ENCODERS)
def test_any_length_gives_the_announced_steps(name: str, seconds: float) -> None:
    encoder = ENCODERS[name](1).eval()
    samples = round(seconds * 8_000)
    steps = encoder(Padded(torch.randn(1, samples, 1), torch.tensor([samples])))
    assert steps.lengths.tolist() == [-(-samples // encoder.subsampling)]
    assert steps.values.shape == (1, steps.lengths[0], encoder.out_dim)


def test_a_step_sees_its_receptive_field_and_no_more() -> None:
    encoder = WaveformCNNEncoder(1).eval()
    assert encoder.receptive_field == 6_848
    waveform = torch.randn(1, 60_000, 1, requires_grad=True)
    middle = encoder(Padded(waveform, torch.tensor([60_000]))).values[0, 7].sum()
    (gradient,) = torch.autograd.grad(middle, waveform)
    heard = gradient[0, :, 0].nonzero()
    assert int(heard.max() - heard.min()) + 1 <= encoder.receptive_field


def test_a_short_waveform_is_repeated_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    encoder = WaveformCNNEncoder(1).eval()
    short = torch.randn(1, 3_000, 1)
    with caplog.at_level(logging.WARNING):
        found = [encoder(Padded(short, torch.tensor([3_000]))).values for _ in range(2)]
    assert len(caplog.records) == 1
    assert "3000 samples is shorter than the network's receptive field of 6848" in caplog.text
    by_hand = torch.cat([short, short, short], dim=1)[:, :6_848]
    assert torch.equal(found[0], encoder(Padded(by_hand, torch.tensor([6_848]))).values)
    assert torch.equal(found[0], found[1])


def test_repeating_leaves_what_is_long_enough_as_it_is() -> None:
    audio = Padded(torch.arange(12.0).reshape(2, 6, 1), torch.tensor([6, 2]))
    longer = repeat_short(audio, 5)
    assert longer.lengths.tolist() == [6, 5]
    assert longer.values[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert longer.values[1, :5, 0].tolist() == [6, 7, 6, 7, 6]


@pytest.mark.parametrize("name", ["waveform_cnn", "waveform_cnn_wide"])
def test_raw_networks_stay_under_a_hundred_thousand_parameters(name: str) -> None:
    for pooling in (MeanPooling, AttentiveStatisticsPooling):
        model = classifier(configured(name), pooling)
        assert sum(parameter.numel() for parameter in model.parameters()) < 100_000


def test_the_small_network_has_the_published_number_of_parameters() -> None:
    encoder = configured("waveform_cnn")
    classes = nn.Linear(encoder.out_dim, 6)
    assert sum(p.numel() for p in [*encoder.parameters(), *classes.parameters()]) == 24_838


def test_every_parameter_is_trained() -> None:
    for make in ENCODERS.values():
        model = classifier(make(1)).train()
        model(
            Padded(torch.randn(4, 20_000, 1), torch.tensor([20_000, 9_000, 7_000, 7_000]))
        ).square().sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("kernel", "stride"), [(1, 4), (3, 8), (10, 16), (80, 16)])
def test_there_are_as_many_steps_as_lengths_say_also_where_samples_are_passed_over(
    kernel: int, stride: int
) -> None:
    encoder = WaveformCNNEncoder(1, kernel=kernel, stride=stride, channels=[4, 4], pool=2).eval()
    for samples in range(300, 300 + 2 * stride):
        steps = encoder(Padded(torch.randn(1, samples, 1), torch.tensor([samples])))
        assert steps.values.shape[1] == int(steps.lengths)


def test_max_pooling_can_be_exported_for_any_length():
    class Pool(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return _max_pool(values, 5)

    any_size = torch.export.Dim.DYNAMIC
    shapes = ({0: any_size, 2: any_size},)
    graph = torch.export.export(Pool(), (torch.randn(2, 3, 52),), dynamic_shapes=shapes).module()
    for length in (6, 50, 51):
        values = torch.randn(4, 3, length)
        expected = torch.stack([part.amax(-1) for part in values.split(5, dim=-1)], -1)
        assert torch.equal(graph(values), expected)
        assert torch.equal(_max_pool(values, 5), expected)
