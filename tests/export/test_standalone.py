"""predict.py of an exported folder: it answers as the run does, and says in one line what is wrong."""

import ast
import json
import re
import runpy
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

import ser
from ser.checkpoints.bundle import SUMS, write_sums
from ser.export.bundle import FEATURES, MODEL, PREDICT
from tests.export.runs import noise, predict

soundfile = pytest.importorskip("soundfile")
TOLERANCE = 1e-5


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


def refusal(folder: Path, *files: Path) -> str:
    """The one line with which predict.py refuses files."""
    with mock.patch.object(sys, "argv", [PREDICT, *map(str, files)]), pytest.raises(SystemExit) as found:
        runpy.run_path(str(folder / PREDICT))
    message = str(found.value)
    assert "\n" not in message
    return message


def test_predict_py_prints_a_label_for_each_task(folder, source, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    one, two, three, four = config["answers"]
    config["labels"] = {"emotion": {one: "anger", two: "calm"}, "sex": {four: "f", three: "m"}}
    (folder / "config.json").write_text(json.dumps(config))
    write_sums(folder)
    frames = torch.randn(40, 26).numpy() * 3 + 8
    line = json.loads(predict(folder, write_frames(tmp_path / "f.json", frames)).stdout.splitlines()[0])
    found = ser.load(source).predict(frames).probabilities
    assert line["emotion"] == ("anger" if found[one] > found[two] else "calm")
    assert line["sex"] == ("m" if found[three] > found[four] else "f")
    assert [*line] == ["id", "emotion", "sex", "answers"]


def test_predict_py_refuses_what_the_model_does_not_take(of_recordings, written, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16_000)
    frames = write_frames(tmp_path / "f.json", np.zeros((9, 5)))
    expected = "samples [N] of one channel at 16000 Hz, 400 or more. Leave it out."
    assert refusal(of_recordings[1], tmp_path / "a.wav") == f"a.wav: has the shape [100], expected {expected}"
    assert refusal(of_recordings[1], frames) == f"one: has the shape [9, 5], expected {expected}"
    either = f"frames [T, 26] of features, or {expected.replace('400', '1')}"
    assert refusal(written[0], frames) == f"one: has the shape [9, 5], expected {either}"
    for values, shape in ((np.zeros(26), "[26, 1]"), (np.array(3.0), "[1, 1]")):
        frames = tmp_path / "g.json"
        frames.write_text(json.dumps({"one": {"features": values.tolist()}}))
        assert refusal(written[0], frames) == f"one: has the shape {shape}, expected {either}"


def test_predict_py_refuses_values_that_are_not_finite(written, tmp_path):
    samples, frames = np.zeros(16_000), np.zeros((9, 26))
    samples[8_000], frames[3, 4] = np.nan, np.inf
    for rate in (16_000, 8_000):
        soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
        message = refusal(written[0], tmp_path / "a.wav")
        assert message == "a.wav: has values that are not finite. Leave it out."
    message = refusal(written[0], write_frames(tmp_path / "f.json", frames))
    assert message == "one: has values that are not finite. Leave it out."


def test_predict_py_says_in_one_line_what_it_cannot_read(written, tmp_path, capsys):
    give = "Give a .wav or .json file."
    for name, content, message in (
        ("none.wav", None, f"LibsndfileError.*{give}"),
        ("text.wav", "no sound", f"LibsndfileError.*{give}"),
        ("frames.txt", '{"one": {"features": [[1, 2]]}}', f"LibsndfileError.*{give}"),
        ("a.json", "{", f"JSONDecodeError.*{give}"),
        ("a.json", '{"one": {}}', rf"\(KeyError: 'features'\)\. {give}"),
        ("a.json", '{"one": {"features": [[1], [1, 2]]}}', f"ValueError.*{give}"),
        ("a.json", "[1]", f"TypeError.*{give}"),
        ("a.json", '{"one": {"features": []}}', r"one: has the shape \[0, 1\]"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        assert re.search(message, refusal(written[0], tmp_path / name))
    assert refusal(written[0]) == "2"
    assert capsys.readouterr().err == "usage: python predict.py FILE...\n"


def test_predict_py_names_the_command_that_installs_soundfile(written, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert refusal(written[0], tmp_path / "a.wav").endswith("). Run: pip install soundfile")


@pytest.mark.parametrize("name", [MODEL, FEATURES, "config.json"])
def test_predict_py_refuses_a_file_that_is_missing_or_damaged(name, folder, tmp_path):
    message = f"{folder / name}: is missing or damaged, or SHA256SUMS is. Copy the whole folder again."
    content = (folder / name).read_bytes()
    for damaged in (content[:-9], content.replace(b"anger", b"other", 1) + b" ", b"", b"{"):
        (folder / name).write_bytes(damaged)
        assert refusal(folder, tmp_path / "a.wav") == message
    (folder / name).unlink()
    assert refusal(folder, tmp_path / "a.wav") == message


def test_predict_py_refuses_a_folder_without_its_digests(folder, tmp_path):
    (folder / SUMS).write_bytes(b"\xff")
    assert "config.json: is missing or damaged, or SHA256SUMS is." in refusal(folder, tmp_path / "a.wav")
    (folder / SUMS).unlink()
    assert "config.json: is missing or damaged, or SHA256SUMS is." in refusal(folder, tmp_path / "a.wav")


def test_predict_py_is_short_and_needs_three_packages(written):
    text = (written[0] / PREDICT).read_text()
    assert len(text.splitlines()) <= 60
    tree = ast.parse(text)
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert named - {*sys.stdlib_module_names} == {"numpy", "onnxruntime", "soundfile"}
