"""Measure a sweep of trainings by joblib with one worker and with two, and the memory of the mapped features.

python -m benchmarks.parallel data=ravdess data.root=DIR trainer.max_epochs=20
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
JOBS = "seed=0,1,2,3"


def run_sweep(words: Sequence[str], workers: int, folder: Path) -> tuple[float, dict[str, float]]:
    """Run a sweep of four trainings with one thread each; return its seconds and the memory of its processes in MB."""
    command = [sys.executable, str(ROOT / "train.py"), "-m", f"hydra.sweep.dir={folder}", JOBS]
    command += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={workers}", "trainer=cpu", *words]
    started = time.monotonic()
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    found: dict[str, float] = {}
    watch = threading.Thread(target=_watch, args=(process, folder, found))
    watch.start()
    if process.wait():
        sys.exit(f"the sweep ended with exit code {process.returncode}; see {folder}")
    seconds = time.monotonic() - started
    watch.join()
    return seconds, found


def _watch(process: "subprocess.Popen[bytes]", folder: Path, found: dict[str, float]) -> None:
    """Record the largest sums of the mapped features over the trainings of a sweep: as each sees it, and shared."""
    while process.poll() is None:
        sizes = [size for pid in _trainings(folder) if (size := mapped_features(pid))]
        if len(sizes) > 1:
            for place, name in enumerate(("sum of RSS", "sum of PSS")):
                found[name] = max(found.get(name, 0.0), sum(size[place] for size in sizes))
        time.sleep(5)  # a look costs 0.1 s of processor time, which the trainings would miss


def _trainings(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(f"hydra.run.dir={folder}".encode()) for word in words):
            found.append(int(path.parent.name))
    return found


def mapped_features(pid: int) -> tuple[float, float] | None:
    """Return RSS and PSS, in MB, of a process's mapped files of features; None if it maps none."""
    try:
        text = Path(f"/proc/{pid}/smaps").read_text()
    except OSError:
        return None
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)
    mine = [part for part in parts if re.search(r"/audio\.f(16|32)$", part.split("\n", 1)[0])]
    if not mine:
        return None
    rss, pss = (
        sum(int(re.findall(rf"^{key}:\s+(\d+) kB", part, re.MULTILINE)[0]) for part in mine) / 1000
        for key in ("Rss", "Pss")
    )
    return rss, pss


def main() -> None:
    """Print the seconds of both sweeps, and how often the features are in memory."""
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        run_sweep([*words, "trainer.max_epochs=1"], 2, Path(place, "warm"))  # fills the cache
        print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        one, _ = run_sweep(words, 1, Path(place, "one"))
        two, memory = run_sweep(words, 2, Path(place, "two"))
    print(f"one worker {one:.0f} s, two workers {two:.0f} s: {one / two:.2f} times as fast")
    for name, size in memory.items():
        print(f"features in the memory of the trainings, {name}: {size:.1f} MB")


if __name__ == "__main__":
    main()
