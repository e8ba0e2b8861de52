"""Turn conversations into the data of a run: features of audio and words at every step of 0.1 s, labels over time."""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ser.config.instantiate import build
from ser.corpora.conversations import Conversation, labels_on_grid, warn_about
from ser.corpora.recordings import measure_speech, skipped_stamp, speaker_names
from ser.data.feature_store import OnError, read_features
from ser.data.manifest import Manifest, Utterance
from ser.data.store import StepWords, Store
from ser.errors import ConfigError, DataError, did_you_mean
from ser.features.extractors import Extractor
from ser.features.steps import STEP_S, index_spans
from ser.names import normalize_name
from ser.splits.assignment import Validation, use_validation
from ser.splits.base import SplitFacts, Splits
from ser.splits.leak_report import report_leaks, undeclared_leaks
from ser.splits.rules import Rule, without_label
from ser.text.word_sources import WordSource, WordTable
from ser.text.words import Word

_log = logging.getLogger(__name__)


class ConversationCorpus(ABC):
    """Base class of corpora of conversations.

    Args:
        root: Folder of the corpus.
        split: Rule that assigns recordings to splits.
        words: Source of the vectors of words; None for audio alone.
        fields: Label fields that are read; None for all that the corpus has.
        declared_leaks: Kinds of leaks that are known and accepted, with which results are not stamped.
        on_error: What to do about recordings that cannot be used: raise or skip.
        cache_dir: Folder for cached features.
        validation: `split` for that of the rule, or `none` to train on it, too, and to keep the last epoch.
    """

    label_fields: tuple[str, ...]
    """Names of the label fields that the layout has."""
    stamps: Sequence[str] = ()
    """Warnings that every report must show."""

    def __init__(
        self,
        root: str,
        *,
        split: Rule,
        words: WordSource | None = None,
        fields: Sequence[str] | None = None,
        declared_leaks: Sequence[str] | None = None,
        on_error: OnError = "raise",
        cache_dir: str = ".cache/ser",
        validation: Validation = "split",
    ) -> None:
        self.validation: Validation = validation
        self.root = Path(root)
        self.split = split
        self.words = words
        self.fields = tuple(map(normalize_name, fields or self.label_fields))
        for field in self.fields:
            if field not in self.label_fields:
                raise ConfigError(
                    f"target.fields: this corpus has no label {field!r}. {did_you_mean(field, self.label_fields)}"
                )
        self.declared_leaks = tuple(declared_leaks or ())
        undeclared_leaks([], self.declared_leaks)  # refuse unknown kinds before hours of reading
        self.on_error: OnError = on_error
        self.skipped: list[tuple[str, str]] = []
        self.cache_dir = cache_dir

    @abstractmethod
    def conversations(self) -> list[Conversation]:
        """Read all recordings, sorted by name.

        Raises:
            DataError: Files are missing, malformed, or do not fit together.
        """

    def read_each(self, readers: Mapping[str, Callable[[], Conversation]]) -> list[Conversation]:
        """Read recordings; with on_error=skip, those that cannot be used are left out and noted in `skipped`.

        Args:
            readers: Name of each recording -> function that reads it.

        Raises:
            DataError: A recording cannot be used, or with on_error=skip none can.
        """
        found, self.skipped = [], []
        for name, read in readers.items():
            try:
                found.append(read())
            except DataError as error:
                if self.on_error == "raise":
                    raise
                self.skipped.append((name, str(error)))
        warn_about(
            "recordings are skipped because they cannot be used", [reason for _, reason in self.skipped]
        )
        if readers and not found:
            raise DataError(f"{self.root}: no recording can be used. The first one: {self.skipped[0][1]}")
        return found

    def utterances(self) -> Manifest:
        """Return the recordings, without their words and labels."""
        return _manifest_of(self.conversations(), str(self.root))

    def splits(self, features: Mapping[str, Any]) -> Splits:
        """Read the corpus, split it, look for leaks, and put audio, words and labels on steps of 0.1 s.

        Args:
            features: Spec of an extractor of steps.

        Raises:
            SerError: Files, labels, rule or settings do not fit together.
        """
        extractor: Extractor = build(features, slot="features")
        if extractor.frame_shift_s != STEP_S:
            raise ConfigError(
                f"features: a step is {1000 * extractor.frame_shift_s:g} ms long, but words and labels of this data "
                "are on steps of 100 ms. Use features=step_log_mel or features=step_waveform."
            )
        found = self.conversations()
        recordings = read_features(
            _manifest_of(found, str(self.root)),
            extractor,
            cache_dir=self.cache_dir,
            settings=json.dumps(extractor.portable(features), sort_keys=True),
            on_error=self.on_error,
        )
        skipped = [*self.skipped, *recordings.skipped]
        kept = [found[index] for index in recordings.kept.tolist()]
        manifest = _manifest_of(kept, str(self.root))
        assignment = use_validation(without_label(self.split).assign(manifest), self.validation)
        leaks = report_leaks(
            manifest,
            assignment,
            recordings.store.digests,
            declared=self.declared_leaks,
        )
        store = recordings.store.with_step_labels(self._labels(kept, recordings.store), self.fields)
        table, remarks = self._fit_words(kept, assignment)
        if table is not None:
            store = store.with_words(words_of_steps([each.words for each in kept], store, table))
        manifests = {name: manifest.select(indices.tolist()) for name, indices in assignment.items()}
        stores = {name: store.select(indices) for name, indices in assignment.items()}
        return Splits(
            stores,
            SplitFacts(
                leaks=leaks.leaks,
                skipped=skipped,
                speakers={name: speaker_names(each) for name, each in manifests.items()},
                remarks=[*leaks.remarks, *remarks],
                speech={
                    name: measure_speech(manifests[name], STEP_S * stores[name].lengths) for name in stores
                },
                stamps=[*self.stamps, *leaks.stamps, *skipped_stamp(skipped)],
                words=None if table is None else table.state(),
            ),
            manifests,
        )

    def _fit_words(
        self, found: Sequence[Conversation], assignment: Mapping[str, np.ndarray]
    ) -> tuple[WordTable | None, list[str]]:
        """Return the table of the vectors of words, and remarks on how many words have one."""
        if self.words is None:
            return None, ["Words: none are used, as data.words is null."]
        if not any(each.words for each in found):
            raise DataError(
                f"{self.root}: no recording has words. Add their times, or set words=none model.fusion=audio_only"
            )
        train = [found[index].words for index in assignment["train"].tolist()]
        table = self.words.fit(train, [each.words for each in found])
        return table, _describe_words(found, assignment, table)

    def _labels(self, found: Sequence[Conversation], store: Store) -> np.ndarray:
        """Return the labels of all steps [sum of T, K] float32."""
        columns = [self.label_fields.index(field) for field in self.fields]
        grids = [
            labels_on_grid(
                each.times, each.values[:, columns], length, STEP_S * length, place=f"{self.root}, {each.id}"
            )
            for each, length in zip(found, store.lengths.tolist(), strict=True)
        ]
        return np.concatenate(grids)


def words_of_steps(words: Sequence[Sequence[Word]], store: Store, table: WordTable) -> StepWords:
    """Put the words of each recording on its steps.

    Args:
        words: Words of each of the N recordings.
        store: Store of their audio.
        table: Vectors of the words.
    """
    indices, vectors, count = [], [torch.zeros(0, table.dim)], 0
    for own, length in zip(words, store.lengths.tolist(), strict=True):
        index = index_spans([(word.start, word.end) for word in own], length)
        indices.append(torch.where(index >= 0, index + count, index))
        vectors.append(table.embed(own))
        count += len(own)
    return StepWords(torch.cat(indices).int().numpy(), torch.cat(vectors).numpy())


def _describe_words(
    found: Sequence[Conversation], assignment: Mapping[str, np.ndarray], table: WordTable
) -> list[str]:
    """Describe how many words of each split have a vector."""
    words = {
        name: [word for index in indices.tolist() for word in found[index].words]
        for name, indices in assignment.items()
    }
    return [f"Words of {name}: {table.coverage(own)}." for name, own in words.items()]


def _manifest_of(found: Sequence[Conversation], source: str) -> Manifest:
    utterances = (
        Utterance(id=each.id, path=each.path, speaker=each.speaker, split=each.split, turns=each.turns)
        for each in found
    )
    return Manifest(tuple(utterances), source)
