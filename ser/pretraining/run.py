"""Pre-train an encoder in a run folder, and write its encoder folder and report."""

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from rich.console import Console

from ser.batch import Padded
from ser.batching.datamodule import SpeechData
from ser.checkpoints.checkpoint import FORMAT
from ser.config.instantiate import build
from ser.config.settings import Train
from ser.errors import CheckpointError, SerError, named_line
from ser.features.extractors import Extractor
from ser.pretrained.networks import LogMelEncoder, describe_network, write_encoder
from ser.pretraining.data import crop_statistics, read_data
from ser.pretraining.probe import Probe
from ser.pretraining.recipe import Recipe
from ser.pretraining.report import write_report
from ser.pretraining.task import Pretraining
from ser.runs import environment, ranks
from ser.runs.run_folder import RunFolder
from ser.trackers.run_trackers import typed_settings, write_scores
from ser.training import setup
from ser.training.trainer import set_run_folder

ENCODER = "encoder"
"""Folder of the encoder in that of a run."""


def train(settings: Train, run: RunFolder, trainer: L.Trainer, *, started: float) -> float:
    """Pre-train an encoder; return the loss of the last epoch.

    Args:
        settings: Settings of the run.
        run: Folder of the run.
        trainer: Trainer without the run folder.
        started: Start of the run, by time.monotonic.

    Raises:
        SerError: The data or settings cannot be used, or the training has collapsed or diverged.
    """
    processes = ranks.current_ranks()
    recipe: Recipe = build(settings.pretraining or {}, slot="pretraining")
    data, probe = processes.run_in_turn(lambda: read_data(settings, recipe))
    task = processes.run_on_all(lambda: make_task(settings, recipe, data, probe))
    set_run_folder(trainer, settings, run)
    if processes.is_first:
        setup.record(settings, run, data)
    fit(trainer, task, data, run)
    last = {name: values[max(values)] for name, values in task.curves.items()}
    if processes.is_first:
        write_encoder(run.path / ENCODER, encoder_of(task))
        seconds = time.monotonic() - started
        write_report(settings, run, task, data, last, seconds=seconds, console=Console())
        typed = typed_settings(settings.config, environment.typed_overrides(run.path))
        write_scores(trainer.loggers, last, typed, step=trainer.global_step)
    return last["train/loss"]


def make_task(settings: Train, recipe: Recipe, data: SpeechData, probe: Probe | None) -> Pretraining:
    """Build networks, views and monitors, and compute the statistics of the crops."""
    extractor: Extractor = build(settings.features, slot="features")
    mean, std = crop_statistics(data.datasets["train"])
    model = recipe.model(extractor.feature_dim)
    frames = settings.batching.crop_frames
    assert frames is not None
    pretraining = {
        "encoder": describe_network(model.encoder),
        "features": dict(settings.features),
        "mean": mean,
        "std": std,
    }
    return Pretraining(
        model,
        recipe.views,
        frames=frames,
        silence=log_mel_of_silence(extractor),
        mean=mean,
        std=std,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        probe=probe,
        probe_every=recipe.probe_every,
        collapse_below=recipe.collapse_below,
        description={"format": FORMAT, "pretraining": pretraining},
        seed=settings.seed,
    )


def log_mel_of_silence(extractor: Extractor) -> float:
    """Return the mean log-mel of a second of zeros."""
    zeros = Padded(torch.zeros(1, extractor.sample_rate, 1), torch.tensor([extractor.sample_rate]))
    return float(extractor.extract(zeros).values.mean())


def encoder_of(task: Pretraining) -> LogMelEncoder:
    """Return the online encoder of a pre-training, with the statistics of its log-mels."""
    features: Mapping[str, Any] = task.description["pretraining"]["features"]
    return LogMelEncoder(task.model.encoder, features, task.mean, task.std)


def fit(trainer: L.Trainer, task: Pretraining, data: SpeechData, run: RunFolder) -> None:
    """Train from the start or from the newest checkpoint.

    Raises:
        CheckpointError: The checkpoint is not one of this pre-training.
    """
    warnings.filterwarnings("ignore", r".*have no `validation_step`.*")
    warnings.filterwarnings("ignore", r".*`training_step` returned `None`.*")
    warnings.filterwarnings("ignore", r"Grad strides do not match.*")  # one copy more, of 600 values
    resume = ranks.current_ranks().share(run.last if run.last.is_file() else None)
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
    except (SerError, MisconfigurationException, OSError):
        raise
    except Exception as error:
        if resume is None or task.has_started:
            raise
        raise CheckpointError(
            f"{Path(resume)}: lacks what this run needs to resume ({named_line(error)}). Begin another run."
        ) from error
