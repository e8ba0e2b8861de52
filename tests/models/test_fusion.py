"""Audio and words in one network: parts by hand, blocks, padding, sizes, and what each way of fusion can learn."""

import math
import subprocess
import sys
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.base import Encoder
from ser.models.fusion import Fusion, FusionEncoder, SemanticEncoder, TwoWayAttention, Way
from ser.models.waveform_cnn import PooledWaveCNN
from ser.targets.losses import ConcordanceLoss
from ser.targets.value_metrics import ccc
from tests.conftest import REPOSITORY, alone

WAYS = get_args(Way)
AUDIO, TEXT = 10, 4  # as with 4,410 samples, 25 steps are a whole number of steps of the CNN


def small(way: str = "hierarchical", **settings: float) -> SemanticEncoder:
    return SemanticEncoder(
        AUDIO + TEXT, text_dim=TEXT, fusion=way, dim=16, stream_dim=8, hidden_dim=6, **settings
    )


def batch(*lengths: int, width: int = AUDIO + TEXT) -> Padded:
    """Steps whose padding is garbage."""
    return Padded(torch.randn(len(lengths), max(lengths), width), torch.tensor(lengths))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_attention_is_the_softmax_of_two_scaled_scores() -> None:
    attention = TwoWayAttention(16)
    one, other = torch.randn(2, 3, 5, 16)
    scores = torch.stack([attention.score(one)[..., 0], attention.score(other)[..., 0]], -1) / math.sqrt(16)
    weights = scores.softmax(-1)
    expected = weights[..., :1] * one + weights[..., 1:] * other
    torch.testing.assert_close(attention(one, other), expected)


def test_each_way_fuses_as_published() -> None:
    audio, text = torch.randn(2, 7, AUDIO), torch.randn(2, 7, TEXT)
    found, parts = {}, {}
    for way in WAYS:
        parts[way] = Fusion(AUDIO, TEXT, way, dim=16, stream_dim=8)
        found[way] = parts[way](audio, text)
        assert found[way].shape == (2, 7, parts[way].out_dim)
    heard, read = parts["audio_only"].audio(audio), parts["text_only"].text(text)
    torch.testing.assert_close(found["audio_only"], heard)
    torch.testing.assert_close(found["text_only"], read)
    part = parts["concat"]
    joined = torch.cat([part.audio(audio), part.text(text)], -1)
    torch.testing.assert_close(found["concat"], part.join(joined))
    part = parts["residual"]
    mixed = part.attention(part.audio(audio), part.text(text))
    torch.testing.assert_close(found["residual"], mixed + part.audio(audio))
    part = parts["disentangled_concat"]
    mixed = part.attention(part.audio(audio), part.text(text))
    torch.testing.assert_close(
        found["disentangled_concat"], torch.cat([stream(mixed) for stream in part.streams], -1)
    )


def test_the_order_of_streams_is_a_setting() -> None:
    audio, text = torch.randn(3, AUDIO), torch.randn(3, TEXT)
    fusion = Fusion(AUDIO, TEXT, "hierarchical", dim=16, stream_dim=8, order=[0, 2, 1])
    first, second, third = (
        stream(fusion.attention(fusion.audio(audio), fusion.text(text))) for stream in fusion.streams
    )
    expected = fusion.pairs[1](fusion.pairs[0](first, third), second)
    torch.testing.assert_close(fusion(audio, text), expected)


def test_parameters_are_the_published_ones() -> None:
    with torch.device("meta"):
        encoder = SemanticEncoder(4_410 + 100, text_dim=100)
        head = nn.Linear(256, 3)
    assert [count(layer) for layer in encoder.cnn.convolutions] == [450, 37_625, 187_750]
    fusion = encoder.fusion
    assert count(fusion.audio) == 4_410 * 1_024 + 1_024 == 4_516_864
    assert count(fusion.text) == 100 * 1_024 + 1_024 == 103_424
    assert count(fusion.attention) == 1_025
    assert count(fusion.streams) == 3 * (1_024 * 512 + 512) == 1_574_400
    assert count(fusion.pairs) == 2 * 513
    assert count(encoder.lstm) == 4 * 256 * (512 + 256) + 2 * 4 * 256 == 788_480
    parts = 450 + 37_625 + 187_750 + 4_516_864 + 103_424 + 1_025 + 1_574_400 + 1_026 + 788_480
    assert count(encoder) + count(head) == parts + 771 == 7_211_815


@pytest.mark.parametrize(("way", "missing"), [("audio_only", "text"), ("text_only", "audio")])
def test_a_single_stream_has_no_weights_for_the_other(way: str, missing: str) -> None:
    encoder = small(way)
    assert getattr(encoder.fusion, missing) is None
    assert (encoder.cnn is None) == (missing == "audio")


def published_cnn(cnn: PooledWaveCNN, samples: Tensor) -> Tensor:
    """The stages one after the other, on one sequence without padding, whose samples are a multiple of 250."""
    values = samples[:, None]
    for convolution, pool in zip(cnn.convolutions, (10, 5, 5), strict=True):
        before, after = {8: (3, 4), 6: (2, 3)}[convolution.kernel_size[0]]
        values = convolution(functional.pad(values, (before, after))).relu()
        values = functional.max_pool1d(values, pool)
    return values.transpose(1, 2)


@pytest.mark.parametrize("num_steps", [25, 50, 100])
def test_blocks_equal_the_exact_mode(num_steps: int) -> None:
    encoder = small("attention").eval()
    steps = batch(num_steps)
    samples = steps.values[..., :AUDIO].flatten(1)
    waves = published_cnn(encoder.cnn, samples).reshape(1, num_steps, AUDIO)
    fused = encoder.fusion(waves, steps.values[..., AUDIO:])
    expected = encoder.lstm(steps.with_values(fused)).values
    torch.testing.assert_close(encoder(steps).values, expected, atol=1e-6, rtol=1e-5)


def test_an_odd_number_of_steps_begins_as_the_exact_mode() -> None:
    encoder = small("attention").eval()
    steps = batch(75)
    whole = encoder(steps).values[:, :25]  # a step of the CNN looks ahead less than 25 steps of 10 samples
    cut = encoder(Padded(steps.values[:, :58], torch.tensor([58])))
    assert cut.values.shape[1] == 58
    torch.testing.assert_close(cut.values[:, :25], whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_padding_never_changes_the_semantic_network(way: str) -> None:
    check_padding(small(way), batch(76, 1, 24, 25, 26, 50, 51))


@pytest.mark.parametrize("context", ["gru", "lstm", "transformer"])
@pytest.mark.parametrize("way", ["concat", "hierarchical"])
def test_padding_never_changes_the_small_network(way: str, context: str) -> None:
    encoder = FusionEncoder(AUDIO + TEXT, text_dim=TEXT, fusion=way, context=context, num_layers=2)
    assert encoder.subsampling == 1
    check_padding(encoder, batch(40, 1, 13))


def check_padding(encoder: Encoder, steps: Padded) -> None:
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
        together = encoder.eval()(steps)
        assert together.values.shape == (*steps.values.shape[:2], encoder.out_dim)
        for index, length in enumerate(steps.lengths.tolist()):
            single = encoder(alone(steps, index)).values[0]
            torch.testing.assert_close(together.values[index, :length], single, atol=1e-6, rtol=1e-5)
            assert length == 1 or single.std(0).mean() > 1e-4


def test_gradients_through_blocks_equal_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = small(dropout=0.0).train()
    steps = batch(60, 33)
    gradients = []
    for size in (25, 1_000):
        monkeypatch.setattr("ser.models.fusion._BLOCK_STEPS", size)
        encoder.zero_grad()
        out = encoder(steps)
        (out.values[out.mask] * torch.linspace(-1, 1, 6)).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert all(gradient.isfinite().all() for gradient in gradients[0])
    assert gradients[0][encoder_place(encoder, "cnn.convolutions.0.weight")].abs().max() > 0


def encoder_place(encoder: nn.Module, name: str) -> int:
    return [own for own, _ in encoder.named_parameters()].index(name)


def test_dropout_is_drawn_again_alike_for_gradients() -> None:
    encoder = small().train()
    steps = batch(60)
    torch.manual_seed(3)
    loss = encoder(steps).values.sum()
    loss.backward()  # raises if what is computed again differs
    torch.manual_seed(3)
    torch.testing.assert_close(encoder(steps).values.sum(), loss.detach(), check_dtype=False)


@pytest.mark.parametrize("encoder", [SemanticEncoder, FusionEncoder])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"text_dim": 14},
            r"model\.text_dim=14: a step has 14 values, of which its word vector takes 1 to 13",
        ),
        (
            {"text_dim": 0},
            r"needs word vectors, and none are used\. Set model\.fusion=audio_only, or use experiment=semantic",
        ),
        ({"text_dim": 4, "in_channels": 2}, r"Set frontend\.delta_scale=0"),
        (
            {"text_dim": 4, "fusion": "atention"},
            r"model\.fusion=atention: no such fusion\. Did you mean 'attention'",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(encoder: type[Encoder], settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        encoder(14, **settings)


def test_an_order_of_other_streams_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.order=\[0, 1, 1\]: expected the streams 0, 1 and 2"):
        SemanticEncoder(14, text_dim=4, order=[0, 1, 1])


def test_a_single_stream_may_be_all_there_is() -> None:
    assert FusionEncoder(14, text_dim=14, fusion="text_only")(batch(3)).values.shape == (1, 3, 128)
    assert FusionEncoder(14, text_dim=0, fusion="audio_only")(batch(3)).values.shape == (1, 3, 128)


def planted(seed: int) -> tuple[Padded, Tensor]:
    """Arousal is in the audio alone, valence in the word alone; 24 recordings of 40 steps."""
    random = torch.Generator().manual_seed(seed)
    audio = torch.randn(24, 40, 12, generator=random)
    lexicon = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    words = torch.randint(30, (24, 40), generator=random)
    feeling = torch.linspace(-1, 1, 30)[words]
    truth = torch.stack([audio[..., 0] + audio[..., 5], 2 * feeling], -1)
    return Padded(torch.cat([audio, lexicon[words]], -1), torch.full((24,), 40)), truth


def learn(way: str) -> tuple[float, float]:
    """CCC of arousal and valence on recordings that were not trained on."""
    torch.manual_seed(0)
    encoder = FusionEncoder(18, text_dim=6, fusion=way, dim=24, hidden_dim=16, dropout=0.0)
    model = nn.ModuleList([encoder, nn.Linear(encoder.out_dim, 2)])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    steps, truth = planted(1)
    for _ in range(60):
        optimizer.zero_grad()
        outputs = model[1](encoder(steps).values)
        ConcordanceLoss()(outputs.flatten(0, 1), truth.flatten(0, 1)).mean().backward()
        optimizer.step()
    steps, truth = planted(2)
    with torch.no_grad():
        answers = model[1](encoder.eval()(steps).values)
    arousal, valence = (float(ccc(truth[..., k].flatten(), answers[..., k].flatten())) for k in range(2))
    return arousal, valence


@pytest.mark.parametrize("way", WAYS)
def test_fusion_learns_what_single_streams_cannot(way: str) -> None:
    arousal, valence = learn(way)
    assert arousal > 0.8 if way != "text_only" else abs(arousal) < 0.2
    assert valence > 0.8 if way != "audio_only" else abs(valence) < 0.2


TRAINING_STEP = """
import torch
from benchmarks.measure import memory_mib
from ser.batch import Padded
from ser.models.fusion import SemanticEncoder
encoder = SemanticEncoder(4510, text_dim=100)
head = torch.nn.Linear(256, 3)
optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=5e-4)
steps = Padded(torch.randn(5, 100, 4510), torch.full((5,), 100))
head(encoder(steps).values).tanh().square().mean().backward()
optimizer.step()
print(memory_mib("VmHWM"))
"""


@pytest.mark.slow
def test_training_of_five_times_100_steps_takes_less_than_2_gb() -> None:
    command = [sys.executable, "-c", TRAINING_STEP]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert float(found.stdout) < 2_000  # MiB of the whole process; 1,090 were measured
