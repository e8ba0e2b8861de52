"""Turn recordings into the data of a run: manifest, labels, splits, leak check and features.

Each corpus makes its manifest in its own way; the other steps are the same for all.
"""

import json
import logging
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ser.config.instantiate import build
from ser.corpora.published import find_corpus, read_corpus
from ser.data.feature_store import OnError, read_features
from ser.data.label_map import (
    LabelCount,
    LabelMap,
    map_labels,
    read_label_map,
    require_fields,
    require_labels,
    single_speaker_classes,
    warn_about_lookalikes,
)
from ser.data.manifest import Manifest, Utterance, speaker_remedy
from ser.data.manifest_io import read_folder, read_manifest
from ser.data.store import Store
from ser.errors import ConfigError, counted, setting
from ser.features.extractors import Extractor
from ser.names import normalize_name
from ser.splits.assignment import Validation, describe_left_out, unassigned, use_validation
from ser.splits.base import SpeechSize, SplitFacts, Splits
from ser.splits.folds import cross_validation
from ser.splits.leak_report import report_leaks, undeclared_leaks
from ser.splits.rules import Rule, for_pretraining, without_label

_log = logging.getLogger(__name__)


class AudioCorpus(ABC):
    """Base class of corpora of labelled recordings.

    Args:
        split: Rule that assigns utterances to splits.
        label: Label field that is predicted, or that the label map translates.
        label_map: New label of each raw label, or labels of several fields, or null to drop it; or a YAML file with
            such a map; None keeps the labels.
        fields: Label fields to read in place of these, gaps allowed, because the target asks for them; None reads
            `label`, or the fields of the label map.
        declared_leaks: Kinds of leaks that are known and accepted, with which results are not stamped.
        on_error: What to do about recordings that cannot be used: raise or skip.
        cache_dir: Folder for cached features.
        validation: `split` for that of the rule, or `none` to train on it, too, and to keep the last epoch.
        needs_labels: Whether every recording must have a label; a pre-training needs none.
    """

    published_name: str | None = None
    """Name of the published corpus that it is, such as ravdess; None for any other."""

    def __init__(
        self,
        *,
        split: Rule,
        label: str,
        label_map: LabelMap | str | None = None,
        fields: Sequence[str] | None = None,
        declared_leaks: Sequence[str] | None = None,
        on_error: OnError = "raise",
        cache_dir: str = ".cache/ser",
        validation: Validation = "split",
        needs_labels: bool = True,
    ) -> None:
        self.split = split
        self.validation: Validation = validation
        self.needs_labels = needs_labels
        self.label = normalize_name(label)
        self.label_map = read_label_map(label_map) if isinstance(label_map, str) else label_map
        self.fields = tuple(map(normalize_name, fields or ()))
        self.requires_label = needs_labels and requires_label(self.label, self.fields, self.label_map)
        self.declared_leaks = tuple(declared_leaks or ())
        undeclared_leaks([], self.declared_leaks)  # refuse unknown kinds before hours of reading
        self.on_error: OnError = on_error
        self.cache_dir = cache_dir

    @abstractmethod
    def utterances(self) -> Manifest:
        """Return all utterances with their raw labels.

        Raises:
            DataError: The corpus is missing or malformed.
        """

    @property
    def reads_label(self) -> bool:
        """Return whether `label` is read, because it is predicted or the label map translates it."""
        return not self.fields or self.label_map is not None or self.label in self.fields

    def labelled(self) -> tuple[Manifest, list[LabelCount]]:
        """Return the utterances that the label map keeps, and the count of each raw label.

        Raises:
            DataError: The labels do not fit the map, or some are missing.
        """
        manifest = self.utterances()
        if not self.needs_labels and not all(self.label in utterance.labels for utterance in manifest):
            return manifest, []  # of which some may have one
        if not self.reads_label:
            require_fields(manifest, self.fields)
            return manifest, []
        if not self.fields:
            require_labels(manifest, self.label, self.label_map)
        warn_about_lookalikes(manifest, self.label)
        manifest, counts = map_labels(manifest, self.label, self.label_map)
        require_fields(manifest, self.fields)
        for name in single_speaker_classes(manifest, self.label):
            _log.warning("%s: only one speaker has the label %r", manifest.source, name)
        return manifest, counts

    def splits(self, features: Mapping[str, Any]) -> Splits:
        """Read the corpus, split it, look for leaks, and compute features.

        Args:
            features: Spec of an extractor.

        Raises:
            SerError: Files, labels, rule or settings do not fit together.
        """
        manifest, counts = self.labelled()
        extractor: Extractor = build(features, slot="features")
        recordings = read_features(
            manifest,
            extractor,
            cache_dir=self.cache_dir,
            settings=json.dumps(extractor.portable(features), sort_keys=True),
            on_error=self.on_error,
        )
        manifest, store = manifest.select(recordings.kept.tolist()), recordings.store
        seconds = recordings.seconds if extractor.pools_time else store.lengths * extractor.frame_shift_s
        if window := getattr(self.split, "window_frames", None):
            if extractor.pools_time:
                raise ConfigError(
                    "data.split.window_frames: features.pool makes one step of an utterance, which cannot be cut. "
                    "Set features.pool=none."
                )
            manifest, store = cut_into_windows(manifest, store, window, extractor.frame_shift_s)
            seconds = store.lengths * extractor.frame_shift_s
        assignment = self.rule(has_labels=bool(counts)).assign(manifest)
        assignment = use_validation(assignment, self.validation)
        described = self.split.describe(manifest, assignment) if hasattr(self.split, "describe") else ([], [])
        left_out = unassigned(manifest, assignment)
        found = report_leaks(
            manifest,
            assignment,
            store.digests,
            declared=self.declared_leaks,
            within=self.leaks_within(),
            unknown_remedy=" " + speaker_remedy(manifest, "the column 'speaker'") + ".",
        )
        fields = self.label_names()
        labels = np.array(
            [[str(utterance.labels.get(field, "")) for field in fields] for utterance in manifest]
        )
        store = store.with_labels(labels, fields)
        stores = {name: store.select(indices) for name, indices in assignment.items()}
        manifests = {name: manifest.select(indices.tolist()) for name, indices in assignment.items()}
        return Splits(
            stores,
            SplitFacts(
                labels=counts,
                leaks=found.leaks,
                skipped=recordings.skipped,
                left_out=left_out,
                speakers={name: speaker_names(manifests[name]) for name in stores},
                cross_validation=self.suggest_folds(manifest),
                remarks=[
                    *described[0],
                    *self.extra_remarks(manifest, extractor),
                    *describe_left_out(left_out, len(manifest)),
                    *found.remarks,
                ],
                speech={
                    name: measure_speech(manifests[name], seconds[indices])
                    for name, indices in assignment.items()
                },
                stamps=[
                    *described[1],
                    *found.stamps,
                    *self.extra_stamps(manifest, extractor),
                    *skipped_stamp(recordings.skipped),
                ],
            ),
            manifests,
        )

    def label_names(self) -> Sequence[str]:
        """Return the label fields of the splits."""
        return self.fields or label_fields(self.label_map, self.label)

    def rule(self, *, has_labels: bool) -> Rule:
        """Return the rule that splits the corpus; it balances no classes where labels are values or unknown."""
        rule = self.split if self.reads_label else without_label(self.split)
        return rule if self.needs_labels else for_pretraining(rule, has_labels=has_labels)

    def suggest_folds(self, manifest: Manifest) -> list[str]:
        """Return the settings of a sweep that tests every speaker once; empty if there is none."""
        return cross_validation(manifest, self.split)

    def leaks_within(self) -> Mapping[str, Sequence[str]]:
        """Return the kinds of leaks that are accepted within single corpora only, by corpus; none here."""
        return {}

    def parts(self, manifest: Manifest) -> list[Manifest]:
        """Return the parts of a manifest that are split by themselves: all of it."""
        return [manifest]

    def extra_stamps(self, manifest: Manifest, extractor: Extractor) -> list[str]:
        """Return further warnings that every report must show."""
        return []

    def extra_remarks(self, manifest: Manifest, extractor: Extractor) -> list[str]:
        """Return further lines for the console."""
        if self.reads_label:
            return []
        return [
            f"Splits: speakers or groups are drawn without regard to the labels {', '.join(self.fields)}."
        ]


def cut_into_windows(
    manifest: Manifest, store: Store, frames: int, frame_shift_s: float
) -> tuple[Manifest, Store]:
    """Cut utterances and their features into windows, which keep the utterance's metadata.

    If the group is unknown, the utterance's id becomes the group of its windows, so that a leak between them is
    found.

    Args:
        manifest: Manifest of N utterances.
        store: Store of their features.
        frames: Number of frames of a window; the last one of an utterance is shorter.
        frame_shift_s: Distance from one frame to the next, in seconds.
    """
    windows = []
    grouped = (replace(utterance, group=utterance.group or utterance.id) for utterance in manifest)
    for utterance, length in zip(grouped, store.lengths.tolist(), strict=True):
        for number, first in enumerate(range(0, length, frames) if length > frames else ()):
            start = utterance.start + first * frame_shift_s
            end = utterance.start + min(first + frames, length) * frame_shift_s
            windows.append(replace(utterance, id=f"{utterance.id}#{number}", start=start, end=end))
        if length <= frames:
            windows.append(utterance)
    return replace(manifest, utterances=tuple(windows)), store.cut(frames)


def speaker_names(manifest: Manifest) -> list[str] | None:
    """Return the names of the speakers, sorted; None if some are unknown."""
    names = {utterance.speaker for utterance in manifest}
    return None if None in names else sorted(map(str, names))


def measure_speech(manifest: Manifest, seconds: np.ndarray) -> SpeechSize:
    """Count the speakers and the minutes of a split, of which the lengths in s are given [N]."""
    speakers = speaker_names(manifest)
    minutes = float(seconds.sum()) / 60
    return SpeechSize(None if speakers is None else len(speakers), round(minutes, 2))


class PublishedCorpus(AudioCorpus):
    """Published corpus, read from its file names.

    Args:
        corpus: Name of the corpus, such as ravdess.
        root: Folder of a copy.
        label: `emotion`, or another field that the names contain.
        declared_leaks: Kinds of leaks that are accepted; None for those that the corpus has by design.
        settings: Further arguments of AudioCorpus.
    """

    def __init__(
        self,
        corpus: str,
        root: str,
        *,
        label: str = "emotion",
        declared_leaks: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        known = find_corpus(corpus).declared_leaks
        declared = known if declared_leaks is None else declared_leaks
        super().__init__(label=label, declared_leaks=declared, **settings)
        self.published_name = corpus
        self.root = root

    def utterances(self) -> Manifest:
        """Read the utterances from the file names and label files; those without `label` only for other fields."""
        assert self.published_name is not None
        return read_corpus(self.published_name, self.root, label=self.label if self.requires_label else None)


class FolderCorpus(AudioCorpus):
    """Corpus with one folder per class.

    Args:
        root: Folder of the class folders.
        speaker: Regular expression that matches an utterance's path below its class folder, without suffix; its first
            group is the speaker. None if speakers are unknown.
        settings: Further arguments of AudioCorpus.
    """

    def __init__(self, root: str, *, speaker: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.root = root
        self.speaker = None if speaker is None else _pattern(speaker)

    def utterances(self) -> Manifest:
        """Read the utterances from the folders."""
        manifest = read_folder(self.root, label=self.label, needs_labels=self.needs_labels)
        if self.speaker is None:
            pattern = setting("data.speaker", "(.+)_[0-9]+")
            remedy = (
                f"Set data.speaker to a pattern of the speaker in file names, as in {pattern} for s1_07.wav"
            )
            return replace(manifest, speaker_remedy=remedy)
        return replace(manifest, utterances=tuple(_with_speaker(each, self.speaker) for each in manifest))


class ManifestCorpus(AudioCorpus):
    """Corpus of recordings that a table lists.

    Args:
        path: Table in CSV or JSON lines.
        root: Folder that paths are relative to; None for the folder of the table.
        settings: Further arguments of AudioCorpus.
    """

    def __init__(self, path: str, *, root: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.path = path
        self.root = root

    def utterances(self) -> Manifest:
        """Read the utterances from the table."""
        return read_manifest(self.path, root=self.root)


def label_fields(label_map: LabelMap | None, label: str) -> tuple[str, ...]:
    """Return the label fields after the label map: those that it sets, else the one that it reads."""
    targets = [target for target in (label_map or {}).values() if isinstance(target, Mapping)]
    return tuple(map(normalize_name, targets[0])) if targets else (label,)


def requires_label(label: str, fields: Sequence[str], label_map: LabelMap | None) -> bool:
    """Return whether an utterance without `label` is of no use, because all that is read is or follows from it.

    Args:
        label: Label field that is predicted, or that the label map translates.
        fields: Label fields that a target reads, of which an utterance may lack some; empty for `label` alone.
        label_map: Its label map. One that sets other fields would mix derived values with those of raters.
    """
    return not fields or label_fields(label_map, label) != (label,)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(unicodedata.normalize("NFC", text))
    except re.error as error:
        raise ConfigError(f"data.speaker={text}: no regular expression ({error}). Correct it.") from error
    if pattern.groups < 1:
        raise ConfigError(
            f"data.speaker={text}: has no group. Put the part that names the speaker in brackets."
        )
    return pattern


def _with_speaker(utterance: Utterance, pattern: re.Pattern[str]) -> Utterance:
    name = unicodedata.normalize("NFC", utterance.id.partition("/")[2])  # macOS separates accents
    match = pattern.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"data.speaker={pattern.pattern}: does not match {name!r}. "
            "Write an expression for all of it, with the speaker in brackets."
        )
    return replace(utterance, speaker=match[1])


def skipped_stamp(skipped: Sequence[tuple[str, str]]) -> list[str]:
    """Return a warning about recordings that could not be used, if there are any."""
    if not skipped:
        return []
    return [
        f"{counted(len(skipped), 'recording')} could not be used and had to be left out; the first is {skipped[0][0]!r}"
    ]
