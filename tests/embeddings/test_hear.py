"""The functions of the HEAR benchmark, on tiny encoders: shapes, timestamps, and no influence of batch mates."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ser.embeddings.hear import get_scene_embeddings, get_timestamp_embeddings, load_model
from ser.embeddings.load import load_embedder
from ser.errors import CheckpointError, ConfigError, DataError
from ser.pretrained.audio_ntt import AudioNTT
from ser.pretrained.cvt import CvT
from ser.pretrained.networks import LogMelEncoder, write_encoder
from tests.commands import documented
from tests.embeddings.test_embeddings import SERAB, save_checkpoint, save_transformer, speech


def write_byol(folder: Path) -> Path:
    """An encoder folder as a pre-training writes it."""
    write_encoder(folder, LogMelEncoder(CvT([8, 8, 16]).eval(), dict(SERAB), -6.0, 4.0))
    return folder


def write_weights(folder: Path) -> Path:
    """A state_dict with the published names."""
    torch.save(AudioNTT(16).state_dict(), folder / "byol.pth")
    return folder / "byol.pth"


MODELS = {
    "byol folder": (write_byol, {}),
    "byol folder, clip": (write_byol, {"stats": "clip"}),
    "byol file": (
        write_weights,
        {"stats": "corpus", "corpus": [speech(1.0)[:, 0], speech(0.5, seed=1)[:, 0]]},
    ),
    "library": (save_transformer, {"layer": 1}),
    "checkpoint": (lambda folder: save_checkpoint(folder / "best.ckpt"), {}),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Each of them."""
    make, settings = MODELS[request.param]
    if request.param == "library":
        pytest.importorskip("transformers")
    return load_model(str(make(tmp_path)), **settings)  # type: ignore[operator, arg-type]


def clips(*seeds: int) -> torch.Tensor:
    return torch.stack([speech(1.1, seed=seed)[:, 0] for seed in seeds])


def test_scene_embeddings_do_not_depend_on_the_batch(model: Any) -> None:
    together = get_scene_embeddings(clips(0, 1, 2), model)
    assert together.shape == (3, model.scene_embedding_size)
    assert model.sample_rate == 16_000
    assert together.dtype == torch.float32
    torch.testing.assert_close(together[1:2], get_scene_embeddings(clips(1), model), atol=1e-4, rtol=1e-4)
    assert float((together[0] - together[1]).abs().max()) > 1e-3


def test_timestamps_are_evenly_spaced_in_ms(model: Any) -> None:
    embeddings, times = get_timestamp_embeddings(clips(0, 1), model, 400, 100)
    assert embeddings.shape == (2, 12, model.timestamp_embedding_size)
    assert times.shape == (2, 12)
    torch.testing.assert_close(times[1], torch.arange(12) * 100.0)


def test_a_timestamp_embeds_the_window_around_it(model: Any) -> None:
    audio = clips(0)
    embeddings, times = get_timestamp_embeddings(audio, model, 400, 100)
    middle = int(times[0, 5] * 16)
    window = audio[:, middle - 3200 : middle + 3200]
    torch.testing.assert_close(embeddings[:, 5], get_scene_embeddings(window, model), atol=1e-4, rtol=1e-4)


def test_statistics_of_a_clip_are_its_own(tmp_path: Path) -> None:
    model = load_model(str(write_byol(tmp_path)), stats="clip")
    quiet = get_scene_embeddings(0.01 * clips(0), model)
    fixed = load_model(str(tmp_path))
    moved = (get_scene_embeddings(0.01 * clips(0), fixed) - get_scene_embeddings(clips(0), fixed)).abs().max()
    assert float((quiet - get_scene_embeddings(clips(0), model)).abs().max()) < 0.5 * float(moved)


def test_weights_without_statistics_ask_for_them(tmp_path: Path) -> None:
    path = str(write_weights(tmp_path))
    with pytest.raises(
        ConfigError, match=r"holds weights, but no mean and deviation of log-mels\. Set stats=corpus"
    ):
        load_model(path)
    with pytest.raises(ConfigError, match="needs the waveforms of the corpus"):
        load_model(path, stats="corpus")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stats": "clip"}, "stats=clip: is for encoders of BYOL-S"),
        ({"layer": 1}, "layer=1: .* gives one embedding"),
    ],
)
def test_settings_of_other_encoders_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_embedder(str(save_checkpoint(tmp_path / "best.ckpt")), **settings)


def test_a_path_without_an_encoder_names_the_setting(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match=r"^path=\S+: a bert is not an encoder of speech"):
        load_embedder(str(tmp_path))


def test_audio_of_one_dimension_is_refused(tmp_path: Path) -> None:
    model = load_model(str(write_byol(tmp_path)))
    with pytest.raises(DataError, match=r"expected floats \[clips, samples\]"):
        get_scene_embeddings(clips(0)[0], model)
    with pytest.raises(DataError, match="has less than one sample"):
        get_timestamp_embeddings(clips(0), model, 400, 0)


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_byol(tmp_path / "ENCODER")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {"audio": clips(0, 1)}
    exec(documented("frozen.md", "python"), found)
    assert found["scenes"].shape == (2, found["model"].scene_embedding_size)
    assert found["steps"].shape == (*found["times_ms"].shape, found["model"].timestamp_embedding_size)
