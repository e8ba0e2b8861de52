"""Print a line of JSON for each recording: python predict.py FILE..., with onnxruntime, numpy and soundfile."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def load(name):
    """Return the content of a file beside this one, if SHA256SUMS lists its digest."""
    path, sums = (Path(__file__).with_name(each) for each in (name, "SHA256SUMS"))
    content, listed = (each.read_bytes() if each.is_file() else b"" for each in (path, sums))
    if f"{hashlib.sha256(content).hexdigest()}  {name}".encode() not in listed.splitlines():
        sys.exit(f"{path}: is missing or damaged, or SHA256SUMS is. Copy the whole folder again.")
    return content


def read(path):
    """Return the name and the samples [N], or from JSON the frames [T, F], of each recording of a file."""
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
            found = found.items() if isinstance(found, dict) else ((each["id"], each) for each in found)
            return [(name, np.atleast_2d(np.array(own["features"], np.float32).T).T) for name, own in found]
        import soundfile

        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except Exception as error:
        fix = "Run: pip install soundfile" if isinstance(error, ImportError) else "Give a .wav or .json file."
        sys.exit(f"{path}: cannot be read ({type(error).__name__}: {error}). {fix}")
    samples, wanted = samples.mean(1), CONFIG["sample_rate"]
    if rate != wanted:  # cut the spectrum, which fades over the last 5% below half the lower rate
        down, up = (int(each // np.gcd(rate, wanted)) for each in (rate, wanted))
        size = -(-(len(samples) + 1000) // down)  # zeros at the end, as a spectrum is that of a loop
        fade = np.clip(np.linspace(20, 0, size * min(up, down) // 2 + 1), 0, 1) * up / down
        spectrum = np.fft.rfft(samples, size * down)[: len(fade)] * fade
        samples = np.fft.irfft(spectrum, size * up)[: -(-len(samples) * up // down)]
    return [(path.name, samples)]


FILES = sys.argv[1:] or sys.exit(print("usage: python predict.py FILE...", file=sys.stderr) or 2)
CONFIG = json.loads(load("config.json"))
ONNX, LABELS = CONFIG["onnx"], CONFIG["labels"]
SESSIONS = {graph: onnxruntime.InferenceSession(load(ONNX[graph])) for graph in ONNX["inputs"]}
for name, values in (recording for file in FILES for recording in read(Path(file))):
    is_audio = ONNX["reads_recordings"] and len(values) >= ONNX["min_samples"]
    if not (is_audio if values.ndim == 1 else [*values.shape[1:]] == ONNX["shape"]):
        sys.exit(f"{name}: has the shape {[*values.shape]}, expected {ONNX['takes']}. Leave it out.")
    if not np.isfinite(values).all():
        sys.exit(f"{name}: has values that are not finite. Leave it out.")
    for graph in ("features", "model") if values.ndim == 1 and "features" in SESSIONS else ("model",):
        inputs = {ONNX["inputs"][graph]: np.float32(values[None]), "lengths": np.array([len(values)])}
        values = SESSIONS[graph].run(None, inputs)[0][0]
    row = [None if np.isnan(value) else value for value in values.tolist()]
    answers = dict(zip(CONFIG["answers"], row, strict=True))
    labels = {key: None if None in row else own[max(own, key=answers.get)] for key, own in LABELS.items()}
    print(json.dumps({"id": name, **labels, "answers": answers}))
