"""Check whether the challenge would accept a file of predictions, and find every reason why not.

ser validate pred.json ser_test_1.json
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser.data.json_fields import LABEL_NAMES, Layout, shorten_json
from ser.data.json_stream import read_chunks, read_ids
from ser.errors import SerError

if TYPE_CHECKING:
    from ser.batch import UtteranceId

_NAMED = 5  # utterances for each reason; all of them would be thousands of lines
_LAYOUTS: dict[Layout, str] = {"object": "an object keyed by id", "records": "a list of records"}


class _Fields(list[tuple[str, Any]]):
    """JSON object as pairs, because a dictionary would hide duplicate names."""


_KINDS = {
    str: "a string",
    bool: "a boolean",
    float: "a float",
    int: "an integer",
    list: "a list",
    _Fields: "an object",
    type(None): "null or missing",
}


def find_reasons(predictions: Path, source: Path) -> list[str]:
    """Return every reason why the challenge would refuse the predictions; empty if it would accept them.

    Args:
        predictions: the file to hand in.
        source: the challenge's file that it answers; its features are passed over.

    Raises:
        DataError: a file cannot be read, or the source is none of the challenge's.
    """
    layout, ids = read_ids(source)
    content = b"".join(read_chunks(predictions))
    try:
        answers = json.loads(content.decode(), object_pairs_hook=_Fields)
    except (ValueError, RecursionError) as error:
        return [f"the file is not JSON: {error}"]
    if not isinstance(answers, list):
        return [f"the file is {_KINDS[type(answers)]}, expected {_LAYOUTS[layout]}"]
    found: Layout = "object" if isinstance(answers, _Fields) else "records"
    reasons = [] if found == layout else [f"the file is {_LAYOUTS[found]}, the input is {_LAYOUTS[layout]}"]
    utterances: dict[str, list[str]] = {}
    for reason, utterance in _complaints(answers, ids):
        utterances.setdefault(reason, []).append(utterance)
    return reasons + [_sentence(reason, names) for reason, names in utterances.items()]


def validate(arguments: Sequence[str] | None = None) -> int:
    """Print the verdict; return 0 if the file would be accepted, else 1."""
    parser = argparse.ArgumentParser(prog="ser validate", description=__doc__.split("\n")[0])
    parser.add_argument("predictions", type=Path, help="the file to hand in")
    parser.add_argument("input", type=Path, help="the challenge's file that it answers")
    paths = parser.parse_args(arguments)
    try:
        reasons = find_reasons(paths.predictions, paths.input)
    except SerError as error:
        print(error, file=sys.stderr)
        return 1
    if not reasons:
        print(f"{paths.predictions}: the challenge would accept this file.")
        return 0
    print(f"{paths.predictions}: the challenge would refuse this file.")
    for reason in reasons:
        print(f"  {reason}")
    return 1


def _entries(answers: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Return pairs of id and prediction from either layout."""
    for entry in answers:
        if isinstance(answers, _Fields):
            yield entry
        elif isinstance(entry, _Fields):
            first = next((field for field in entry if field[0] == "id"), ("id", None))
            yield first[1], _Fields(field for field in entry if field is not first)
        else:
            yield None, entry


def _complaints(answers: list[Any], ids: "Sequence[UtteranceId]") -> Iterator[tuple[str, str]]:
    """Return pairs of a reason and its utterance."""
    expected = {str(utterance_id): utterance_id for utterance_id in ids}
    answered: set[str] = set()
    for number, (found, answer) in enumerate(_entries(answers)):
        name = f"utterance {found!r}" if type(found) in (str, int) else f"record {number}"
        if reason := _id_complaint(found, expected):
            yield reason, name
        elif str(found) in answered:
            yield "the id is answered twice", name
        if type(found) in (str, int):  # anything else may be nested deeper than text can be made of
            answered.add(str(found))
        yield from ((reason, name + value) for reason, value in _answer_complaints(answer))
    yield from (
        ("no answer", f"utterance {utterance_id!r}")
        for key, utterance_id in expected.items()
        if key not in answered
    )


def _id_complaint(found: Any, expected: "Mapping[str, UtteranceId]") -> str | None:
    if type(found) not in (str, int):
        return f"the id is {_KINDS[type(found)]}, expected a string or an integer"
    if str(found) not in expected:
        return "the id is not in the input"
    wanted = type(expected[str(found)])
    return (
        None if type(found) is wanted else f"the id is {_KINDS[type(found)]}, in the input {_KINDS[wanted]}"
    )


def _answer_complaints(answer: Any) -> Iterator[tuple[str, str]]:
    """Return pairs of a reason and, if useful, the value found."""
    if not isinstance(answer, _Fields):
        yield f"the answer is {_KINDS[type(answer)]}, expected an object", f" ({shorten_json(answer)})"
        return
    names = [name for name, _ in answer]
    for name in dict.fromkeys(names):
        if name not in LABEL_NAMES:
            yield f"the field {name!r} does not belong in an answer", ""
        if names.count(name) > 1:
            yield f"the field {name!r} occurs twice", ""
    yield from ((f"the field {name!r} is missing", "") for name in LABEL_NAMES if name not in names)
    for name, value in answer:
        if name in LABEL_NAMES and (type(value) is not int or value not in (0, 1)):
            yield (
                f"{name!r} is {_KINDS[type(value)]}, expected the integer 0 or 1",
                f" ({shorten_json(value)})",
            )


def _sentence(reason: str, utterances: list[str]) -> str:
    named = utterances[:_NAMED] + ["..."] * (len(utterances) > _NAMED)
    count = f" ({len(utterances)} times)" if len(utterances) > 1 else ""
    return f"{reason}{count}: {', '.join(named)}"
