"""Runs of a step or two on noise, for benchmarks of what happens after training."""

from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT, run_python

RATE = 16_000
_RECORDINGS, _SECONDS = 24, 4


def train_on_noise(folder: Path, name: str, *settings: str) -> Path:
    """Train a model of two classes of noise on the CPU, or reuse the run; return its folder.

    Args:
        folder: Folder of generated files.
        name: Name of the run.
        settings: Further settings of train.py.
    """
    import soundfile

    root, run = folder / "noise", folder / f"run-{name}"
    if (run / "checkpoints" / "best.ckpt").exists():
        return run
    for number in range(_RECORDINGS):
        path = root / "ab"[number % 2] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).normal(scale=0.05, size=_SECONDS * RATE)
        soundfile.write(path, noise, RATE)
    run_python(
        *(ROOT / "train.py", "data=folder", "split=random", f"data.root={root}", f"hydra.run.dir={run}"),
        *("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu"),
        *(f"data.cache_dir={folder / 'cache-noise'}", *settings),
        cwd=folder,
    )
    return run
