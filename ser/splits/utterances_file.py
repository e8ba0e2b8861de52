"""File of the utterances of a run, so that a later evaluation can tell which ones the model was trained on."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ser.batch import UtteranceId
from ser.data.store import Store
from ser.errors import DataError
from ser.files import read_text
from ser.runs.tables import write_csv

FILE = "utterances.csv"
INHERITED = "init"
"""What stands as the split of utterances on which the run that `init=` names was trained."""
_COLUMNS = ("split", "id", "speaker", "digest", "corpus")
_OLD_COLUMNS = _COLUMNS[:4]

Row = tuple[str, str, str, str, str]
"""Split, id, speaker, digest of the features, and the corpus if it is not that of the run; "" where unknown."""


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

    def add(self, row: Row) -> None:
        """Add an utterance. Sequences that were cut from one, `<id>#<number>`, count as that utterance."""
        _, name, speaker, digest, _ = row
        self.ids.add(name)
        whole, _, number = name.rpartition("#")
        if number.isdecimal():
            self.ids.add(whole)
        self.speakers.update([speaker] * bool(speaker))
        self.digests.update([digest] * bool(digest))


def write_utterances(
    run_dir: Path,
    stores: Mapping[str, Store],
    speakers: Mapping[str, Mapping[UtteranceId, str]],
    inherited: Sequence[Row] = (),
) -> None:
    """Write utterances.csv: split, id, speaker and digest of the features of each utterance.

    Args:
        run_dir: Folder of the run.
        stores: Store of each split.
        speakers: Speaker of each utterance by its id, for each split; without those that are unknown.
        inherited: Rows of the utterances on which the run was trained that `init=` names.

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
            (split, name, own.get(name), digest, None)
            for name, digest in zip(store.ids, digests, strict=True)
        ]
    write_csv(run_dir / FILE, _COLUMNS, [*rows, *inherited])


def read_rows(run_dir: Path) -> list[Row]:
    """Read all rows of the utterances of a run; none if the run has no such file, as it is older.

    Raises:
        DataError: The file cannot be read, or is damaged.
    """
    path = run_dir / FILE
    if not path.is_file():
        return []
    head, *rows = [*csv.reader(io.StringIO(read_text(path), newline=""))] or [[]]
    if tuple(head) not in (_COLUMNS, _OLD_COLUMNS) or any(len(row) != len(head) for row in rows):
        raise DataError(
            f"{path}: is damaged, expected the columns {', '.join(_COLUMNS)}. Copy it again from the run, or remove it."
        )
    return [(row[0], row[1], row[2], row[3], row[4] if len(row) > 4 else "") for row in rows]


def read_utterances(run_dir: Path) -> dict[str, KnownUtterances]:
    """Read the utterances of each split of a run, without those of the run that `init=` named.

    Raises:
        DataError: See `read_rows`.
    """
    found: dict[str, KnownUtterances] = {}
    for row in read_rows(run_dir):
        if row[0] != INHERITED:
            found.setdefault(row[0], KnownUtterances()).add(row)
    return found


def by_corpus(rows: Sequence[Row]) -> dict[str, KnownUtterances]:
    """Return the utterances of rows by their corpora."""
    found: dict[str, KnownUtterances] = {}
    for row in rows:
        found.setdefault(row[4], KnownUtterances()).add(row)
    return found
