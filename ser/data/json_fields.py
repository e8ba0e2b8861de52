"""Fields of the utterances of a challenge file: their raw JSON, their ids, and an exact parser. Quick to import."""

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ser.errors import DataError

if TYPE_CHECKING:
    from ser.batch import UtteranceId


Layout = Literal["object", "records"]
"""An object keyed by utterance id, or a list of records with an `id` field."""

LABEL_NAMES = ("valence", "activation")
"""Label fields of an utterance, each 0 or 1."""


class RawUtterance(NamedTuple):
    """Raw JSON of one utterance.

    Args:
        key: Key of the utterance; None in a list of records, where the id is a field of the record.
        content: Its JSON object, including the braces.
        number: Position in the file, from 0.
        position: Offset of its opening brace in the file, in bytes.
    """

    key: str | None
    content: bytes
    number: int
    position: int

    @property
    def layout(self) -> Layout:
        """Return the layout of its file."""
        return "records" if self.key is None else "object"

    @property
    def label(self) -> str:
        """Return its name for messages before its id is known."""
        return f"record {self.number}" if self.key is None else f"utterance {self.key!r}"


def shorten_json(value: Any) -> str:
    """Format a value as JSON, shortened to 40 characters."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return f"{'[' * 37}..." if isinstance(value, list) else "an object that is nested without end"
    return text if len(text) <= 40 else f"{text[:37]}..."


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a JSON object, as an `object_pairs_hook` that refuses duplicate names.

    Raises:
        ValueError: A name occurs twice.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"{next(name for name in names if names.count(name) > 1)!r} occurs twice in one object"
        )
    return fields


def load_fields(raw: RawUtterance, name: str) -> dict[str, Any]:
    """Parse the fields of one utterance with the standard library: slow and exact.

    Raises:
        DataError: It is not valid JSON.
    """
    try:
        fields: dict[str, Any] = json.loads(raw.content, object_pairs_hook=unique_fields)
    except (ValueError, RecursionError) as error:
        where = f"{name}, {raw.label} (from byte {raw.position})"
        raise DataError(f"{where}: not valid JSON ({error}). Export the file again.") from error
    return fields


def record_id(raw: RawUtterance, name: str) -> Any:
    """Return the field `id` of a record, None if it has none; 17 times as fast as `load_fields`.

    Raises:
        DataError: The record is not valid JSON.
    """
    import simdjson  # imported here, because the other layout needs no parser

    try:
        found = simdjson.Parser().parse(raw.content).get("id")  # type: ignore[union-attr]  # starts with a brace
    except (ValueError, RuntimeError):
        return load_fields(raw, name).get("id")
    return found if type(found) in (str, int) else load_fields(raw, name).get("id")


class IdRegister:
    """Ids of a file, in its order; refuses duplicates and ids of a second type.

    Args:
        name: Name of the file, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers: dict[UtteranceId, int] = {}

    @property
    def ids(self) -> "list[UtteranceId]":
        """Return all ids so far, in their original type."""
        return list(self._numbers)

    def add(self, raw: RawUtterance, field: Any) -> "UtteranceId":
        """Add the id of the next utterance and return it: its key, or the field `id` of a record.

        Args:
            raw: The utterance.
            field: Its field `id`; None if it has none.

        Raises:
            DataError: The id is neither a string nor an integer, occurs twice, or differs in type from the others.
        """
        found: UtteranceId = field if raw.key is None else raw.key
        where = f"{self._name}, {raw.label}"
        if type(found) not in (str, int):
            raise DataError(
                f"{where}: `id` is {shorten_json(found)}, expected a string or an integer. Give it an id."
            )
        if found in self._numbers:
            raise DataError(
                f"{self._name}: id {found!r} occurs twice, as utterance number {self._numbers[found]} and as "
                f"number {raw.number} (byte {raw.position}). Remove or rename one of them."
            )
        first = next(iter(self._numbers), found)
        if type(first) is not type(found):
            raise DataError(
                f"{where}: id {found!r} and that of record 0, {first!r}, have different types. "
                "Make all ids of a file strings, or all integers."
            )
        self._numbers[found] = raw.number
        return found
