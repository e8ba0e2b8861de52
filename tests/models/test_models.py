import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.classifier import Classifier, Head
from ser.models.cnn import CNNEncoder, CNNLSTMEncoder
from ser.models.frontend import Frontend
from ser.models.lstm import LSTMEncoder, join_steps, reverse
from ser.models.pooling import (
    AttentionPooling,
    AttentiveStatisticsPooling,
    FunctionalsPooling,
    LastPooling,
    MaxPooling,
    MeanPooling,
)
from ser.models.transformer import TransformerEncoder
from tests.conftest import alone

ENCODERS = {
    "cnn": CNNEncoder,
    "lstm": lambda in_dim, in_channels: LSTMEncoder(in_dim, in_channels, subsampling=2),
    "causal gru": lambda in_dim, _: LSTMEncoder(in_dim, bidirectional=False, cell="gru"),
    "transformer": TransformerEncoder,
    "cnn_lstm": CNNLSTMEncoder,
}
POOLINGS = [
    MeanPooling,
    MaxPooling,
    LastPooling,
    FunctionalsPooling,
    AttentionPooling,
    AttentiveStatisticsPooling,
]


def classifier(encoder: str, pooling: type) -> Classifier:
    frontend = Frontend(26, floor=0.0, delta_scale=3.0)
    frontend.fit([torch.randn(500, 26) * 3 + 8])
    body = ENCODERS[encoder](frontend.out_dim, frontend.num_channels)
    pool = pooling(body.out_dim)
    model = Classifier(frontend, body, pool, Head(pool.out_dim, 4))
    for module in model.modules():  # batch norms that have seen nothing would hide differences
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.bias, -1, 1)
    return model.eval()


@pytest.mark.parametrize(("encoder", "pooling"), list(itertools.product(ENCODERS, POOLINGS)))
def test_padding_and_batch_mates_never_change_logits(encoder: str, pooling: type) -> None:
    lengths = torch.randint(1, 120, (64,))
    lengths[:2] = torch.tensor([120, 1])
    audio = Padded(torch.randn(64, 120, 26) * 3 + 8, lengths)  # padding is garbage, not zeros
    model = classifier(encoder, pooling)
    with torch.no_grad():
        together = model(audio)
        single = torch.cat([model(alone(audio, index)) for index in range(64)])
    assert together.std() > 1e-3
    assert torch.allclose(together, single, atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_output_has_the_announced_width_and_length(name: str, audio: Padded) -> None:
    encoder = ENCODERS[name](26, 1)
    steps = encoder(audio)
    assert steps.values.shape[2] == encoder.out_dim
    assert steps.lengths.tolist() == [-(-length // encoder.subsampling) for length in audio.lengths.tolist()]
    assert steps.values.shape[1] == steps.lengths.max()


@pytest.mark.parametrize("name", ENCODERS)
def test_models_have_between_two_hundred_thousand_and_a_million_and_a_half_parameters(name: str) -> None:
    count = sum(parameter.numel() for parameter in classifier(name, AttentiveStatisticsPooling).parameters())
    assert 200_000 <= count <= 1_500_000


def test_every_parameter_is_trained(audio: Padded) -> None:
    for name in ENCODERS:
        model = classifier(name, AttentiveStatisticsPooling).train()
        model(audio).square().sum().backward()
        idle = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        # The softmax over time does not see what is added to all its scores, nor the norm what is before it.
        assert [key for key in idle if not key.endswith(("weight.bias", "project.bias"))] == []


def test_bidirectional_lstm_equals_packed_sequences(audio: Padded) -> None:
    ours = LSTMEncoder(26, hidden_dim=16, num_layers=1)
    torchs = nn.LSTM(26, 16, batch_first=True, bidirectional=True)
    layer = ours.layers[0]
    for name, parameter in layer.forwards.named_parameters():
        torchs.get_parameter(name).data.copy_(parameter)
    for name, parameter in layer.backwards.named_parameters():
        torchs.get_parameter(f"{name}_reverse").data.copy_(parameter)
    packed = pack_padded_sequence(audio.values, audio.lengths, batch_first=True)
    expected = pad_packed_sequence(torchs(packed)[0], batch_first=True)[0]
    steps = ours(audio)
    assert torch.allclose(steps.zeroed().values, expected, atol=1e-6)
    steps.zeroed().values.square().sum().backward()
    expected.square().sum().backward()
    gradient = torchs.get_parameter("weight_ih_l0_reverse").grad
    assert torch.allclose(layer.backwards.weight_ih_l0.grad, gradient, atol=1e-4)


def test_reverse_twice_is_the_identity_and_once_turns_each_sequence(audio: Padded) -> None:
    assert torch.equal(reverse(reverse(audio)).values, audio.values)
    assert torch.equal(reverse(audio).values[1, :61], audio.values[1, :61].flip(0))


def test_causal_lstm_does_not_see_the_future(audio: Padded) -> None:
    encoder = LSTMEncoder(26, bidirectional=False).eval()
    whole = encoder(audio).values
    changed = audio.values.clone()
    changed[:, 30:] = 0
    torch.testing.assert_close(
        encoder(audio.with_values(changed)).values[:, :30], whole[:, :30], atol=1e-6, rtol=0
    )


def test_join_steps_fills_the_last_step_with_zeros() -> None:
    joined = join_steps(Padded(torch.arange(10.0).reshape(2, 5, 1), torch.tensor([5, 2])), 2)
    assert joined.values.tolist() == [[[0, 1], [2, 3], [4, 0]], [[5, 6], [0, 0], [0, 0]]]
    assert joined.lengths.tolist() == [3, 1]


HAND = Padded(torch.tensor([[[1.0], [3.0], [9.0]], [[2.0], [4.0], [6.0]]]), torch.tensor([2, 3]))


@pytest.mark.parametrize(
    ("pooling", "expected"), [(MeanPooling, [2, 4]), (MaxPooling, [3, 6]), (LastPooling, [3, 6])]
)
def test_pooling_equals_hand_computed_values(pooling: type, expected: list[float]) -> None:
    assert pooling(1)(HAND).squeeze(-1).tolist() == expected


def test_attentive_statistics_with_even_weights_are_mean_and_deviation() -> None:
    pooling = AttentiveStatisticsPooling(1)
    nn.init.zeros_(pooling.weight.weight)
    pooled = pooling(HAND)
    assert torch.allclose(pooled[:, 0], torch.tensor([2.0, 4.0]))
    assert torch.allclose(pooled[:, 1], torch.tensor([1.0, (8 / 3) ** 0.5]), atol=1e-4)


def test_pooling_sums_in_float32_under_autocast() -> None:
    steps = Padded(torch.full((1, 3000, 1), 1.001), torch.tensor([3000]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = MeanPooling(1)(steps)
    assert pooled.dtype == torch.float32
    assert pooled.item() == pytest.approx(1.001, abs=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_batch_of_one_utterance_can_be_trained_on(name: str, audio: Padded) -> None:
    model = classifier(name, AttentiveStatisticsPooling).train()
    logits = model(alone(audio, 1))
    logits.sum().backward()
    assert logits.isfinite().all()


def test_functionals_without_quantiles_are_means_and_deviations(audio: Padded) -> None:
    pooled = FunctionalsPooling(audio.values.shape[2], [])(audio)
    for row, length in enumerate(audio.lengths.tolist()):
        steps = audio.values[row, :length]
        expected = torch.cat([steps.mean(0), (steps.var(0, correction=0) + 1e-5).sqrt()])
        torch.testing.assert_close(pooled[row], expected)


def test_functionals_are_means_deviations_and_quantiles_of_real_steps(audio: Padded) -> None:
    found = FunctionalsPooling(26, quantiles=(0.1, 0.5, 1.0))(audio)
    for row, values, length in zip(found, audio.values, audio.lengths.tolist(), strict=True):
        real = values[:length]
        quantiles = torch.quantile(real, torch.tensor([0.1, 0.5, 1.0]), dim=0)
        expected = torch.cat([real.mean(0), real.var(0, correction=0).add(1e-5).sqrt(), quantiles.flatten()])
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)


def test_slopes_are_those_of_lines_fitted_to_real_steps(audio: Padded) -> None:
    garbled = audio.with_values(audio.values.where(audio.mask.unsqueeze(-1), torch.tensor(77.0)))
    found = FunctionalsPooling(26, [], slopes=True)(garbled)[:, 52:]
    for row, values, length in zip(found, audio.values, audio.lengths.tolist(), strict=True):
        time = np.arange(length)
        lines = np.polyfit(time, values[:length].numpy(), 1)[0] if length > 1 else np.zeros(26)
        np.testing.assert_allclose(row.numpy(), lines * time.std(), atol=1e-4)


def test_quantiles_that_are_no_shares_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"pooling\.quantiles=\[5, 50\]: expected shares of the steps, 0 to 1\. Write 0\.05"
    ):
        FunctionalsPooling(26, quantiles=(5, 50))
