"""Read the labelled utterances of a corpus with the features and labels of a model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ser.audio.reader import probe
from ser.batch import UtteranceId
from ser.checkpoints.checkpoint import Trained
from ser.data.label_map import LabelMap
from ser.data.manifest import Manifest, Utterance
from ser.data.store import Store
from ser.errors import ConfigError, DataError, did_you_mean, setting
from ser.evaluation.labels import LeftOut, Translation, Translator, translate_labels
from ser.inference.model_inputs import ModelInput, read_inputs
from ser.inference.predict import describe_lone_labels, extractor_of, with_target_labels
from ser.mix.remedies import replace_settings, settings_of
from ser.splits.assignment import SPLITS, use_validation
from ser.splits.rules import without_label
from ser.splits.speaker_normalize import HEAD_STAMPS, STAMPS, group_of, normalize_by_group
from ser.targets.base import Target

Subset = Literal["all", "train", "validation", "test"]
COLUMNS = ("speaker", "sex", "gender", "language", "corpus")
"""Columns by which scores are listed, where a corpus has them."""


@dataclass(frozen=True)
class LabelledCorpus:
    """N utterances with features and labels of a model.

    Args:
        source: File or folder of the corpus, for messages.
        store: Features of the first model, and labels.
        speakers: Speakers [N]; None where they are unknown.
        columns: Column by which scores are listed -> its values [N], None where one is unknown.
        names: Whether ids tell utterances apart in other files, too.
        counts: Raw label -> label of the model, and number of utterances.
        left_out: Utterances that cannot be scored.
        remarks: Facts about the recordings.
        stamps: Warnings that every report must show.
        inputs: What each model reads of these utterances.
        recordings: Where the recording of each utterance is, by id; empty if only features are known.
    """

    source: str
    store: Store
    speakers: Sequence[str | None]
    columns: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    names: bool = True
    counts: Mapping[str, tuple[str | None, int]] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()
    remarks: Sequence[str] = ()
    stamps: Sequence[str] = ()
    inputs: Sequence[ModelInput] = ()
    recordings: Mapping[UtteranceId, Utterance] = field(default_factory=dict)


def read_labelled(
    corpus: Any,
    models: Sequence[Trained],
    *,
    subset: Subset = "all",
    maps: Sequence[LabelMap] = (),
    by: Sequence[str] = COLUMNS,
    cache_dir: str = ".cache/ser",
    on_error: Literal["raise", "skip"] = "skip",
) -> LabelledCorpus:
    """Read the labelled utterances of a corpus.

    Args:
        corpus: Reader of recordings, or of files of features.
        models: Models of one target.
        subset: Split of the corpus; "all" for the whole corpus.
        maps: Label maps of the runs that trained the models.
        by: Columns by which scores are listed.
        cache_dir: Folder for cached features.
        on_error: What to do about recordings that cannot be read.

    Raises:
        SerError: The corpus cannot be used, or has no label of the models.
    """
    if hasattr(corpus, "utterances"):
        utterances = select_labelled(corpus, models[0].target, subset=subset, maps=maps, by=by)
        return _compute_features(utterances, models, cache_dir=cache_dir, on_error=on_error)
    if hasattr(corpus, "read_split"):
        return _read_files(corpus, models, subset)
    raise ConfigError(
        f"{type(corpus).__name__}: is neither a corpus of recordings nor of the challenge's files. Use "
        "data=folder, data=manifest, data=challenge or a published corpus."
    )


@dataclass(frozen=True)
class LabelledUtterances:
    """Utterances with labels of a model, before their recordings are read.

    Args:
        manifest: The utterances.
        label: Label field of the corpus.
        columns: See LabelledCorpus.
        counts: See LabelledCorpus.
        left_out: See LabelledCorpus.
    """

    manifest: Manifest
    label: str
    columns: Mapping[str, Sequence[str | None]]
    counts: Mapping[str, tuple[str | None, int]]
    left_out: Sequence[LeftOut]


def select_labelled(
    corpus: Any,
    target: Target,
    *,
    subset: Subset = "all",
    maps: Sequence[LabelMap] = (),
    by: Sequence[str] = COLUMNS,
) -> LabelledUtterances:
    """Select the utterances of a corpus of recordings that have a label of a target; no recording is read.

    Args:
        corpus: Reader of recordings.
        target: Target of the models.
        subset: See `read_labelled`.
        maps: See `read_labelled`.
        by: See `read_labelled`.

    Raises:
        SerError: The corpus cannot be used, or has no label of the models.
    """
    manifest = _select_subset(corpus, subset)
    found = _translate(corpus, manifest, target, maps)
    columns = {name: _values(found.manifest, name) for name in by}
    _check_columns(columns, manifest)
    return LabelledUtterances(found.manifest, corpus.label, columns, found.counts, found.left_out)


def _translate(corpus: Any, manifest: Manifest, target: Target, maps: Sequence[LabelMap]) -> Translation:
    """Translate the labels of a corpus; in a mix, the own map of a corpus comes before the common one."""
    own = {name: each.label_map for name, each in getattr(corpus, "readers", {}).items()}
    if not any(own.values()):
        return translate_labels(manifest, corpus.label, Translator(target, corpus.label_map, maps))
    further = [*([corpus.label_map] if corpus.label_map else []), *maps]
    parts: dict[str, Translation] = {}
    for name, mapping in own.items():
        part = manifest.select(place for place, each in enumerate(manifest) if each.corpus == name)
        with replace_settings(settings_of(name)):
            parts[name] = translate_labels(part, corpus.label, Translator(target, mapping, further))
    return Translation(
        Manifest(tuple(each for part in parts.values() for each in part.manifest), manifest.source),
        {f"{name}: {raw}": count for name, part in parts.items() for raw, count in part.counts.items()},
        [each for part in parts.values() for each in part.left_out],
    )


def _select_subset(corpus: Any, subset: Subset) -> Manifest:
    """Return all utterances of a corpus, or those of one of its splits, with their raw labels."""
    manifest: Manifest = corpus.utterances()
    if subset == "all":
        return manifest
    labelled, _ = corpus.labelled()
    rule = corpus.split if corpus.reads_label else without_label(corpus.split)
    assignment = use_validation(rule.assign(labelled), getattr(corpus, "validation", "split"))
    if subset not in assignment:
        raise ConfigError(
            f"subset={subset}: the rule for splits makes no such split of {manifest.source}. "
            f"{did_you_mean(subset, ['all', *assignment])}"
        )
    chosen = {labelled.utterances[place].id for place in assignment[subset].tolist()}
    return manifest.select(place for place, each in enumerate(manifest) if each.id in chosen)


def _values(manifest: Manifest, name: str) -> list[str | None]:
    """Return the values of a column of a manifest, which may be a label field; None where one is unknown."""
    values = (getattr(each, name) if name in _ATTRIBUTES else None for each in manifest)
    return [
        str(each.labels[name]) if value is None and name in each.labels else value
        for each, value in zip(manifest, values, strict=True)
    ]


_ATTRIBUTES = ("speaker", "group", "language", "corpus")


def _check_columns(columns: Mapping[str, Sequence[str | None]], manifest: Manifest) -> None:
    """Refuse a column that was asked for and is not there."""
    for name, values in columns.items():
        if name not in COLUMNS and not any(value is not None for value in values):
            known = {field for utterance in manifest for field in utterance.labels} | {*COLUMNS}
            raise ConfigError(
                f"by=[{name}]: {manifest.source} has no such column. {did_you_mean(name, known)}"
            )


def _compute_features(
    found: LabelledUtterances,
    models: Sequence[Trained],
    *,
    cache_dir: str,
    on_error: Literal["raise", "skip"],
) -> LabelledCorpus:
    """Compute the features of labelled utterances, and leave out those that cannot be read."""
    manifest, source = found.manifest, found.manifest.source
    read, inputs, skipped = read_inputs(manifest, models, cache_dir=cache_dir, on_error=on_error)
    reasons = dict(skipped)
    place = {each.id: number for number, each in enumerate(manifest)}
    unread = [
        LeftOut(
            each.id, each.speaker, _label(each, found.label, models), f"cannot be read: {reasons[each.id]}"
        )
        for each in manifest
        if each.id in reasons
    ]
    rows = [place[each.id] for each in read]
    store = with_target_labels(read, inputs[0].store, models)
    return LabelledCorpus(
        source=source,
        store=store,
        inputs=inputs,
        speakers=[each.speaker for each in read],
        columns={name: [values[row] for row in rows] for name, values in found.columns.items()},
        counts=found.counts,
        left_out=[*found.left_out, *unread],
        remarks=[
            remark
            for rate in dict.fromkeys(extractor_of(given.models).sample_rate for given in inputs)
            for remark in _describe_rates(read, rate)
        ],
        stamps=[*_normalization_stamps(models), *describe_lone_labels(read, store, models)],
        recordings={each.id: each for each in read},
    )


def _normalization_stamps(models: Sequence[Trained]) -> list[str]:
    """Return warnings if features or pooled vectors are normalised by statistics of the recordings that are scored."""
    groups = dict.fromkeys(group_of(trained.frontend) for trained in models)
    of_heads = dict.fromkeys(trained.model.head.group for trained in models)
    return [
        *(STAMPS[group] for group in groups if group is not None),
        *(HEAD_STAMPS[group] for group in of_heads if group is not None),
    ]


def _label(utterance: Utterance, label: str, models: Sequence[Trained]) -> str:
    """Return the label of an utterance, for display."""
    fields = (label,) if label in utterance.labels else models[0].target.label_names
    return "/".join(str(utterance.labels[name]) for name in fields if name in utterance.labels)


def _describe_rates(manifest: Manifest, rate: int) -> list[str]:
    """Describe which files were resampled to the rate of the features, in Hz."""
    rates = Counter(probe(path).sample_rate for path in dict.fromkeys(each.path for each in manifest))
    others = {own: count for own, count in sorted(rates.items()) if own != rate}
    if not others:
        return []
    listed = ", ".join(f"{count} of {own} Hz" for own, count in others.items())
    low = sum(count for own, count in others.items() if own < rate)
    missing = f" {low} of them have no sound above half of their own rate, unlike the model's training data may have."
    return [f"Files were resampled to the {rate} Hz of the model: {listed}.{missing * bool(low)}"]


def _read_files(corpus: Any, models: Sequence[Trained], subset: Subset) -> LabelledCorpus:
    """Read files of features, each of which is a split."""
    target = models[0].target
    stores = {split: corpus.read_split(split) for split in (SPLITS if subset == "all" else (subset,))}
    given = {split: store for split, store in stores.items() if store is not None}
    if not given:
        raise ConfigError(
            f"subset={subset}: the corpus has no file for it. Name one with {setting(f'data.{subset}', 'FILE')}."
        )
    source = str(corpus.root)
    parts: list[tuple[str, Store]] = []
    left_out: list[LeftOut] = []
    for split, store in given.items():
        if not store.is_labelled:
            left_out += [LeftOut(name, None, "", f"the file of {split} has no labels") for name in store.ids]
            continue
        if not {*target.label_names} <= {*store.label_names}:
            raise DataError(
                f"{source}: has the labels {', '.join(store.label_names)}, but {models[0].path} predicts "
                f"{', '.join(target.label_names)}. Give a model of these labels, or another corpus."
            )
        parts.append((split, store))
    if not parts:
        raise DataError(
            f"{source}: no file has labels. Name a labelled file, such as data.validation=dev.json."
        )
    if len(parts) > 1:
        parts = [
            (split, replace(store, ids=[f"{split}/{name}" for name in store.ids])) for split, store in parts
        ]
    store = _join([store for _, store in parts])
    if group_of(models[0].frontend) == "corpus":
        store = normalize_by_group(store, None, models[0].frontend)
    splits = [split for split, part in parts for _ in range(len(part))]
    columns = {"split": splits} if len(parts) > 1 else {}
    stamps = [*getattr(corpus, "stamps", ()), *_normalization_stamps(models)]
    return LabelledCorpus(
        source,
        store,
        [None] * len(store),
        columns,
        names=False,
        left_out=left_out,
        stamps=stamps,
        inputs=[ModelInput(models, store)],
    )


def _join(stores: Sequence[Store]) -> Store:
    """Join stores of features, labels and digests."""
    first, *others = stores
    if not others:
        return first
    lengths = np.concatenate([store.lengths for store in stores])
    return replace(
        first,
        ids=[name for store in stores for name in store.ids],
        audio=np.concatenate([chunk for store in stores for chunk in store.chunks(1 << 18)]),
        offsets=np.cumsum([0, *lengths.tolist()]),
        labels=np.concatenate([np.asarray(store.labels) for store in stores]),
        digests=np.concatenate([np.asarray(store.digests) for store in stores]),
        rows=None,
    )
