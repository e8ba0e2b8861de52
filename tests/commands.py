"""Run the scripts as a user would."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests import remedies
from tests.conftest import REPOSITORY

TINY = (
    "model.channels=[8,8]",
    "model.time_strides=[2,2]",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "batching.max_utterances=8",
    "trainer.enable_progress_bar=false",
)
"""Overrides that make a training of the CNN take a second or two."""


def documented(page: str, language: str) -> str:
    """The first block of code in a language on a page of docs/; it has fewer than 20 lines."""
    code = (REPOSITORY / "docs" / page).read_text().split(f"```{language}\n")[1].split("```")[0]
    assert code.count("\n") < 20
    return code


def environment(cache: Path) -> dict[str, str]:
    """Variables of a child: one thread, as tests run side by side, and a cache of its own."""
    return os.environ | {"OMP_NUM_THREADS": "1", "SER_CACHE_DIR": str(cache), "COLUMNS": "200"}


def run(
    script: str, *arguments: str, cwd: Path, code: int = 0, fresh: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder and check its exit code.

    Args:
        script: below the repository, such as train.py; `ser` for the command, whose first argument is a name.
        arguments: as words, no shell reads them.
        cwd: the working folder.
        code: expected exit code.
        fresh: start Python anew rather than fork a process that has imported everything.
    """
    command = [str(REPOSITORY / script), *arguments]
    if fresh:
        start = ["-m", "ser", *arguments] if script == "ser" else command
        result = subprocess.run(
            [sys.executable, *start],
            cwd=cwd,
            env=environment(cwd / "cache") | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
        )
    else:
        result = _run_in_fork(command, cwd)
    assert result.returncode == code, f"{result.stdout}\n{result.stderr}"
    remedies.record_output(command, result.stdout, result.stderr)
    return result


_LONGEST_S = 300


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that forks; it ends when the tests do, as its standard input is closed then."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm"],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    return server


def _run_in_fork(command: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        request = {
            "script": command[0],
            "arguments": command[1:],
            "cwd": str(cwd),
            "env": environment(cwd / "cache"),
            "outputs": [str(path) for path in outputs],
            "timeout": _LONGEST_S,
        }
        print(json.dumps(request), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        found = [path.read_text() for path in outputs]
    return subprocess.CompletedProcess(["python", *command], code, *found)
