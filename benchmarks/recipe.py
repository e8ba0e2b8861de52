"""Data, task and trainer as in train.py, from conf/ and generated features."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import lightning as L
import numpy as np
from hydra import compose, initialize_config_dir

from benchmarks import generate
from benchmarks.measure import ROOT
from ser.batching.datamodule import SpeechData
from ser.config.settings import Batching, Train
from ser.config.validate import check
from ser.runs.run_folder import RunFolder
from ser.targets.quadrants import Quadrant
from ser.training.trainer import make_trainer

MODELS = ("cnn", "lstm", "transformer")
BUDGET = Batching(max_frames=14_700, max_utterances=1_024, pool=2_000)
"""Batches of about the size of 64 random utterances, which have 14,300 real frames on average."""


def settings(model: str, *overrides: str) -> Train:
    """Return the config of `train.py model=MODEL` on a CPU, without augmentation and progress bar.

    Args:
        model: Option of the group `model`.
        overrides: Overrides, as on the command line.
    """
    fixed = ["augment=none", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return Train.of(check(compose("train", [f"model={model}", *fixed, *overrides])))


def speech(lengths: np.ndarray, batching: Batching = BUDGET) -> SpeechData:
    """Generate features of these lengths as training split, and a few short ones as validation split.

    Args:
        lengths: Number of frames of each utterance [N].
        batching: Settings of the batches.
    """
    validation = np.full(8, int(lengths.min()))
    stores = {"train": generate.store(lengths), "validation": generate.store(validation, seed=1)}
    return SpeechData(stores, Quadrant(), batching)


@contextmanager
def trainer(settings: Train) -> Iterator[L.Trainer]:
    """Create the trainer of a config, with its callbacks and logger, in a temporary folder."""
    with TemporaryDirectory() as folder:
        yield make_trainer(settings, RunFolder(Path(folder)))
