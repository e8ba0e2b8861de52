"""The demonstration data: the challenge's four files, spoken by espeak-ng, written once.

Synthetic: good for trying out every command, worthless as evidence about emotions.
"""

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from ser.batch import Padded
from ser.data.prosody import PlannedUtterance, perform, plan
from ser.data.sentences import SPLITS
from ser.data.speech import SAMPLE_RATE, Synthesizer, require_espeak
from ser.errors import ConfigError, DataError, SerError
from ser.features.extract import CHALLENGE, LogMel
from ser.files import write_atomic

VERSION = 1  # raise it with anything that changes a byte of what is written
UTTERANCES = MappingProxyType({"train": 1200, "dev": 400, "ser_test_1": 300, "ser_test_2": 200})
GOLD = {"ser_test_1": "gold_1.json", "ser_test_2": "gold_2.json"}
FILES = (*(f"{split}.json" for split in SPLITS), *GOLD.values())
PART_SIZE = 264  # utterances a process: 8 parts by default; starting one costs as much as 100 utterances
FEWEST = 8  # utterances of a split that hold every class

log = logging.getLogger(__name__)


def generate(
    root: Path, *, seed: int = 0, utterances: Mapping[str, int] = UTTERANCES, processes: int = 2
) -> None:
    """Write the four files and the test files' gold labels, unless they are there from the same settings.

    The bytes depend on `seed` and `utterances` alone. Two processes may call this at once: the second waits,
    then finds the work done. What is interrupted is begun again by the next call.

    Args:
        root: folder of the files; made where it is missing.
        seed: of everything that is drawn.
        utterances: how many for each of train, dev, ser_test_1 and ser_test_2, 8 at least.
        processes: how many speak at the same time.

    Raises:
        ConfigError: unusable settings, or espeak-ng is not installed.
        DataError: `root` cannot be written or holds someone else's files, or espeak-ng fails.
    """
    settings = {"version": VERSION, "seed": seed, "utterances": dict(utterances)}
    _check(seed, utterances, processes)
    root = Path(root)
    if _is_complete(root, settings):
        return
    require_espeak()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _only_one(root / ".lock"):
            if not _is_complete(root, settings):
                _refuse_foreign_files(root)
                _generate(root, settings, processes)
    except OSError as error:
        raise DataError(
            f"{root}: cannot write the demonstration data ({error}). Make room there, or choose another "
            "folder with data.root=DIR."
        ) from error


def _check(seed: int, utterances: Mapping[str, int], processes: int) -> None:
    if set(utterances) != set(SPLITS) or min(utterances.values()) < FEWEST:
        raise ConfigError(
            f"Demonstration data, utterances={dict(utterances)}: give each of {', '.join(SPLITS)} at least {FEWEST} "
            "utterances, or a class may be missing."
        )
    if seed < 0 or processes < 1:
        raise ConfigError(
            f"Demonstration data, seed={seed}, processes={processes}: give a seed of 0 or more and at least "
            "one process."
        )


def _is_complete(root: Path, settings: Mapping[str, Any]) -> bool:
    """Whether `root` holds all files, of the size they were written with, from the same settings."""
    try:
        stored = json.loads((root / "demo.json").read_text())
        sizes = {name: (root / name).stat().st_size for name in FILES}
    except (OSError, ValueError):
        return False
    return bool(stored == {**settings, "bytes": sizes})


def _refuse_foreign_files(root: Path) -> None:
    foreign = [name for name in FILES if (root / name).exists()]
    if foreign and not (root / "demo.json").exists():
        raise DataError(
            f"{root}: {foreign[0]} is not from this generator (there is no demo.json) and would be "
            "overwritten. Choose another folder with data.root=DIR, or remove the file."
        )


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Wait until no other process is in here. The system frees the lock of a process that dies."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _generate(root: Path, settings: Mapping[str, Any], processes: int) -> None:
    """Write everything into a hidden folder, then move it to its place."""
    started = time.monotonic()
    planned = plan(settings["seed"], settings["utterances"])
    log.info("%s: generating %d utterances of synthetic speech, once.", root, len(planned))
    hidden = root / ".partial"
    shutil.rmtree(hidden, ignore_errors=True)  # what a killed process left
    hidden.mkdir()
    try:
        parts = _speak(settings, len(planned), hidden, processes)
        _write_files(hidden, planned, _lines(parts))
        _publish(hidden, root, settings)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    log.info("%s: done in %.0f s.", root, time.monotonic() - started)


def _publish(hidden: Path, root: Path, settings: Mapping[str, Any]) -> None:
    """Move the files to their place; demo.json, with their sizes, comes last and seals them."""
    sizes = {name: (hidden / name).stat().st_size for name in FILES}
    write_atomic(root / "demo.json", json.dumps(settings))  # ours, but unsealed while files are replaced
    for name in FILES:
        (hidden / name).replace(root / name)
    write_atomic(root / "demo.json", json.dumps({**settings, "bytes": sizes}))


def _speak(settings: Mapping[str, Any], count: int, folder: Path, processes: int) -> list[Path]:
    """Speak all utterances, each part in a process of its own; return the parts' files in order."""
    parts = [range(start, min(start + PART_SIZE, count)) for start in range(0, count, PART_SIZE)]
    pool = ThreadPoolExecutor(processes)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("Demonstration speech", total=count)
        try:
            speak = partial(_speak_part, settings, folder, lambda: progress.advance(bar))
            return list(pool.map(speak, parts))
        finally:
            pool.shutdown(cancel_futures=True)


def _speak_part(settings: Mapping[str, Any], folder: Path, advance: Callable[[], None], part: range) -> Path:
    """Run this module as a script for the part, store its lines, count them; return their file."""
    command = [sys.executable, "-m", __name__, json.dumps(settings), str(part.start), str(part.stop)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # it finds ser where we found it
    pipe = subprocess.PIPE
    path = folder / f"part-{part.start}"
    with (
        subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process,
        path.open("w") as file,
    ):
        for line in process.stdout or ():
            file.write(line)
            advance()
        complaint = process.stderr.read() if process.stderr else ""
    if process.returncode:
        reason = complaint.strip().rpartition("\n")[2] or "no message"
        raise DataError(
            f"{folder.parent}: speaking utterances {part.start} to {part.stop - 1} ended with code "
            f"{process.returncode} ({reason}). Run it again; if it still fails, run "
            "`pip install --force-reinstall espeakng-loader`."
        )
    return path


def _lines(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with path.open() as file:
            yield from (line.rstrip() for line in file)


def _write_files(folder: Path, planned: Sequence[PlannedUtterance], features: Iterator[str]) -> None:
    for split in SPLITS:
        utterances = [utterance for utterance in planned if utterance.split == split]
        opening, closing = "[]" if split == "ser_test_2" else "{}"
        with (folder / f"{split}.json").open("w") as file:
            for index, utterance in enumerate(utterances):
                file.write(f"{',' if index else opening}\n{_record(index, utterance, next(features))}")
            file.write(f"\n{closing}\n")
        if split in GOLD:
            gold = {str(index): _labels(utterance) for index, utterance in enumerate(utterances)}
            (folder / GOLD[split]).write_text(json.dumps(gold) + "\n")


def _record(index: int, utterance: PlannedUtterance, features: str) -> str:
    """One utterance as the challenge writes it: test files without labels, the last one with ids inside."""
    if utterance.split == "ser_test_2":
        return f'{{"id": {index}, "features": {features}}}'
    if utterance.split == "ser_test_1":
        return f'"{index}": {{"features": {features}}}'
    return f'"{index}": {json.dumps(_labels(utterance))[:-1]}, "features": {features}}}'


def _labels(utterance: PlannedUtterance) -> dict[str, int]:
    return {"valence": utterance.valence, "activation": utterance.activation}


def _print_part(settings: Mapping[str, Any], part: range) -> None:
    """Print the features [T, 26] of each utterance as a line of JSON."""
    torch.set_num_threads(1)  # the processes share the cores already
    synthesizer = Synthesizer()
    # at espeak-ng's own 22.05 kHz, with the filters of 16 kHz speech: no resampling
    extractor = LogMel(sample_rate=SAMPLE_RATE, max_frequency=8000.0, **CHALLENGE)
    planned = plan(settings["seed"], settings["utterances"])
    for utterance in planned[part.start : part.stop]:
        waveform = torch.from_numpy(perform(utterance, synthesizer))
        frames = extractor(Padded.collate([waveform[:, None]])).values[0].tolist()
        print(f"[{','.join('[' + ','.join(f'{value:.6g}' for value in frame) + ']' for frame in frames)}]")


if __name__ == "__main__":
    try:
        _print_part(json.loads(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3])))
    except SerError as error:
        sys.exit(str(error))
