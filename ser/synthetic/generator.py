"""Generate data once into a folder: completely or not at all, by one process at a time, in parallel parts."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.console import Console
from rich.progress import Progress

from ser.errors import ConfigError, DataError, SerError, install_command
from ser.files import write_atomic
from ser.sources import digest_of_code
from ser.synthetic.espeak import require_espeak

_READERS = (
    *("ser.config.instantiate", "ser.corpora.recordings", "ser.corpora.challenge", "ser.data.label_map"),
    *("ser.corpora.conversations", "ser.corpora.sewa"),
    *("ser.splits.assignment", "ser.splits.base", "ser.splits.folds", "ser.splits.leak_report"),
    *("ser.splits.leaks", "ser.splits.rules", "ser.data.store"),
)
"""Modules that read the generated data, and do not affect its content."""

STAMP = "generated speech: a demonstration, not a result"
"""Warning of every report on generated data."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedFolder:
    """Folder of generated files; demo.json marks it as complete, with the settings and the sizes of the files.

    Args:
        root: The folder.
        files: Names of all generated files.
        settings: Plain values that determine all content, including a digest of the code.
        size: Required disk space, in words.
        otherwise: How to use existing files that were not generated, in words.
    """

    root: Path
    files: Sequence[str]
    settings: Mapping[str, Any]
    size: str
    otherwise: str

    @property
    def is_complete(self) -> bool:
        """Return whether all files exist, with the sizes and the settings in demo.json."""
        try:
            stored = json.loads((self.root / "demo.json").read_text())
            sizes = {name: (self.root / name).stat().st_size for name in self.files}
        except (OSError, ValueError):
            return False
        return bool(stored == {**self.settings, "bytes": sizes})

    def generate(self, write: Callable[[Path], None]) -> None:
        """Write all files with `write` into a hidden folder, then move them to their place, unless they are complete.

        Two processes may call this at once: the second waits, then finds the files complete. After an interruption,
        the next call starts from the beginning.

        Raises:
            ConfigError: espeak-ng is not installed.
            DataError: The folder cannot be written, or contains other files of these names.
        """
        if self.is_complete:
            return
        require_espeak()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / ".lock"):  # the system frees the lock of a process that dies
                if not self.is_complete:
                    self._refuse_foreign_files()
                    self._fill(write)
        except OSError as error:
            raise DataError(
                f"{self.root}: cannot write the demonstration data ({error}). Free {self.size} there, or choose "
                "another folder with data.root=DIR."
            ) from error

    def _refuse_foreign_files(self) -> None:
        foreign = [name for name in self.files if (self.root / name).exists()]
        if foreign and not (self.root / "demo.json").exists():
            raise DataError(
                f"{self.root}: {foreign[0]} is not from this generator (there is no demo.json) and would be "
                f"overwritten. {self.otherwise}, choose another folder with data.root=DIR, or remove the file."
            )

    def _fill(self, write: Callable[[Path], None]) -> None:
        started = time.monotonic()
        log.info("%s: generating synthetic speech, once.", self.root)
        hidden = self.root / ".partial"
        shutil.rmtree(hidden, ignore_errors=True)  # files of a killed process
        hidden.mkdir()
        try:
            write(hidden)
            self._publish(hidden)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        log.info("%s: done in %.0f s.", self.root, time.monotonic() - started)

    def _publish(self, hidden: Path) -> None:
        """Move the files to their place; demo.json, with their sizes, comes last and marks the folder as complete."""
        sizes = {name: (hidden / name).stat().st_size for name in self.files}
        seal = self.root / "demo.json"
        for name in self._list_stale_files(seal):  # a reader would take them for recordings of these settings
            (self.root / name).unlink(missing_ok=True)
        write_atomic(
            seal, json.dumps(self.settings)
        )  # without sizes, so incomplete, while files are replaced
        for name in self.files:
            (hidden / name).replace(self.root / name)
        write_atomic(seal, json.dumps({**self.settings, "bytes": sizes}))

    def _list_stale_files(self, seal: Path) -> list[str]:
        """Return the files of other settings, such as of more recordings, which will not be replaced."""
        try:
            written = json.loads(seal.read_text())["bytes"]
            return sorted({*written} - {*self.files})
        except (OSError, ValueError, KeyError, TypeError):
            return []


def check_generator(seed: int, processes: int) -> None:
    """Check the seed and the number of processes.

    Raises:
        ConfigError: The seed is negative, or there is no process.
    """
    if seed < 0 or processes < 1:
        raise ConfigError(
            f"Demonstration data, seed={seed}, processes={processes}: give a seed of 0 or more and at least one "
            "process."
        )


def hash_generator_code(generator: str) -> str:
    """Compute a digest of all code that generates the data; other code causes a new generation."""
    return digest_of_code(generator, without=_READERS)


def run_in_parts(
    module: str, settings: Mapping[str, Any], count: int, *, size: int, processes: int, folder: Path
) -> list[Path]:
    """Run a module as a script for each part of `count` items, several in parallel, with a progress bar.

    Reproducible speech needs this: espeak-ng carries state from one utterance to the next.

    Args:
        module: Module that calls `run_part` if it is run as a script; it prints a line per item.
        settings: Settings of the data.
        count: Number of items.
        size: Number of items per part.
        processes: Number of processes that run at the same time.
        folder: Folder of the data, and for a file with the lines of each part.

    Returns:
        Files of the parts, in order.

    Raises:
        DataError: A process fails.
    """
    parts = [range(start, min(start + size, count)) for start in range(0, count, size)]
    pool = ThreadPoolExecutor(processes)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("Demonstration speech", total=count)
        try:
            start = partial(_start_part, module, json.dumps(settings), folder, lambda: progress.advance(bar))
            return list(pool.map(start, parts))
        finally:
            pool.shutdown(cancel_futures=True)


def run_part(write: Callable[[Mapping[str, Any], Path, range], None]) -> None:
    """Generate the part that `run_in_parts` names on the command line; end with the message of an error.

    Args:
        write: Function of the settings, the folder and the indices of the part.
    """
    settings, folder, start, stop = sys.argv[1:]
    try:
        write(json.loads(settings), Path(folder), range(int(start), int(stop)))
    except SerError as error:
        sys.exit(str(error))


def _start_part(module: str, settings: str, folder: Path, advance: Callable[[], None], part: range) -> Path:
    """Run the module for one part, write its output lines to a file, and count them; return the file."""
    command = [sys.executable, "-m", module, settings, str(folder), str(part.start), str(part.stop)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # so that it imports the same ser
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
            f"{process.returncode} ({reason}). Run it again; if it still fails, run: "
            f"{install_command('demo', '--force-reinstall')}"
        )
    return path
