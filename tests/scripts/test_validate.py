import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ser.inference.writers import write_predictions
from ser.scripts.validate import find_reasons, validate

GOOD = {"valence": 0, "activation": 1}
IDS = ["0", "1", "2"]


def reasons(tmp_path: Path, predictions: Any, *, ids: Any = IDS, layout: str = "object") -> list[str]:
    """Every reason against predictions, given as text or as what JSON makes of it."""
    features = {"features": [[0.5] * 26]}
    content = dict.fromkeys(ids, features) if layout == "object" else [{"id": key, **features} for key in ids]
    (tmp_path / "input.json").write_text(json.dumps(content))
    text = predictions if isinstance(predictions, str) else json.dumps(predictions)
    (tmp_path / "pred.json").write_text(text)
    return find_reasons(tmp_path / "pred.json", tmp_path / "input.json")


@pytest.mark.parametrize(
    ("ids", "layout"), [(["0", "x"], "object"), ([0, 7], "records"), (["0", "7"], "records")]
)
def test_what_the_writer_writes_is_accepted(tmp_path: Path, ids: Any, layout: Any) -> None:
    write_predictions(tmp_path / "written.json", ids, layout, [(key, GOOD) for key in reversed(ids)])
    assert reasons(tmp_path, (tmp_path / "written.json").read_text(), ids=ids, layout=layout) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"valence": True}, "'valence' is a boolean, expected the integer 0 or 1: utterance '1' (true)"),
        ({"valence": 1.0}, "'valence' is a float, expected the integer 0 or 1: utterance '1' (1.0)"),
        ({"valence": "1"}, "'valence' is a string, expected the integer 0 or 1: utterance '1' (\"1\")"),
        (
            {"valence": None},
            "'valence' is null or missing, expected the integer 0 or 1: utterance '1' (null)",
        ),
        ({"valence": 2}, "'valence' is an integer, expected the integer 0 or 1: utterance '1' (2)"),
        ({"activation": -1}, "'activation' is an integer, expected the integer 0 or 1: utterance '1' (-1)"),
        ({"activation": [1]}, "'activation' is a list, expected the integer 0 or 1: utterance '1' ([1])"),
        ({"features": [[0.5]]}, "the field 'features' does not belong in an answer: utterance '1'"),
        ({"id": "1"}, "the field 'id' does not belong in an answer: utterance '1'"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, answer: dict[str, Any], expected: str) -> None:
    assert reasons(tmp_path, {"0": GOOD, "1": GOOD | answer, "2": GOOD}) == [expected]


def test_every_reason_is_given_at_once(tmp_path: Path) -> None:
    text = (
        '{"0": {"valence": 1.0, "activation": true}, "1": {"valence": 0, "valence": 1}, '
        '"7": {"valence": 0, "activation": 0}, "0": [1]}'
    )
    assert reasons(tmp_path, text) == [
        "'valence' is a float, expected the integer 0 or 1: utterance '0' (1.0)",
        "'activation' is a boolean, expected the integer 0 or 1: utterance '0' (true)",
        "the field 'valence' occurs twice: utterance '1'",
        "the field 'activation' is missing: utterance '1'",
        "the id is not in the input: utterance '7'",
        "the id is answered twice: utterance '0'",
        "the answer is a list, expected an object: utterance '0' ([1])",
        "no answer: utterance '2'",
    ]


def test_a_reason_that_holds_for_many_is_given_once(tmp_path: Path) -> None:
    ids = [str(number) for number in range(2000)]
    answers = {key: GOOD | {"features": [[0.5] * 26]} for key in ids}
    assert reasons(tmp_path, answers, ids=ids) == [
        "the field 'features' does not belong in an answer (2000 times): "
        "utterance '0', utterance '1', utterance '2', utterance '3', utterance '4', ..."
    ]


def test_ids_of_the_wrong_type_are_named(tmp_path: Path) -> None:
    answers = [{"id": str(key), **GOOD} for key in range(2)]
    assert reasons(tmp_path, answers, ids=[0, 1], layout="records") == [
        "the id is a string, in the input an integer (2 times): utterance '0', utterance '1'"
    ]


def test_the_other_layout_is_named(tmp_path: Path) -> None:
    answers = [{"id": key, **GOOD} for key in IDS]
    assert reasons(tmp_path, answers) == ["the file is a list of records, the input is an object keyed by id"]
    assert reasons(tmp_path, dict.fromkeys(IDS, GOOD), layout="records") == [
        "the file is an object keyed by id, the input is a list of records"
    ]


def test_records_without_a_proper_id_are_named_by_number(tmp_path: Path) -> None:
    answers = [{"id": 0, **GOOD}, GOOD, {"id": True, **GOOD}, 5, {"id": 1, **GOOD, "x": 0}]
    text = json.dumps(answers).replace('"x": 0', '"id": 1')
    assert reasons(tmp_path, text, ids=[0, 1], layout="records") == [
        "the id is null or missing, expected a string or an integer (2 times): record 1, record 3",
        "the id is a boolean, expected a string or an integer: record 2",
        "the answer is an integer, expected an object: record 3 (5)",
        "the field 'id' does not belong in an answer: utterance 1",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is not JSON: Expecting value"),
        ('{"0": ', "the file is not JSON: Expecting value"),
        ('{"0": 1} x', "the file is not JSON: Extra data"),
        ("\ufeff{}", "the file is not JSON: Unexpected UTF-8 BOM"),
        ("[" * 100_000, "the file is not JSON: maximum recursion"),
        ("3", "the file is an integer, expected an object keyed by id"),
        ("null", "the file is null or missing, expected"),
    ],
)
def test_what_is_no_answer_file_at_all_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (reason,) = reasons(tmp_path, text)
    assert reason.startswith(words)


def test_an_empty_answer_lacks_every_id(tmp_path: Path) -> None:
    assert reasons(tmp_path, {}) == ["no answer (3 times): utterance '0', utterance '1', utterance '2'"]


def test_the_verdict_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reasons(tmp_path, dict.fromkeys(IDS, GOOD))
    arguments = [str(tmp_path / "pred.json"), str(tmp_path / "input.json")]
    assert validate(arguments) == 0
    assert "the challenge would accept this file" in capsys.readouterr().out
    reasons(tmp_path, dict.fromkeys(IDS[1:], GOOD))
    assert validate(arguments) == 1
    assert capsys.readouterr().out.endswith(
        "the challenge would refuse this file.\n  no answer: utterance '0'\n"
    )


def test_a_file_that_cannot_be_read_is_said_without_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons(tmp_path, {})
    assert validate([str(tmp_path / "none.json"), str(tmp_path / "input.json")]) == 1
    assert "none.json: no such file" in capsys.readouterr().err
    (tmp_path / "input.json").write_text('{"0": {"fea')
    assert validate([str(tmp_path / "pred.json"), str(tmp_path / "input.json")]) == 1
    assert "input.json, byte 11: the file ends inside utterance '0'" in capsys.readouterr().err


def test_the_command_runs_without_torch(tmp_path: Path) -> None:
    reasons(tmp_path, [{"id": 0, **GOOD}], ids=[0], layout="records")
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module('ser', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: assert end.code == 0, end\n"
        "assert not {'torch', 'numpy', 'lightning'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, "validate", tmp_path / "pred.json", tmp_path / "input.json"]
    assert "accept" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("depth", [500, 900, 100_000])
def test_ids_and_answers_that_are_nested_deeply_are_reasons(tmp_path: Path, depth: int) -> None:
    (tmp_path / "in.json").write_text('[{"id": 0, "features": [[1.0]]}]')
    nested = '{"a":' * depth + "1" + "}" * depth
    (tmp_path / "pred.json").write_text(f'[{{"id": {nested}, "valence": {nested}, "activation": 1}}]')
    assert find_reasons(tmp_path / "pred.json", tmp_path / "in.json")
