"""Parts of models that follow streams: a sequence in chunks gives what the whole sequence gives."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise, product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ser.batch import Padded
from ser.checkpoints.checkpoint import assemble, describe
from ser.errors import ConfigError, DataError
from ser.models.base import CausalEncoder, Encoder, State
from ser.models.causal_cnn import CausalCNNEncoder
from ser.models.causal_transformer import CausalTransformerEncoder
from ser.models.classifier import Classifier, Head
from ser.models.cnn import CNNEncoder
from ser.models.frontend import Frontend
from ser.models.lstm import LSTMEncoder
from ser.models.pooling import (
    AttentionPooling,
    AttentiveStatisticsPooling,
    EveryStep,
    FunctionalsPooling,
    LastPooling,
    MaxPooling,
    MeanPooling,
    Pooling,
)
from tests.config.test_composed import composed
from tests.conftest import alone

DIM = 6  # values of a frame
STREAMS = 3
LSTM: dict[str, Any] = {"bidirectional": False, "num_layers": 2}
ENCODERS: dict[str, Callable[[], Encoder]] = {
    "lstm": lambda: LSTMEncoder(DIM, hidden_dim=[12, 8], **LSTM),
    "gru": lambda: LSTMEncoder(DIM, hidden_dim=8, cell="gru", **LSTM),
    "lstm, three frames a step": lambda: LSTMEncoder(DIM, hidden_dim=8, subsampling=3, **LSTM),
    "cnn": lambda: CausalCNNEncoder(DIM, channels=12),
    "transformer": lambda: CausalTransformerEncoder(DIM, model_dim=12, left_context=20, num_layers=2),
    "gru, two frames a step": lambda: LSTMEncoder(DIM, hidden_dim=8, cell="gru", subsampling=2, **LSTM),
}
POOLINGS = [MeanPooling, MaxPooling, LastPooling, AttentionPooling, EveryStep]
REMEMBERING = [MeanPooling, MaxPooling, AttentionPooling]
Step = Callable[[Tensor, State], tuple[Tensor, State]]

chunk_sizes = st.one_of(
    st.sampled_from([1, 7, 100]).map(lambda size: [size] * (130 // size + 1)),
    st.lists(st.integers(0, 40), max_size=20),
)


def encoder(name: str) -> Any:
    """An encoder that does more than its first weights let it."""
    torch.manual_seed(0)
    built: Any = ENCODERS[name]()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return built.eval()


def pool(kind: type[Pooling]) -> Pooling:
    torch.manual_seed(0)
    return kind(DIM).eval()


def in_chunks(sequence: Tensor, sizes: Sequence[int]) -> Iterator[Tensor]:
    """Chunks [B, n, F] of these sizes, and a last one with what is left."""
    cuts = [min(cut, sequence.shape[1]) for cut in accumulate(sizes, initial=0)]
    for start, end in pairwise([*cuts, sequence.shape[1]]):
        yield sequence[:, start:end]


def streamed(step: Step, state: State, sequence: Tensor, sizes: Sequence[int]) -> tuple[Tensor, State]:
    """Outputs of a sequence in chunks. Each chunk is overwritten once it was heard, as buffers are."""
    outputs = []
    for chunk in in_chunks(sequence, sizes):
        buffer = chunk.clone()
        output, state = step(buffer, state)
        outputs.append(output.clone())
        buffer.fill_(torch.nan)
        output.fill_(torch.nan)
    return torch.cat(outputs, dim=1), state


def of_the_whole(model: Encoder, sequence: Tensor) -> Tensor:
    lengths = torch.full((len(sequence),), sequence.shape[1])
    return model(Padded(sequence, lengths)).values


def tensors(state: State) -> list[Tensor]:
    """All tensors of a state, in order."""
    return [state] if isinstance(state, Tensor) else [part for each in state for part in tensors(each)]


def rebuilt(state: State, change: Callable[[Tensor], Tensor]) -> State:
    return change(state) if isinstance(state, Tensor) else tuple(rebuilt(part, change) for part in state)


@pytest.mark.parametrize("name", ENCODERS)
@settings(max_examples=25)
@given(sizes=chunk_sizes, length=st.integers(1, 130))
@torch.inference_mode()
def test_an_encoder_says_in_chunks_what_it_says_of_the_whole(
    name: str, sizes: list[int], length: int
) -> None:
    model = encoder(name)
    sequence = torch.randn(STREAMS, length, DIM)
    steps, state = streamed(model.step, model.initial_state(STREAMS), sequence, sizes)
    steps = torch.cat([steps, model.finish(state)], dim=1)
    torch.testing.assert_close(steps, of_the_whole(model, sequence), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ENCODERS)
@torch.inference_mode()
def test_steps_come_as_soon_as_their_frames_have(name: str) -> None:
    model = encoder(name)
    sequence = torch.randn(1, 20, DIM)
    state, given_so_far = model.initial_state(1), 0
    for frame in range(20):
        steps, state = model.step(sequence[:, frame : frame + 1], state)
        given_so_far += steps.shape[1]
        assert given_so_far == (frame + 1) // model.subsampling


@pytest.mark.parametrize("kind", POOLINGS)
@settings(max_examples=25)
@given(sizes=chunk_sizes, length=st.integers(1, 130))
@torch.inference_mode()
def test_a_pooling_says_after_each_step_what_it_says_of_all_until_then(
    kind: type[Pooling], sizes: list[int], length: int
) -> None:
    pooling = pool(kind)
    sequence = 3 * torch.randn(STREAMS, length, DIM)
    found, _ = streamed(pooling.step, pooling.initial_state(STREAMS), sequence, sizes)
    assert found.shape == (STREAMS, length, pooling.out_dim)
    for end in {1, length // 2 + 1, length}:
        until_then = Padded(sequence[:, :end], torch.full((STREAMS,), end))
        expected = sequence[:, end - 1] if kind is EveryStep else pooling(until_then)
        torch.testing.assert_close(found[:, end - 1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ENCODERS)
@torch.inference_mode()
def test_without_a_reset_the_next_sequence_differs_and_after_it_agrees(name: str) -> None:
    model = encoder(name)
    first, second = torch.randn(2, STREAMS, 60, DIM)
    expected = of_the_whole(model, second)
    _, heard = model.step(first, model.initial_state(STREAMS))
    carried_over = model.step(second, heard)[0]
    assert (carried_over[:, 0] - expected[:, 0]).abs().max() > 1e-3
    fresh = model.step(second, model.initial_state(STREAMS))[0]
    torch.testing.assert_close(fresh, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [*ENCODERS, *REMEMBERING])
@torch.inference_mode()
def test_a_step_changes_neither_the_model_nor_the_state_it_was_given(make: str | type[Pooling]) -> None:
    part = encoder(make) if isinstance(make, str) else pool(make)
    first, second = torch.randn(2, STREAMS, 7, DIM)
    weights = {name: value.clone() for name, value in part.state_dict().items()}
    _, state = part.step(first, part.initial_state(STREAMS))
    before = [tensor.clone() for tensor in tensors(state)]
    once = part.step(second, state)[0].clone()
    again = part.step(second, state)[0]
    assert torch.equal(once, again)
    assert all(map(torch.equal, tensors(state), before))
    assert all(torch.equal(value, weights[name]) for name, value in part.state_dict().items())


@pytest.mark.parametrize("make", [*ENCODERS, *REMEMBERING])
@pytest.mark.parametrize("size", [1, 200])
@torch.inference_mode()
def test_a_state_owns_what_it_remembers_and_no_more(make: str | type[Pooling], size: int) -> None:
    """Neither does it share memory with a chunk or its outputs, nor does it keep a long chunk alive."""
    part = encoder(make) if isinstance(make, str) else pool(make)
    chunk = torch.randn(1, size, DIM)
    outputs, state = part.step(chunk, part.initial_state(1))
    handed_out = {tensor.untyped_storage().data_ptr() for tensor in (chunk, outputs)}
    for tensor in tensors(state):
        assert tensor.numel() == 0 or tensor.untyped_storage().data_ptr() not in handed_out
        assert tensor.untyped_storage().nbytes() <= 2 * tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("make", ["lstm", "gru", "cnn", "transformer", *REMEMBERING])
@torch.inference_mode()
def test_streams_that_began_at_different_times_share_a_batch(make: str | type[Pooling]) -> None:
    part = encoder(make) if isinstance(make, str) else pool(make)
    old, new = torch.randn(2, 1, 150, DIM)
    _, heard = part.step(old[:, :120], part.initial_state(1))
    together = [torch.cat(pair) for pair in zip(tensors(heard), tensors(part.initial_state(1)), strict=True)]
    rows = iter(together)
    state = rebuilt(heard, lambda _: next(rows))
    found, _ = part.step(torch.cat([old[:, 120:], new[:, :30]]), state)
    torch.testing.assert_close(found[:1], part.step(old[:, 120:], heard)[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1:], part.step(new[:, :30], part.initial_state(1))[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [*ENCODERS, *REMEMBERING])
def test_a_state_of_another_batch_size_is_refused(make: str | type[Pooling]) -> None:
    part = encoder(make) if isinstance(make, str) else pool(make)
    message = r"stream: a chunk of 3 streams, but a state of 2\. .*initial_state\(3\)"
    with pytest.raises(DataError, match=message):
        part.step(torch.randn(3, 4, DIM), part.initial_state(2))


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_padding_and_batch_mates_never_change_steps(name: str) -> None:
    model = encoder(name)
    audio = Padded(torch.randn(5, 150, DIM), torch.tensor([150, 1, 80, 149, 2]))  # garbage for padding
    together = model(audio)
    for index in range(5):
        single = model(alone(audio, index)).values
        torch.testing.assert_close(together.values[index : index + 1, : single.shape[1]], single)
        assert single.shape[1] == together.lengths[index]


@pytest.mark.parametrize("name", ENCODERS)
@torch.inference_mode()
def test_three_minutes_are_encoded_as_in_chunks(name: str) -> None:
    model = encoder(name)
    sequence = torch.randn(1, 18_000, DIM)
    steps, _ = streamed(model.step, model.initial_state(1), sequence, [5_000, 1, 4_999])
    torch.testing.assert_close(steps, of_the_whole(model, sequence), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_day_of_frames_has_an_exact_mean() -> None:
    """8.64 million steps: in float32 the running sum stops growing long before."""
    pooling = MeanPooling(1)
    chunk = torch.linspace(10.0, 10.2, 86_400).view(1, -1, 1)
    state = pooling.initial_state(1)
    for _ in range(100):
        means, state = pooling.step(chunk, state)
    assert means[0, -1].item() == pytest.approx(10.1, abs=1e-5)


@torch.inference_mode()
def test_attention_finds_its_words_however_far_apart_their_scores_are() -> None:
    """A score 2,000 above all before: e to the power of that is no number, in float64 neither."""
    pooling = pool(AttentionPooling)
    pooling.score = nn.Linear(DIM, 1)
    nn.init.zeros_(pooling.score.bias)
    nn.init.constant_(pooling.score.weight, 1.0)
    sequence = torch.randn(1, 20, DIM)
    sequence[:, 10:] += 2_000 / DIM
    found, _ = pooling.step(sequence, pooling.initial_state(1))
    for end in range(1, 21):
        expected = pooling(Padded(sequence[:, :end], torch.tensor([end])))
        torch.testing.assert_close(found[:, end - 1], expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", POOLINGS)
@torch.inference_mode()
def test_autocast_does_not_reach_what_is_pooled(kind: type[Pooling]) -> None:
    pooling = pool(kind)
    steps = torch.randn(STREAMS, 50, DIM)
    expected, _ = pooling.step(steps, pooling.initial_state(STREAMS))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = pooling.step(steps, pooling.initial_state(STREAMS))
        halves, _ = pooling.step(steps.bfloat16(), pooling.initial_state(STREAMS))
    assert halves.dtype == torch.float32
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ENCODERS)
@torch.inference_mode()
def test_autocast_costs_a_stream_no_more_than_half_precision(name: str) -> None:
    model = encoder(name)
    sequence = torch.randn(STREAMS, 60, DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        steps, _ = streamed(model.step, model.initial_state(STREAMS), sequence, [1] * 10 + [7, 7])
    torch.testing.assert_close(steps.float(), of_the_whole(model, sequence), atol=0.1, rtol=0)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_parameter_is_trained(name: str) -> None:
    model = encoder(name).train()
    model(Padded(torch.randn(2, 150, DIM), torch.tensor([150, 70]))).values.square().sum().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_an_encoder_that_reads_both_ways_is_refused() -> None:
    message = r"model\.bidirectional=true: .*cannot follow a stream\. Train with model\.bidirectional=false"
    with pytest.raises(ConfigError, match=message):
        LSTMEncoder(DIM, bidirectional=True).initial_state(1)


def test_an_encoder_without_steps_is_refused() -> None:
    encoder, pooling = CNNEncoder(26), MeanPooling(192)
    assert not isinstance(encoder, CausalEncoder)
    model = Classifier(Frontend(26), encoder, pooling, Head(192, 4))
    with pytest.raises(ConfigError, match=r"model: CNNEncoder looks ahead, .*Train with model=lstm_stream"):
        model.initial_state(1)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(AttentiveStatisticsPooling, "attentive_statistics"), (FunctionalsPooling, "functionals")],
)
def test_a_pooling_that_needs_the_whole_is_refused_by_its_name_in_the_config(
    kind: type[Pooling], name: str
) -> None:
    message = (
        rf"pooling={name}: .*cannot follow a stream\. Train with pooling=mean, max, last, attention or none"
    )
    with pytest.raises(ConfigError, match=message):
        kind(DIM).initial_state(1)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_each_layer_may_have_its_own_width(bidirectional: bool) -> None:
    model = LSTMEncoder(DIM, hidden_dim=[12, 10, 8], num_layers=3, bidirectional=bidirectional)
    steps = model(Padded(torch.randn(2, 9, DIM), torch.tensor([9, 4])))
    assert steps.values.shape == (2, 9, 16 if bidirectional else 8) == (2, 9, model.out_dim)


def test_widths_that_are_not_one_a_layer_are_refused() -> None:
    message = r"model\.hidden_dim=\[64, 32\]: units of 2 layers, but model\.num_layers=3\. Give one number"
    with pytest.raises(ConfigError, match=message):
        LSTMEncoder(DIM, hidden_dim=[64, 32], num_layers=3)


def test_every_frame_cannot_be_answered_by_steps_of_several() -> None:
    encoder = LSTMEncoder(DIM, hidden_dim=8, subsampling=2)
    message = r"pooling=none: LSTMEncoder joins 2 frames to a step.* Set model\.subsampling=1"
    with pytest.raises(ConfigError, match=message):
        Classifier(Frontend(DIM), encoder, EveryStep(16), Head(16, 3))


def test_every_step_of_an_utterance_is_a_row_in_order() -> None:
    steps = Padded(torch.arange(6.0).view(2, 3, 1), torch.tensor([2, 3]))
    assert EveryStep(1)(steps).tolist() == [[0], [1], [3], [4], [5]]


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("lstm_stream", 50_791),
        ("gru_stream", 100_035),
        ("gru_tiny", 3_987),
        ("causal_cnn", 95_103),
        ("causal_transformer", 106_111),
    ],
)
def test_streaming_models_have_the_published_number_of_parameters(model: str, count: int) -> None:
    """64 MFCCs, three classes. In Keras, whose LSTM has one bias, the first has 50,407."""
    config = composed("train", [f"model={model}", "pooling=none", "frontend.delta_scale=0.0"])
    config["target"] = {
        "_target_": "ser.targets.Classes",
        "class_names": ["en", "hi", "cmn"],
        "field": "label",
    }
    classifier, _ = assemble(describe(config, feature_dim=64))
    assert sum(parameter.numel() for parameter in classifier.parameters()) == count


HEADS: dict[str, dict[str, Any]] = {
    "as ever": {},
    "plain": {"normalize": "none"},
    "hidden": {"hidden_dims": [10, 7]},
    "hidden and plain": {"hidden_dims": [10, 7], "normalize": "none"},
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("count", [0, 1, 5])
@torch.inference_mode()
def test_a_head_answers_steps_as_it_answers_rows(kind: str, count: int) -> None:
    head = Head(DIM, 4, **HEADS[kind]).eval()
    steps = torch.randn(STREAMS, count, DIM)
    found = head.step(steps)
    assert found.shape == (STREAMS, count, 4)
    torch.testing.assert_close(found.flatten(0, 1), head(steps.flatten(0, 1)), atol=1e-6, rtol=0)


def test_a_head_without_hidden_layers_has_the_weights_it_always_had() -> None:
    names = [name for name, _ in Head(DIM, 4).named_parameters()]
    assert names == ["layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]


def test_dropout_stands_before_the_last_layer() -> None:
    kinds = [type(layer).__name__ for layer in Head(DIM, 3, hidden_dims=[100, 16], normalize="none").layers]
    assert kinds == ["Identity", "Linear", "ReLU", "Linear", "ReLU", "Dropout", "Linear"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product(ENCODERS, [MeanPooling, AttentionPooling]),
        *((name, EveryStep) for name in ENCODERS if "frames a step" not in name),
    ],
)
@torch.inference_mode()
def test_a_classifier_says_in_chunks_what_it_says_of_the_whole(name: str, kind: type[Pooling]) -> None:
    body = encoder(name)
    frontend = Frontend(DIM // 2, delta_scale=3.0, delta_align="causal")
    frontend.fit([torch.randn(500, DIM // 2) * 3 + 8])
    model = Classifier(frontend, body, kind(body.out_dim), Head(body.out_dim, 4)).eval()
    stored = torch.randn(STREAMS, 100, DIM // 2) * 3 + 8
    found, state = streamed(model.step, model.initial_state(STREAMS), stored, [1, 7, 0, 50])
    found = torch.cat([found, model.finish(state)], dim=1)
    expected = model(Padded(stored, torch.full((STREAMS,), 100)))
    last = found.flatten(0, 1) if kind is EveryStep else found[:, -1]
    torch.testing.assert_close(last, expected, atol=1e-5, rtol=0)
