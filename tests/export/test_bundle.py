"""Exported folders: they answer as the run does, without torch and with it, and say where they come from."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ser
from ser.checkpoints import checkpoint
from ser.checkpoints.bundle import SUMS, is_bundle, write_sums
from ser.errors import CheckpointError, ConfigError
from ser.evaluation.trained_on import read_trained_on
from ser.export import bundle
from ser.export.bundle import CARD, FEATURES, INT8, MODEL, PREDICT, answer_names, class_answers, write_bundle
from ser.export.compare import (
    answers_in_onnx,
    answers_in_torch,
    example_recordings,
    features_difference,
    rounding_difference,
    whole_difference,
)
from ser.export.onnx_export import save_int8
from ser.export.run_facts import read_facts
from ser.scripts.export import describe_bundle
from ser.targets import Binary, Classes, MultiTask, Regression
from tests.conftest import REPOSITORY
from tests.export.runs import SMALL, noise, predict, save_run, spread_answers
from tests.models.test_padding import OF_WORDS, options
from tests.pretrained.tiny import save

TOLERANCE = 1e-5
OF_RECORDINGS = (
    "data=ravdess",
    "data.root=DIR",
    "target.class_names=[anger,calm,joy]",
    "target.field=emotion",
)
OF_FRAMES = (*OF_RECORDINGS, "target=frame_classes", "pooling=none", "silence=mask")


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


def test_weights_of_8_bits_that_save_nothing_are_refused(of_recordings, tmp_path):
    run, folder = of_recordings
    shutil.copy(folder / MODEL, tmp_path / MODEL)
    message = rf"quantize=int8: saves nothing, as {INT8} .* most weights of LSTMEncoder .* Set quantize=none"
    with pytest.raises(ConfigError, match=message):
        bundle._write_int8(tmp_path, checkpoint.load(run), [])


def test_answers_that_are_missing_differ_by_their_probability():
    nan = float("nan")
    exact, rounded = torch.tensor([[0.25, 0.75], [nan, nan]]), torch.tensor([[0.5, 0.5], [nan, nan]])
    assert rounding_difference(exact, rounded) == 0.25
    rounded[0] = nan
    assert rounding_difference(exact, rounded) == 0.75


@pytest.mark.parametrize(
    ("settings", "width", "reason"),
    [
        (("features=step_log_mel",), None, "StepLogMel has no form as ONNX"),
        ((), 10, "the model takes other frames than its features have"),
        ((*OF_FRAMES, "model.time_strides=[1,1]"), None, "frames do not say which ones these are"),
    ],
)
def test_a_model_of_frames_without_a_graph_of_its_features_says_why(settings, width, reason, tmp_path):
    run = save_run(tmp_path / "run", *SMALL, *settings, feature_dim=width)
    assert reason in str(bundle._save_features(tmp_path, checkpoint.load(run)))
    assert not (tmp_path / FEATURES).exists()


def test_load_reads_a_bundle_with_the_numbers_of_the_run(written, source):
    frames = torch.randn(30, 26).numpy() + 8
    own, other = (ser.load(path).predict(frames) for path in (source, written[0]))
    assert own == other
    assert "model" in repr(ser.load(written[0]))


def test_a_bundle_has_the_temperature_of_the_run(written, source):
    frames = torch.randn(30, 26).numpy() + 8
    own, other = (ser.load(path, calibrate=True).predict(frames) for path in (source, written[0]))
    assert own == other
    assert own != ser.load(written[0]).predict(frames)


def test_the_code_of_the_page_runs(of_recordings, tmp_path, monkeypatch, capsys):
    soundfile = pytest.importorskip("soundfile")
    (tmp_path / "exported").symlink_to(of_recordings[1])
    soundfile.write(tmp_path / "speech.wav", noise(16_000)[0].numpy(), 16_000)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/export.md").read_text(), re.DOTALL)
    exec(compile(block, "docs/export.md", "exec"), {})
    assert re.match(r"Prediction\(label='(anger|calm)'", capsys.readouterr().out)


def test_a_bundle_knows_what_it_was_trained_on(written, source):
    own, other = read_trained_on(source), read_trained_on(written[0])
    assert own is not None
    assert other is not None
    assert other.known["train"].digests == own.known["train"].digests == {"01" * 16}
    assert other.data["root"] == own.data["root"]


@pytest.mark.parametrize("name", ["model.safetensors", MODEL, PREDICT, "utterances.csv", "config.json"])
def test_a_missing_or_changed_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if name == "config.json":
        (folder / name).write_bytes(content.replace(b'"anger"', b'"other"'))
    with pytest.raises(CheckpointError, match=rf"{name}: has changed since the export"):
        ser.load(folder)
    (folder / name).unlink()
    if name == "config.json":
        return  # then it is the folder of a run without a checkpoint
    with pytest.raises(CheckpointError, match=rf"{name}: is missing. Export it again"):
        ser.load(folder)


def test_a_folder_without_its_digests_is_refused(folder):
    (folder / SUMS).unlink()
    with pytest.raises(CheckpointError, match=r"SHA256SUMS: is missing, or has no SHA-256 of config.json"):
        ser.load(folder)


@pytest.mark.parametrize("text", ["{", "{}", '{"ser_bundle": 9}'])
def test_a_damaged_config_is_named(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config.json: (is not of an exported model|has format 9)"):
        ser.load(folder)


@pytest.mark.parametrize("name", [["b"], "b"])
def test_a_config_that_does_not_fit_the_weights_is_named(name, tmp_path):
    save_file({"model.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    config = {"ser_bundle": 2, "description": {"a": {"__tensor__": name}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_sums(tmp_path)
    with pytest.raises(CheckpointError, match=r"does not hold what config\.json describes.*Export it again"):
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
    monkeypatch.setattr(bundle, "save_whole", lambda *_: None)
    monkeypatch.setattr(bundle, "features_difference", lambda *_: float("nan"))
    with pytest.raises(ConfigError, match=r"its features are others in features.onnx than in torch, by nan"):
        bundle._save_features(tmp_path, checkpoint.load(source))


def test_values_have_the_names_of_their_fields():
    assert answer_names(Regression(["arousal", "valence"])) == ["arousal", "valence"]
    assert class_answers(Regression(["arousal", "valence"])) == {}


def test_every_answer_that_is_a_probability_has_its_class():
    emotion = Classes(["anger", "calm"], "emotion")
    assert class_answers(emotion) == {"label": {"anger": "anger", "calm": "calm"}}
    pair = {"emotion": {"target": emotion}, "values": {"target": Regression(["arousal"])}}
    sex = {"sex": {"target": Binary(["f", "m"], "sex")}}
    assert class_answers(MultiTask({**pair, **sex})) == {
        "emotion": {"emotion_anger": "anger", "emotion_calm": "calm"},
        "sex": {"sex_f": "f", "sex_m": "m"},
    }


def test_the_command_that_tries_a_folder_is_quoted(written, tmp_path):
    output = tmp_path / "my model"
    shutil.copytree(written[0], output)
    first, *_, line = describe_bundle(output, written[1])
    assert f"config.json ({(output / 'config.json').stat().st_size / 1e3:.1f} kB)" in first
    words = shlex.split(line.removeprefix("Try it: "))
    assert words[-2:] == [str(output / PREDICT), "speech.wav"]
    assert subprocess.run([sys.executable, words[-2]], capture_output=True, text=True).stderr.startswith(
        "usage"
    )


def test_every_file_but_the_card_is_checked_by_sha256sum(written):
    found = subprocess.run(["sha256sum", "-c", SUMS], cwd=written[0], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    listed = {line.removesuffix(": OK") for line in found.stdout.splitlines()}
    assert listed == {path.name for path in written[0].iterdir()} - {CARD, SUMS}
    assert {*written[1].sizes} == {*listed, CARD, SUMS}


STREAMING = ("causal_cnn", "causal_transformer", "gru_stream", "gru_tiny", "lstm_stream")


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


@pytest.mark.slow
def test_a_model_of_frames_of_speech_has_weights_of_8_bits_and_no_label_of_silence(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    run = save_run(tmp_path / "run", *OF_FRAMES, "model=causal_cnn", "frontend.delta_scale=0")
    written = write_bundle(run, tmp_path / "out", quantize="int8")
    assert 0 < written.onnx["int8_difference"] < 0.5
    soundfile.write(tmp_path / "silence.wav", torch.zeros(16_000).numpy(), 16_000)
    line = json.loads(predict(tmp_path / "out", tmp_path / "silence.wav").stdout)
    nothing = dict.fromkeys(["anger", "calm", "joy"])
    assert line == {"id": "silence.wav", "label": None, "answers": nothing}


@pytest.mark.slow
def test_a_model_of_several_tasks_has_a_label_for_each(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    names = "target.tasks.emotion.target.class_names=[anger,calm]"
    settings = ("data=ravdess", "data.root=DIR", "data.label=emotion", "target=multi_task", names)
    run = save_run(tmp_path / "run", *SMALL, *settings)
    write_bundle(run, tmp_path / "out")
    (samples,) = noise(16_000)
    soundfile.write(tmp_path / "a.wav", samples.numpy(), 16_000, subtype="FLOAT")
    line = json.loads(predict(tmp_path / "out", tmp_path / "a.wav").stdout)
    expected = ser.load(run).predict(tmp_path / "a.wav")
    assert line["emotion"] == expected.values["emotion"]
    for field in ("arousal", "valence"):
        assert line["answers"][field] == pytest.approx(expected.values[field], abs=TOLERANCE)
    assert (
        "`emotion`: `anger`, `calm`; the values `arousal`, `valence`."
        in (tmp_path / "out" / CARD).read_text()
    )


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
