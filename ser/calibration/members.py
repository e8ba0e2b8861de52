"""Ensembles of finished runs: which runs, with which weights."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser.errors import CheckpointError
from ser.files import write_atomic

FILE = "ensemble.json"


@dataclass(frozen=True)
class Member:
    """A run of an ensemble.

    Args:
        run: Folder of the run.
        weight: Its share of the mean, 0..1.
    """

    run: Path
    weight: float


def write_members(folder: Path, members: Sequence[Member]) -> None:
    """Write ensemble.json, with paths relative to its folder, so that both can be moved together.

    Raises:
        DataError: The file cannot be written.
    """
    content = [{"run": os.path.relpath(each.run, folder), "weight": each.weight} for each in members]
    write_atomic(folder / FILE, json.dumps({"members": content}, indent=2) + "\n")


def read_members(folder: Path) -> list[Member]:
    """Read the runs and weights of an ensemble; none if the folder is not one of `ser ensemble`.

    Raises:
        CheckpointError: ensemble.json is damaged, or a run is not there.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        found = [Member(folder / str(each["run"]), float(each["weight"])) for each in content["members"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({error}). Put the ensemble together again with `ser ensemble`."
        ) from error
    total = sum(each.weight for each in found)
    if min((each.weight for each in found), default=-1.0) < 0 or abs(total - 1) > 1e-3:
        raise CheckpointError(
            f"{path}: expected weights of 0 or more with the sum 1. Put the ensemble together again with "
            "`ser ensemble`."
        )
    for each in found:
        if not each.run.is_dir():
            raise CheckpointError(
                f"{path}: names the run {each.run}, which is not there. Move it back, or put the ensemble together "
                "again with `ser ensemble`."
            )
    return found
