"""Frozen encoders as extractors of features, and heads on what they compute; tiny ones with random weights."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ser
import ser.frozen.weights
from ser.batch import Padded
from ser.checkpoints import checkpoint
from ser.config.instantiate import build
from ser.config.settings import Train
from ser.data import feature_store
from ser.errors import CheckpointError, ConfigError, DataError
from ser.frozen import PretrainedFeatures
from ser.models import LayerMixEncoder
from ser.pretrained import PretrainedEncoder
from ser.training import setup
from ser.training.consistency import check_encoder_input
from tests.conftest import alone
from tests.fits import composed, fit
from tests.pretrained.test_encoder import FAMILIES, save, waveforms

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # within WavLM
EXACT = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the folder of a family's tiny model."""
    made: dict[str, str] = {}

    def of(family: str) -> str:
        if family not in made:
            made[family] = save(tmp_path_factory.mktemp(family), family)
        return made[family]

    return of


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_hidden_states_of_the_encoder(family: str, folder: Callable[[str], str]) -> None:
    path, audio = folder(family), waveforms(9000, 5003)
    with torch.no_grad():
        states, lengths = PretrainedEncoder(1, path=path).eval().hidden_states(audio)
    for layer, expected in {"last": states[-1], 1: states[1], "all": torch.cat(states, -1)}.items():
        extractor = PretrainedFeatures(path=path, layer=layer)  # type: ignore[arg-type]
        found = extractor(audio)
        assert found.lengths.tolist() == lengths.tolist()
        assert extractor.num_frames(audio.lengths).tolist() == lengths.tolist()
        assert extractor.feature_dim == expected.shape[-1] == 16 * extractor.num_states
        torch.testing.assert_close(found.values, Padded(expected, lengths).zeroed().values, **EXACT)


@pytest.mark.parametrize("family", ["hubert_group", "whisper"])
def test_pooled_features_are_mean_and_deviation(family: str, folder: Callable[[str], str]) -> None:
    audio = waveforms(9000, 5003)
    steps = PretrainedFeatures(path=folder(family), layer="all")(audio)
    pooled = PretrainedFeatures(path=folder(family), layer="all", pool="mean_std")(audio)
    for row, length in enumerate(steps.lengths.tolist()):
        states = steps.values[row, :length].double().numpy().reshape(length, 4, 16)
        expected = np.concatenate([states.mean(0), states.std(0)], 1).reshape(-1)
        assert pooled.lengths[row] == 1
        np.testing.assert_allclose(pooled.values[row, 0].numpy(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", ["none", "mean_std"])
@pytest.mark.parametrize("family", FAMILIES)
def test_batch_mates_do_not_change_features(family: str, pool: Any, folder: Callable[[str], str]) -> None:
    extractor, audio = (
        PretrainedFeatures(path=folder(family), layer="all", pool=pool),
        waveforms(9000, 5003, 900),
    )
    together = extractor(audio)
    for index, length in enumerate(together.lengths.tolist()):
        torch.testing.assert_close(
            together.values[index, :length], extractor(alone(audio, index)).values[0], atol=2e-5, rtol=1e-4
        )


def test_other_weights_have_another_digest(tmp_path: Path, folder: Callable[[str], str]) -> None:
    first, spec = PretrainedFeatures(path=folder("whisper")), {"path": folder("whisper")}
    copied = shutil.copytree(folder("whisper"), tmp_path / "copied")
    assert PretrainedFeatures(path=str(copied)).portable(spec) == first.portable(spec)
    torch.manual_seed(1)
    changed = save(tmp_path / "changed", "whisper", init_std=0.2)
    assert PretrainedFeatures(path=changed).weights != first.weights


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 4}, r"features\.layer=4: this encoder has the hidden states 0 to 3"),
        ({"layer": -1}, r"features\.layer=-1: this encoder has the hidden states 0 to 3"),
        ({"sample_rate": 8000}, r"features\.sample_rate=8000: this encoder takes 16000 Hz"),
        ({"path": None}, r"features\.path=null: names no folder"),
    ],
)
def test_wrong_settings_are_refused_at_once(
    settings: dict[str, Any], message: str, folder: Callable[[str], str]
) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainedFeatures(**{"path": folder("whisper"), **settings})


def test_messages_about_a_folder_name_the_features(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"features\.path=\S+: holds no config\.json"):
        PretrainedFeatures(path=str(tmp_path))


def test_weights_that_were_not_read_are_refused(folder: Callable[[str], str]) -> None:
    spec = PretrainedFeatures(path=folder("whisper")).portable({}) | {"weights": "0" * 64}
    with pytest.raises(CheckpointError, match="names weights that were not read"):
        PretrainedFeatures(**spec)(waveforms(5000))


def test_states_beyond_half_precision_are_refused(folder: Callable[[str], str]) -> None:
    extractor = PretrainedFeatures(path=folder("whisper"))
    frames = np.full((3, 16), 7e4, dtype=np.float32)
    with pytest.raises(DataError, match="exceed half precision"):
        feature_store._stored(frames, extractor, "a.wav")
    assert feature_store._stored(frames / 2, extractor, "a.wav").dtype == np.float16


def test_a_checkpoint_predicts_without_the_folder(tmp_path: Path, recordings: Path) -> None:
    path = save(tmp_path / "encoder", "whisper")
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    chosen = ("experiment=frozen", f"features.path={path}", cache, "callbacks.early_stopping=null")
    fitted = fit(recordings, tmp_path / "run", *chosen, "model=layer_mix", data="ravdess")
    store = fitted.data.datasets["test"].store
    assert fitted.data.feature_dim == 4 * 2 * 16
    assert 0.2 < fitted.data.facts.speech["train"].minutes < 0.3  # type: ignore[operator]
    shutil.rmtree(path)
    trained = checkpoint.load(fitted.run.best)
    extractor = build(trained.features, slot="features")
    first = next(
        file for file in recordings.rglob("*.wav") if file.stem == str(store.ids[0]).rpartition("/")[2]
    )
    model = ser.load(fitted.run.best)
    features = model._features(first, "first", None, model.models[0])[0]
    np.testing.assert_allclose(features, store._frames(0), atol=1e-5, rtol=1e-4)
    assert extractor.weights == trained.features["weights"]
    assert model.predict(first).label in trained.target.class_names


def test_a_checkpoint_with_other_weights_is_refused(folder: Callable[[str], str]) -> None:
    spec = PretrainedFeatures(path=folder("whisper")).portable({})
    name = ser.frozen.weights.keep_weights({"network.a": torch.zeros(3)})  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="do not fit the encoder"):
        PretrainedFeatures(**{**spec, "weights": name})(waveforms(5000))


def test_a_mix_is_the_weighted_sum_of_the_states() -> None:
    encoder, states = LayerMixEncoder(12, num_states=3), torch.randn(2, 5, 12)
    with torch.no_grad():
        encoder.logits.copy_(torch.tensor([0.1, 2.0, -1.0]))
        found = encoder(Padded(states, torch.tensor([5, 3]))).values.numpy()
    weights = np.exp([0.1, 2.0, -1.0]) / np.exp([0.1, 2.0, -1.0]).sum()
    expected = sum(
        weight * states[..., 4 * place : 4 * place + 4].numpy() for place, weight in enumerate(weights)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_mix_of_states_and_deltas_keeps_them_apart() -> None:
    encoder, states, deltas = (
        LayerMixEncoder(24, 2, num_states=3),
        torch.randn(1, 4, 12),
        torch.randn(1, 4, 12),
    )
    found = encoder(Padded(torch.cat([states, deltas], -1), torch.tensor([4]))).values
    expected = [part.reshape(1, 4, 3, 4).mean(2) for part in (states, deltas)]
    torch.testing.assert_close(found, torch.cat(expected, -1))


def test_a_mix_of_one_state_is_refused_before_data() -> None:
    settings = Train.of(
        composed("data=ravdess", "data.root=nowhere", "model=layer_mix", "frontend.delta_scale=0")
    )
    with pytest.raises(ConfigError, match=r"adds several hidden states, and these features have one"):
        check_encoder_input(settings)


def test_steps_of_an_encoder_train_any_model(
    tmp_path: Path, recordings: Path, folder: Callable[[str], str]
) -> None:
    chosen = (
        "features=pretrained",
        f"features.path={folder('wav2vec2_layer')}",
        f"data.cache_dir={tmp_path}",
    )
    for model in ("cnn", "lstm", "transformer", "identity"):
        settings = Train.of(composed("data=ravdess", f"data.root={recordings}", *chosen, f"model={model}"))
        data = setup.make_data(settings, setup.read_splits(settings))
        batch = next(iter(data.train_dataloader()))
        task = setup.make_task(settings, data)
        assert data.datasets["train"].store.audio.dtype == np.float16
        assert batch.audio.values.dtype == torch.float32
        assert task.model(batch.audio).isfinite().all()
