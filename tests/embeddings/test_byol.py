"""AudioNTT: the published network, its weights, and the scale of its log-mels."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ser.batch import Padded
from ser.corpora.published import read_corpus
from ser.embeddings.byol import (
    BYOLS,
    PUBLISHED,
    RandomAudioNTT,
    corpus_statistics,
    load_network,
)
from ser.embeddings.cache import embed
from ser.errors import CheckpointError, ConfigError, DataError, SerError
from ser.pretrained import AudioNTT
from tests.conftest import alone


def worn(width: int = 24) -> AudioNTT:
    """A network whose batch norms have seen something, in evaluation mode."""
    network = AudioNTT(width).train()
    for _ in range(3):
        network(Padded(torch.randn(4, 40, 64) * 2 + 1, torch.full((4,), 40)))
    return network.eval()


def reference(weights: dict[str, torch.Tensor], scores: torch.Tensor) -> torch.Tensor:
    """What the published code makes of one utterance's log-mels [T, 64], layer by layer: [D]."""
    x = scores.T[None, None]
    for place in (0, 4, 8):
        convolution = [weights[f"features.{place}.{name}"] for name in ("weight", "bias")]
        norm = [
            weights[f"features.{place + 1}.{name}"]
            for name in ("running_mean", "running_var", "weight", "bias")
        ]
        x = nn.functional.batch_norm(nn.functional.conv2d(x, *convolution, padding=1), *norm)
        x = nn.functional.max_pool2d(nn.functional.relu(x), 2, stride=2)
    x = x.permute(0, 3, 2, 1)
    x = x.reshape(*x.shape[:2], -1)
    for place in (0, 3):
        x = nn.functional.relu(
            nn.functional.linear(x, weights[f"fc.{place}.weight"], weights[f"fc.{place}.bias"])
        )
    return (x.mean(1) + x.amax(1))[0]


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(worn().state_dict(), path)
    return path


@pytest.mark.parametrize(("width", "parameters"), [(512, 600_192), (1024, 1_649_792), (2048, 5_321_856)])
def test_it_has_as_many_parameters_as_published(width: int, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in AudioNTT(width).parameters()) == parameters


@torch.no_grad()
def test_an_utterance_in_a_batch_gets_what_the_published_network_gives_it_alone() -> None:
    network = worn()
    audio = Padded(torch.randn(7, 371, 64) * 2, torch.tensor([371, 370, 90, 31, 16, 15, 8]))
    together = network.embed(audio)
    for row, length in enumerate(audio.lengths):
        expected = reference(network.state_dict(), audio.values[row, :length])
        torch.testing.assert_close(together[row], expected, atol=1e-5, rtol=1e-5)
        single = network.embed(alone(audio, row))[0]
        torch.testing.assert_close(together[row], single, atol=1e-5, rtol=1e-5)


def test_a_sequence_of_t_steps_becomes_t_divided_by_eight_rounded_down() -> None:
    steps = worn()(Padded(torch.zeros(3, 17, 64), torch.tensor([17, 15, 8])))
    assert steps.lengths.tolist() == [2, 1, 1]
    assert steps.values.shape == (3, 2, 24)


def test_it_learns() -> None:
    network = AudioNTT(8).train()
    before = network.features[1].running_mean.clone()
    network.embed(Padded(torch.randn(2, 16, 64), torch.tensor([16, 12]))).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not torch.equal(before, network.features[1].running_mean)


def test_the_width_is_read_from_the_weights(weights_file: Path) -> None:
    embedder = BYOLS(str(weights_file), statistics=[-6.0, 4.0])
    assert embedder.dim == 24
    assert embedder(Padded(torch.randn(1, 4000, 1), torch.tensor([4000]))).shape == (1, 24)


def test_statistics_are_the_means_of_those_of_the_utterances() -> None:
    utterances = [torch.randn(5, 64) - 3, torch.randn(50, 64) * 4]
    expected = [
        np.mean([u.numpy().mean() for u in utterances]),
        np.mean([u.numpy().std() for u in utterances]),
    ]
    np.testing.assert_allclose(corpus_statistics(utterances), expected, rtol=1e-5)


def test_statistics_decide_the_scale(weights_file: Path) -> None:
    log_mels = torch.randn(20, 64) * 3 - 7
    embedder = BYOLS(str(weights_file))
    embedder.fit([log_mels])
    scores = (log_mels - log_mels.mean()) / log_mels.std(correction=0)
    embedding = embedder.encode(Padded(log_mels[None], torch.tensor([20])))[0]
    expected = reference(torch.load(weights_file, weights_only=True), scores)
    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-5)


def test_published_statistics_are_those_of_the_corpus() -> None:
    embedder = RandomAudioNTT(width=8, statistics="published")
    assert embedder.needs_statistics
    embedder.fit([], corpus="savee")
    assert [embedder.mean.item(), embedder.std.item()] == pytest.approx(PUBLISHED["savee"])


def test_statistics_that_are_given_need_no_corpus() -> None:
    embedder = RandomAudioNTT(width=8, statistics=[-6.0, 4.5])
    assert not embedder.needs_statistics
    assert embedder.encode(Padded(torch.randn(1, 9, 64), torch.tensor([9]))).isfinite().all()


def test_statistics_that_are_not_known_are_asked_for() -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(\) first"):
        RandomAudioNTT(width=8).encode(Padded(torch.randn(1, 9, 64), torch.tensor([9])))


@pytest.mark.parametrize("statistics", [[-6.0], [-6.0, 0.0], [-6.0, float("nan")]])
def test_statistics_without_a_deviation_are_refused(statistics: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"extractor.statistics=.*expected a mean and a deviation above 0"):
        RandomAudioNTT(width=8, statistics=statistics)


@pytest.mark.parametrize("train", [[], [torch.full((9, 64), -15.9)]])
def test_statistics_of_silence_are_refused(train: list[torch.Tensor]) -> None:
    with pytest.raises(ConfigError, match="the training split holds no sound"):
        RandomAudioNTT(width=8).fit(train)


@pytest.mark.parametrize(
    ("corpus", "hint"), [("ravdes", "Did you mean 'ravdess'"), (None, "Choose one of: aesdd")]
)
def test_statistics_that_were_never_published_are_refused(corpus: str | None, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        RandomAudioNTT(width=8, statistics="published").fit([], corpus=corpus)


def test_random_weights_follow_from_the_seed_and_disturb_no_other_draw() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, same, other = RandomAudioNTT(), RandomAudioNTT(), RandomAudioNTT(seed=1)
    assert torch.equal(torch.rand(1), expected)
    assert first.settings() == same.settings() != other.settings()


def test_a_waveform_of_fewer_than_eight_frames_is_refused() -> None:
    with pytest.raises(DataError, match=r"7 steps: RandomAudioNTT needs 8 or more \(80 ms\)"):
        RandomAudioNTT(width=8, statistics=[0.0, 1.0])(Padded(torch.randn(1, 1000, 1), torch.tensor([1000])))


class Hostile:
    def __reduce__(self) -> tuple:
        return os.system, ("true",)


def bad_files() -> dict[str, object]:
    weights = worn().state_dict()
    return {
        "it has no fc.0.weight": {name: tensor for name, tensor in weights.items() if "fc" not in name},
        "features.8.bias is missing": {n: t for n, t in weights.items() if n != "features.8.bias"},
        "head.weight is not part of it": weights | {"head.weight": torch.zeros(2)},
        "fc.0.weight is [24, 128], expected [24, 512]": weights | {"fc.0.weight": torch.zeros(24, 128)},
        "fc.3.weight is [24, 24], expected [48, 48]": weights | {"fc.0.weight": torch.zeros(48, 512)},
        "is not a state_dict": {"state_dict": weights},
        "such a file can run code": Hostile(),
    }


@pytest.mark.parametrize("message", bad_files())
def test_weights_that_do_not_fit_are_refused_by_name(message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(bad_files()[message], path)
    with pytest.raises(CheckpointError, match=rf"weights.pth: .*{re.escape(message)}"):
        load_network(path)


def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(SerError, match=r"weights.pth: no such file.*extractor.weights="):
        load_network(path)
    path.write_text("not found")
    with pytest.raises(SerError, match="is cut, empty or of another kind"):
        load_network(path)


@pytest.mark.shared
def test_four_emotions_of_emodb_have_the_moments_measured_elsewhere(shared: Path, tmp_path: Path) -> None:
    corpus = read_corpus("emodb", shared / "data" / "emodb")
    emotions = {"anger", "neutral", "happiness", "sadness"}
    corpus = corpus.select([place for place, u in enumerate(corpus) if u.labels["emotion"] in emotions])
    train = [place for place, u in enumerate(corpus) if u.speaker in {"08", "09", "11", "13", "15", "16"}]
    weights = str(shared / "weights" / "byol_s_512.pth")

    def run(statistics: str) -> tuple[BYOLS, np.ndarray]:
        embedder = BYOLS(weights, statistics=statistics)
        places = np.array(train)
        settings = {"cache_dir": str(tmp_path), "device": torch.device("cpu"), "corpus": "emodb"}
        return embedder, embed(corpus, places, embedder, **settings)

    own, _ = run("corpus")
    assert [own.mean.item(), own.std.item()] == pytest.approx([-2.972, 4.187], abs=0.002)
    _, embeddings = run("published")  # the moments were measured on the scale of the complete corpus
    assert [embeddings.mean(), embeddings.std()] == pytest.approx([2.6522, 1.9716], abs=0.005)


@pytest.mark.shared
@pytest.mark.slow
def test_ravdess_has_the_moments_that_were_published(
    shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nearly: this copy was rounded to 16 bits after resampling, whose noise is heard in RAVDESS's silences."""
    caplog.set_level(logging.ERROR)
    corpus = read_corpus("ravdess", shared / "data" / "ravdess")
    others = {"01", "04", "13", "16", "22", "06", "08", "10", "19", "20"}
    train = np.array([place for place, u in enumerate(corpus) if u.speaker not in others])
    embedder = BYOLS(str(shared / "weights" / "byol_s_512.pth"))
    embeddings = embed(corpus, train, embedder, cache_dir=str(tmp_path), device=torch.device("cpu"))
    assert [embedder.mean.item(), embedder.std.item()] == pytest.approx([-10.2717, 4.9588], abs=0.002)
    assert [embedder.mean.item(), embedder.std.item()] == pytest.approx(PUBLISHED["ravdess"], abs=0.05)
    assert [embeddings.mean(), embeddings.std()] == pytest.approx([2.5929, 1.9244], abs=0.001)
    assert [embeddings.mean(), embeddings.std()] == pytest.approx([2.5726, 1.9128], abs=0.025)
