"""Run the scripts as a user would."""

import os
import subprocess
import sys
from pathlib import Path

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


def run(script: str, *arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder and check its exit code."""
    result = subprocess.run(
        [sys.executable, str(REPOSITORY / script), *arguments],
        cwd=cwd,
        env=environment(cwd / "cache"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == code, f"{result.stdout}\n{result.stderr}"
    return result
