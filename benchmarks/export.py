"""Measure an exported CNN: its size, and how long its predict.py takes to start and answer one recording.

The CNN has its defaults, 64 log-mels, and two steps of training on noise. predict.py is compared with the imports that
it cannot do without.
"""

import shutil
from functools import partial
from pathlib import Path

from benchmarks.measure import (
    Goal,
    Options,
    Result,
    interleave,
    main,
    paired_ratio,
    run_python,
    spread,
    timed,
)
from benchmarks.noise_runs import train_on_noise

_IMPORTS = "import numpy, onnxruntime, soundfile"


def export(options: Options) -> Result:
    """Measure processes in turns; the headline is predict.py against its imports."""
    run = train_on_noise(options.folder, "cnn", "model=cnn")
    bundle = options.folder / "exported"
    shutil.rmtree(bundle, ignore_errors=True)
    run_python("-m", "ser", "export", f"ckpt={run}", f"output={bundle}", "quantize=int8")
    recording = next((options.folder / "noise").rglob("*.wav"))
    contestants = {
        "predict.py, one recording of 4 s": partial(run_python, bundle / "predict.py", recording),
        _IMPORTS: partial(run_python, "-c", _IMPORTS),
    }
    times = interleave(
        {name: partial(timed, action) for name, action in contestants.items()}, options.repetitions
    )
    predicting, importing = times.values()
    started = spread(predicting)
    return Result(
        name="export",
        headline="predict.py / its imports, time",
        ratio=paired_ratio(predicting, importing),
        columns=["what", "s"],
        rows=[[name, str(spread(taken))] for name, taken in times.items()],
        goals=[
            Goal("exported CNN, MB", megabytes(bundle / "model.onnx"), "<=", 1.5),
            Goal("exported CNN, int8, MB", megabytes(bundle / "model_int8.onnx"), "<=", 0.5),
            Goal("predict.py of it, one recording, s", started.median, "<=", 0.5),
        ],
    )


def megabytes(path: Path) -> float:
    """Return the size of a file in MB."""
    return path.stat().st_size / 1e6


if __name__ == "__main__":
    main(export)
