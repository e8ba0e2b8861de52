"""What models were trained on: label maps, corpus, utterances and speakers, from the folders of their runs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ser.checkpoints.bundle import is_bundle, read_config
from ser.config.old_names import with_current_names
from ser.data.label_map import LabelMap, read_label_map
from ser.errors import DataError
from ser.evaluation.corpus import LabelledCorpus
from ser.files import read_text
from ser.runs.run_folder import RunFolder
from ser.splits.utterances_file import KnownUtterances, read_utterances
from ser.yaml_bombs import refuse_yaml_bomb


@dataclass(frozen=True)
class TrainedOn:
    """What a run was trained on, as far as its folder tells.

    Args:
        folder: Folder of the run.
        data: Config node of its corpus; empty if unknown.
        known: Utterances of each split; empty for runs of older versions.
        speakers: Speakers of each split, for such runs.
    """

    folder: Path
    data: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, KnownUtterances] = field(default_factory=dict)
    speakers: Mapping[str, Sequence[str] | None] = field(default_factory=dict)

    @property
    def label_map(self) -> LabelMap | None:
        """Return the label map of the training; None if there is none, or its file is gone."""
        given = self.data.get("label_map")
        if not isinstance(given, str):
            return given
        return read_label_map(given) if Path(given).is_file() else None

    def speakers_of(self, split: str) -> set[str]:
        """Return the known speakers of a split."""
        own = self.known.get(split)
        return {*(self.speakers.get(split) or ())} if own is None else own.speakers


def _place(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what identifies the corpus of a config node: a published name, else a folder or file; None if unknown."""
    if data.get("corpus"):
        return "corpus", str(data["corpus"])
    place = data.get("path") or data.get("root")
    return ("place", str(Path(str(place)).resolve())) if place else None


def _with_corpus(names: Iterable[object], data: Mapping[str, Any]) -> dict[object, tuple[Any, str]]:
    """Return each name with its corpus, without the prefix that a mix of corpora adds.

    Args:
        names: Ids or speakers; None is left out.
        data: Config node of the corpus.
    """
    readers = {name: _place(reader) for name, reader in (data.get("readers") or {}).items()}
    own, found = _place(data), {}
    for name in names:
        prefix, _, rest = str(name).partition("/")
        pair = (readers[prefix], rest) if prefix in readers else (own, str(name))
        if name is not None and pair[0] is not None:
            found[name] = pair
    return found


def read_trained_on(checkpoint: Path) -> TrainedOn | None:
    """Read what the run of a checkpoint was trained on; None if the checkpoint lies in no folder of a run.

    An exported folder holds the utterances of its run, and the settings of the corpus.

    Raises:
        DataError: A file of the run is damaged.
    """
    if is_bundle(checkpoint):
        known = read_utterances(checkpoint)
        return TrainedOn(checkpoint, read_config(checkpoint).get("data") or {}, known) if known else None
    run = RunFolder(checkpoint.parents[1] if checkpoint.parent.name == "checkpoints" else checkpoint.parent)
    if not run.config.is_file():
        return None
    config = _read_yaml(run.config)
    splits = run.path / "splits.json"
    speakers: dict[str, list[str] | None] = {}
    if splits.is_file():
        try:
            speakers = json.loads(read_text(splits)).get("speakers") or {}
        except (ValueError, AttributeError) as error:
            raise DataError(
                f"{splits}: is damaged ({error}). Copy it again from the run, or remove it."
            ) from error
    return TrainedOn(run.path, config.get("data") or {}, read_utterances(run.path), speakers)


def _read_yaml(path: Path) -> dict[str, Any]:
    text = read_text(path)
    refuse_yaml_bomb(path, text)
    try:
        content = yaml.safe_load(text)
        return dict(with_current_names(content))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is damaged. Copy it again from the run, or remove it.") from error


@dataclass(frozen=True)
class Overlap:
    """What a corpus shares with the training of models.

    Args:
        trained: Which of N utterances were trained on [N] bool.
        chosen: Which of them chose the checkpoint, as validation [N] bool.
        speakers: Speakers that are also in the training split.
        stamps: Warnings that every report must show.
        remarks: What could not be checked.
    """

    trained: np.ndarray
    chosen: np.ndarray
    speakers: Sequence[str]
    stamps: Sequence[str]
    remarks: Sequence[str]


def find_overlap(
    corpus: LabelledCorpus, data: Mapping[str, Any], runs: Sequence[TrainedOn | None]
) -> Overlap:
    """Find the utterances and speakers of a corpus on which models were trained.

    Utterances are equal if their features are, or if a recording of the same corpus has the same id.

    Args:
        corpus: The corpus that is scored.
        data: Its config node.
        runs: What each model was trained on; None where it is unknown.
    """
    masks = {split: np.zeros(len(corpus.store), dtype=bool) for split in ("train", "validation")}
    ids = _with_corpus(corpus.store.ids if corpus.names else (), data)
    speakers = _with_corpus(corpus.speakers, data)
    all_speakers = {name for name in corpus.speakers if name is not None}
    shared: set[str] = set()
    for run in filter(None, runs):
        for split, mask in masks.items():
            known = run.known.get(split, KnownUtterances())
            named = {*_with_corpus(known.ids, run.data).values()}
            mask |= _equal_features(corpus, known)
            mask |= np.array([ids.get(name) in named for name in corpus.store.ids], dtype=bool)
        trained = {*_with_corpus(run.speakers_of("train"), run.data).values()}
        shared |= {str(name) for name, pair in speakers.items() if pair in trained}
        if masks["train"].any():
            shared |= run.speakers_of("train") & all_speakers
    masks["validation"] &= ~masks["train"]
    listed = sorted(shared)
    return Overlap(
        masks["train"],
        masks["validation"],
        listed,
        [*_describe(corpus, masks, listed, len(all_speakers))],
        _describe_unknown(runs),
    )


def _equal_features(corpus: LabelledCorpus, known: KnownUtterances) -> np.ndarray:
    """Return which utterances have the features of known ones [N] bool."""
    equal = np.zeros(len(corpus.store), dtype=bool)
    for store in (corpus.store, *(given.store for given in corpus.inputs[1:])):
        if store.digests is not None and known.digests:
            equal |= np.array([each.tobytes().hex() in known.digests for each in store.digests], dtype=bool)
    return equal


def _describe(
    corpus: LabelledCorpus, masks: Mapping[str, np.ndarray], shared: Sequence[str], speakers: int
) -> list[str]:
    total, stamps = len(corpus.store), []
    if count := int(masks["train"].sum()):
        first = corpus.store.ids[int(masks["train"].argmax())]
        stamps.append(
            f"LEAK: the model was trained on {count} of the {total} utterances, the first is {str(first)!r}: "
            "these scores are worthless as scores of new speech."
        )
    if shared:
        listed = ", ".join([*shared[:5], *["..."] * (len(shared) > 5)])
        stamps.append(
            f"LEAK: {len(shared)} of the {speakers} speakers are in the training data, too ({listed}): the scores are "
            "better than for new speakers."
        )
    if count := int(masks["validation"].sum()):
        stamps.append(
            f"The checkpoint was chosen on {count} of the {total} utterances (validation), so their scores are "
            "somewhat too good."
        )
    return stamps


def _describe_unknown(runs: Sequence[TrainedOn | None]) -> list[str]:
    if all(run is not None and run.known for run in runs):
        return []
    return [
        "It is not known on which utterances every model was trained, so that these could not be looked for: its run "
        "has no utterances.csv, as in older versions, or the checkpoint is not in the folder of its run."
    ]
