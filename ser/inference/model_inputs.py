"""Read recordings for models of different features: each model gets its own features of the same utterances."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.checkpoints.checkpoint import Trained
from ser.corpora.array_files import read_clips
from ser.data.feature_store import OnError
from ser.data.manifest import Manifest
from ser.data.store import Store
from ser.errors import ConfigError, DataError
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.inference.predict import extractor_of, read_for_models
from ser.splits.speaker_normalize import group_of


@dataclass(frozen=True)
class ModelInput:
    """Features of N utterances, and the models that read them.

    Args:
        models: Models of one kind of features and of normalisation.
        store: Their features, or waveforms for `to_features`.
        to_features: Feature extraction, if the store holds waveforms.
    """

    models: Sequence[Trained]
    store: Store
    to_features: OnTheFlyFeatures | None = None


def group_models(models: Sequence[Trained]) -> list[list[Trained]]:
    """Group the models that read the same features, normalised by the same groups of utterances."""
    groups: list[list[Trained]] = []
    for trained in models:
        same = (group for group in groups if _kind(group[0]) == _kind(trained))
        if (group := next(same, None)) is not None:
            group.append(trained)
        else:
            groups.append([trained])
    return groups


def _kind(trained: Trained) -> tuple[object, ...]:
    return trained.features, group_of(trained.frontend), trained.model.head.group


def read_inputs(
    manifest: Manifest, models: Sequence[Trained], *, cache_dir: str, on_error: OnError
) -> tuple[Manifest, list[ModelInput], list[tuple[str, str]]]:
    """Compute the features that each model reads, without labels.

    Returns:
        The recordings that could be read for every model, their features for each group of models, and the id and
        reason of each recording that could not.

    Raises:
        ConfigError: The features of a model cannot be computed from recordings.
        DataError: A recording cannot be used, or none can be used by every model.
    """
    groups = group_models(models)
    found = [read_for_models(manifest, group, cache_dir=cache_dir, on_error=on_error) for group in groups]
    skipped = dict(pair for *_, reasons in found for pair in reasons)
    if len(skipped) == len(manifest):
        raise DataError(
            f"{manifest.source}: no recording can be read for every one of {len(models)} models. Predict with one "
            "of them."
        )
    inputs = []
    for group, (read, store, _) in zip(groups, found, strict=True):
        kept = np.array([place for place, each in enumerate(read) if each.id not in skipped])
        inputs.append(ModelInput(group, store if len(kept) == len(store) else store.select(kept)))
    kept_by_all = [place for place, each in enumerate(manifest) if each.id not in skipped]
    return manifest.select(kept_by_all), inputs, [*skipped.items()]


def clip_inputs(path: Path, models: Sequence[Trained]) -> list[ModelInput]:
    """Read the waveforms [N, samples] of a .npy file for each group of models.

    Raises:
        ConfigError: The models have different sample rates, or their features cannot be computed from waveforms.
        DataError: The file does not hold waveforms.
    """
    groups = group_models(models)
    extractors = [extractor_of(group) for group in groups]
    for group, extractor in zip(groups, extractors, strict=True):
        if extractor.sample_rate != extractors[0].sample_rate:
            raise ConfigError(
                f"ckpt: {group[0].path} reads waveforms at {extractor.sample_rate} Hz, and {models[0].path} at "
                f"{extractors[0].sample_rate} Hz, but an array has one rate. Give audio files, or models of one rate."
            )
    store = read_clips(path, extractors[0].sample_rate)
    return [
        ModelInput(group, store, OnTheFlyFeatures(own)) for group, own in zip(groups, extractors, strict=True)
    ]
