"""Exported folders: they answer as the run does, without torch and with it, and say where they come from."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import ser
from ser.checkpoints import checkpoint
from ser.checkpoints.bundle import digest, is_bundle
from ser.errors import CheckpointError, ConfigError, DataError
from ser.evaluation.trained_on import read_trained_on
from ser.export import bundle
from ser.export.bundle import CARD, FEATURES, INT8, MODEL, PREDICT, Bundle, answer_names, write_bundle
from ser.export.compare import (
    answers_in_onnx,
    answers_in_torch,
    example_recordings,
    features_difference,
    whole_difference,
)
from ser.export.model_card import model_card
from ser.export.onnx_export import save_int8
from ser.export.run_facts import RunFacts, read_facts
from ser.html_report.answers import read_answers
from ser.targets import Regression
from tests.export.runs import noise, save_run, spread_answers
from tests.models.test_padding import OF_WORDS, options
from tests.pretrained.tiny import save

soundfile = pytest.importorskip("soundfile")
SMALL = ("model=cnn", "model.channels=[4,6]", "model.time_strides=[2,1]", "frontend.delta_scale=0")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the challenge, whose features can be computed from recordings, too."""
    folder = tmp_path_factory.mktemp("run")
    return save_run(folder, "data=challenge", f"data.root={folder}", *SMALL)


@pytest.fixture(scope="module")
def written(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bundle]:
    output = tmp_path_factory.mktemp("exported") / "model"
    return output, write_bundle(source, output)


@pytest.fixture
def folder(written: tuple[Path, Bundle], tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(written[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def of_recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of recordings with a GRU in both directions, and its folder."""
    place = tmp_path_factory.mktemp("recordings")
    settings = ("data=ravdess", f"data.root={place}", "features.num_mel_bins=16", "frontend.delta_scale=0")
    layers = ("model=lstm", "model.cell=gru", "model.hidden_dim=6", "model.num_layers=1", "pooling=mean")
    run = save_run(
        place / "run", *settings, *layers, "target.class_names=[anger,calm]", "target.field=emotion"
    )
    write_bundle(run, place / "model")
    return run, place / "model"


def predict(folder: Path, *files: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(folder / PREDICT), *map(str, files)], capture_output=True, text=True, timeout=60
    )


def write_frames(path: Path, frames: np.ndarray) -> Path:
    path.write_text(
        json.dumps({"one": {"features": frames.tolist()}, "two": {"features": frames[:5].tolist()}})
    )
    return path


def test_a_bundle_of_frames_agrees_with_the_run(written, source, tmp_path):
    folder, bundle = written
    assert 0 < bundle.onnx["largest_difference"] < TOLERANCE
    frames = torch.randn(40, 26).numpy() * 3 + 8
    found = predict(folder, write_frames(tmp_path / "frames.json", frames))
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line["id"] for line in lines] == ["one", "two"], found.stderr
    for line, own in zip(lines, (frames, frames[:5]), strict=True):
        expected = ser.load(source).predict(own)
        assert line["label"] == expected.label
        assert line["answers"] == pytest.approx(dict(expected.probabilities), abs=TOLERANCE)


def test_a_bundle_of_frames_takes_recordings_where_it_can(written, source, tmp_path):
    (samples,) = noise(12_000)
    soundfile.write(tmp_path / "a.wav", samples.numpy(), 16_000, subtype="FLOAT")
    line = json.loads(predict(written[0], tmp_path / "a.wav").stdout)
    expected = ser.load(source).predict(tmp_path / "a.wav")
    assert line["answers"] == pytest.approx(dict(expected.probabilities), abs=TOLERANCE)


def test_features_as_a_graph_agree_with_those_of_the_run(written, source):
    trained = checkpoint.load(source)
    recordings = [each.flip(0) for each in example_recordings(trained, "waveform")]
    assert features_difference(trained, written[0] / FEATURES, recordings) < TOLERANCE


def test_a_bundle_of_recordings_agrees_with_the_run_at_any_rate(of_recordings, tmp_path):
    run, folder = of_recordings
    (samples,) = noise(32_000)
    for rate, tolerance in ((16_000, TOLERANCE), (44_100, 0.02), (8_000, 0.02)):
        low = np.fft.irfft(np.fft.rfft(samples.numpy())[:5_000], len(samples))  # no sound near half a rate
        soundfile.write(tmp_path / "a.wav", low, rate, subtype="FLOAT")
        line = json.loads(predict(folder, tmp_path / "a.wav").stdout)
        expected = ser.load(run).predict(tmp_path / "a.wav")
        assert line["answers"] == pytest.approx(dict(expected.probabilities), abs=tolerance)


def test_predict_py_refuses_what_the_model_does_not_take(of_recordings, written, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16_000)
    found = predict(of_recordings[1], tmp_path / "a.wav")
    assert (found.returncode, "has 100 samples, needs" in found.stderr) == (1, True)
    found = predict(written[0], write_frames(tmp_path / "f.json", np.zeros((9, 5))))
    assert (found.returncode, "expected frames [T, 26] of features" in found.stderr) == (1, True)


def test_predict_py_says_in_one_line_what_it_cannot_read(written, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "other.json").write_text('{"one": {}}')
    for names, code, message in (
        ([], 2, "usage: python predict.py FILE..."),
        (["none.wav"], 1, "none.wav: cannot be read"),
        (["text.wav"], 1, "text.wav: cannot be read"),
        (["other.json"], 1, "other.json: cannot be read (KeyError: 'features')"),
    ):
        found = predict(written[0], *(tmp_path / name for name in names))
        (line,) = found.stderr.splitlines()
        assert (found.returncode, message in line) == (code, True)


def test_predict_py_refuses_a_graph_that_has_changed(folder, tmp_path):
    with (folder / MODEL).open("ab") as file:
        file.write(b"x")
    found = predict(folder, write_frames(tmp_path / "f.json", np.zeros((9, 26))))
    (line,) = found.stderr.splitlines()
    assert (found.returncode, "model.onnx: has changed since the export." in line) == (1, True)


def test_predict_py_is_short_and_needs_three_packages(written):
    text = (written[0] / PREDICT).read_text()
    assert len(text.splitlines()) <= 60
    tree = ast.parse(text)
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert named - {*sys.stdlib_module_names} == {"numpy", "onnxruntime", "soundfile"}


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


def test_the_card_is_read_by_the_hub_and_may_be_edited(folder):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(folder / CARD)
    (result,) = [each for each in card.data.eval_results if each.metric_type == "accuracy"]
    assert (result.metric_value, result.dataset_split) == (0.75, "test")
    assert card.data.pipeline_tag == "audio-classification"
    for text in (
        "| accuracy | 75.0% | ",
        "## Limits\n\nMuch.",
        f"`{'ab' * 8}`",
        "| 50.0% |",
        "A floor is the score of always answering the most frequent class",
    ):
        assert text in card.text
    (folder / CARD).write_text("my own words")
    assert ser.load(folder).labels


def scores_of(text: str) -> dict[str, list[str]]:
    """Score, interval and floor of each metric in the table of a card."""
    rows = text.partition("## Scores\n")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("|")]
    return {name: own for name, *own in cells}


def write_answers(folder: Path, header: str, *rows: str) -> None:
    """Predictions of the test split, of speakers a, b and c."""
    cells = [f"{place},{'abc'[place % 3]},{row}" for place, row in enumerate(rows)]
    (folder / "predictions_test.csv").write_text("\n".join([f"id,speaker,{header}", *cells]) + "\n")


def card_of(written: tuple[Path, Bundle], run: Path, metrics: dict[str, float], target: str) -> str:
    """The card of a run with these metrics of its test split."""
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {}, "target": {"_target_": target}}))
    (run / "metrics.json").write_text(json.dumps({f"test/{name}": value for name, value in metrics.items()}))
    config = json.loads((written[0] / "config.json").read_text())
    return model_card(config, read_facts(run / "best.ckpt"), {})


def test_the_card_of_several_tasks_has_scores_intervals_and_floors_of_each(written, tmp_path):
    header = "label_emotion,label_arousal,emotion,p_emotion_x,p_emotion_y,prediction_arousal"
    header = header.replace(",emotion,", ",prediction_emotion,")
    rows = [f"{'xxy'[i % 3]},{i / 9},{'xyy'[i % 3]},{i % 2},{1 - i % 2},{(i * 7 % 10) / 9}" for i in range(9)]
    write_answers(tmp_path, header, *rows)
    scores = {"emotion/uar": 0.625, "emotion/accuracy": 0.5, "emotion/recall_calm": 0.1}
    scores |= {"emotion/majority_floor": 0.25, "vad/ccc": 0.5, "vad/mse": 0.25, "vad/mse_floor": 0.5}
    scores |= {"vad/ccc_arousal": 0.5, "vad/mse_arousal": 0.25, "vad/mse_floor_arousal": 0.75}
    text = card_of(written, tmp_path, scores, "ser.targets.MultiTask")
    (entry,) = yaml.safe_load(text.split("---")[1])["model-index"][0]["results"]
    own = {name: value for name, value in scores.items() if "floor" not in name and "recall" not in name}
    assert {each["name"]: each["value"] for each in entry["metrics"]} == own
    found, answers = scores_of(text), read_answers(tmp_path / "predictions_test.csv")
    assert found["emotion/accuracy"][::2] == ["50.0%", "25.0%"]
    assert found["emotion/uar"][::2] == ["62.5%", ""]
    low, high = answers.classes[0].intervals()["uar"]
    assert found["emotion/uar"][1] == f"{low:.1%} to {high:.1%}"
    assert found["vad/mse"] == ["0.250", "", "0.500"]
    assert found["vad/mse_arousal"] == ["0.250", "", "0.750"]
    low, high = answers.values[0].interval()
    assert found["vad/ccc"] == found["vad/ccc_arousal"] == ["0.500", f"{low:.3f} to {high:.3f}", ""]


def test_the_card_of_a_model_of_frames_has_the_interval_at_the_score_of_utterances(written, tmp_path):
    rows = ["x,x,1,0", "x,y,0,1", "y,y,0,1", "x,x,1,0", "y,x,1,0", "y,y,0,1"]
    write_answers(tmp_path, "label,prediction,p_x,p_y", *rows)
    scores = {"accuracy": 0.25, "file_accuracy": 4 / 6, "file_uar": 0.625, "majority_floor": 0.5}
    found = scores_of(card_of(written, tmp_path, scores, "ser.targets.FrameClasses"))
    assert found["accuracy"] == ["25.0%", "", "50.0%"]
    low, high = (float(end.rstrip("%")) for end in found["file_accuracy"][1].split(" to "))
    assert low < 100 * 4 / 6 < high
    with (tmp_path / "predictions_test.csv").open("a") as file:
        file.write("6,a,x,,,\n")  # without speech: wrong in file_accuracy
    found = scores_of(card_of(written, tmp_path, scores, "ser.targets.FrameClasses"))
    assert found["file_accuracy"] == ["66.7%", "", ""]
    found = scores_of(card_of(written, tmp_path, scores, "ser.targets.Classes"))
    assert "%" in found["accuracy"][1]


def test_the_card_shows_as_shares_those_metrics_alone_that_are(written):
    config = json.loads((written[0] / "config.json").read_text())
    names = ("macro_f1", "file_uar", "ccc_f1", "mae_accuracy", "ccc_floor", "vad/ccc_f1")
    found = scores_of(model_card(config, RunFacts({"data": {}}, {f"test/{name}": 0.5 for name in names}), {}))
    shown = {name: cells[0] for name, cells in found.items() if name in names}
    assert shown == {name: "50.0%" if name in names[:2] else "0.500" for name in names}


def test_damaged_predictions_are_named(written, tmp_path):
    write_answers(tmp_path, "label,prediction,p_x,p_y", "x,x,zero,0")
    with pytest.raises(DataError, match=r"predictions_test.csv: is damaged .*Copy it again"):
        card_of(written, tmp_path, {"accuracy": 0.5}, "ser.targets.Classes")


def test_the_card_of_a_run_without_scores_says_so(written):
    config = json.loads((written[0] / "config.json").read_text())
    assert "The run was not scored" in model_card(config, RunFacts({"data": {}}), {})
    assert "The checkpoint is not in the folder of its run" in model_card(config, RunFacts(), {})


def test_the_card_of_another_checkpoint_has_no_scores_of_the_best(source, written):
    config = json.loads((written[0] / "config.json").read_text())
    facts = read_facts(source.with_name("last.ckpt"))
    text = model_card(config, facts, {})
    assert (
        "This model is last.ckpt, which the run did not score: the scores of the run are those of best"
        in text
    )
    assert not [word for word in ("75.0%", "95% interval", "Much.") if word in text]
    assert "model-index" not in yaml.safe_load(text.split("---")[1])
    assert f"`{'ab' * 8}`" in text  # the data are the same


def test_the_card_names_the_licence_of_a_published_corpus(of_recordings):
    text = (of_recordings[1] / CARD).read_text()
    assert "its licence: CC BY-NC-SA 4.0" in text
    assert yaml.safe_load(text.split("---")[1])["language"] == ["en"]


def test_facts_are_empty_without_a_run_and_damage_is_named(source, tmp_path):
    shutil.copy(source, tmp_path / "best.ckpt")
    assert read_facts(tmp_path / "best.ckpt").metrics == {}
    (tmp_path / "config.yaml").write_text("data: {}")
    (tmp_path / "metrics.json").write_text("[")
    with pytest.raises(DataError, match="a file of this run is damaged"):
        read_facts(tmp_path / "best.ckpt")


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
