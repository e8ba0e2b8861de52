"""Read databases of audformat, as audb downloads them: db.yaml, and a table for each kind of annotation.

Tables are CSV files, or Parquet files, which pyarrow reads; audformat itself is not needed.
"""

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ser.data.manifest import Utterance
from ser.errors import DataError, named_line
from ser.files import read_text
from ser.imports.columns import ALIASES, import_pyarrow, make_utterance, refuse_damaged_table, split_named

_log = logging.getLogger(__name__)

Key = tuple[str, float, float | None]

Facts = Mapping[str, Mapping[str, Any]]
"""Label, such as a speaker -> what is known about it, such as {gender: female}."""


class _Header(NamedTuple):
    """What db.yaml says.

    Args:
        tables: Tables about files, each with its `split`, or `split_name` if that is none of ours.
        schemes: Column -> its scheme.
        facts: Scheme -> facts about its labels, or the name of the table that holds them.
        further: Tables about other things, such as speakers.
        languages: Languages of the database.
    """

    tables: Mapping[str, Mapping[str, str]]
    schemes: Mapping[str, str]
    facts: Mapping[str, Facts | str]
    further: Sequence[str]
    languages: Sequence[str]


def read_audformat(folder: Path, root: Path | None, dropped: Counter[str]) -> list[Utterance]:
    """Read all tables of a database about its files and segments; segments have the annotations of their file, too.

    Facts about labels, such as the gender of a speaker, become columns, as does the language if there is one.

    Args:
        folder: Folder of db.yaml.
        root: Folder of the media; None for that of db.yaml.
        dropped: Counts, for each column, values that are no labels.

    Raises:
        DataError: A table is missing, or of a kind that cannot be read.
    """
    header = _read_header(folder / "db.yaml")
    found: dict[Key, dict[str, Any]] = {}
    clashes = 0
    for name, split in header.tables.items():
        for key, columns in _rows(folder, name):
            own = found.setdefault(key, {})
            for column, value in split.items():
                own.setdefault(column, value)
            for column, value in columns.items():
                clashes += own.get(column, value) != value
                own.setdefault(column, value)
    facts = _facts_of_columns(folder, header)
    for own in found.values():
        for column in [column for column in facts if column in own]:
            for name, value in facts[column].get(str(own[column]), {}).items():
                clashes += str(own.get(name, value)) != str(value)
                own.setdefault(name, value)
    if clashes:
        _log.warning(
            "%s: %d values differ between tables; those of the first table are kept", folder, clashes
        )
    language = header.languages[0] if len(header.languages) == 1 else None
    if len(header.languages) > 1:
        _log.info(
            "%s: has the languages %s; no header says of which file", folder, ", ".join(header.languages)
        )
    return [*_utterances(found, root or folder, dropped, language)]


def _facts_of_columns(folder: Path, header: _Header) -> dict[str, Facts]:
    """Return the facts about the values of each column, from the header or a table; name the tables that are left.

    Facts of the speaker come first. A fact that an earlier column has, too, begins with its column: `listener_gender`.
    """
    found: dict[str, Facts] = {}
    used, taken = set(), set[str]()
    for column, scheme in sorted(
        header.schemes.items(), key=lambda item: item[0].lower() not in ALIASES["speaker"]
    ):
        facts = header.facts.get(scheme)
        if isinstance(facts, str):
            used.add(facts)
            rows = _read_table(folder, facts)
            key = next(iter(rows[0]), "") if rows else ""
            facts = {str(row[key]): {name: row[name] for name in row if name != key} for row in rows}
        if facts:
            names = {
                fact: f"{column}_{fact}" if fact in taken else fact for own in facts.values() for fact in own
            }
            found[column] = {
                label: {names[fact]: value for fact, value in own.items()} for label, own in facts.items()
            }
            taken |= {*names}
    if unread := [name for name in header.further if name not in used]:
        _log.warning(
            "%s: %d tables describe no column of files or segments, and are not read: %s",
            *(folder, len(unread), ", ".join(unread)),
        )
    return found


def _read_header(file: Path) -> _Header:
    try:
        header = yaml.safe_load(read_text(file)) or {}
        tables: dict[str, dict[str, str]] = {}
        schemes: dict[str, str] = {}
        for name, table in (header.get("tables") or {}).items():
            split_id = (table or {}).get("split_id")
            split = (header.get("splits") or {}).get(split_id) or {}
            kind = split_named(split.get("type") or split_id)
            own = {"split": kind} if kind else {"split_name": str(split_id)} if split_id else {}
            tables[str(name)] = own
            for column, settings in ((table or {}).get("columns") or {}).items():
                if scheme := (settings or {}).get("scheme_id"):
                    schemes.setdefault(str(column), str(scheme))
        facts = {
            str(name): labels if isinstance(labels, str) else _facts_of_labels(labels)
            for name, scheme in (header.get("schemes") or {}).items()
            if (labels := (scheme or {}).get("labels"))
        }
        further = [*map(str, header.get("misc_tables") or {})]
        return _Header(tables, schemes, facts, further, [*map(str, header.get("languages") or [])])
    except (yaml.YAMLError, RecursionError, AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{file}: is no header of audformat ({named_line(error)}). Save it again with audformat."
        ) from error


def _facts_of_labels(labels: Any) -> Facts:
    """Return the facts about labels; a list has none, and a mere description of a label is none."""
    named = labels.items() if isinstance(labels, Mapping) else ()
    return {str(label): facts for label, facts in named if isinstance(facts, Mapping)}


def _utterances(
    found: Mapping[Key, Mapping[str, Any]], root: Path, dropped: Counter[str], language: str | None
) -> Iterator[Utterance]:
    cut = {file for file, start, end in found if (start, end) != (0.0, None)}
    for (file, start, end), columns in found.items():
        is_segment = (start, end) != (0.0, None)
        if file in cut and not is_segment:
            continue
        whole = found.get((file, 0.0, None), {}) if is_segment else {}
        name = file.rpartition(".")[0] or file
        name += f"#{start:g}-{'' if end is None else f'{end:g}'}" if is_segment else ""
        values = {**whole, **columns}
        if language is not None and not any(column.lower() in ALIASES["language"] for column in values):
            values["language"] = language
        yield make_utterance(name, root / file, values, dropped=dropped, start=start, end=end)


def _rows(folder: Path, name: str) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Yield the file, begin and end of each row of a table, with its other columns."""
    for number, row in enumerate(_read_table(folder, name), start=1):
        where = f"{folder}, table {name!r}, row {number}"
        if not row.get("file") or None in row:
            raise DataError(
                f"{where}: has no 'file', or too many cells. Save the table again with audformat."
            )
        file = str(row.pop("file")).replace("\\", "/")
        times = row.pop("start", None), row.pop("end", None)
        try:
            start, end = map(_seconds, times)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{where}: has the times {times[0]} and {times[1]}. Write them as in 0 days 00:00:01.5."
            ) from error
        yield (
            (file, start or 0.0, end),
            {column: value for column, value in row.items() if value not in (None, "")},
        )


def _read_table(folder: Path, name: str) -> list[dict[str, Any]]:
    parquet, text = folder / f"db.{name}.parquet", folder / f"db.{name}.csv"
    if text.is_file():
        return [*csv.DictReader(io.StringIO(read_text(text), newline=""))]
    if parquet.is_file():
        pyarrow = import_pyarrow(str(parquet))
        with refuse_damaged_table(parquet):
            rows: list[dict[str, Any]] = pyarrow.parquet.read_table(parquet).to_pylist()
        return rows
    raise DataError(
        f"{folder}: has no table {name!r} as db.{name}.csv or .parquet. Save it as CSV with audformat."
    )


def _seconds(value: Any) -> float | None:
    """Return a time in s: a number, a duration, or text such as `0 days 00:00:01.500000`."""
    if value is None or value != value or value == "":
        return None
    if hasattr(value, "total_seconds"):
        return float(value.total_seconds())
    match = re.fullmatch(r"(?:(\d+) days? ?)?(?:(\d+):(\d+):([\d.]+))?", str(value))
    if match is None:
        return float(value)
    days, hours, minutes, seconds = (float(number or 0) for number in match.groups())
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds
