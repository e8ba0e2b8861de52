"""Read the files with the labels of a published corpus: lines of text files, and tables."""

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter

from ser.audio.find import find_files
from ser.audio.reader import AUDIO_SUFFIXES
from ser.catalogue.corpus import Corpus, LabelTable
from ser.data.manifest import Label
from ser.errors import DataError
from ser.files import read_text
from ser.names import is_missing, normalize_name

_log = logging.getLogger(__name__)
_MOST_NAMED = 5  # emotions of votes, in a message


@dataclass
class Row:
    """What the files say about one utterance.

    Args:
        emotion: Code of the emotion; empty if there is none.
        speaker: Speaker, if it is known.
        text: Text, if it is known.
        split: Split, if there are official ones; a name that is none of ours leaves the utterance out.
        numbers: Label fields that hold numbers.
        facts: Label fields that hold words, such as the gender of the speaker.
        votes: Number of raters who chose each emotion.
    """

    emotion: str = ""
    speaker: str | None = None
    text: str | None = None
    split: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    votes: Counter[str] = field(default_factory=Counter)

    def labels(self, corpus: Corpus) -> dict[str, Label]:
        """Return numbers and facts, and the share of each emotion in the votes if there are any."""
        total = self.votes.total()
        emotions = sorted({*corpus.votes.values()}) if total else []
        return {**self.numbers, **self.facts, **{f"p_{name}": self.votes[name] / total for name in emotions}}


def has_label_files(corpus: Corpus) -> bool:
    """Return whether the emotions of a corpus are in files of their own."""
    return corpus.label_files is not None or bool(corpus.tables)


def end_of_path(pattern: str) -> re.Pattern[str]:
    """Return an expression that a path without suffix matches if its end matches the pattern, which is `id`."""
    return re.compile(rf"(?:.*/)?(?P<id>{pattern})")


def without_suffix(file: Path) -> str:
    """Return a path without suffix; macOS writes an accent as a separate character."""
    return normalize_name(file.as_posix().removesuffix(file.suffix))


def read_labels(corpus: Corpus, root: Path) -> dict[str, Row]:
    """Read the label files of a copy: what they say about each utterance, by its key. Log votes for other emotions.

    Raises:
        DataError: There are none, or they lack a column.
    """
    rows: dict[str, Row] = {}
    others: Counter[str] = Counter()
    if corpus.label_files is not None:
        names = end_of_path(corpus.label_files)
        for file in find_files(root, ".txt"):
            if names.fullmatch(without_suffix(file)):
                _read_lines(corpus, file, rows, others)
    tables = corpus.tables if corpus.vote_table is None else (*corpus.tables, corpus.vote_table)
    if tables:
        for file in find_files(root, ".csv"):
            for table in tables:
                if end_of_path(table.files).fullmatch(without_suffix(file)):
                    read = _read_votes if table is corpus.vote_table else _read_table
                    read(corpus, table, file, rows, others)
    if others:
        named = ", ".join(f"{count} {name!r}" for name, count in others.most_common(_MOST_NAMED))
        _log.info(
            "%s: %d votes are for no class of %s, and in no share: %s%s",
            *(root, others.total(), corpus.name, named, ", ..." * (len(others) > _MOST_NAMED)),
        )
    if has_label_files(corpus) and not any(row.emotion for row in rows.values()):
        wanted = [f"{corpus.label_files}.txt"] if corpus.label_files else []
        wanted += [f"{table.files}.csv" for table in corpus.tables if table.emotion]
        raise DataError(
            f"{root}: holds audio of {corpus.name}, but no label files ({', '.join(wanted)}). "
            "Copy them from the corpus to where they belong."
        )
    return rows


def _read_votes(
    corpus: Corpus, table: LabelTable, file: Path, rows: dict[str, Row], others: Counter[str]
) -> None:
    """Read a table that a copy may lack; warn of one that is damaged, such as a pointer of Git LFS, or has no votes."""
    own: dict[str, Row] = {}
    own_others: Counter[str] = Counter()
    try:
        _read_table(corpus, table, file, own, own_others)
    except DataError as error:
        _log.warning("%s Without it, utterances of %s have no votes.", error, corpus.name)
        return
    if not own:
        _log.warning("%s: has no votes for utterances of %s. Copy the file again.", file, corpus.name)
    rows |= own
    others.update(own_others)


def _read_lines(corpus: Corpus, file: Path, rows: dict[str, Row], others: Counter[str]) -> None:
    """Read lines with a code and numbers, and below each the votes of raters."""
    label = re.compile(corpus.label_line or "")
    vote = None if corpus.vote_line is None else re.compile(corpus.vote_line)
    row = Row()
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if match := label.match(line):
            groups = match.groupdict()
            row = rows[groups.pop("id")] = Row(groups.pop("emotion"))
            row.numbers = dict(_numbers(groups, f"{file}, line {number}"))
        elif vote is not None and (match := vote.match(line)):
            for choice in match["vote"].split(";"):
                _count(corpus, row, choice, others)


def _count(corpus: Corpus, row: Row, vote: str, others: Counter[str], raters: int = 1) -> None:
    """Count the votes of some raters for an emotion, or as votes for others."""
    vote = vote.strip()
    if vote in corpus.votes:
        row.votes[corpus.votes[vote]] += raters
    elif vote:
        others[vote] += raters


def _read_table(
    corpus: Corpus, table: LabelTable, file: Path, rows: dict[str, Row], others: Counter[str]
) -> None:
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), restval="", delimiter=table.separator)
    known = reader.fieldnames or []
    if table.vote is not None and table.vote not in known:
        return  # the layout of another release
    key_columns = [name for _, name, _, _ in Formatter().parse(table.key)]
    needed = [
        *key_columns,
        table.emotion,
        table.speaker,
        table.text,
        table.split_column,
        *table.numbers.values(),
        *table.counts,
        *(table.only or ())[:1],
    ]
    absent = [name for name in needed if name is not None and name not in known]
    if absent:
        raise DataError(
            f"{file}: has no column {absent[0]!r}, only {', '.join(map(repr, known))}. "
            f"Copy the file of {corpus.name} again."
        )
    for cells in reader:
        key, where = _key(table.key.format_map(cells)), f"{file}, line {reader.line_num}"
        if table.only is not None and not re.fullmatch(table.only[1], cells[table.only[0]].strip()):
            continue
        if table.counts:
            for code, raters in _numbers({code: cells[code] for code in table.counts}, where):
                _count(corpus, rows.setdefault(key, Row()), code, others, int(raters))
        elif table.vote is not None:
            _count(corpus, rows.setdefault(key, Row()), _vote(table, cells[table.vote]), others)
        else:
            rows[key] = _row(table, cells, rows.get(key, Row()).votes, where)


def _row(table: LabelTable, cells: Mapping[str, str], votes: Counter[str], where: str) -> Row:
    named = cells.get(table.split_column or "", "").strip()
    speaker = cells.get(table.speaker or "", "").strip()
    return Row(
        emotion=cells[table.emotion or ""].strip(),
        speaker=None if is_missing(speaker) or speaker.lower() == "unknown" else speaker,
        text=cells.get(table.text or "", "").strip() or None,
        split=table.split if table.split_column is None else table.splits.get(named, f"split {named}"),
        numbers=dict(_numbers({name: cells[column] for name, column in table.numbers.items()}, where)),
        facts=dict(_facts({name: cells.get(column, "") for name, column in table.facts.items()})),
        votes=votes,
    )


def _facts(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the words in lower case; what is empty or unknown is no label."""
    for name, text in texts.items():
        word = text.strip().lower()
        if word and not is_missing(word) and word != "unknown":
            yield name, word


def _key(text: str) -> str:
    """Remove a suffix of audio, and a folder that the corpus's own table has before a bare name."""
    stem, dot, suffix = text.rpartition(".")
    is_audio = f"{dot}{suffix}".lower() in (*AUDIO_SUFFIXES, ".mp4", ".webm", ".avi")
    return (stem if is_audio else text).removeprefix("wavs/")


def _vote(table: LabelTable, cell: str) -> str:
    match = re.match(table.vote_pattern or "(.*)", cell)
    return match[1].strip() if match else ""


def _numbers(texts: Mapping[str, str | None], where: str) -> Iterator[tuple[str, float]]:
    """Yield the numbers; what is empty or NaN is not labelled."""
    for name, text in texts.items():
        if text and not is_missing(text):
            try:
                yield name, float(text)
            except ValueError as error:
                raise DataError(
                    f"{where}: {name} is {text!r}, expected a number such as 4.5. Correct it, or copy the file again."
                ) from error
