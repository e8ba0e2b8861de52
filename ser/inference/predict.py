"""Compute the predictions of trained models in plain torch, without a trainer."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ser.batch import Batch, UtteranceId
from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import EvaluationSampler
from ser.checkpoints.checkpoint import Trained
from ser.config.instantiate import build
from ser.data.feature_store import OnError, read_features
from ser.data.manifest import Label, Manifest
from ser.data.store import Store
from ser.errors import ConfigError, DataError, counted, setting
from ser.features.extractors import Extractor
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.inference.head_statistics import fit_head
from ser.names import is_missing
from ser.splits.speaker_normalize import (
    GIVE_SPEAKERS,
    Group,
    count_lone_labels,
    group_of,
    groups_in,
    normalize_by_group,
    uses_speaker_normalization,
)
from ser.targets.base import Target
from ser.targets.labels import encode_labels, label_columns
from ser.targets.metrics import numbers

# Against batches of 64 in file order, a CNN predicts 4.9 times as fast on a CPU with 16,000 padded frames, whose
# activations stay in the cache, and 2.6 times with 64,000. A GPU wants large batches.
_FRAMES_ON_CPU, _FRAMES_ON_GPU = 16_000, 64_000
_SAMPLES_FOR_A_FRAME = 160  # samples of a waveform that take the time of a frame


_MOST_ANSWERS = 10  # predictions that are printed individually

_FEW_RECORDINGS = 10  # of a speaker or corpus; a single one has no deviation, and its vector becomes zeros

_log = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is a GPU if there is one.

    Raises:
        ConfigError: The device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        probe = torch.zeros(1, device=name)
        probe.tolist()  # fails on a device such as meta, which holds no numbers
        return probe.device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(
            f"{setting('device', name)}: not available here. Use device=cpu or device=auto."
        ) from error


@torch.inference_mode()
def class_scores(
    models: Sequence[Trained],
    store: Store,
    *,
    device: torch.device,
    weights: Sequence[float] = (),
    to_features: OnTheFlyFeatures | None = None,
    max_frames: int | None = None,
    max_utterances: int = 256,
) -> Tensor:
    """Compute the probabilities [N, C] of a store's utterances, averaged over models; NaN if all is silence.

    Batches have similar lengths, longest first; the result does not depend on them.

    Args:
        models: One model, or several with the same target.
        store: Features like those in training, or waveforms for `to_features`.
        device: Device of the computation.
        weights: Weight of each model in the mean, with the sum 1; empty for equal ones.
        to_features: Feature extraction, if the store holds waveforms.
        max_frames: Maximum number of padded frames in a batch; None for the fastest on the device.
        max_utterances: Maximum number of utterances in a batch.

    Raises:
        CheckpointError: The outputs of a model are not finite.
        DataError: The features have another width than those of a model, or its head normalises by groups of which
            each has one recording.
        ConfigError: The models predict different things.
    """
    to_features = (to_features or OnTheFlyFeatures()).to(device)
    for trained in models:
        check_fit(trained, models[0], store, to_features)
        trained.model.to(device)
    dataset = UtteranceDataset(store, None)
    if max_frames is None:
        are_waveforms = to_features.extractor is not None or models[0].reads_waveforms
        max_frames = frames_per_batch(device, are_waveforms=are_waveforms)
    width = models[0].target.scores(torch.zeros(1, models[0].target.out_dim)).shape[-1]
    scores = torch.zeros(len(store), width)
    limits = {"max_frames": max_frames, "max_utterances": max_utterances}
    for trained in models:
        sizes = fit_head(trained.model, dataset, to_features, device=device, **limits)
        if sizes and max(sizes) == 1:
            raise _lone_error(trained)
        if sizes and trained is models[0]:
            _log.warning(
                "pooled vectors are normalised by the statistics of each %s in these %d recordings, so that each "
                "answer depends on the others (transductive)",
                *(trained.model.head.group, len(store)),
            )
        if sizes and min(sizes) < _FEW_RECORDINGS:
            _log.warning(
                "%s: its head normalises by %s, and the smallest has %d recordings here, too few for statistics: give "
                "all recordings of it at once",
                *(trained.path, trained.model.head.group, min(sizes)),
            )
    for draw in EvaluationSampler(dataset.lengths, **limits):
        batch: Batch = to_features.with_speech(dataset[draw].to(device))
        for trained, weight in zip(models, weights or [1 / len(models)] * len(models), strict=True):
            answer = trained.target.answers(
                trained.check(trained.model(batch.audio, batch.groups).float()), batch
            )
            scores[draw.indices] += weight * answer.cpu()
    return scores


def _lone_error(trained: Trained) -> DataError:
    group = trained.model.head.group
    return DataError(
        f"head.normalize={group}: one recording has no statistics, and {trained.path} would answer the same to each. "
        f"Give all recordings of the {group} at once, or train with head.normalize=batch."
    )


def frames_per_batch(device: torch.device, *, are_waveforms: bool) -> int:
    """Return the number of padded frames, or samples, of a batch that is fastest on a device."""
    frames = _FRAMES_ON_CPU if device.type == "cpu" else _FRAMES_ON_GPU
    return frames * _SAMPLES_FOR_A_FRAME if are_waveforms else frames


def extractor_of(models: Sequence[Trained]) -> Extractor:
    """Build the extractor of the features on which the models were trained.

    Raises:
        ConfigError: The models were trained on different features, or on frames that cannot be computed from
            recordings.
    """
    for trained in models:
        if trained.features != models[0].features:
            raise ConfigError(
                f"ckpt: {trained.path} and {models[0].path} were trained on different features. "
                "Give models of one kind of features here."
            )
    extractor: Extractor = build(models[0].features, slot="features")
    if extractor.feature_dim != models[0].audio_dim:
        raise ConfigError(
            f"ckpt: {models[0].path} was trained on frames of {models[0].audio_dim} values that were given to it, "
            f"its setting `features` makes {extractor.feature_dim}. Give it frames, or train on recordings."
        )
    return extractor


def label_store(manifest: Manifest, store: Store, models: Sequence[Trained]) -> Store:
    """Add a manifest's labels in the fields of the models' target, a missing one as "", or log that it has none."""
    fields = models[0].target.label_names
    if any(field in utterance.labels for utterance in manifest for field in fields):
        store = with_target_labels(manifest, store, models)
        for warning in describe_lone_labels(manifest, store, models):
            _log.warning("%s: %s", manifest.source, warning)
        return store
    if others := dict.fromkeys(name for utterance in manifest for name in utterance.labels):
        _log.info(
            "%s: not scored, as it has no label %s, only %s",
            *(manifest.source, " or ".join(map(repr, fields)), ", ".join(map(repr, others))),
        )
    return store


def describe_lone_labels(manifest: Manifest, store: Store, models: Sequence[Trained]) -> list[str]:
    """Return a warning for each kind of normalisation by group that removes the labels of these utterances.

    Args:
        manifest: Utterances, N.
        store: Their features and labels.
        models: Models of one target.
    """
    remedies: dict[Group, dict[str, None]] = {}  # in order, each once
    for trained in models:
        groups = {
            "frontend.normalize=global": group_of(trained.frontend),
            "head.normalize=batch": trained.model.head.group,
        }
        for remedy, group in groups.items():
            if group is not None:
                remedies.setdefault(group, {})[remedy] = None
    return [
        f"{fact} here, so normalisation by {group} removes what is to be recognised, and the scores are too low. Train "
        f"with {' '.join(own)}."
        for group, own in remedies.items()
        for fact in count_lone_labels([(manifest, store.labels)], group)
    ]


def read_for_models(
    manifest: Manifest, models: Sequence[Trained], *, cache_dir: str, on_error: OnError
) -> tuple[Manifest, Store, list[tuple[str, str]]]:
    """Compute the features on which the models were trained, without labels.

    Returns:
        The recordings that could be read, their features, and the id and reason of each that could not.

    Raises:
        ConfigError: See `extractor_of`.
        DataError: A recording cannot be used.
    """
    extractor = extractor_of(models)
    settings = json.dumps(extractor.portable(models[0].features), sort_keys=True)
    read = read_features(manifest, extractor, cache_dir=cache_dir, settings=settings, on_error=on_error)
    manifest, store = manifest.select(read.kept.tolist()), read.store
    if uses_speaker_normalization(models[0].frontend):
        store = normalize_by_group(store, manifest, models[0].frontend)
        if group_of(models[0].frontend) == "corpus":
            _warn_corpus(manifest.source, len(manifest))
    store = add_groups(store, manifest, models)
    return manifest, store, read.skipped


def normalize_file(store: Store, models: Sequence[Trained]) -> Store:
    """Normalise the frames of a file as one corpus, if the models normalise by corpus, and log that."""
    if group_of(models[0].frontend) != "corpus":
        return store
    _warn_corpus("the input", len(store))
    return normalize_by_group(store, None, models[0].frontend)


def _warn_corpus(source: str, count: int) -> None:
    _log.warning(
        "%s: features are normalised by the statistics of these %d recordings, so that each answer depends on the "
        "others (transductive)",
        *(source, count),
    )


def with_target_labels(manifest: Manifest, store: Store, models: Sequence[Trained]) -> Store:
    """Add the labels of a manifest in the fields of the models' target; a missing one is ""."""
    fields = models[0].target.label_names
    labels = np.array([[_label(utterance.labels, field) for field in fields] for utterance in manifest])
    return store.with_labels(labels, fields)


def add_groups(store: Store, manifest: Manifest, models: Sequence[Trained]) -> Store:
    """Add the speaker or corpus of each utterance, if the heads of these models normalise by it.

    Raises:
        DataError: The speakers of some utterances are unknown.
    """
    group = models[0].model.head.group
    if group is None:
        return store
    return store.with_groups(groups_in(manifest, group, manifest.speaker_remedy or GIVE_SPEAKERS))


def _label(labels: Mapping[str, Label], field: str) -> str:
    name = str(labels.get(field, ""))
    return "" if is_missing(name) else name


def places(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the location of each utterance: path, and times in seconds."""
    return [
        {"path": str(u.path), "start_s": round(u.start, 3), "end_s": round(u.end or 0.0, 3)} for u in manifest
    ]


def rows(
    ids: Sequence[UtteranceId],
    scores: Tensor,
    target: Target,
    places: Sequence[Mapping[str, Any]],
    unsure: Tensor,
) -> list[dict[str, Any]]:
    """Return a table's rows: id, label or values, where it is, and the probability of each class as `p_<class>`.

    Args:
        ids: Ids, N.
        scores: Predictions [N, A].
        target: Target that names the columns.
        places: Further columns, N.
        unsure: Which utterances [N] bool have probabilities, but no label.
    """
    columns = target.predictions(scores)
    for place in unsure.nonzero().flatten().tolist():
        columns[place] |= dict.fromkeys(
            key for key in columns[place] if key not in target.probability_columns
        )
    return [
        {
            "id": name,
            **{key: answer[key] for key in answer if key not in target.probability_columns},
            **place,
            **answer,
        }
        for name, answer, place in zip(ids, columns, places, strict=True)
    ]


def describe_answers(
    ids: Sequence[UtteranceId], scores: Tensor, target: Target, output: Path, unsure: Tensor | None = None
) -> Iterator[str]:
    """Describe the predictions: each of a few, else the counts of classes; and the path of the output.

    Args:
        ids: Ids, N.
        scores: Predictions [N, A]; NaN if there is no decision.
        target: Target that names the predictions.
        output: File with all predictions.
        unsure: Which utterances [N] bool have no answer, as no class is likely enough; None for none.
    """
    silent = scores.isnan().any(-1)
    is_unsure = torch.zeros_like(silent) if unsure is None else unsure
    decided = (~silent & ~is_unsure).tolist()
    if len(ids) <= _MOST_ANSWERS:
        for utterance_id, answer, known, is_silent in zip(
            ids, scores.tolist(), decided, silent.tolist(), strict=True
        ):
            reason = "no speech, so no decision" if is_silent else f"no answer, {target.describe(answer)}"
            yield f"{utterance_id}: {target.describe(answer) if known else reason}"
    elif target.class_names:
        best = scores.argmax(-1).tolist()
        counts = Counter(
            target.class_names[index] if known else "no answer"
            for index, known in zip(best, decided, strict=True)
        )
        yield ", ".join(f"{name} {count}" for name, count in counts.most_common())
    yield f"{counted(len(ids), 'utterance')}: {output}"


def find_unsure(scores: Tensor, min_probability: float | None) -> Tensor:
    """Return which utterances [N] bool have no answer, as no class is likely enough.

    Args:
        scores: Probabilities [N, C]; NaN where there is no decision anyway.
        min_probability: Least probability of an answer; None answers all.
    """
    return scores.amax(-1) < (0.0 if min_probability is None else min_probability)


def warn_about_silence(ids: Sequence[UtteranceId], scores: Tensor) -> None:
    """Log which recordings have no decision, because they contain no speech."""
    silent = [ids[index] for index in scores.isnan().any(-1).nonzero().flatten().tolist()]
    if silent:
        _log.warning(
            "%d of %d recordings hold no speech, so there is no decision: first %r",
            *(len(silent), len(ids), silent[0]),
        )


def require_decisions(ids: Sequence[UtteranceId], scores: Tensor, source: str) -> None:
    """Refuse utterances without a decision, if the output has no value for that.

    Raises:
        DataError: Utterances have no decision; the message gives their number and the first.
    """
    silent = [ids[index] for index in scores.isnan().any(-1).nonzero().flatten().tolist()]
    if silent:
        raise DataError(
            f"{source}: {len(silent)} of {len(ids)} utterances hold no speech, so there is no decision: first "
            f"{silent[0]!r}. Leave them out, or predict with a model that predicts utterances."
        )


def require_classes(models: Sequence[Trained], what: str) -> None:
    """Refuse models that predict other things than classes.

    Raises:
        ConfigError: A model predicts values; the message names the setting that needs classes.
    """
    for trained in models:
        if not trained.target.class_names:
            raise ConfigError(
                f"{what}: {trained.path} does not predict classes alone, so there are no class probabilities. Leave it "
                "out; the table of recordings has a column for each value."
            )


def print_scores(scores: Tensor, store: Store, target: Target) -> None:
    """Print the metrics of a store's utterances, if they are labelled, and the number of those left out.

    Utterances with a label outside the target's classes, or without a decision, are left out.
    """
    if store.labels is None or not {*target.label_names} <= {*store.label_names}:
        return
    targets = encode_labels(target, store)
    labelled = target.is_labelled(targets)
    known = labelled & ~scores.isnan().any(-1)
    if not known.all():
        left_out = label_columns(target.label_names, store)[(~labelled).numpy()]
        counts = Counter("/".join(map(str, row)) or "no label" for row in left_out)
        listed = ", ".join(f"{count} {name!r}" for name, count in counts.most_common(5))
        print(
            f"{int(known.sum())} of {len(store)} utterances are scored: the others have no decision, or a label that "
            f"is none of {', '.join(target.class_names) or 'its values'}{f' ({listed})' if listed else ''}."
        )
    if not known.any():
        return
    for name, value in evaluate(scores[known], targets[known], target).items():
        print(f"{name:20} {value:.1%}" if target.class_names else f"{name:20} {value:.3f}")


def check_fit(trained: Trained, first: Trained, store: Store, to_features: OnTheFlyFeatures) -> None:
    """Refuse features that differ from those in training, and models with different targets.

    Raises:
        DataError: The features have another width.
        ConfigError: The models predict different things, or only one of model and features is normalised by speaker.
    """
    feature_dim = store.feature_dim if to_features.extractor is None else to_features.extractor.feature_dim
    if trained.feature_dim != feature_dim:
        if (store.lengths == trained.feature_dim).all():
            raise DataError(
                f"the input has {trained.feature_dim} lists of {feature_dim} values in every utterance, which look "
                "like a list for each feature. Write a list for each frame: in NumPy, features.T.tolist()."
            )
        raise DataError(
            f"the input has {feature_dim} values in a frame, but {trained.path} was trained on "
            f"{trained.feature_dim}. Give features made like the training data's, or another checkpoint."
        )
    if group_of(trained.frontend) != group_of(first.frontend):
        raise ConfigError(
            f"ckpt: {trained.path} and {first.path} normalise features in different ways. "
            "Average models of one kind of normalisation only."
        )
    if uses_speaker_normalization(trained.frontend) != (store.zscores is not None):
        raise ConfigError(
            f"ckpt: {trained.path}: either the model or the input is normalised by {_group_word(trained, first)}, not "
            "both. Give recordings whose speakers a manifest names, and average models of one kind only."
        )
    if trained.model.head.group == "speaker" and store.groups is None:
        raise ConfigError(
            f"ckpt: {trained.path}: its head normalises by speaker, but the speakers of this input are unknown. Give "
            "recordings whose speakers a manifest names."
        )
    check_same_target(trained, first)


def _group_word(*models: Trained) -> str:
    """Return the group by which one of some models normalises, for messages."""
    return next((group for model in models if (group := group_of(model.frontend))), "speaker")


def check_same_target(trained: Trained, first: Trained) -> None:
    """Refuse models with different targets.

    Raises:
        ConfigError: The models predict different things.
    """
    if _question(trained.target) != _question(first.target):
        raise ConfigError(
            f"ckpt: {trained.path} and {first.path} predict different things. Average models of one target only."
        )


def _question(target: Target) -> tuple[Any, ...]:
    """Return what must be equal in two models, so that their predictions can be averaged."""
    return target.predicts, target.class_names, () if target.class_names else target.label_names


def evaluate(scores: Tensor, targets: Tensor, target: Target) -> dict[str, float]:
    """Compute the target's metrics of predictions [N, A] against encoded labels [N, ...]."""
    metric = target.metrics()
    metric.update(scores, target.truth(targets))
    return numbers(metric.compute())
