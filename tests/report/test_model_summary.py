import pytest
import torch
from torch import nn

from ser.batch import Padded
from ser.models.classifier import Classifier, Head
from ser.models.cnn import CNNEncoder, CNNLSTMEncoder
from ser.models.frontend import Frontend
from ser.models.lstm import LSTMEncoder
from ser.models.pooling import MeanPooling
from ser.models.transformer import TransformerEncoder
from ser.report.model_summary import blocks, evaluating, size_of, table, totals, trace_parts

ENCODERS = {
    "cnn": CNNEncoder(26, channels=[8, 12], time_strides=[2, 1], dropout=0.5),
    "lstm": LSTMEncoder(26, hidden_dim=8),
    "cnn_lstm": CNNLSTMEncoder(26, channels=[8, 8], time_strides=[2, 2], hidden_dim=4),
    "transformer": TransformerEncoder(
        26, stem_channels=[4], model_dim=8, num_layers=2, num_heads=2, position_kernel=3
    ),
}
STAGES = {
    "cnn": {"stages.0": "[45, 8, 13]", "stages.1": "[45, 12, 7]"},
    "lstm": {"layers.0": "[90, 16]", "layers.1": "[90, 16]"},
    "cnn_lstm": {"cnn.stages.0": "[45, 8, 13]", "cnn.stages.1": "[23, 8, 7]", "lstm.layers.0": "[23, 8]"},
    "transformer": {
        **{"stem.stages.0": "[45, 4, 13]", "project": "[45, 8]", "position": "[45, 8]"},
        **{"layers.0": "[45, 8]", "layers.1": "[45, 8]", "norm": "[45, 8]"},
    },
}


def classifier(encoder: nn.Module) -> Classifier:
    return Classifier(Frontend(26), encoder, MeanPooling(encoder.out_dim), Head(encoder.out_dim, 3))


@pytest.fixture
def one() -> Padded:
    return Padded(torch.randn(1, 90, 26), torch.tensor([90]))


@pytest.mark.parametrize("name", ENCODERS)
def test_blocks_show_the_stages_with_time_first(name: str, one: Padded) -> None:
    shown = {part.path: part.size for part in blocks(trace_parts(classifier(ENCODERS[name]), one))}
    stages = {f"encoder.{path}": size for path, size in STAGES[name].items()}
    width = ENCODERS[name].out_dim
    assert shown == {"frontend": "[90, 26]", **stages, "pooling": f"[{width}]", "head": "[3]"}
    assert [*shown] == ["frontend", *stages, "pooling", "head"]


@pytest.mark.parametrize("name", ENCODERS)
def test_blocks_account_for_every_parameter(name: str, one: Padded) -> None:
    model = classifier(ENCODERS[name])
    everything, trained = totals(model)
    assert everything == trained == sum(parameter.numel() for parameter in model.parameters())
    assert sum(part.parameters for part in blocks(trace_parts(model, one))) == everything


def test_an_encoder_without_lists_is_one_block(one: Padded) -> None:
    class Plain(nn.Linear):
        out_dim = 5

        def forward(self, audio: Padded) -> Padded:
            return audio.with_values(super().forward(audio.values))

    parts = blocks(trace_parts(classifier(Plain(26, 5)), one))
    assert [(part.path, part.type, part.size) for part in parts][1] == ("encoder", "Plain", "[90, 5]")


@pytest.mark.parametrize("name", ENCODERS)
def test_a_model_is_left_as_it_was(name: str, one: Padded) -> None:
    model = classifier(ENCODERS[name]).train()
    model.head.eval()
    modes = [module.training for module in model.modules()]
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    trace_parts(model, one)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_and_modes_do_not_outlive_an_error(one: Padded) -> None:
    model = classifier(ENCODERS["cnn"]).train()
    with pytest.raises(RuntimeError):
        trace_parts(model, one.with_values(one.values[..., :3]))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_no_gradient_is_kept_inside() -> None:
    layer = nn.Linear(2, 2)
    with evaluating(layer):
        assert not layer(torch.ones(1, 2)).requires_grad
        assert not layer.training
    assert layer(torch.ones(1, 2)).requires_grad


def test_the_table_has_a_line_for_every_module(one: Padded) -> None:
    model = classifier(ENCODERS["cnn"])
    header, rule, *lines = table(trace_parts(model, one)).splitlines()
    assert header.split() == ["module", "type", "output", "parameters"]
    assert set(rule) == {"-"}
    assert len(lines) == len([*model.modules()])
    assert len({len(line) for line in (header, *lines)}) == 1
    (stage,) = (line for line in lines if line.startswith("encoder.stages.0 "))
    assert stage.split() == ["encoder.stages.0", "Stage", "[1,", "8,", "45,", "13]", "216"]
    (container,) = (line for line in lines if line.startswith("encoder.stages "))
    assert container.split()[2] == "-"  # nothing comes out of a list


def test_a_stage_names_its_layers_with_kernel_and_stride(one: Padded) -> None:
    stage = blocks(trace_parts(classifier(ENCODERS["cnn"]), one))[1]
    assert stage.layers == "Conv2d 5 x 5 / 2 x 2, BatchNorm2d, SiLU"


def test_sizes_read_naturally() -> None:
    assert size_of([24_000, 1]) == "[24,000, 1]"
    assert size_of([]) == ""
