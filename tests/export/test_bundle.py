"""Exported folders: they answer as the run does, without torch and with it, and say where they come from."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ser
from ser.checkpoints import checkpoint
from ser.checkpoints.bundle import digest, is_bundle
from ser.errors import CheckpointError, ConfigError
from ser.evaluation.trained_on import read_trained_on
from ser.export import bundle
from ser.export.bundle import CARD, FEATURES, INT8, MODEL, PREDICT, answer_names, write_bundle
from ser.export.compare import (
    answers_in_onnx,
    answers_in_torch,
    example_recordings,
    features_difference,
    whole_difference,
)
from ser.export.onnx_export import save_int8
from ser.export.run_facts import read_facts
from ser.targets import Regression
from tests.export.runs import SMALL, save_run, spread_answers
from tests.models.test_padding import OF_WORDS, options
from tests.pretrained.tiny import save

TOLERANCE = 1e-5


def test_features_as_a_graph_agree_with_those_of_the_run(written, source):
    trained = checkpoint.load(source)
    recordings = [each.flip(0) for each in example_recordings(trained, "waveform")]
    assert features_difference(trained, written[0] / FEATURES, recordings) < TOLERANCE


def test_weights_of_8_bits_are_smaller_and_answer_nearly_the_same(written, source, tmp_path):
    exact, rounded = written[0] / MODEL, tmp_path / INT8
    save_int8(exact, rounded)
    assert rounded.stat().st_size < exact.stat().st_size
    recordings = example_recordings(checkpoint.load(source), "frames")
    one, other = (answers_in_onnx(path, recordings, together=False) for path in (exact, rounded))
    assert 0 < float((one - other).abs().max()) < 0.2


def test_load_reads_a_bundle_with_the_numbers_of_the_run(written, source):
    frames = torch.randn(30, 26).numpy() + 8
    own, other = (ser.load(path).predict(frames) for path in (source, written[0]))
    assert own == other
    assert "model" in repr(ser.load(written[0]))


def test_a_bundle_knows_what_it_was_trained_on(written, source):
    own, other = read_trained_on(source), read_trained_on(written[0])
    assert own is not None
    assert other is not None
    assert other.known["train"].digests == own.known["train"].digests == {"01" * 16}
    assert other.data["root"] == own.data["root"]


@pytest.mark.parametrize("name", ["model.safetensors", MODEL, PREDICT, "utterances.csv"])
def test_a_missing_or_changed_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=rf"{name}: has changed since the export"):
        ser.load(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}: is missing. Export it again"):
        ser.load(folder)


@pytest.mark.parametrize("text", ["{", "{}", '{"ser_bundle": 9, "files": {}}'])
def test_a_damaged_config_is_named(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config.json: (is not of an exported model|has format 9)"):
        ser.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {}}, r"config\.json: lists no SHA-256 of model\.safetensors.*Export it again"),
        (
            {"description": {"a": {"__tensor__": ["b"]}}},
            r"does not hold what config\.json describes.*Export it again",
        ),
        (
            {"description": {"a": {"__tensor__": "b"}}},
            r"does not hold what config\.json describes.*Export it again",
        ),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_named(change, message, tmp_path):
    save_file({"model.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    files = {"model.safetensors": digest(tmp_path / "model.safetensors")}
    config = {"ser_bundle": 1, "files": files, "description": {}, **change}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        ser.load(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("frontend.normalize=speaker", r"depends on all recordings of a speaker.*frontend.normalize=global"),
        ("head.normalize=corpus", r"depends on all recordings of a corpus.*head.normalize=batch"),
    ],
)
def test_answers_that_depend_on_other_recordings_are_refused(setting, message, tmp_path):
    run = save_run(tmp_path / "run", *SMALL, setting)
    with pytest.raises(ConfigError, match=message):
        write_bundle(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_is_not_exported_again(written, tmp_path):
    assert is_bundle(written[0])
    with pytest.raises(ConfigError, match="is an exported model already"):
        write_bundle(written[0], tmp_path / "out")


def test_waveforms_for_a_model_of_other_frames_are_refused(tmp_path):
    run = save_run(tmp_path / "run", *SMALL, feature_dim=10)
    with pytest.raises(ConfigError, match=r"takes=waveform: .* was trained on frames .* Set takes=frames"):
        write_bundle(run, tmp_path / "out", takes="waveform")


def test_an_error_of_onnxruntime_is_named(source, tmp_path, monkeypatch):
    def fail(*_: object) -> float:
        raise RuntimeError("Conv node: Invalid input shape: {0}")

    monkeypatch.setattr(bundle, "save_whole", lambda *_: None)
    monkeypatch.setattr(bundle, "whole_difference", fail)
    with pytest.raises(
        ConfigError, match=r"onnxruntime cannot run CNNEncoder .*Invalid input shape.*`ser predict`"
    ):
        write_bundle(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_features_that_differ_from_torch_are_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "features_difference", lambda *_: float("nan"))
    with pytest.raises(ConfigError, match=r"its features are others in features.onnx than in torch, by nan"):
        write_bundle(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_values_have_the_names_of_their_fields():
    assert answer_names(Regression(["arousal", "valence"])) == ["arousal", "valence"]


def test_every_file_is_listed_with_its_digest(written):
    config = json.loads((written[0] / "config.json").read_text())
    assert {*config["files"]} == {path.name for path in written[0].iterdir()} - {CARD, "config.json"}
    assert config["files"][FEATURES] == digest(written[0] / FEATURES)


STREAMING = ("causal_cnn", "causal_transformer", "gru_stream", "gru_tiny", "lstm_stream")


OF_RECORDINGS = (
    "data=ravdess",
    "data.root=DIR",
    "target.class_names=[anger,calm,joy]",
    "target.field=emotion",
)


@pytest.mark.slow
@pytest.mark.parametrize("model", options("model"))
def test_every_model_agrees_with_torch(model: str, tmp_path: Path) -> None:
    settings: tuple[str, ...] = ("features=log_mel",)
    if model.startswith("waveform"):
        settings = OF_RECORDINGS
    elif model in OF_WORDS:
        settings = OF_WORDS[model]
    elif model == "layer_mix":
        path = save(tmp_path / "encoder", "wav2vec2_layer")
        settings = (*OF_RECORDINGS, "features=pretrained", f"features.path={path}", "features.layer=all")
    if model in STREAMING:
        settings += ("frontend.delta_scale=0", "pooling=mean")
    _check(
        save_run(tmp_path / "run", *settings, f"model={model}"), tmp_path / "out", streams=model in STREAMING
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", ["wav2vec2_group", "hubert_layer", "wavlm_layer", "data2vec", "whisper"])
def test_every_pretrained_encoder_agrees_with_torch(family: str, tmp_path: Path) -> None:
    path = save(tmp_path / "encoder", family)
    run = save_run(tmp_path / "run", *OF_RECORDINGS, "model=pretrained", f"model.path={path}")
    _check(run, tmp_path / "out")


def _check(run: Path, output: Path, *, streams: bool = False) -> None:
    """Export a run, and compare other recordings than the export itself has compared."""
    takes = bundle.choose_input(checkpoint.load(run), read_facts(run))
    spread_answers(run, takes)
    written = write_bundle(run, output)
    assert ("step.onnx" in written.sizes) is streams
    trained = checkpoint.load(run)
    recordings = [each.flip(0) for each in example_recordings(trained, takes)]
    assert answers_in_torch(trained, recordings, takes).std(0).max() > 1000 * TOLERANCE
    assert written.onnx["inputs"]["model"] == takes
    assert written.onnx["largest_difference"] < TOLERANCE
    assert whole_difference(trained, output / MODEL, recordings, takes) < TOLERANCE
