"""Compare reading JSON to the cache with parsers that read the whole file: time, and peak memory above the imports.

Ours does more within its time: it checks every utterance and leaves float32 features on the disk, while the others
stop at Python objects.
"""

import importlib.util
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks import generate
from benchmarks.measure import ChildRun, Goal, Options, Result, interleave, main, paired_ratio, run_child

READERS = {
    "ser": (
        "from ser.corpora.challenge_reader import read_challenge",
        "read_challenge(arguments[0], cache_dir=arguments[1])",
    ),
    "json.load": ("import json", "json.load(open(arguments[0], 'rb'))"),
    "orjson.loads": ("import orjson", "orjson.loads(open(arguments[0], 'rb').read())"),
    "pandas.read_json": ("import pandas", "pandas.read_json(arguments[0], orient='index')"),
}
"""Imports, and the expression that reads a file, by reader."""


def ingest(options: Options) -> Result:
    """Measure time and memory of each reader at 1x, and of ours at 4x, too."""
    utterances = generate.QUICK_UTTERANCES if options.quick else generate.COURSE_UTTERANCES
    path = generate.challenge_file(options.folder, utterances)
    large = generate.challenge_file(options.folder, 4 * utterances)
    readers, notes = installed(READERS)
    contestants = {reader: partial(read, reader, path, options.folder) for reader in readers}
    contestants["ser, 4x"] = partial(read, "ser", large, options.folder)
    runs: dict[str, list[ChildRun]] = interleave(contestants, options.repetitions)
    seconds = {name: [run.seconds for run in times] for name, times in runs.items()}
    peaks = {name: max(run.peak_mib for run in times) for name, times in runs.items()}
    gains = {name: paired_ratio(times, seconds["ser"]) for name, times in seconds.items()}
    rows = []
    for name, gain in gains.items():
        size = (large if name == "ser, 4x" else path).stat().st_size / 1e6
        taken = gain.median * sorted(seconds["ser"])[len(seconds["ser"]) // 2]
        rows.append(
            [name, f"{size:.0f}", f"{taken:.2f}", f"{size / taken:.0f}", str(gain), f"{peaks[name]:.0f}"]
        )
    return Result(
        name="ingest",
        headline="json.load / ser, time",
        ratio=gains["json.load"],
        columns=["reader", "MB", "s", "MB/s", "time / ser's", "peak MiB above imports"],
        rows=rows,
        goals=[
            Goal("ingest against json.load, time", gains["json.load"].median, ">=", 10),
            Goal("ingest peak memory above imports at 1x, MiB", peaks["ser"], "<=", 48),
            Goal("ingest peak memory above imports at 4x, MiB", peaks["ser, 4x"], "<=", 48),
        ],
        notes=notes,
    )


def installed(readers: Mapping[str, tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return the readers whose library is installed, and a note for each of the others."""
    missing = [name for name in readers if importlib.util.find_spec(name.partition(".")[0]) is None]
    return [name for name in readers if name not in missing], [f"{name}: not installed" for name in missing]


def read(reader: str, path: Path, folder: Path) -> ChildRun:
    """Read a file in a fresh process, with an empty cache."""
    cache = folder / "cache-ingest"
    shutil.rmtree(cache, ignore_errors=True)
    run = run_child(*READERS[reader], path, cache)
    shutil.rmtree(cache, ignore_errors=True)
    return run


if __name__ == "__main__":
    main(ingest)
