"""Embedders: one vector an utterance, the same alone and in a batch, computed once."""

import importlib
import json
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from omegaconf import OmegaConf

from ser.batch import Padded
from ser.checkpoints import checkpoint
from ser.config.instantiate import build
from ser.config.validate import check
from ser.data.manifest import Manifest, Utterance
from ser.embeddings import cache as embedding
from ser.embeddings.base import SERAB, Embedder
from ser.embeddings.byol import RandomAudioNTT
from ser.embeddings.cache import embed
from ser.embeddings.opensmile import OpenSmile
from ser.embeddings.pretrained import Pretrained
from ser.embeddings.statistics import LogMelStatistics
from ser.embeddings.trained import TrainedModel
from ser.errors import CheckpointError, ConfigError, DataError
from tests.commands import documented
from tests.conftest import REPOSITORY, alone

CPU = torch.device("cpu")
CONFIG = {
    "features": {"_target_": "ser.features.LogMel", "num_mel_bins": 32},
    "frontend": {"_target_": "ser.models.Frontend", "delta_scale": 3.0},
    "model": {"_target_": "ser.models.CNNEncoder", "channels": [4, 4], "time_strides": [2, 2]},
    "pooling": {"_target_": "ser.models.AttentiveStatisticsPooling"},
    "head": {"_target_": "ser.models.Head"},
    "target": {"_target_": "ser.targets.Quadrant"},
}


def speech(seconds: float, *, seed: int = 0) -> torch.Tensor:
    """A tone that comes and goes, in noise: [samples, 1]."""
    time = torch.arange(round(16_000 * seconds)) / 16_000
    generator = torch.Generator().manual_seed(seed)
    tone = (6.28 * (150 + 20 * seed) * time).sin() * (6.28 * 2 * time).sin().clamp_min(0)
    return (0.3 * tone + 0.01 * torch.randn(len(time), generator=generator))[:, None]


def save_checkpoint(path: Path, *, feature_dim: int = 32, **changed: object) -> Path:
    """A checkpoint as a run writes it, less what only training needs."""
    description = checkpoint.describe(CONFIG | changed, feature_dim=feature_dim)
    model, _ = checkpoint.assemble(description)
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"ser": description, "state_dict": weights}, path)
    return path


def save_transformer(folder: Path, kind: str = "Wav2Vec2", **changed: object) -> Path:
    """A tiny model with random weights and its feature extractor, as a user would save them."""
    transformers = pytest.importorskip("transformers")
    settings = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_dim": [8, 8, 8],
        "conv_kernel": [10, 8, 4],
        "conv_stride": [8, 8, 5],
        "num_feat_extract_layers": 3,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
    }
    config = getattr(transformers, f"{kind}Config")(**(settings | changed))
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(
        folder
    )
    return folder


def random_network(_: Path) -> Embedder:
    embedder = RandomAudioNTT(width=16)
    embedder.fit([torch.randn(40, 64) * 4 - 6])
    return embedder


EMBEDDERS = {
    "logmel_stats": (lambda _: LogMelStatistics(), 192),
    "random": (random_network, 16),
    "checkpoint": (lambda folder: TrainedModel(str(save_checkpoint(folder / "best.ckpt"))), 64),
    "opensmile": (lambda _: OpenSmile("eGeMAPSv02"), 88),
    "pretrained": (lambda folder: Pretrained(str(save_transformer(folder))), 32),
    "pretrained_group_norm": (
        lambda folder: Pretrained(
            str(save_transformer(folder, feat_extract_norm="group", do_stable_layer_norm=False)), layer=1
        ),
        32,
    ),
    "hubert": (lambda folder: Pretrained(str(save_transformer(folder, "Hubert")), layer="last"), 32),
    "wavlm": (lambda folder: Pretrained(str(save_transformer(folder, "WavLM")), layer=2), 32),
}
OPTIONAL = {"opensmile": "opensmile"} | dict.fromkeys([*EMBEDDERS][4:], "transformers")


@pytest.fixture(params=EMBEDDERS)
def embedder(request: pytest.FixtureRequest, tmp_path: Path) -> Embedder:
    """Each of them."""
    if request.param in OPTIONAL:
        pytest.importorskip(OPTIONAL[request.param])
    made: Embedder = EMBEDDERS[request.param][0](tmp_path)
    assert made.dim == EMBEDDERS[request.param][1]
    return made.eval()


@pytest.fixture
def corpus(tmp_path: Path) -> Manifest:
    """Seven recordings, each of another length, not in the order of length."""
    utterances = []
    for number, seconds in enumerate([0.9, 0.3, 1.4, 0.5, 2.0, 0.4, 0.7]):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, speech(seconds, seed=number).numpy(), 16_000, subtype="FLOAT")
        utterances.append(Utterance(f"u{number}", path))
    return Manifest(tuple(utterances), "corpus")


def test_the_benchmark_starts_from_the_log_mels_of_its_preset() -> None:
    preset = yaml.safe_load((REPOSITORY / "conf" / "features" / "serab.yaml").read_text())
    assert preset["features"] == dict(SERAB)


def test_an_utterance_gets_the_same_embedding_alone_and_in_a_batch(embedder: Embedder) -> None:
    batch = Padded.collate([speech(seconds, seed=row) for row, seconds in enumerate([1.7, 0.3, 0.8, 1.1])])
    together = embedder(batch)
    assert together.shape == (4, embedder.dim)
    assert together.dtype == torch.float32
    assert not together.requires_grad
    assert torch.equal(together, embedder(batch))
    for row in range(4):
        torch.testing.assert_close(embedder(alone(batch, row))[0], together[row], atol=1e-5, rtol=1e-5)


def test_what_stands_in_the_padding_changes_nothing(embedder: Embedder) -> None:
    batch = Padded.collate([speech(1.2), speech(0.5, seed=1)])
    noisy = batch.with_values(batch.values.where(batch.mask.unsqueeze(-1), 0.7))
    torch.testing.assert_close(embedder(noisy), embedder(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seconds", [0.3, 60.0])
def test_an_utterance_may_be_short_or_long(embedder: Embedder, seconds: float) -> None:
    assert embedder(Padded.collate([speech(seconds)])).isfinite().all()


def test_utterances_are_told_apart(embedder: Embedder) -> None:
    one, other = (embedder(Padded.collate([speech(1.0, seed=seed)])) for seed in (0, 5))
    assert (one - other).abs().max() > 1e-4


def test_settings_stay_the_same_and_can_be_stored(embedder: Embedder) -> None:
    assert embedder.settings() == embedder.settings()
    assert embedder.sample_rate == json.loads(embedder.settings())["features"].get("sample_rate", 16_000)


def test_statistics_of_log_mels_are_those_over_time() -> None:
    embedder = LogMelStatistics()
    waveform = speech(0.6)
    frames = embedder.extractor(Padded.collate([waveform])).values[0].numpy()
    expected = np.concatenate([frames.mean(0), frames.std(0), frames.max(0)])
    np.testing.assert_allclose(embedder(Padded.collate([waveform]))[0], expected, rtol=1e-5)


def test_a_trained_model_embeds_through_its_own_features(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "best.ckpt")
    waveforms = Padded.collate([speech(0.7)])
    trained = checkpoint.load(path)
    with torch.no_grad():
        expected = trained.model.embed(build(trained.features, slot="features")(waveforms))
    torch.testing.assert_close(TrainedModel(str(path))(waveforms), expected)


def test_a_model_of_frames_that_were_given_to_it_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "best.ckpt", feature_dim=26)
    with pytest.raises(ConfigError, match="was trained on frames of 26 values that were given to it"):
        TrainedModel(str(path))


def test_a_model_of_speakers_scales_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(
        tmp_path / "best.ckpt", frontend=CONFIG["frontend"] | {"normalize": "speaker", "delta_scale": 0.0}
    )
    with pytest.raises(ConfigError, match=r"best.ckpt: was trained on features normalised by speaker"):
        TrainedModel(str(path))


def test_a_model_that_answers_every_step_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(
        tmp_path / "best.ckpt",
        model=CONFIG["model"] | {"time_strides": [1, 1]},
        pooling={"_target_": "ser.models.EveryStep"},
    )
    with pytest.raises(
        ConfigError, match=r"best.ckpt: answers every step, .* Use a model trained with pooling="
    ):
        TrainedModel(str(path))


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        TrainedModel(str(tmp_path / "best.ckpt"))


@pytest.mark.parametrize(
    ("package", "make"),
    [("opensmile", OpenSmile), ("transformers", lambda: Pretrained("."))],
)
def test_a_package_that_is_not_installed_is_named(
    package: str, make: Callable[[], Embedder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "wavlm"}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package} is not installed.*pip install \"{package}>="):
        make()


def test_compare_has_as_many_functionals_as_published() -> None:
    pytest.importorskip("opensmile")
    assert OpenSmile("ComParE_2016")(Padded.collate([speech(0.5)])).shape == (1, 6373)


@pytest.mark.parametrize("layer", [0, 1, "last"])
def test_pretrained_gives_mean_and_deviation_of_its_layer(layer: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = save_transformer(tmp_path)
    waveform = speech(0.9)
    preprocessor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = preprocessor(waveform[:, 0].numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        found = transformers.AutoModel.from_pretrained(folder)(
            inputs["input_values"], output_hidden_states=True
        )
    chosen = found.last_hidden_state if layer == "last" else found.hidden_states[layer]
    expected = torch.cat([chosen.mean(1), chosen.std(1, correction=0)], -1)
    embedded = Pretrained(str(folder), layer=layer)(Padded.collate([waveform]))
    torch.testing.assert_close(embedded, expected, atol=2e-5, rtol=1e-4)


def test_weights_and_layer_of_pretrained_are_its_settings(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    one, other = save_transformer(tmp_path / "one"), save_transformer(tmp_path / "other")
    settings = [
        Pretrained(str(one)).settings(),
        Pretrained(str(other)).settings(),
        Pretrained(str(one), layer=1).settings(),
    ]
    assert len({*settings}) == 3
    copied = shutil.copytree(one, tmp_path / "copied")
    assert Pretrained(str(copied)).settings() == settings[0]


def test_candidates_of_pretrained_are_its_layers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder, audio = str(save_transformer(tmp_path)), Padded.collate([speech(0.9)])
    candidates = Pretrained(folder).candidates()
    assert [*candidates] == ["layer 0", "layer 1", "layer 2", "layer 3"]
    torch.testing.assert_close(candidates["layer 3"](audio), Pretrained(folder, layer="last")(audio))
    assert not Pretrained(folder, layer=1).candidates()


def test_a_layer_that_pretrained_has_not_got_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match=r"extractor\.layer=4: this encoder has the hidden states 0 to 3"):
        Pretrained(str(save_transformer(tmp_path)), layer=4)


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(CheckpointError, match=r"extractor\.path=\S+: holds no config\.json"):
        Pretrained(str(tmp_path))


def test_embeddings_of_a_corpus_are_those_of_each_waveform(corpus: Manifest, tmp_path: Path) -> None:
    embedder = LogMelStatistics()
    embedder.max_frames = 100  # several batches
    embeddings = embed(corpus, np.arange(3), embedder, cache_dir=str(tmp_path / "cache"), device=CPU)
    assert embeddings.dtype == np.float32
    for row, utterance in enumerate(corpus):
        waveform = torch.from_numpy(soundfile.read(utterance.path, dtype="float32")[0])[None, :, None]
        expected = embedder(Padded(waveform, torch.tensor([waveform.shape[1]])))[0]
        np.testing.assert_allclose(embeddings[row], expected, atol=1e-5, rtol=1e-5)


def test_embeddings_do_not_depend_on_the_number_of_threads(corpus: Manifest, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        embedder = RandomAudioNTT(width=16)
        embedder.max_frames = 100
        torch.set_num_threads(threads)
        try:
            cache = str(tmp_path / f"cache{threads}")
            found.append(embed(corpus, np.arange(3), embedder, cache_dir=cache, device=CPU))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
    assert np.array_equal(*found)


def test_statistics_come_from_the_training_split_alone(corpus: Manifest, tmp_path: Path) -> None:
    embedder = RandomAudioNTT(width=16)
    run = {"cache_dir": str(tmp_path / "cache"), "device": CPU}
    embed(corpus, np.array([2, 4]), embedder, **run)
    train = Manifest((corpus.utterances[2], corpus.utterances[4]), "train")
    other = RandomAudioNTT(width=16)
    embed(train, np.array([0, 1]), other, **run)
    assert embedder.mean == other.mean
    assert embedder.std == other.std
    embed(corpus, np.array([0, 1]), other, **run)
    assert embedder.mean != other.mean


class Counting(LogMelStatistics):
    """Counts the utterances that it embeds, and may spoil some."""

    def __init__(self, *, spoilt: int = -1, **options: object) -> None:
        super().__init__()
        self.options = options
        self.count = 0
        self.spoilt = spoilt

    def encode(self, features: Padded) -> torch.Tensor:
        self.count += len(features.lengths)
        embeddings = super().encode(features)
        return embeddings.masked_fill((features.lengths == self.spoilt)[:, None], torch.nan)


def test_embeddings_are_computed_once(corpus: Manifest, tmp_path: Path) -> None:
    cache = {"cache_dir": str(tmp_path / "cache"), "device": CPU}
    first, again, changed = Counting(), Counting(), Counting(layer=1)
    expected = embed(corpus, np.arange(3), first, **cache)
    assert np.array_equal(embed(corpus, np.arange(3), again, **cache), expected)
    embed(corpus, np.arange(3), changed, **cache)
    assert [first.count, again.count, changed.count] == [7, 0, 7]
    some = corpus.select([3, 1])
    assert np.array_equal(embed(some, np.arange(1), Counting(), **cache), expected[[3, 1]])


def test_damaged_embeddings_are_computed_again(
    corpus: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = {"cache_dir": str(tmp_path / "cache"), "device": CPU}
    expected = embed(corpus, np.arange(3), Counting(), **cache)
    (file,) = (path for path in (tmp_path / "cache").glob("*.npy"))
    assert np.array_equal(np.load(file), expected)
    content = file.read_bytes()
    for damaged in (content[:-100], content[:500] + b"x" + content[501:], b""):
        file.write_bytes(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            again = Counting()
            assert np.array_equal(embed(corpus, np.arange(3), again, **cache), expected)
        assert again.count == 7
        assert "the embeddings are computed again" in caplog.text


def test_embeddings_that_are_not_finite_are_refused_by_name(corpus: Manifest, tmp_path: Path) -> None:
    spoilt = Counting(spoilt=1 + 16 * 300 // 160 + 20)  # 0.5 s
    with pytest.raises(DataError, match=r"corpus: 1 of 7 embeddings are not finite:\s+'?u3"):
        embed(corpus, np.arange(3), spoilt, cache_dir=str(tmp_path / "cache"), device=CPU)
    assert not [*(tmp_path / "cache").glob("*.npy")]


def test_recordings_that_are_too_short_are_named(corpus: Manifest, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", speech(0.05).numpy(), 16_000)
    short = replace(corpus.utterances[0], id="short", path=tmp_path / "short.wav")
    with pytest.raises(
        DataError, match=r"1 of 2 .*too short for RandomAudioNTT, which needs 80 ms:\s+'?short"
    ):
        embed(
            Manifest((corpus.utterances[0], short), "corpus"),
            np.arange(1),
            RandomAudioNTT(width=8),
            cache_dir=str(tmp_path / "cache"),
            device=CPU,
        )


def test_a_failure_within_a_batch_is_not_lost(corpus: Manifest, tmp_path: Path) -> None:
    class Failing(LogMelStatistics):
        def encode(self, features: Padded) -> torch.Tensor:
            raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        embed(corpus, np.arange(3), Failing(), cache_dir=str(tmp_path / "cache"), device=CPU)


def test_a_bar_is_shown_to_those_who_watch_long_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = [[0, 1], [2]]
    assert [*embedding._with_bar(plan, 3, "corpus")] == plan
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(embedding, "_BAR_AFTER_S", 0.0)
    assert [*embedding._with_bar(plan, 3, "corpus")] == plan
    assert "Embedding corpus" in capsys.readouterr().err


def test_an_embedder_of_ones_own_takes_a_few_lines(corpus: Manifest, tmp_path: Path) -> None:
    module: dict[str, Any] = {"__name__": "crossings"}
    exec(documented("serab.md", "python"), module)
    embedder = module["ZeroCrossings"]()
    embeddings = embed(corpus, np.arange(3), embedder, cache_dir=str(tmp_path / "cache"), device=CPU)
    waveform = soundfile.read(corpus.utterances[4].path)[0]
    crossings = np.count_nonzero(np.diff(np.sign(waveform))) / len(waveform)
    assert embeddings[4] == pytest.approx(crossings)


def test_an_embedder_whose_code_was_changed_embeds_anew(
    corpus: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = documented("serab.md", "python")
    found = []
    for version in (code, code.replace(".sum(1)", ".sum(1) * 2")):
        (tmp_path / "crossings.py").write_text(version)
        monkeypatch.delitem(sys.modules, "crossings", raising=False)
        importlib.invalidate_caches()
        embedder = importlib.import_module("crossings").ZeroCrossings()
        found.append(embed(corpus, np.arange(3), embedder, cache_dir=str(tmp_path / "cache"), device=CPU))
    assert found[1] == pytest.approx(2 * found[0])


@pytest.mark.parametrize(
    "name", ["logmel_stats", "random", "byol_s", "checkpoint", "opensmile", "pretrained"]
)
def test_settings_of_the_presets_are_those_of_the_constructors(name: str) -> None:
    preset = OmegaConf.load(REPOSITORY / "conf" / "extractor" / f"{name}.yaml")
    for key in preset:
        if OmegaConf.is_missing(preset, key):
            preset[key] = "path"
    assert check(OmegaConf.create({"extractor": preset}))["extractor"]["_target_"].startswith(
        "ser.embeddings."
    )
