"""Print a line of JSON for each recording: python predict.py FILE..., with onnxruntime, numpy and soundfile."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).parent
CONFIG = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
ONNX = CONFIG["onnx"]


def read(path):
    """Yield the name and the samples [N], or from JSON the frames [T, F], of each recording of a file."""
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
            found = found.items() if isinstance(found, dict) else ((each["id"], each) for each in found)
            yield from ((name, np.array(record["features"], np.float32)) for name, record in found)
            return
        import soundfile

        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except Exception as error:
        sys.exit(f"{path}: cannot be read ({type(error).__name__}: {error}). Give a recording.")
    samples, wanted = samples.mean(1), CONFIG["sample_rate"]
    if rate != wanted:  # cut the spectrum, which fades over the last 5% below half the lower rate
        down, up = (int(each // np.gcd(rate, wanted)) for each in (rate, wanted))
        size = -(-(len(samples) + 1000) // down)  # zeros at the end, as a spectrum is that of a loop
        spectrum = np.fft.rfft(samples, size * down)[: size * min(up, down) // 2 + 1]
        spectrum *= np.clip(20 * (1 - np.linspace(0, 1, len(spectrum))), 0, 1) * up / down
        samples = np.fft.irfft(spectrum, size * up)[: -(-len(samples) * up // down)].astype(np.float32)
    yield path.name, samples


def run(name, values):
    """Run a graph on one recording."""
    inputs = {ONNX["inputs"][name]: values[None], "lengths": np.array([len(values)])}
    return SESSIONS[name].run(None, inputs)[0][0]


if not sys.argv[1:]:
    sys.exit(print("usage: python predict.py FILE...", file=sys.stderr) or 2)
for file in (ONNX[key] for key in ONNX["inputs"]):
    if hashlib.sha256((HERE / file).read_bytes()).hexdigest() != CONFIG["files"][file]:
        sys.exit(f"{HERE / file}: has changed since the export. Copy the whole folder again.")
SESSIONS = {key: onnxruntime.InferenceSession(HERE / ONNX[key]) for key in ONNX["inputs"]}
for name, values in (recording for file in sys.argv[1:] for recording in read(Path(file))):
    if values.ndim == 1 and len(values) < ONNX["min_samples"]:
        sys.exit(f"{name}: has {len(values)} samples, needs {ONNX['min_samples']}. Leave it out.")
    values = run("features", values) if values.ndim == 1 and "features" in SESSIONS else values
    if values.shape[1:] != tuple(ONNX["shape"]):
        sys.exit(f"{name}: has the shape {[*values.shape]}, expected {ONNX['takes']}. Use another model.")
    row = [None if np.isnan(value) else value for value in run("model", values).tolist()]
    label = CONFIG["labels"][row.index(max(row))] if CONFIG["labels"] and None not in row else None
    print(json.dumps({"id": name, "label": label, "answers": dict(zip(CONFIG["answers"], row, strict=True))}))
