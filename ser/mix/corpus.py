"""Read several corpora as one: each by its own reader, with common labels and splits made within each."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ser.corpora.recordings import AudioCorpus, label_fields, requires_label
from ser.data.label_map import LabelCount, LabelMap, map_labels, require_labels
from ser.data.manifest import Manifest, Utterance
from ser.errors import DataError
from ser.features.extractors import Extractor
from ser.mix.bandwidth import describe_narrow_bands, describe_rates, sample_rates
from ser.mix.checks import check_keys, check_names, check_own, check_protocols, require_any
from ser.mix.classes import (
    class_of,
    count_classes,
    describe_dropped,
    describe_lone_classes,
    shared_classes,
)
from ser.mix.labels import NewLabels, join_labels, join_with_map
from ser.mix.remedies import replace_settings, settings_of
from ser.mix.rules import PREFIXED, WithinCorpora
from ser.splits.rules import Rule, for_pretraining, without_label

_log = logging.getLogger(__name__)


class MixedCorpus(AudioCorpus):
    """Several corpora in one training.

    Ids, speakers, groups and texts get the name of their corpus in front, so that equal names of two corpora stay
    apart. Leaks are accepted within the corpora that declare them.

    Args:
        corpora: Names of the corpora.
        readers: Reader of each corpus, by its name.
        corpora_root: Folder with a subfolder for each corpus; used by `readers`.
        folders: Folders of corpora that lie elsewhere; used by `readers`.
        settings: Settings of single corpora; used by `readers`.
        labels: `shared` keeps the classes that all corpora have, `all` keeps all classes.
        declared_leaks: Kinds of leaks that are accepted in all corpora; None for those that each has by design.
        rest: Further arguments of AudioCorpus, which hold for all corpora.
    """

    def __init__(
        self,
        corpora: str | Sequence[str],
        readers: Mapping[str, AudioCorpus],
        *,
        corpora_root: str = ".",
        folders: Mapping[str, str] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        labels: Literal["shared", "all"] = "shared",
        declared_leaks: Sequence[str] | None = None,
        **rest: Any,
    ) -> None:
        names = [corpora] if isinstance(corpora, str) else [str(name) for name in corpora]
        check_names(names, readers)
        check_keys(names, folders=folders or {}, settings=settings or {})
        check_own(settings or {})
        self.readers = {name: readers[name] for name in names}
        check_protocols(self.readers, settings or {})
        by_design = set.intersection(*({*reader.declared_leaks} for reader in self.readers.values()))
        super().__init__(
            declared_leaks=sorted(by_design) if declared_leaks is None else declared_leaks, **rest
        )
        self._within = {
            name: sorted({*reader.declared_leaks} - by_design) for name, reader in self.readers.items()
        }
        if declared_leaks is not None:
            self._within = {}
        self.labels = labels
        for reader in self.readers.values():
            reader.needs_labels = self.needs_labels
            reader.requires_label = self.requires_label or (
                self.needs_labels and requires_label(reader.label, self.fields, reader.label_map)
            )
        self.sources: dict[str, Manifest] = {}
        self.split: Any = WithinCorpora(
            {name: each.split for name, each in self.readers.items()}, self.sources
        )
        self._notes: list[str] = []

    def utterances(self) -> Manifest:
        """Read all corpora, with their names in front of ids, speakers, groups and texts."""
        return _join(self._read())

    def labelled(self) -> tuple[Manifest, list[LabelCount]]:
        """Return the utterances of the classes that are kept, and the count of each raw label of each corpus.

        Raises:
            DataError: Labels do not fit the maps, or the corpora have no two classes in common.
        """
        manifests, found = {}, {}
        for name, manifest in self._read().items():
            with replace_settings(settings_of(name)):
                manifests[name], found[name] = self._label(name, manifest)
        new_labels, self._notes = self._join(manifests, [name for name, own in found.items() if own])
        counts: list[LabelCount] = []
        for name in manifests:
            mappings = (new_labels.get(name), self.label_map) if found[name] else ()
            with replace_settings(settings_of(name)):
                for mapping in filter(None, mappings):
                    manifests[name], then = map_labels(manifests[name], self.label, mapping)
                    found[name] = _follow(found[name], then)
            counts += [replace(each, corpus=name) for each in found[name]]
        self._notes += [
            f"{each.corpus}: the label map drops {each.utterances} {each.raw}."
            for each in counts
            if each.mapped is None and each.utterances
        ]
        if counts and not self.fields:
            manifests, kept = self._keep_classes(manifests)
            counts = [each if each.mapped in kept else replace(each, mapped=None) for each in counts]
        return _join(manifests), counts

    def _read(self) -> dict[str, Manifest]:
        """Read each corpus, and refuse recordings that two of them share."""
        manifests: dict[str, Manifest] = {}
        owners: dict[Path, str] = {}
        for name, reader in self.readers.items():
            with replace_settings(settings_of(name)):
                manifest = reader.utterances()
            self.sources[name] = manifest.select([])
            own = {utterance.path.resolve() for utterance in manifest}
            if twice := sorted(path for path in own if path in owners):
                raise DataError(
                    f"data.corpora: {owners[twice[0]]} and {name} read {len(twice)} of the same files, such as "
                    f"{twice[0]}. Name one of them, or give them different folders with data.folders.{name}=DIR"
                )
            owners |= dict.fromkeys(own, name)
            own_names = tuple(self._with_corpus(name, utterance, reader.label) for utterance in manifest)
            manifests[name] = replace(manifest, utterances=own_names)
        return manifests

    def _with_corpus(self, name: str, utterance: Utterance, label: str) -> Utterance:
        """Add the name of the corpus to an utterance, and rename its label field to the common one."""
        labels = dict(utterance.labels)
        if label != self.label and label in labels:
            labels[self.label] = labels.pop(label)
        named: dict[str, Any] = {
            key: None if value is None else f"{name}/{value}"
            for key in PREFIXED
            for value in [getattr(utterance, key)]
        }
        return replace(utterance, id=f"{name}/{utterance.id}", corpus=name, labels=labels, **named)

    def _label(self, name: str, manifest: Manifest) -> tuple[Manifest, list[LabelCount]]:
        """Apply the map of a corpus; count its raw labels."""
        if not self.needs_labels and not all(self.label in utterance.labels for utterance in manifest):
            return manifest, []
        if not self.reads_label:
            require_any(name, manifest, self.fields)
            return manifest, []
        own = self.readers[name].label_map
        if not self.fields:
            require_labels(manifest, self.label, own or self.label_map)
        return map_labels(manifest, self.label, own)

    def _join(self, manifests: Mapping[str, Manifest], names: Sequence[str]) -> tuple[NewLabels, list[str]]:
        """Choose the label that stands for each label of the corpora of these names; see `join_labels`."""
        maps = {name: self.readers[name].label_map for name in names}
        counts = {
            name: Counter(
                str(each.labels[self.label]) for each in manifests[name] if self.label in each.labels
            )
            for name in names
            if self.label_map or label_fields(maps[name], self.label) == (self.label,)
        }
        if self.label_map:
            return join_with_map(counts, self.label_map)
        return join_labels(counts, [name for name in names if maps[name]])

    def _keep_classes(self, manifests: Mapping[str, Manifest]) -> tuple[dict[str, Manifest], set[str]]:
        """Return the utterances of the classes that are kept, and these classes; note what is dropped."""
        fields = self.class_fields
        counts = count_classes(manifests, fields)
        if self.labels == "all":
            self._notes += describe_lone_classes(counts)
            return dict(manifests), {label for own in counts.values() for label in own}
        shared = shared_classes(counts)
        self._notes += describe_dropped(counts, shared)
        kept = {
            name: replace(manifest, utterances=tuple(u for u in manifest if class_of(u, fields) in shared))
            for name, manifest in manifests.items()
        }
        return kept, shared

    @property
    def class_fields(self) -> tuple[str, ...]:
        """Return the label fields that make up a class."""
        maps = [self.label_map, *(reader.label_map for reader in self.readers.values())]
        found: list[LabelMap] = [each for each in maps if each]
        return label_fields(found[0], self.label) if found else (self.label,)

    def label_names(self) -> Sequence[str]:
        """Return the label fields of the splits."""
        return self.fields or self.class_fields

    def rule(self, *, has_labels: bool) -> Rule:
        """Return the rule that splits each corpus by itself."""
        rule: WithinCorpora = self.split
        if not self.reads_label:
            rule = rule.change(without_label)
        if not self.needs_labels:
            rule = rule.change(lambda each: for_pretraining(each, has_labels=has_labels))
        return rule

    def suggest_folds(self, manifest: Manifest) -> list[str]:
        """Return the settings of a sweep that tests every speaker of every corpus once."""
        return list(self.split.suggest_folds(manifest))

    def leaks_within(self) -> Mapping[str, Sequence[str]]:
        """Return the kinds of leaks that some corpora have by design, and others do not."""
        return {name: kinds for name, kinds in self._within.items() if kinds}

    def parts(self, manifest: Manifest) -> list[Manifest]:
        """Return the utterances of each corpus."""
        return [*_by_corpus(manifest).values()]

    def extra_remarks(self, manifest: Manifest, extractor: Extractor) -> list[str]:
        """Describe what is dropped, and different sample rates."""
        rates = describe_rates(sample_rates(_by_corpus(manifest)), extractor)
        return [*super().extra_remarks(manifest, extractor), *self._notes, *rates]

    def extra_stamps(self, manifest: Manifest, extractor: Extractor) -> list[str]:
        """Describe corpora whose recordings have a narrower band than the features."""
        return describe_narrow_bands(sample_rates(_by_corpus(manifest)), extractor)


def _follow(first: Sequence[LabelCount], second: Sequence[LabelCount]) -> list[LabelCount]:
    """Return the count of each raw label through two maps, one after the other."""
    then = {each.raw: each.mapped for each in second}
    return [replace(each, mapped=None if each.mapped is None else then.get(each.mapped)) for each in first]


def _join(manifests: Mapping[str, Manifest]) -> Manifest:
    together = tuple(utterance for manifest in manifests.values() for utterance in manifest)
    return Manifest(together, " + ".join(manifests))


def _by_corpus(manifest: Manifest) -> dict[str, Manifest]:
    parts: dict[str, list[Utterance]] = {}
    for utterance in manifest:
        parts.setdefault(str(utterance.corpus), []).append(utterance)
    return {name: Manifest(tuple(part), name) for name, part in parts.items()}
