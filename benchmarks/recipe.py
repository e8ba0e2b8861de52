"""Data, task and trainer as train.py makes them, from conf/ and generated features."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
from hydra import compose, initialize_config_dir

from benchmarks import generate
from benchmarks.measure import ROOT
from ser.batching.datamodule import SpeechData
from ser.config.validate import check
from ser.runs.run_folder import RunFolder
from ser.targets.classification import Quadrant
from ser.training import setup

MODELS = ("cnn", "lstm", "transformer")
BUDGET = {"max_frames": 14_700, "max_utterances": 1_024, "pool": 2_000}
"""A batch of 64 random utterances has 14,300 real frames on average: these batches are as large."""


def settings(model: str, *overrides: str) -> dict[str, Any]:
    """The config of `train.py model=MODEL` on a CPU, without augmentation and progress bar.

    Args:
        model: option of the group `model`.
        overrides: as on the command line.
    """
    fixed = ["augment=none", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return check(compose("train", [f"model={model}", *fixed, *overrides]))


def speech(lengths: np.ndarray, **batching: int) -> SpeechData:
    """Generated features of these lengths as training split, and a few short ones as validation split.

    Args:
        lengths: [N] frames of each utterance.
        batching: settings that differ from `BUDGET`.
    """
    validation = np.full(8, int(lengths.min()))
    stores = {"train": generate.store(lengths), "validation": generate.store(validation, seed=1)}
    return SpeechData(stores, Quadrant(), **{**BUDGET, **batching})


@contextmanager
def trainer(config: dict[str, Any]) -> Iterator[L.Trainer]:
    """The trainer of a config, with its callbacks and logger, in a folder that is deleted afterwards."""
    with TemporaryDirectory() as folder:
        yield setup.make_trainer(config, RunFolder(Path(folder)))
