"""Measure streaming: computing time per second of sound, the slowest pushes, and memory over a day.

On one core, whatever --threads says, with random weights: training changes nothing about time.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.measure import ROOT, Goal, Options, Result, interleave, main, run_python, spread
from ser.checkpoints.checkpoint import Trained, assemble
from ser.inference.stream import Stream, chunks_of

MODELS = ("lstm_stream", "gru_stream", "gru_tiny", "causal_cnn", "causal_transformer")
_RATE = 16_000
_PUSHES = 160, 1600  # samples: 10 ms, 100 ms
_DAY = """
import sys, torch
from benchmarks.measure import memory_mib
from benchmarks.streaming import sound, stream_of
torch.set_num_threads(1)
stream, hours = stream_of(sys.argv[1]), int(sys.argv[2])
second = sound(1)
for hour in range(hours):
    for _ in range(3600):
        stream.push(second)
    if hour in (0, hours - 1):
        print(memory_mib("VmRSS"))
"""


def streaming(options: Options) -> Result:
    """Measure each model and size of push; the headline is lstm_stream in pushes of 10 ms."""
    torch.set_num_threads(1)
    seconds = 2 if options.quick else 60
    waveform = sound(seconds)
    contestants = {
        (model, size): partial(pushed, stream_of(model), waveform, size)
        for model in (MODELS[:1] if options.quick else MODELS)
        for size in _PUSHES
    }
    times = interleave(contestants, options.repetitions)
    rows = []
    for (model, size), taken in times.items():
        factors = spread([float(one.sum()) / seconds for one in taken])
        slowest = spread([1000 * float(np.percentile(one, 99)) for one in taken])
        rows.append([model, f"{1000 * size // _RATE} ms", f"{factors.median:.4f}", f"{slowest.median:.2f}"])
    headline = times[MODELS[0], _PUSHES[0]]
    factor = spread([float(one.sum()) / seconds for one in headline])
    slowest = spread([1000 * float(np.percentile(one, 99)) for one in headline])
    hours = 2 if options.quick else 24
    early, late = day_of(MODELS[0], hours)
    return Result(
        name="streaming",
        headline="real time / computing, lstm_stream in pushes of 10 ms",
        ratio=spread([seconds / float(one.sum()) for one in headline]),
        columns=["model", "push", "real-time factor", "99th percentile of a push, ms"],
        rows=rows,
        goals=[
            Goal("real-time factor, lstm_stream, pushes of 10 ms, one core", factor.median, "<=", 0.02),
            Goal("99th percentile of such a push, ms", slowest.median, "<=", 2),
            Goal(f"memory after {hours} hours against one hour, ratio", late / early, "<=", 1.01),
        ],
        notes=[f"memory of the process after one hour {early:.0f} MiB, after {hours} hours {late:.0f} MiB"],
    )


def stream_of(model: str) -> Stream:
    """Create a stream of experiment=language_id_stream with random weights."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("train", overrides=["experiment=language_id_stream", f"model={model}"])
    config: dict[str, Any] = yaml.safe_load(OmegaConf.to_yaml(composed, resolve=True))
    described = {
        name: config[name] for name in ("features", "frontend", "model", "pooling", "head", "target")
    }
    described |= {"feature_dim": config["features"]["num_coefficients"]}
    described["target"] |= {"field": "language"}
    network, target = assemble(described)
    network.eval()
    return Stream(
        Trained(
            network,
            target,
            described["feature_dim"],
            described["features"],
            described["frontend"],
            Path(model),
        )
    )


def sound(seconds: float) -> np.ndarray:
    """Generate bursts of noise [samples]."""
    rng = np.random.default_rng(0)
    times = np.arange(round(seconds * _RATE)) / _RATE
    loud = np.where(times % 1.7 > 0.5, 0.1, 1e-3)
    return (loud * rng.normal(size=len(times))).astype(np.float32)


def pushed(stream: Stream, waveform: np.ndarray, size: int) -> np.ndarray:
    """Measure the seconds of each push of `size` samples."""
    stream.reset()
    taken = []
    for piece in chunks_of(waveform, size):
        started = time.perf_counter()
        stream.push(piece)
        taken.append(time.perf_counter() - started)
    return np.array(taken)


def day_of(model: str, hours: int) -> tuple[float, float]:
    """Measure the MiB of a fresh process after one hour of sound and after `hours` hours, pushed second by second."""
    early, late = run_python("-c", _DAY, model, str(hours)).split()
    return float(early), float(late)


if __name__ == "__main__":
    main(streaming)
