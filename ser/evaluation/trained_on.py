"""Read what models were trained on: label maps, corpus, utterances and speakers, from the folders of their runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ser.checkpoints.bundle import is_bundle, read_config
from ser.config.old_names import with_current_names
from ser.data.label_map import LabelMap, read_label_map
from ser.errors import DataError
from ser.files import read_text
from ser.names import normalize_name
from ser.runs.run_folder import RunFolder
from ser.splits.utterances_file import INHERITED, KnownUtterances, by_corpus, read_rows, read_utterances
from ser.yaml_bombs import refuse_yaml_bomb


@dataclass(frozen=True)
class TrainedOn:
    """What a run was trained on, as far as its folder tells.

    Args:
        folder: Folder of the run.
        data: Config node of its corpus; empty if unknown.
        known: Utterances of each split; empty for runs of older versions.
        speakers: Speakers of each split, for such runs.
        before: Utterances on which it was trained before, by the run that `init=` named, by their corpora.
        init: That run; None for none.
    """

    folder: Path
    data: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, KnownUtterances] = field(default_factory=dict)
    speakers: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    before: Mapping[str, KnownUtterances] = field(default_factory=dict)
    init: str | None = None

    def label_maps(self, corpus: str = "") -> list[LabelMap]:
        """Return the label maps of the training, without those whose files are gone.

        Args:
            corpus: The corpus that is scored, from `corpus_of`. In a mix, the map of the same corpus comes first,
                followed by the common one, as in training.
        """
        common = _read_map(self.data)
        readers = (self.data.get("readers") or {}).values()
        own = [_read_map(reader) for reader in readers if corpus and corpus_of(reader) == corpus]
        return [*(_follow(each, common or {}) for each in own if each), *([common] if common else [])]

    def speakers_of(self, split: str) -> set[str]:
        """Return the known speakers of a split."""
        own = self.known.get(split)
        return {*(self.speakers.get(split) or ())} if own is None else own.speakers


def corpus_of(data: Mapping[str, Any]) -> str:
    """Return what identifies the corpus of a config node: a published name, else an absolute path; "" if unknown."""
    if data.get("corpus"):
        return str(data["corpus"])
    place = data.get("path") or data.get("root")
    return str(Path(str(place)).resolve()) if place else ""


def _read_map(data: Mapping[str, Any]) -> LabelMap | None:
    """Return the label map of a config node; None if there is none, or its file is gone."""
    given = data.get("label_map")
    if not isinstance(given, str):
        return given
    return read_label_map(given) if Path(given).is_file() else None


def _follow(first: LabelMap, second: LabelMap) -> LabelMap:
    """Return one label map for two of which the second translates what the first answers."""
    then = {normalize_name(str(raw)): value for raw, value in second.items()}
    return {raw: then.get(normalize_name(str(new)), new) for raw, new in first.items()}


def read_trained_on(checkpoint: Path) -> TrainedOn | None:
    """Read what the run of a checkpoint was trained on; None if the checkpoint lies in no folder of a run.

    An exported folder holds the utterances of its run, and the settings of the corpus.

    Raises:
        DataError: A file of the run is damaged.
    """
    if is_bundle(checkpoint):
        known, before = read_utterances(checkpoint), _read_before(checkpoint)
        data = read_config(checkpoint).get("data") or {}
        return TrainedOn(checkpoint, data, known, before=before) if known else None
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
    return TrainedOn(
        run.path,
        config.get("data") or {},
        read_utterances(run.path),
        speakers,
        before=_read_before(run.path),
        init=config.get("init"),
    )


def _read_before(folder: Path) -> dict[str, KnownUtterances]:
    return by_corpus([row for row in read_rows(folder) if row[0] == INHERITED])


def _read_yaml(path: Path) -> dict[str, Any]:
    text = read_text(path)
    refuse_yaml_bomb(path, text)
    try:
        content = yaml.safe_load(text)
        return dict(with_current_names(content))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is damaged. Copy it again from the run, or remove it.") from error
