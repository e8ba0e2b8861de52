"""The utterances of a challenge file as raw JSON, one at a time, in one pass and constant memory.

A file holds an object keyed by utterance id, `{"0": {...}, ...}`, or a list of records with an `id` field.
Only the outline is read here: what is inside an utterance stays bytes. Nothing here takes long to import.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from ser.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from ser.batch import UtteranceId

Layout = Literal["object", "records"]
"""An object keyed by utterance id, or a list of records with an `id` field."""

LABEL_NAMES = ("valence", "activation")
"""The fields of an utterance that are predicted, each 0 or 1."""

_CHUNK_BYTES = 1 << 19
_NOT_SPACE = re.compile(rb"[^ \t\r\n]")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
# A quote that no whole string begins at is matched alone: that string ends beyond the bytes at hand.
_STRING_OR_BRACE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}]', re.DOTALL)


class RawUtterance(NamedTuple):
    """One utterance as the file has it.

    Args:
        key: what it is keyed by; None in a list of records, where the id is a field inside.
        content: its JSON object, braces included.
        number: 0, 1, ... in the order of the file.
        position: of its opening brace, in bytes from the start of the file.
    """

    key: str | None
    content: bytes
    number: int
    position: int

    @property
    def layout(self) -> Layout:
        """The layout of the file it comes from."""
        return "records" if self.key is None else "object"

    @property
    def label(self) -> str:
        """What error messages call it before its id is known."""
        return f"record {self.number}" if self.key is None else f"utterance {self.key!r}"


def read_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, 1 MiB at a time.

    Raises:
        DataError: it is not there, is a folder, or cannot be read.
    """
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe would be waited for
        raise DataError(f"{path}: is a pipe, socket or device, not a file. Give the path of a file.")
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise unreadable_error(path, error) from error


def unreadable_error(path: Path, error: OSError) -> DataError:
    """What to tell a user whose file could not be opened."""
    if isinstance(error, FileNotFoundError):
        siblings = [file.name for file in path.parent.glob("*.json")]
        hint = did_you_mean(path.name, siblings) if siblings else "Check the path."
        return DataError(f"{path}: no such file. {hint}")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path}: is a folder, expected a JSON file. Give the path of a file.")
    return DataError(f"{path}: cannot be read ({error.strerror}). Check the path and its permissions.")


def split_utterances(chunks: Iterable[bytes], name: str) -> Iterator[RawUtterance]:
    """Cut the file into utterances, holding no more of it than a chunk and the longest utterance.

    Args:
        chunks: the bytes of the file, cut anywhere.
        name: of the file, for messages.

    Raises:
        DataError: the file is empty, cut off, or no object or list of objects.
    """
    return iter(_Splitter(chunks, name))


def shorten_json(value: Any) -> str:
    """A JSON value as a file would show it, shortened to 40 characters."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return f"{'[' * 37}..." if isinstance(value, list) else "an object that is nested without end"
    return text if len(text) <= 40 else f"{text[:37]}..."


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a JSON object, as an `object_pairs_hook` that refuses a name that occurs twice.

    Raises:
        ValueError: naming it.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"{next(name for name in names if names.count(name) > 1)!r} occurs twice in one object"
        )
    return fields


def load_fields(raw: RawUtterance, name: str) -> dict[str, Any]:
    """The fields of one utterance, by the standard library: slow and exact.

    Raises:
        DataError: it is not valid JSON.
    """
    try:
        fields: dict[str, Any] = json.loads(raw.content, object_pairs_hook=unique_fields)
    except (ValueError, RecursionError) as error:
        where = f"{name}, {raw.label} (from byte {raw.position})"
        raise DataError(f"{where}: not valid JSON ({error}). Export the file again.") from error
    return fields


class IdRegister:
    """The ids of a file in its order; refuses a second utterance of the same id, and ids of a second type.

    Args:
        name: of the file, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers: dict[UtteranceId, int] = {}

    @property
    def ids(self) -> "list[UtteranceId]":
        """All ids so far, original type kept."""
        return list(self._numbers)

    def add(self, raw: RawUtterance, field: Any) -> "UtteranceId":
        """Return the id of the next utterance: its key, or in a list of records its field `id`.

        Args:
            raw: the utterance.
            field: its field `id`, None where it has none.

        Raises:
            DataError: the id is no string or integer, occurs twice, or differs in type from the others.
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


def read_ids(path: Path) -> "tuple[Layout, list[UtteranceId]]":
    """The layout of a challenge file and its ids in order, without looking at features.

    Raises:
        DataError: the file cannot be read, or an id is missing or occurs twice.
    """
    register = IdRegister(path.name)
    layout: Layout = "object"
    for raw in split_utterances(read_chunks(path), path.name):
        layout = raw.layout
        register.add(raw, None if raw.key is not None else record_id(raw, path.name))
    return layout, register.ids


def record_id(raw: RawUtterance, name: str) -> Any:
    """The field `id` of a record, None where it has none; 17 times as fast as `load_fields`.

    Raises:
        DataError: the record is not valid JSON.
    """
    import simdjson  # here, because the other layout needs no parser

    try:
        found = simdjson.Parser().parse(raw.content).get("id")  # type: ignore[union-attr]  # starts with a brace
    except (ValueError, RuntimeError):
        return load_fields(raw, name).get("id")
    return found if type(found) in (str, int) else load_fields(raw, name).get("id")


class _Window:
    """The part of the file that is in memory, and a place in it.

    Args:
        chunks: the bytes of the file, cut anywhere.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._dropped = 0
        self._data = b""
        self._at = 0

    @property
    def position(self) -> int:
        """Of the next byte, from the start of the file."""
        return self._dropped + self._at

    def peek(self) -> bytes:
        """The next byte that is not white space, without passing it; nothing at the end of the file."""
        while not (found := _NOT_SPACE.search(self._data, self._at)):
            self._at = len(self._data)
            if not self._grow():
                return b""
        self._at = found.start()
        return found[0]

    def skip(self) -> None:
        """Pass the byte that `peek` returned."""
        self._at += 1

    def take(self, find_end: Callable[[bytes, int], int]) -> bytes | None:
        """Pass and return what begins here; None if the file ends before it does.

        Args:
            find_end: (bytes, start) -> end of what begins at `start`, negative if it lies beyond the bytes.
        """
        while (end := find_end(self._data, self._at)) < 0:
            if not self._grow():
                self._at = len(self._data)
                return None
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _grow(self) -> bool:
        """Drop what was passed and at least double the rest, so that long utterances take linear time."""
        rest = self._data[self._at :]
        pieces, size = [rest], len(rest)
        for chunk in self._chunks:
            pieces.append(chunk)
            size += len(chunk)
            if size > 2 * len(rest):
                break
        self._dropped += self._at
        self._data, self._at = b"".join(pieces), 0
        return size > len(rest)


class _Splitter:
    """Walks through the outline of a file: keys, colons, commas, and objects passed as a whole."""

    def __init__(self, chunks: Iterable[bytes], name: str) -> None:
        self._window = _Window(chunks)
        self._name = name
        self._last: RawUtterance | None = None

    def __iter__(self) -> Iterator[RawUtterance]:
        keyed = self._open() == b"{"
        closing = b"}" if keyed else b"]"
        mark = b","
        while mark == b",":
            self._last = self._utterance(keyed=keyed)
            yield self._last
            mark = self._require(b",", closing)
            self._window.skip()
        if self._window.peek():
            self._fail(
                f"the file goes on after its end with {self._found()}",
                "Cut the file there, or export it again.",
            )

    def _open(self) -> bytes:
        opening = self._window.peek()
        if not opening:
            self._fail("the file is empty", "Export the file again.")
        if opening not in (b"{", b"["):
            self._fail(
                f"the file begins with {self._found()}, expected '{{' or '['",
                "Give UTF-8 JSON: an object keyed by utterance id, or a list of records with an `id` field.",
            )
        self._window.skip()
        if self._window.peek() in (b"}", b"]"):
            self._fail("the file holds no utterances", "Export the file again.")
        return opening

    def _utterance(self, *, keyed: bool) -> RawUtterance:
        key = self._key() if keyed else None
        number = self._last.number + 1 if self._last else 0
        opening = self._window.peek()
        raw = RawUtterance(key, b"", number, self._window.position)
        if opening not in (b"{", b""):
            self._fail(
                f"{raw.label} begins with {self._found()}, expected an object", "Export the file again."
            )
        content = self._window.take(_object_end)
        if content is None:
            self._fail_cut(f"inside {raw.label}")
        return raw._replace(content=content)

    def _key(self) -> str:
        self._require(b'"')
        position = self._window.position
        literal = self._window.take(_string_end)
        if literal is None:
            self._fail_cut("inside a key")
        try:
            key: str = json.loads(literal)
        except ValueError as error:
            where = f"{self._name}, byte {position}"
            raise DataError(
                f"{where}: the key {literal[:40]!r} is not valid UTF-8 JSON. Export the file again."
            ) from error
        self._require(b":")
        self._window.skip()
        return key

    def _require(self, *marks: bytes) -> bytes:
        found = self._window.peek()
        if not found:
            self._fail_cut("too early")
        if found not in marks:
            wanted = " or ".join(repr(mark.decode()) for mark in marks)
            self._fail(f"found {self._found()}, expected {wanted}", "Export the file again.")
        return found

    def _found(self) -> str:
        return repr(self._window.peek().decode(errors="backslashreplace"))

    def _fail(self, problem: str, remedy: str) -> NoReturn:
        raise DataError(f"{self._name}, byte {self._window.position}{self._after()}: {problem}. {remedy}")

    def _fail_cut(self, place: str) -> NoReturn:
        self._fail(f"the file ends {place}", "It was cut off: copy or export it again.")

    def _after(self) -> str:
        if self._last is None:
            return ""
        if self._last.key is not None:
            return f", after {self._last.label}"
        return f", after {self._last.label} (id {shorten_json(record_id(self._last, self._name))})"


def _string_end(data: bytes, start: int) -> int:
    string = _STRING.match(data, start)
    return string.end() if string else -1


def _object_end(data: bytes, start: int) -> int:
    end = data.find(b"}", start) + 1
    if not end:
        return -1
    return end if _is_flat(data, start, end) else _balanced_end(data, start)


def _is_flat(data: bytes, start: int, end: int) -> bool:
    """Whether the first closing brace ends the object: no brace opens before it, and it is in no string.

    Three passes at the speed of memchr take 0.1 s for 870 MB; matching strings and braces takes 2 s.
    """
    if data.find(b"{", start + 1, end) >= 0 or data.find(b"\\", start, end) >= 0:
        return False
    quotes, at = 0, data.find(b'"', start, end)
    while at >= 0:
        quotes += 1
        at = data.find(b'"', at + 1, end)
    return quotes % 2 == 0


def _balanced_end(data: bytes, start: int) -> int:
    depth = 0
    for token in _STRING_OR_BRACE.finditer(data, start):
        if token[0] == b'"':
            return -1
        depth += {b"{": 1, b"}": -1}.get(token[0], 0)
        if depth == 0 and token[0] == b"}":
            return token.end()
    return -1
