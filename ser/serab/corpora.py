"""Read and split a corpus of the benchmark, and check whether its results are comparable with published ones."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ser.config.instantiate import build
from ser.corpora.published import expected_size
from ser.corpora.recordings import AudioCorpus, label_fields
from ser.data.feature_store import SKIPPING
from ser.data.manifest import Manifest, first_ten
from ser.errors import ConfigError, DataError, SerError, counted
from ser.splits.assignment import Assignment
from ser.splits.leak_report import describe_leaks, leak_stamps
from ser.splits.leaks import find_leaks


@dataclass(frozen=True)
class BenchmarkCorpus:
    """A corpus with its split.

    Args:
        name: Name in a config.
        manifest: Manifest of N utterances.
        classes: Class name of each utterance [N].
        assignment: Indices [n] of train, validation and test.
        speakers: Speaker of each utterance [N], or what the published split takes for the speaker.
        reader: Name of the corpus that reads the files, which is emodb for emodb4; None for a user's own corpus.
        declared_leaks: Kinds of leaks that are known and accepted.
        stamps: Warnings that every table must show.
        remarks: Further remarks for readers.
        is_partial: Whether files are missing.
    """

    name: str
    manifest: Manifest
    classes: np.ndarray
    assignment: Assignment
    speakers: np.ndarray
    reader: str | None = None
    declared_leaks: tuple[str, ...] = ()
    stamps: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    is_partial: bool = False

    def description(self) -> bytes:
        """Serialise what determines the scores besides the embeddings: classes, speakers and splits."""
        splits = {name: indices.tolist() for name, indices in self.assignment.items()}
        return json.dumps([self.classes.tolist(), self.speakers.tolist(), splits]).encode()

    def with_leaks(self, digests: np.ndarray | None) -> "BenchmarkCorpus":
        """Add the leaks between the splits; recordings with equal digests [N, 16] count as equal."""
        leaks = find_leaks(self.manifest, self.assignment, digests)
        found = [f"{self.name}: {stamp}" for stamp in leak_stamps(leaks, self.declared_leaks)]
        told = describe_leaks(leaks, self.declared_leaks)
        return replace(self, stamps=[*self.stamps, *found], remarks=[*self.remarks, *told])


@contextmanager
def benchmark_remedies(name: str) -> Iterator[None]:
    """Replace settings `data.*` in error messages by the settings of the benchmark."""
    keys = {key: f"+settings.{name}.{key}" for key in ("label_map", "speaker", "pattern")}
    keys |= {"root": f"folders.{name}", "cache_dir": "cache_dir"}
    try:
        yield
    except SerError as error:
        text = str(error).replace(SKIPPING, "")  # the benchmark skips no recordings
        raise type(error)(re.sub(rf"\bdata\.({'|'.join(keys)})\b", lambda m: keys[m[1]], text)) from error


class Size(NamedTuple):
    """Size of a complete copy."""

    utterances: int
    speakers: int


def read(
    name: str,
    spec: Mapping[str, Any],
    *,
    utterances: int | None = None,
    allow_partial: bool = False,
) -> BenchmarkCorpus:
    """Read and split a corpus, without opening audio.

    Args:
        name: Name in a config.
        spec: Spec of an AudioCorpus.
        utterances: Number of utterances of a complete copy after the label map; None if the map drops none.
        allow_partial: Whether files may be missing.

    Raises:
        SerError: The corpus is missing or incomplete, or its labels or speakers do not fit the split.
    """
    corpus = build(spec, slot="data")
    if not isinstance(corpus, AudioCorpus):
        raise ConfigError(f"corpora=[{name}]: data={name} is no corpus of recordings. Name one of speech.")
    manifest = corpus.labelled()[0]
    reader = corpus.published_name
    missing = None if reader is None else _describe_missing(manifest, corpus, reader, utterances)
    if missing and not allow_partial:
        raise DataError(
            f"{name} in {manifest.source}: {missing}: its results would not compare with any others. Get the missing "
            f"files, give another folder with folders.{name}=FOLDER, or add allow_partial=true, which all tables tell."
        )
    assignment = corpus.split.assign(manifest)
    _check_splits(name, assignment)
    speakers = _speakers(manifest, getattr(corpus.split, "key", "speaker"))
    fields = label_fields(corpus.label_map, corpus.label)
    classes = np.array(["/".join(str(u.labels[field]) for field in fields) for u in manifest])
    _check_train_classes(name, classes[assignment["train"]])
    return BenchmarkCorpus(
        name=name,
        manifest=manifest,
        classes=classes,
        assignment=assignment,
        speakers=speakers,
        reader=reader,
        declared_leaks=corpus.declared_leaks,
        stamps=[f"{name} is PARTIAL: {missing}"] if missing else [],
        remarks=[*_describe_single_utterances(speakers, assignment)],
        is_partial=bool(missing),
    )


def _describe_missing(
    manifest: Manifest, corpus: AudioCorpus, reader: str, utterances: int | None
) -> str | None:
    """Describe what is missing or superfluous in a copy; None if it is complete."""
    read_ones = manifest if utterances is not None else corpus.utterances()
    complete = expected_size(reader, corpus.label)
    size = Size(len(read_ones), len({utterance.speaker for utterance in read_ones}))
    wanted = Size(complete.utterances if utterances is None else utterances, complete.speakers)
    if size == wanted:
        return None
    return (
        f"{size.utterances} of {wanted.utterances} utterances, {size.speakers} of {wanted.speakers} speakers"
    )


def _check_splits(name: str, assignment: Assignment) -> None:
    empty = [split for split in ("validation", "test") if not len(assignment.get(split, ()))]
    if empty:
        raise DataError(
            f"{name}: its split has no {' and no '.join(empty)} utterances, so nothing can be scored. "
            "Use split=serab or split=honest, or give data.split shares above 0."
        )


def _check_train_classes(name: str, classes: np.ndarray) -> None:
    """Refuse classes of train [n] that at least one of the five classifiers cannot learn."""
    names = np.unique(classes).tolist()
    if len(names) < 2 or len(classes) <= len(names):
        raise DataError(
            f"{name}: train has {len(classes)} utterances of {len(names)} class{'es' * (len(names) != 1)}: "
            f"{', '.join(names)}. Classifiers need two classes, and more utterances than classes: add recordings."
        )


def _speakers(manifest: Manifest, key: str) -> np.ndarray:
    """Return the speaker of each utterance [N], or what the split takes for it, for normalisation and intervals.

    Raises:
        DataError: Utterances have none; the message lists the first ten and the count.
    """
    found = [
        u.speaker if key == "speaker" else u.group if key == "group" else u.labels[key] for u in manifest
    ]
    unknown = [utterance.id for utterance, owner in zip(manifest, found, strict=True) if owner is None]
    if unknown:
        raise DataError(
            f"{manifest.source}: the speakers of {counted(len(unknown), 'utterance')} are unknown:"
            f"{first_ten(unknown)}\nThe benchmark needs them: give a manifest with a column speaker."
        )
    return np.array([str(owner) for owner in found])


def _describe_single_utterances(speakers: np.ndarray, assignment: Assignment) -> list[str]:
    """Describe the speakers with only one utterance in a split."""
    lonely = []
    for split, indices in assignment.items():
        names, counts = np.unique(speakers[indices], return_counts=True)
        lonely += [f"{name} ({split})" for name in names[counts == 1]]
    if not lonely:
        return []
    listed = ", ".join([*lonely[:5], *["..."] * (len(lonely) > 5)])
    return [
        f"Speakers with one utterance in a split, which normalisation by speaker turns into zeros: {listed}"
    ]
