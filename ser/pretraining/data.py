"""Data of a pre-training: crops of the training split without labels, their statistics, and the probe's recordings."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ser.batching.datamodule import SpeechData
from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import BatchIndices
from ser.checkpoints.resume import check_same_data, is_planned
from ser.config.instantiate import build, find_class
from ser.config.settings import Train, option_of
from ser.config.types import signature
from ser.data.store import Store
from ser.errors import ConfigError
from ser.features.extractors import Extractor
from ser.pretraining.probe import Probe
from ser.pretraining.recipe import Recipe
from ser.runs.run_folder import RunFolder
from ser.splits.base import SpeechSize, Splits, compare_splits
from ser.training.setup import example_target

_log = logging.getLogger(__name__)

_LARGEST_SAMPLE = 10_000  # crops from which statistics are computed, spread over train
_AT_A_TIME = 500
_HALF = ("16-true", "bf16-true", "transformer-engine")
_SHORTEST = 8  # frames that every network takes


def check_pretraining(settings: Train) -> None:
    """Refuse settings that do not go with a pre-training.

    Raises:
        ConfigError: With the first of them.
    """
    build(settings.pretraining or {}, slot="pretraining")
    extractor: Extractor = build(settings.features, slot="features")
    if extractor.band_frequencies() is None or not extractor.are_log_energies or extractor.feature_dim % 16:
        raise ConfigError(
            f"features: pretraining={option_of('pretraining', Recipe)} needs log-mels of 16, 32, 48, ... bands, and "
            f"{type(extractor).__name__} gives {extractor.feature_dim} values of another kind. Set features=serab."
        )
    if "needs_labels" not in signature(find_class(settings.data, slot="data"))[0]:
        raise ConfigError(
            f"data={option_of('data', find_class(settings.data, slot='data'))}: pre-training reads recordings. "
            "Use data=folder, data=manifest, or a published corpus."
        )
    for name, is_set, remedy in (
        ("schedule", settings.schedule and not is_planned(settings.schedule), "schedule=cosine"),
        ("trainer.precision", settings.trainer.get("precision") in _HALF, "trainer.precision=bf16-mixed"),
        ("waveform_augment", settings.waveform_augment, "waveform_augment=null"),
        ("ensemble", settings.ensemble is not None, "ensemble=null"),
        ("init", settings.init is not None, "init=null"),
        ("compile", settings.compile, "compile=false"),
        ("batching.balance", settings.batching.balance != "none", "batching.balance=none"),
        ("batching.crop_frames", (settings.batching.crop_frames or 0) < _SHORTEST, "batching.crop_frames=96"),
        ("batching.carry_state", settings.batching.carry_state, "batching.carry_state=false"),
        ("batching.overfit", settings.batching.overfit is not None, "batching.overfit=null"),
    ):
        if is_set:
            raise ConfigError(f"{name}: its value does not go with a pre-training. Set {remedy}.")


def read_data(settings: Train, recipe: Recipe) -> tuple[SpeechData, Probe | None]:
    """Read the corpus: crops of its splits without labels, and the recordings of the probe, if it has labels.

    Raises:
        SerError: The files cannot be used.
    """
    corpus = build({**settings.data, "needs_labels": False}, slot="data")
    splits: Splits = compare_splits(corpus.splits(settings.features))
    plain = {name: replace(store, labels=None, label_names=()) for name, store in splits.stores.items()}
    frames = settings.batching.crop_frames
    assert frames is not None
    if recipe.crop == "start":
        plain["train"] = keep_starts(plain["train"], frames)
    data = SpeechData(plain, example_target(settings.target), settings.batching, seed=settings.seed)
    probe = make_probe(splits.stores)
    size = splits.facts.speech.get("train", SpeechSize())
    what = "none of their labels" if probe is None else "their labels by the probe alone"
    remarks = [
        f"Pre-training reads {len(splits.stores['train'])} recordings of train ({size.minutes} min), and uses {what}."
    ]
    if probe is not None:
        remarks.append(
            f"The probe predicts {len(probe.names)} classes of {len(probe.stores['validation'])} recordings of "
            f"validation (majority {probe.majority:.1%}) from {len(probe.stores['train'])} of train."
        )
    data.facts = replace(splits.facts, remarks=[*splits.facts.remarks, *remarks])
    if settings.resume is not None:
        check_same_data(data, RunFolder(Path(settings.resume)))
    return data, probe


def keep_starts(store: Store, frames: int) -> Store:
    """Keep the first `frames` frames of each utterance."""
    pieces = np.maximum(-(-store.lengths // frames), 1)
    return store.cut(frames).select(np.cumsum(pieces) - pieces)


def make_probe(stores: Mapping[str, Store]) -> Probe | None:
    """Select the recordings of train and validation that have a label; None without two classes in both.

    Classes that train lacks, and recordings shorter than a step, are left out, with a line in the log.
    """
    if "validation" not in stores or stores["train"].labels is None or len(stores["train"].label_names) != 1:
        return None
    labels = {name: np.asarray(stores[name].labels)[:, 0].astype(str) for name in ("train", "validation")}
    names = sorted({*labels["train"]} - {""})
    index = {name: number for number, name in enumerate(names)}
    kept = {}
    for split, own in labels.items():
        has_label = np.isin(own, names)
        kept[split] = np.flatnonzero(has_label & (stores[split].lengths >= _SHORTEST))
        if left_out := int((own != "").sum()) - len(kept[split]):
            _log.warning(
                "probe: %d labelled recordings of %s are left out: too short, or of a class that train lacks",
                *(left_out, split),
            )
    classes = {
        split: torch.tensor([index[name] for name in labels[split][rows]]) for split, rows in kept.items()
    }
    if min(len({*found.tolist()}) for found in classes.values()) < 2:
        return None
    return Probe({split: stores[split].select(rows) for split, rows in kept.items()}, classes, names)


def crop_statistics(dataset: UtteranceDataset) -> tuple[float, float]:
    """Compute mean and deviation of the log-mels of crops, those of the first epoch, of 10,000 recordings at most.

    Raises:
        ConfigError: All are silent.
    """
    chosen = np.unique(
        np.linspace(0, len(dataset) - 1, min(len(dataset), _LARGEST_SAMPLE)).round().astype(int)
    )
    total = torch.zeros(3, dtype=torch.float64)
    for first in range(0, len(chosen), _AT_A_TIME):
        audio = dataset[BatchIndices(0, chosen[first : first + _AT_A_TIME].tolist())].audio
        values = audio.values[audio.mask].double()
        total += torch.stack([torch.tensor(values.numel()), values.sum(), values.square().sum()])
    mean = float(total[1] / total[0])
    std = float((total[2] / total[0] - mean**2).clamp_min(0).sqrt())
    if not std > 0:
        raise ConfigError(
            "data: the crops of train are all silent or alike, so there is nothing to learn. Check the recordings."
        )
    return mean, std
