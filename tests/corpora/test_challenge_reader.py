import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser.corpora import challenge_reader
from ser.corpora.challenge_reader import read_challenge, read_labels
from ser.data.store import Store
from ser.errors import DataError

WIDTH = 26
LENGTHS = [3, 50, 1, 7]


def labelled(layout: str = "object", *, width: int = WIDTH) -> Any:
    """Four utterances, one of each class; ids '0', '1', ... or, in records, 0, 1, ..."""
    rng = np.random.default_rng(0)
    utterances = [
        {
            "valence": number // 2,
            "activation": number % 2,
            "features": rng.normal(size=(length, width)).tolist(),
        }
        for number, length in enumerate(LENGTHS)
    ]
    if layout == "records":
        return [{"id": number, **utterance} for number, utterance in enumerate(utterances)]
    return {str(number): utterance for number, utterance in enumerate(utterances)}


def read(tmp_path: Path, content: Any, **settings: Any) -> Store:
    path = tmp_path / "train.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_challenge(path, cache_dir=tmp_path / "cache", **settings)


@pytest.mark.parametrize("layout", ["object", "records"])
def test_a_file_comes_back_as_json_reads_it(tmp_path: Path, layout: str) -> None:
    content = labelled(layout)
    store = read(tmp_path, content)
    utterances = list(content.values()) if layout == "object" else content
    assert store.ids == (list(content) if layout == "object" else [0, 1, 2, 3])
    assert (store.layout, store.label_names) == (layout, ("valence", "activation"))
    assert store.lengths.tolist() == LENGTHS
    assert store.labels is not None
    assert store.labels.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    for index, utterance in enumerate(utterances):
        frames = store.audio[store.offsets[index] : store.offsets[index + 1]]
        np.testing.assert_array_equal(frames, np.array(utterance["features"], dtype=np.float32))


def test_ids_keep_their_order_not_their_rank(tmp_path: Path) -> None:
    content = {key: labelled()["1"] for key in ("10", "9", "é", "")}
    assert read(tmp_path, {**content, "x": labelled()["2"]}).ids == ["10", "9", "é", "", "x"]


@pytest.mark.parametrize("width", [1, 25, 40])
def test_the_width_is_that_of_the_first_frame(tmp_path: Path, width: int) -> None:
    assert read(tmp_path, labelled(width=width)).feature_dim == width


def test_integers_and_numbers_of_any_form_are_values(tmp_path: Path) -> None:
    text = (
        '{"a": {"features": [[1, -2.5E3], [0.0, 1e-400]]}, "b": {"features": [[36893488147419103232, -0]]}}'
    )
    expected = np.array([[1, -2500], [0, 0], [2.0**65, 0]], dtype=np.float32)
    np.testing.assert_array_equal(read(tmp_path, text, labels="optional").audio, expected)


def test_the_largest_float32_is_accepted_as_numpy_rounds_it(tmp_path: Path) -> None:
    largest = float(np.finfo(np.float32).max)
    edge = math.nextafter(2.0**128 - 2.0**103, 0)
    store = read(tmp_path, {"a": {"features": [[largest, edge]]}}, labels="optional")
    assert store.audio.tolist() == [[largest, largest]]
    with pytest.raises(DataError, match=r"frame 0, value 0 is 3\.40282356779733\d+e\+38"):
        read(tmp_path, {"a": {"features": [[2.0**128 - 2.0**103]]}}, labels="optional")


@pytest.mark.parametrize("extra", [[], ["a", {"b": [1]}], {"c": "}{"}, "[[1, 2]]", '\\"}', None])
def test_further_fields_are_ignored_whatever_they_hold(tmp_path: Path, extra: Any) -> None:
    content = labelled()
    content["1"] = {"speaker": extra, **content["1"], "take": extra}
    np.testing.assert_array_equal(read(tmp_path, content).audio, read(tmp_path, labelled()).audio)


def test_white_space_changes_nothing(tmp_path: Path) -> None:
    text = json.dumps(labelled(), indent="\t").replace("\n", "\r\n")
    np.testing.assert_array_equal(read(tmp_path, f" {text}\n").audio, read(tmp_path, labelled()).audio)


def test_ordinary_files_never_need_the_slow_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the slow way was taken")

    monkeypatch.setattr(challenge_reader, "load_fields", fail)
    assert len(read(tmp_path, labelled())) == len(read(tmp_path, labelled("records"))) == 4


def test_a_file_without_labels_is_read_if_they_are_optional(tmp_path: Path) -> None:
    content = {key: {"features": utterance["features"]} for key, utterance in labelled().items()}
    assert read(tmp_path, content, labels="optional").labels is None
    with pytest.raises(DataError, match=r"train\.json, utterance '0': has no 'valence' and 'activation'"):
        read(tmp_path, content)


def frame_with(value: str) -> str:
    return f"[{', '.join(['0.5'] * 7 + [value] + ['0.5'] * 18)}]"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e999", "Infinity"),
        ("1e39", r"1e\+39"),
        ("1" + "0" * 400, "10{36}..."),
        ('"0.5"', r'"0\.5"'),
        ("null", "null"),
        ("true", "true"),
        ("[0.5]", r"\[0\.5\]"),
        ("[]", r"\[\]"),
        ("{}", r"\{\}"),
    ],
)
@pytest.mark.parametrize("where", [0, 2])
def test_a_value_that_is_no_finite_number_is_named(
    tmp_path: Path, value: str, shown: str, where: int
) -> None:
    frames = [frame_with("0.5")] * 3
    frames[where] = frame_with(value)
    text = f'{{"7": {{"valence": 0, "activation": 1, "features": [{", ".join(frames)}]}}}}'
    message = (
        rf"train\.json, utterance '7': frame {where}, value 7 is {shown}, expected a finite number.*Re-export"
    )
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("found", [25, 27])
def test_a_frame_of_another_width_is_named(tmp_path: Path, found: int) -> None:
    content = labelled()
    content["1"]["features"][42] = [0.5] * found
    message = (
        rf"^train\.json, utterance '1': frame 42 has {found} values, expected 26\. Re-export the file\.$"
    )
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, width_setting="data.feature_dim")


def test_widths_that_cancel_out_are_found(tmp_path: Path) -> None:
    content = labelled()
    content["1"]["features"][10] = [0.5] * 25
    content["1"]["features"][11] = [0.5] * 27
    with pytest.raises(DataError, match="frame 10 has 25 values"):
        read(tmp_path, content)
    content["1"]["features"][10:12] = [[*[0.5] * 25, []], [*[0.5] * 25, [0.5, 0.5]]]
    with pytest.raises(DataError, match=r"frame 10, value 25 is \[\], expected"):
        read(tmp_path, content)


def test_an_utterance_of_another_width_is_named(tmp_path: Path) -> None:
    content = labelled() | {"odd": labelled(width=25)["0"]}
    with pytest.raises(DataError, match=r"utterance 'odd': frame 0 has 25 values, expected 26"):
        read(tmp_path, content)


def test_the_width_can_be_demanded_of_a_new_file_and_of_a_cached_one(tmp_path: Path) -> None:
    message = r"train\.json, utterance '0': frame 0 has 25 values, expected 26.*data\.feature_dim=25\.$"
    named: dict[str, Any] = {"feature_dim": 26, "width_setting": "data.feature_dim"}
    with pytest.raises(DataError, match=message):
        read(tmp_path, labelled(width=25), **named)
    assert read(tmp_path, labelled(width=25), feature_dim=25).feature_dim == 25
    with pytest.raises(DataError, match=message):
        read_challenge(tmp_path / "train.json", cache_dir=tmp_path / "cache", **named)


def transposed(*times: int) -> dict[str, Any]:
    return {
        str(number): {"valence": number % 2, "activation": 0, "features": [[0.5] * length] * 26}
        for number, length in enumerate(times)
    }


@pytest.mark.parametrize("feature_dim", [None, 26])
@pytest.mark.parametrize("times", [(40, 60, 50), (30, 40)])
def test_a_transposed_file_is_recognised(
    tmp_path: Path, times: tuple[int, ...], feature_dim: int | None
) -> None:
    with pytest.raises(
        DataError, match=r"has 26 lists of \d+ values, .*features\.T\.tolist\(\)\.$"
    ) as caught:
        read(tmp_path, transposed(*times), feature_dim=feature_dim, width_setting="data.feature_dim")
    assert "feature_dim" not in str(caught.value)


def test_a_transposed_file_of_equal_lengths_is_recognised_or_remarked_upon(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(tmp_path, transposed(40, 40, 40))
    assert "all utterances have 26 frames of 40 values" in caplog.text
    with pytest.raises(DataError, match="has 26 lists of 40 values"):  # from the cache
        read_challenge(tmp_path / "train.json", cache_dir=tmp_path / "cache", feature_dim=26)


def test_equally_long_utterances_with_one_odd_width_are_not_transposed(tmp_path: Path) -> None:
    content = labelled() | {"odd": labelled(width=25)["0"]}
    with pytest.raises(DataError, match=r"utterance 'odd': frame 0 has 25 values"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ([], r"has no frames"),
        ([[]], r"frame 0 is \[\], expected a list of numbers"),
        ([0.5, 1.5], r"frame 0 is 0\.5, expected a list of numbers"),
        (["ab"], r'frame 0 is "ab", expected a list of numbers'),
        ([[[0.5]]], r"frame 0, value 0 is \[0\.5\], expected a finite number"),
        ([[0.5], None], r"frame 1 is null, expected a list of numbers"),
        ("0.5", r"'features' is \"0\.5\", expected a list of frames"),
        (None, r"'features' is null, expected a list of frames"),
        ({"0": [0.5]}, r"'features' is \{\"0\": \[0\.5\]\}, expected a list of frames"),
    ],
)
@pytest.mark.parametrize("layout", ["object", "records"])
def test_features_of_the_wrong_shape_are_named(
    tmp_path: Path, features: Any, words: str, layout: str
) -> None:
    content = [{"id": "x", "features": features}] if layout == "records" else {"x": {"features": features}}
    with pytest.raises(DataError, match=rf"^train\.json, utterance 'x': {words}"):
        read(tmp_path, content, labels="optional")


def test_missing_features_are_named_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"utterance 'x': 'features' is missing, its fields are 'valence', 'feats'"
    ):
        read(tmp_path, {"x": {"valence": 0, "feats": [[1.0]]}})
    with pytest.raises(DataError, match=r"record 0: 'features' is missing, its fields are none"):
        read(tmp_path, [{}])


@pytest.mark.parametrize("name", ["valence", "activation"])
@pytest.mark.parametrize("value", [True, 0.0, 1.5, "1", None, 2, -1, [1], {}, 2**65])
def test_a_label_is_the_integer_0_or_1(tmp_path: Path, name: str, value: Any) -> None:
    content = labelled()
    content["1"][name] = value
    with pytest.raises(
        DataError, match=rf"utterance '1': '{name}' is .*, expected the integer 0 or 1"
    ) as caught:
        read(tmp_path, content, labels="optional")
    assert json.dumps(value) in str(caught.value)


def test_one_label_without_the_other_is_named(tmp_path: Path) -> None:
    content = labelled()
    del content["2"]["activation"]
    with pytest.raises(DataError, match=r"utterance '2': has 'valence' but no 'activation'"):
        read(tmp_path, content)


@pytest.mark.parametrize(("unlabelled", "first"), [([2, 3], 2), ([0, 1], 0), ([0], 0), ([3], 3)])
def test_half_labelled_is_refused_with_the_first_unlabelled(
    tmp_path: Path, unlabelled: list[int], first: int
) -> None:
    content = labelled("records")
    for number in unlabelled:
        content[number] = {"id": number, "features": content[number]["features"]}
    with pytest.raises(DataError, match=rf"utterance {first}: has no labels, but others of this file have"):
        read(tmp_path, content, labels="optional")


def test_one_class_only_is_refused_where_labels_are_required(tmp_path: Path) -> None:
    content = {key: utterance | {"valence": 0, "activation": 1} for key, utterance in labelled().items()}
    with pytest.raises(DataError, match=r"all 4 utterances have valence 0 and activation 1\. With one class"):
        read(tmp_path, content)
    assert len(read(tmp_path, content, labels="optional")) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ('{"0": {"features": [[1.0', "the file ends inside utterance '0'.*cut off"),
        ('{"0": {"features": [[1.0}}', r"utterance '0' \(from byte 6\): not valid JSON"),
        ('{"0": {"features": [[01]]}}', r"utterance '0' \(from byte 6\): not valid JSON"),
        ('{"0": {"features": [[1]], "features": [[1]]}}', "'features' occurs twice in one object"),
        ('{"0": {"features": [[1]], "valence": 0, "valence": 1}}', "'valence' occurs twice in one object"),
        ('{"0": {"features": ' + "[" * 100_000 + "]" * 100_000 + "}}", "not valid JSON .*recursion"),
        ('{"0": {"features": [[1]]}, "0": {"features": [[1]]}}', "id '0' occurs twice"),
        ('[{"id": 0, "features": [[1]]}, {"id": "1", "features": [[1]]}]', "have different types"),
        ('[{"features": [[1]]}]', "record 0: `id` is null"),
        ("[1, 2]", "record 0 begins with '1'"),
    ],
)
def test_a_file_that_is_not_the_challenges_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=rf"^train\.json.*{words}"):
        read(tmp_path, text, labels="optional")
    assert not list((tmp_path / "cache").iterdir())


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_bytes(b'{"0": {"note": "\xff", "features": [[1]]}}')
    with pytest.raises(DataError, match=r"utterance '0' \(from byte 6\): not valid JSON .*utf-8"):
        read_challenge(tmp_path / "train.json", cache_dir=tmp_path / "cache")


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json: no such file"):
        read_challenge(tmp_path / "train.json", cache_dir=tmp_path / "cache")
    (tmp_path / "train.json").mkdir()
    with pytest.raises(DataError, match=r"train\.json: is a folder"):
        read_challenge(tmp_path / "train.json", cache_dir=tmp_path / "cache")


def test_labels_of_another_file_follow_the_ids_not_its_order(tmp_path: Path) -> None:
    path = tmp_path / "gold.json"
    path.write_text('{"0": {"valence": 1, "activation": 0}, "1": {"valence": 0, "activation": 1}, "9": {}}')
    assert read_labels(path, [1, 0]).tolist() == [[0, 1], [1, 0]]
    assert read_labels(path, ["0"]).tolist() == [[1, 0]]
    with pytest.raises(DataError, match=r"gold\.json: no labels for 2 of 3 utterances, the first is 9"):
        read_labels(path, [0, 9, 10])
    path.write_text('{"0": {"valence": true, "activation": 0}}')
    with pytest.raises(DataError, match=r"gold\.json, utterance '0': 'valence' is true"):
        read_labels(path, ["0"])


def write_long_file(path: Path, utterances: int) -> None:
    """About 115 KB an utterance, one of 20 ten times that."""
    frame = json.dumps(np.random.default_rng(0).normal(size=WIDTH).tolist())
    with path.open("w") as file:
        for number in range(utterances):
            features = ", ".join([frame] * (1700 if number % 20 == 19 else 140))
            labels = f'"valence": {number % 2}, "activation": 1'
            file.write(f'{"," if number else "{"} "{number}": {{{labels}, "features": [{features}]}}')
        file.write("}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    write_long_file(tmp_path / "train.json", 600)
    assert (tmp_path / "train.json").stat().st_size > 60_000_000
    code = (
        "import pathlib, re, sys\n"
        "from ser.corpora.challenge_reader import read_challenge\n"
        # Not getrusage: there a child begins with the peak of its parent.
        "peak = lambda: int(re.search('VmHWM: *\\t *(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])\n"
        "imports = peak()\n"
        "assert len(read_challenge(sys.argv[1], cache_dir=sys.argv[2], labels='optional')) == 600\n"
        "print(peak() - imports)\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "train.json", tmp_path / "cache"]
    added_kib = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 1024 < added_kib < 48 * 1024


def test_a_bar_shows_progress_only_of_large_files_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    read(tmp_path, labelled())
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(challenge_reader, "_BAR_FROM_BYTES", 0)
    read(tmp_path, labelled("records"))
    assert "Reading train.json" in capsys.readouterr().err
