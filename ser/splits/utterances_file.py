"""File of the utterances of a run, so that a later evaluation can tell which ones the model was trained on."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ser.batch import UtteranceId
from ser.data.store import Store
from ser.errors import DataError
from ser.files import read_text
from ser.runs.tables import write_csv

FILE = "utterances.csv"
_COLUMNS = ("split", "id", "speaker", "digest")


@dataclass(frozen=True)
class KnownUtterances:
    """Utterances of one split of a run.

    Args:
        ids: Utterance ids.
        speakers: Speakers, without those that are unknown.
        digests: Digests of their features, in hexadecimal, where they are known.
    """

    ids: set[str] = field(default_factory=set)
    speakers: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)


def write_utterances(
    run_dir: Path, stores: Mapping[str, Store], speakers: Mapping[str, Mapping[UtteranceId, str]]
) -> None:
    """Write utterances.csv: split, id, speaker and digest of the features of each utterance.

    Args:
        run_dir: Folder of the run.
        stores: Store of each split.
        speakers: Speaker of each utterance by its id, for each split; without those that are unknown.

    Raises:
        DataError: The file cannot be written.
    """
    rows = []
    for split, store in stores.items():
        own = speakers.get(split, {})
        digests = (
            [""] * len(store) if store.digests is None else [each.tobytes().hex() for each in store.digests]
        )
        rows += [
            (split, name, own.get(name), digest) for name, digest in zip(store.ids, digests, strict=True)
        ]
    write_csv(run_dir / FILE, _COLUMNS, rows)


def read_utterances(run_dir: Path) -> dict[str, KnownUtterances]:
    """Read the utterances of each split of a run; none if the run has no such file, as it is older.

    Sequences that were cut from an utterance, `<id>#<number>`, count as that utterance.

    Raises:
        DataError: The file cannot be read, or is damaged.
    """
    path = run_dir / FILE
    if not path.is_file():
        return {}
    rows = [*csv.reader(io.StringIO(read_text(path), newline=""))]
    if tuple(rows[0]) != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
        raise DataError(
            f"{path}: is damaged, expected the columns {', '.join(_COLUMNS)}. Copy it again from the run, or remove it."
        )
    found: dict[str, KnownUtterances] = {}
    for split, name, speaker, digest in rows[1:]:
        known = found.setdefault(split, KnownUtterances())
        known.ids.add(name)
        whole, _, number = name.rpartition("#")
        if number.isdecimal():
            known.ids.add(whole)
        known.speakers.update([speaker] * bool(speaker))
        known.digests.update([digest] * bool(digest))
    return found
