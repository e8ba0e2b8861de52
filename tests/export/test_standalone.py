"""predict.py of an exported folder: it answers as the run does, and says in one line what is wrong."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ser
from ser.export.bundle import MODEL, PREDICT
from tests.export.runs import noise

soundfile = pytest.importorskip("soundfile")
TOLERANCE = 1e-5


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
