"""What only causal convolutions and causal attention promise; test_causal_models.py holds for all that stream."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.causal_cnn import CausalCNNEncoder
from ser.models.causal_transformer import CausalTransformerEncoder

F = 12


def attending(left_context: int) -> CausalTransformerEncoder:
    model = CausalTransformerEncoder(
        F, model_dim=16, num_layers=2, feedforward_dim=24, left_context=left_context
    )
    for layer in model.layers:  # zeros, as a new model has them, would hide a bias of the wrong distance
        nn.init.normal_(layer.bias)
    return model


def convolving() -> CausalCNNEncoder:
    return CausalCNNEncoder(F, channels=16, kernel=3, dilations=(1, 2, 4))


def whole(model: nn.Module, values: Tensor) -> Tensor:
    """What `forward` makes of sequences [B, T, F] of one length."""
    out: Tensor = model(Padded(values, torch.full((len(values),), values.shape[1]))).values
    return out


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [convolving, lambda: attending(10)], ids=["cnn", "transformer"])
def test_the_receptive_field_is_the_announced_one(make) -> None:
    model = make().eval()
    last = model.receptive_field + 4
    values = torch.randn(1, last + 6, F, requires_grad=True)
    whole(model, values)[0, last].pow(3).sum().backward()
    seen = values.grad.abs().sum(-1)[0].nonzero().flatten().tolist()
    assert seen == [*range(last - model.receptive_field + 1, last + 1)]


def attention_of(layer: Any, values: Tensor, context: int) -> Tensor:
    """The same layer, with a [T, T] matrix of distances and a loop over heads."""
    (length, dim), heads = values.shape, layer.num_heads
    projected = layer.queries_keys_values(layer.attention_norm(values))
    queries, keys, contents = (part.view(length, heads, -1) for part in projected.split(dim, -1))
    distance = torch.arange(length)[:, None] - torch.arange(length)
    is_seen = (distance >= 0) & (distance <= context)
    mixed = []
    for head in range(heads):
        scores = queries[:, head] @ keys[:, head].T / (dim // heads) ** 0.5
        scores = scores + layer.bias[head][(context - distance).clamp(0, context)]
        mixed.append(scores.masked_fill(~is_seen, -torch.inf).softmax(-1) @ contents[:, head])
    values = values + layer.attention_out(torch.cat(mixed, -1))
    return values + layer.feedforward(values)


@pytest.mark.parametrize("context", [0, 1, 10, 100])
def test_attention_in_blocks_is_that_of_a_full_matrix(context: int) -> None:
    model, values = attending(context).eval(), torch.randn(1, 73, F)
    with torch.no_grad():
        expected = model.project(values[0])
        for layer in model.layers:
            expected = attention_of(layer, expected, context)
        close(whole(model, values)[0], model.norm(expected))


def test_attention_over_a_recording_of_minutes_is_exact_at_its_end() -> None:
    model, values = attending(100).eval(), torch.randn(1, 20_000, F)
    with torch.no_grad():
        late = whole(model, values)[:, -50:]
        close(late, whole(model, values[:, -(model.receptive_field + 49) :])[:, -50:])


@pytest.mark.parametrize("make", [convolving, lambda: attending(10)], ids=["cnn", "transformer"])
def test_memory_of_training_grows_linearly_with_time(make) -> None:
    def kept(length: int) -> int:
        sizes = []
        with saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            whole(make(), torch.randn(1, length, F))
        return sum(sizes)

    assert kept(4_000) < 4.4 * kept(1_000)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_heads": 3}, r"model\.num_heads=3: .*model\.model_dim=64.*a number that divides it"),
        ({"num_heads": 0}, r"model\.num_heads=0: .*a number that divides it"),
        ({"num_layers": 0}, r"model\.num_layers=0: a network has layers\. Set 1 or more"),
        ({"left_context": -1}, r"model\.left_context=-1: expected a number of steps, 0 or more"),
    ],
)
def test_a_transformer_that_cannot_be_is_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CausalTransformerEncoder(F, **options)


def test_convolutions_without_a_block_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.dilations=\[\]: .*Set model\.dilations=\[1,2,4\]"):
        CausalCNNEncoder(F, dilations=[])
