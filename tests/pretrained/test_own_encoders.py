"""AudioNTT and CvT as `model.path`: folders of our own, and published weights."""

import pickle
from pathlib import Path

import pytest
import torch

from ser.batch import Padded
from ser.checkpoints.checkpoint import non_finite, rebuild
from ser.config.instantiate import build
from ser.embeddings.byol import BYOLS, corpus_statistics
from ser.errors import CheckpointError, ConfigError
from ser.export.encoder import find_log_mel_encoder
from ser.features.extractors import SERAB
from ser.frozen import PretrainedFeatures
from ser.pretrained import AudioNTT, CvT, PretrainedEncoder
from ser.pretrained.log_mel import LogMelNetwork, pool_steps
from ser.pretrained.networks import LogMelEncoder, write_encoder
from tests.conftest import alone
from tests.fits import fit
from tests.pretrained.tiny import EXACT, classifier, trained, waveforms

MEAN, STD = -7.0, 4.0


def network_of(kind: str) -> LogMelNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = AudioNTT(16) if kind == "audio_ntt" else CvT((8, 12, 16))
        with torch.no_grad():
            for name, tensor in made.state_dict().items():
                if name.endswith("running_mean"):  # zeros would hide what leaks from padding
                    tensor.normal_()
    return made.eval()


def write(folder: Path, kind: str) -> str:
    write_encoder(folder, LogMelEncoder(network_of(kind), SERAB, MEAN, STD))
    return str(folder)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A file of weights as BYOL-S is published: a state_dict alone."""
    torch.save(network_of("audio_ntt").state_dict(), tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


@pytest.mark.parametrize("kind", ["audio_ntt", "cvt"])
def test_padding_does_not_change_own_encoders(kind: str, tmp_path: Path) -> None:
    encoder = PretrainedEncoder(1, path=write(tmp_path / "own", kind)).eval()
    audio = waveforms(20_000, 12_003, 1500, 1)
    with torch.no_grad():
        together = encoder(audio)
        for index, length in enumerate(together.lengths.tolist()):
            single = encoder(alone(audio, index))
            assert single.values.shape == (1, length, encoder.out_dim)
            torch.testing.assert_close(together.values[index, :length], single.values[0], **EXACT)


@pytest.mark.parametrize("kind", ["audio_ntt", "cvt"])
def test_own_encoder_reads_normalised_log_mels(kind: str, tmp_path: Path) -> None:
    encoder = PretrainedEncoder(1, path=write(tmp_path / "own", kind)).eval()
    audio = Padded.collate([torch.randn(16_000, 1) * 0.1])
    mels = build(SERAB, slot="features")(audio)
    with torch.no_grad():
        expected = network_of(kind)(mels.with_values((mels.values - MEAN) / STD))
        torch.testing.assert_close(encoder(audio).values, expected.values, atol=1e-4, rtol=1e-3)
    assert encoder.subsampling == 160 * network_of(kind).subsampling


def test_statistics_are_those_of_the_training_split(weights: str, tmp_path: Path) -> None:
    batches = [waveforms(8000, 5000), waveforms(6000)]
    extractor = build(SERAB, slot="features")
    rows = [alone(batch, row) for batch in batches for row in range(len(batch.lengths))]
    expected = corpus_statistics(extractor(row).values[0] for row in rows)
    published = PretrainedEncoder(1, path=weights)
    assert published.network.mels.mean.isnan()
    corpus = PretrainedEncoder(1, path=write(tmp_path / "own", "cvt"), statistics="corpus")
    own = PretrainedEncoder(1, path=write(tmp_path / "own", "cvt"))
    for encoder in (published, corpus, own):
        encoder.fit(iter(batches))
    for encoder in (published, corpus):
        found = float(encoder.network.mels.mean), float(encoder.network.mels.std)
        assert found == pytest.approx(expected, abs=1e-4)
    assert (float(own.network.mels.mean), float(own.network.mels.std)) == (MEAN, STD)


def test_checkpoint_holds_statistics(weights: str, tmp_path: Path) -> None:
    model, description = classifier(weights)
    model.encoder.fit([waveforms(8000, 5000)])
    Path(weights).unlink()
    content = {"ser": description, "state_dict": {f"model.{n}": t for n, t in model.state_dict().items()}}
    again, audio = rebuild(content, tmp_path / "best.ckpt").model, waveforms(4000, 2500)
    torch.testing.assert_close(again(audio), model.eval()(audio), **EXACT)
    assert again(audio).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "freeze", "prefixes"),
    [
        ("audio_ntt", "features", ("fc",)),
        ("audio_ntt", "all", ()),
        ("cvt", 2, ("layers.2",)),
        ("cvt", "none", ("layers.0", "layers.1", "layers.2")),
    ],
)
def test_freeze_of_own_encoders(
    kind: str, freeze: str | int, prefixes: tuple[str, ...], tmp_path: Path
) -> None:
    encoder = PretrainedEncoder(1, path=write(tmp_path / "own", kind), freeze=freeze)
    expected = {
        f"network.model.{n}" for n, _ in network_of(kind).named_parameters() if n.startswith(prefixes)
    }
    assert trained(encoder) == (expected if prefixes else set())
    with pytest.raises(ConfigError, match=r"model.freeze=4: \d layers are in use"):
        PretrainedEncoder(1, path=write(tmp_path / "own", kind), freeze=4)


def test_what_own_encoders_do_not_have_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "own", "audio_ntt")
    for settings, message in {
        "layer": (1, r"model.layer=1: this encoder has the hidden states 0 to 0\."),
        "lora_rank": (2, r"model.lora_targets: .* no projection q_proj\. Set model.lora_rank=0\."),
        "checkpoint_gradients": (True, r"model.checkpoint_gradients=true: .* no transformer layers"),
    }.items():
        value, expected = message
        with pytest.raises(ConfigError, match=expected):
            PretrainedEncoder.waveform_rate({"path": path, settings: value})


def test_files_without_such_weights_are_refused(weights: str, tmp_path: Path) -> None:
    content = torch.load(weights, weights_only=True)
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other.pth: holds no weights of audio_ntt or cvt\. Give"):
        PretrainedEncoder(1, path=str(tmp_path / "other.pth"))
    del content["features.0.bias"]
    torch.save({**content, "extra": torch.ones(1)}, weights)
    with pytest.raises(
        CheckpointError, match=r"is not all of audio_ntt: features.0.bias is missing; extra is not part"
    ):
        PretrainedEncoder(1, path=weights)
    (tmp_path / "code.pth").write_bytes(pickle.dumps(print))
    with pytest.raises(CheckpointError, match=r"code.pth.*Give the folder of an encoder"):
        PretrainedEncoder(1, path=str(tmp_path / "code.pth"))


def test_frozen_features_need_statistics(weights: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^features.path=\S+: published weights have no .* Set features.statistics=utterance, or",
    ):
        PretrainedFeatures(path=weights)
    features = PretrainedFeatures(path=write(tmp_path / "own", "cvt"))
    assert features(waveforms(8000, 5000).zeroed()).values.isfinite().all()


def test_statistics_of_an_utterance_remove_its_loudness(weights: str) -> None:
    encoder = PretrainedEncoder(1, path=weights, statistics="utterance").eval()
    audio = waveforms(16_000, 12_000)
    mels = build(SERAB, slot="features")(audio)
    with torch.no_grad():
        found = encoder(audio)
        for row, length in enumerate(mels.lengths.tolist()):
            own = mels.values[row, :length]
            normal = (own - own.mean()) / own.std(correction=0)
            expected = encoder.network.model(Padded.collate([normal])).values[0]
            steps = int(found.lengths[row])
            torch.testing.assert_close(found.values[row, :steps], expected[:steps], atol=1e-4, rtol=1e-3)
        quiet = encoder(audio.with_values(0.1 * audio.values))
    torch.testing.assert_close(quiet.values, found.values, atol=1e-2, rtol=1e-2)
    assert not encoder.needs_fit


def test_frozen_features_take_statistics_of_utterances(weights: str) -> None:
    features = PretrainedFeatures(path=weights, statistics="utterance")
    again = PretrainedFeatures(**features.portable({"statistics": "utterance"}))
    audio = waveforms(8000, 5000).zeroed()
    torch.testing.assert_close(again(audio).values, features(audio).values)
    assert features(audio).values.isfinite().all()


def test_mean_plus_maximum_is_that_of_the_embedder(weights: str) -> None:
    audio, embedder = waveforms(40_000, 16_000).zeroed(), BYOLS(weights, statistics="clip")
    found = PretrainedFeatures(path=weights, statistics="utterance", pool="mean_max")(audio)
    with torch.no_grad():
        for row in range(2):
            expected = embedder.encode(embedder.extractor(alone(audio, row)))
            torch.testing.assert_close(found.values[row], expected, atol=1e-4, rtol=1e-3)


def test_statistics_of_utterances_are_trained_with(recordings: Path, tmp_path: Path, weights: str) -> None:
    pytest.importorskip("soundfile")
    words = ("model=pretrained", f"model.path={weights}", "model.statistics=utterance", "pooling=mean")
    fitted = fit(recordings, tmp_path / "run", *words, data="ravdess")
    assert non_finite(fitted.task.state_dict()) == []


def test_statistics_of_utterances_are_refused(weights: str) -> None:
    encoder = PretrainedEncoder(1, path=weights, statistics="utterance")
    with pytest.raises(ConfigError, match=r"format=encoder: .* or train one with model.statistics=corpus\."):
        find_log_mel_encoder(encoder)
    known = {"config": {"model_type": "whisper"}, "extractor": {}}
    with pytest.raises(
        ConfigError, match=r"^features.statistics=utterance: .* Leave out features.statistics\."
    ):
        PretrainedFeatures(path="x", architecture=known, statistics="utterance")


def test_published_weights_are_trained_on(recordings: Path, tmp_path: Path, weights: str) -> None:
    pytest.importorskip("soundfile")
    words = ("model=pretrained", f"model.path={weights}", "model.mask_time_prob=0.1", "pooling=mean")
    fitted = fit(recordings, tmp_path / "run", *words, data="ravdess")
    encoder = fitted.task.model.encoder
    batches = fitted.data.train_batches()
    expected = PretrainedEncoder(1, path=weights)
    expected.fit(batches)
    assert float(encoder.network.mels.mean) == pytest.approx(float(expected.network.mels.mean))
    assert not torch.equal(encoder.network.model.fc[0].weight, expected.network.model.fc[0].weight)


@pytest.mark.shared
def test_real_byol_s_is_that_of_the_embedder(shared: Path) -> None:
    path = shared / "weights" / "byol_s_512.pth"
    if not path.is_file():
        pytest.skip("no byol_s_512.pth in shared/weights")
    audio = waveforms(40_000, 16_000)
    embedder = BYOLS(str(path), statistics=(-5.0, 4.0))
    encoder = PretrainedEncoder(1, path=str(path)).eval()
    encoder.network.mels.mean.fill_(-5.0)
    encoder.network.mels.std.fill_(4.0)
    with torch.no_grad():
        found = pool_steps(encoder(audio), "mean_max")
    torch.testing.assert_close(found, embedder(audio.zeroed()), atol=1e-3, rtol=1e-3)
