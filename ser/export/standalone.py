"""Predict with this folder: python predict.py FILE... prints a line of JSON for each recording.

Needs onnxruntime, numpy and, for recordings, soundfile. FILE is a recording, or JSON with frames of features.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).parent
CONFIG = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
ONNX = CONFIG["onnx"]


def read(path):
    """Yield the name and the samples [N] or the frames [T, F] of each recording of a file."""
    if path.suffix == ".json":
        found = json.loads(path.read_text(encoding="utf-8"))
        found = found.items() if isinstance(found, dict) else ((each["id"], each) for each in found)
        yield from ((name, np.array(record["features"], np.float32)) for name, record in found)
    else:
        import soundfile

        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        yield path.name, resample(samples.mean(1), rate, CONFIG["sample_rate"])


def resample(samples, rate, wanted):
    """Change the rate by cutting the spectrum, which fades over the last 5% below half the lower rate."""
    down, up = rate // math.gcd(rate, wanted), wanted // math.gcd(rate, wanted)
    if up == down:
        return samples
    size = -(-(len(samples) + 1000) // down)  # zeros at the end, as a spectrum is that of a loop
    spectrum = np.fft.rfft(samples, size * down)[: size * min(up, down) // 2 + 1]
    spectrum *= np.clip(20 * (1 - np.linspace(0, 1, len(spectrum))), 0, 1) * up / down
    return np.fft.irfft(spectrum, size * up)[: -(-len(samples) * up // down)].astype(np.float32)


def run(name, values):
    """Run a graph on one recording."""
    inputs = {ONNX["inputs"][name]: values[None], "lengths": np.array([len(values)])}
    return SESSIONS[name].run(None, inputs)[0][0]


SESSIONS = {key: onnxruntime.InferenceSession(HERE / ONNX[key]) for key in ONNX["inputs"]}
for name, values in (recording for file in sys.argv[1:] for recording in read(Path(file))):
    if values.ndim == 1 and len(values) < ONNX["min_samples"]:
        sys.exit(f"{name}: has {len(values)} samples, needs {ONNX['min_samples']}. Leave it out.")
    values = run("features", values) if values.ndim == 1 and "features" in SESSIONS else values
    if values.shape[1:] != tuple(ONNX["shape"]):
        sys.exit(f"{name}: has the shape {[*values.shape]}, expected {ONNX['takes']}. Use another model.")
    found = [None if math.isnan(value) else value for value in run("model", values).tolist()]
    label = CONFIG["labels"][found.index(max(found))] if CONFIG["labels"] and None not in found else None
    print(
        json.dumps({"id": name, "label": label, "answers": dict(zip(CONFIG["answers"], found, strict=True))})
    )
