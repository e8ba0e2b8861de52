"""Measure the cache of features of a large corpus: a build, one more file, kills, two workers, memory.

The recordings are noise of 1 s at 8 kHz, 100,000 of them; their features are the challenge's 26 log-mels.
"""

import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measure import ROOT, ChildRun, Goal, Options, Result, main, paired_ratio, run_child

if TYPE_CHECKING:
    from ser.data.manifest import Manifest

UTTERANCES, QUICK = 100_000, 2_000
KILLS = 10
_RATE = 8_000
_IMPORTS = "from benchmarks.shards import build, list_recordings\nmanifest = list_recordings(sys.argv[1])"


def shards(options: Options) -> Result:
    """Measure each stage once, in fresh processes with one thread."""
    count = QUICK if options.quick else UTTERANCES
    folder = recordings(options.folder, count)
    caches = [options.folder / f"cache-shards-{name}" for name in ("one", "two", "killed")]
    for cache in caches:
        shutil.rmtree(cache, ignore_errors=True)
    one, killed = (
        partial(run_child, _IMPORTS, "build(manifest, arguments[1])", folder, cache)
        for cache in (caches[0], caches[2])
    )
    alone = one()
    again = one()
    (folder / "added.wav").unlink(missing_ok=True)
    write(folder / "added.wav", count)
    added = one()
    (folder / "added.wav").unlink()
    seconds = side_by_side(folder, caches[1], workers=2)
    kill_repeatedly(folder, caches[2], alone.seconds)
    finished = killed()
    same = contents(caches[1]) == contents(caches[2])
    share, ratio = added.seconds / alone.seconds, alone.seconds / seconds
    return Result(
        name="shards",
        headline="one worker / two workers, time",
        ratio=paired_ratio([alone.seconds], [seconds]),
        columns=[f"{count} utterances of 1 s", "s", "peak MiB above imports"],
        rows=[
            row("build, one worker", alone),
            ["build, two workers", f"{seconds:.1f}", ""],
            row("a later start", again),
            row("one file more", added),
            row(f"the rest, after {KILLS} kills", finished),
        ],
        goals=[
            Goal("one file more / build, time", share, "<=", 0.02),
            Goal("one worker / two workers, time", ratio, ">=", 1.7),
            Goal(f"caches that differ after {KILLS} kills", float(not same), "<=", 0),
        ],
    )


def row(name: str, run: ChildRun) -> list[str]:
    """Return a row of the table."""
    return [name, f"{run.seconds:.2f}", f"{run.peak_mib:.0f}"]


def build(manifest: "Manifest", cache: str) -> None:
    """Read the features of all recordings, with one thread."""
    import torch

    from ser.data.feature_store import read_features
    from ser.features import LogMel

    torch.set_num_threads(1)
    read_features(manifest, LogMel(sample_rate=_RATE, num_mel_bins=26), cache_dir=cache, settings="shards")


def list_recordings(folder: str) -> "Manifest":
    """Return the recordings of a folder as a manifest, after importing what reads them."""
    import ser.data.feature_store
    import ser.features  # noqa: F401
    from ser.data.manifest import Manifest, Utterance

    names = sorted(path.name for path in Path(folder).iterdir())
    return Manifest(tuple(Utterance(name, Path(folder) / name) for name in names), folder)


def recordings(folder: Path, count: int) -> Path:
    """Write recordings of noise, or reuse them; read all, so that no build alone has to wait for the disk."""
    place = folder / f"shards-{count}"
    place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        if not (place / f"{number:06}.wav").exists():
            write(place / f"{number:06}.wav", number)
        (place / f"{number:06}.wav").read_bytes()
    return place


def write(path: Path, number: int) -> None:
    """Write 1 s of noise."""
    import soundfile

    noise = np.random.default_rng(number).integers(-9_000, 9_000, _RATE, dtype=np.int16)
    soundfile.write(path, noise, _RATE)


def start(folder: Path, cache: Path) -> "subprocess.Popen[str]":
    """Start a worker; return when it has imported everything."""
    code = f"import sys\n{_IMPORTS}\nprint('ready', flush=True)\nsys.stdin.readline()\nbuild(manifest, sys.argv[2])"
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(cache)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    worker.stdout.readline()
    return worker


def go(worker: "subprocess.Popen[str]") -> None:
    """Let a worker begin."""
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


def side_by_side(folder: Path, cache: Path, *, workers: int) -> float:
    """Measure the seconds until all workers have the features."""
    started = [start(folder, cache) for _ in range(workers)]
    begin = time.perf_counter()
    for worker in started:
        go(worker)
    for worker in started:
        worker.wait()
    return time.perf_counter() - begin


def kill_repeatedly(folder: Path, cache: Path, seconds: float) -> None:
    """Start a build and kill it, several times."""
    for _ in range(KILLS):
        worker = start(folder, cache)
        go(worker)
        time.sleep(seconds / (2 * KILLS))
        worker.send_signal(signal.SIGKILL)
        worker.wait()


def contents(cache: Path) -> dict[str, bytes]:
    """Return the digests of all files; a killed process leaves locks that nobody holds."""
    from hashlib import sha256

    return {
        str(path.relative_to(cache)): sha256(path.read_bytes()).digest()
        for path in cache.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


if __name__ == "__main__":
    main(shards)
