from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ser.data.label_map import (
    LabelCount,
    map_labels,
    read_label_map,
    require_labels,
    single_speaker_classes,
    warn_about_lookalikes,
)
from ser.data.manifest import Label, Manifest, Utterance
from ser.errors import DataError


def manifest(*labels: Label | None, field: str = "emotion", speakers: str = "") -> Manifest:
    utterances = (
        Utterance(
            str(number),
            Path(f"{number}.wav"),
            speaker=speakers[number] if speakers else None,
            labels={} if label is None else {field: label, "arousal": 3},
        )
        for number, label in enumerate(labels)
    )
    return Manifest(tuple(utterances), "m.csv")


def labels(mapped: Manifest, field: str = "emotion") -> dict[str, Label | None]:
    return {utterance.id: utterance.labels.get(field) for utterance in mapped}


def yaml_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    return path


def test_without_a_map_labels_stay_and_are_counted() -> None:
    before = manifest("sad", "joy", "sad")
    after, counts = map_labels(before, "emotion", None)
    assert after is before
    assert counts == [LabelCount("joy", "joy", 1), LabelCount("sad", "sad", 2)]


def test_labels_are_renamed_merged_and_dropped() -> None:
    mapping = {"joy": "happiness", "exc": "happiness", "xxx": None, "sad": "sadness"}
    after, counts = map_labels(manifest("joy", "xxx", "exc", "xxx"), "emotion", mapping)
    assert labels(after) == {"0": "happiness", "2": "happiness"}
    assert [utterance.labels["arousal"] for utterance in after] == [3, 3]
    assert counts == [
        LabelCount("exc", "happiness", 1),
        LabelCount("joy", "happiness", 1),
        LabelCount("sad", "sadness", 0),
        LabelCount("xxx", None, 2),
    ]


def test_a_label_can_become_several_fields_beside_the_raw_one() -> None:
    mapping = {"anger": {"valence": 0, "activation": 1}, "calm": {"activation": 0, "valence": 1}}
    after, counts = map_labels(manifest("calm", "anger"), "emotion", mapping)
    assert labels(after, "valence") == {"0": 1, "1": 0}
    assert labels(after, "activation") == {"0": 0, "1": 1}
    assert labels(after) == {"0": "calm", "1": "anger"}
    assert counts[0] == LabelCount("anger", "valence=0, activation=1", 1)


def test_integers_and_their_text_are_one_raw_label() -> None:
    mapping: dict[Any, str] = {1: "one", "2": "two"}  # keys of a config are integers where they look so
    assert labels(map_labels(manifest("1", 2), "emotion", mapping)[0]) == {"0": "one", "1": "two"}


def test_utterances_without_a_label_are_left_as_they_are() -> None:
    after, counts = map_labels(manifest(None, "joy"), "emotion", {"joy": "happiness"})
    assert labels(after) == {"0": None, "1": "happiness"}
    assert counts == [LabelCount("joy", "happiness", 1)]


def test_every_label_that_the_map_lacks_is_named_with_its_count_and_a_near_one() -> None:
    mapping = {"surprize": "surprise", "joy": "happiness"}
    with pytest.raises(DataError, match=r"m\.csv: the label map lacks 2 labels of 'emotion'") as caught:
        map_labels(manifest("joy", "calm", "surprise", "calm"), "emotion", mapping)
    assert str(caught.value).splitlines()[1:] == [
        "  'calm', 2 utterances",
        "  'surprise', 1 utterance; 'surprize' is in the map and never occurs",
        "Map each to a label, or to null to drop its utterances.",
    ]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"joy": None}, r"m\.csv: the label map of 'emotion' drops all utterances"),
        ({"joy": True}, r"'joy' is mapped to True, expected a label.*null to drop it.*in quotes"),
        ({"joy": {"valence": None}}, r"'joy' is mapped to \{'valence': None\}, expected a label"),
        ({"joy": {"valence": 1}, "sad": "x"}, r"'joy' sets valence, but 'sad' sets emotion.*the same fields"),
        ({"joy": {"a": 1}, "sad": {"a": 1, "b": 0}}, r"'joy' sets a, but 'sad' sets a, b"),
    ],
)
def test_a_wrong_map_is_answered_with_the_label_and_the_remedy(mapping: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        map_labels(manifest("joy"), "emotion", mapping)


def test_a_field_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"m\.csv: has no labels 'emotoin'\. Did you mean 'emotion'\?"):
        map_labels(manifest("joy"), "emotoin", None)
    with pytest.raises(DataError, match=r"m\.csv: has no labels at all\. Add a column 'emotion'"):
        require_labels(manifest(None), "emotion")


def test_utterances_without_a_label_are_listed_where_labels_are_required() -> None:
    with pytest.raises(
        DataError, match=r"m\.csv: 11 of 12 utterances have no 'emotion':\n  1\n(.*\n)*.* 1 more\n"
    ):
        require_labels(manifest("joy", *[None] * 11), "emotion")
    require_labels(manifest("joy", "sad"), "emotion")


def test_a_class_of_one_speaker_is_lonely() -> None:
    data = manifest("joy", "joy", "sad", "sad", "fear", speakers="aababb"[:5])
    assert single_speaker_classes(data, "emotion") == ["fear", "joy"]


def test_where_speakers_are_unknown_no_class_is_called_lonely() -> None:
    assert single_speaker_classes(manifest("joy", "joy"), "emotion") == []


def test_a_map_is_read_from_yaml_with_raw_labels_as_text(tmp_path: Path) -> None:
    text = """
    no: neutral    # YAML reads false
    01: happiness  # and here 1
    null: sadness
    xxx: null
    anger: {valence: 0, activation: 1}
    """
    assert read_label_map(yaml_file(tmp_path, text)) == {
        "no": "neutral",
        "01": "happiness",
        "null": "sadness",
        "xxx": None,
        "anger": {"valence": 0, "activation": 1},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels\.yaml: the file is empty"),
        ("# nothing\n", r"labels\.yaml: holds no mapping of labels\. Write lines such as 'ang: anger'"),
        ("- anger\n", r"holds no mapping of labels"),
        ("{}", r"holds no mapping of labels"),
        ("[1, 2]: anger\n", r"holds no mapping of labels"),
        ("a: x\nb: y\na: z\n", r"labels\.yaml, line 3: 'a' occurs twice\. Remove one of the lines"),
        ("a: [x\n", r"labels\.yaml: not valid YAML \(.*line 2.*\)\. Correct it"),
        ("a: {[x]: 1}\n", r"labels\.yaml: not valid YAML"),
        ("a: \0\n", r"labels\.yaml: not valid YAML"),
    ],
)
def test_a_wrong_map_file_is_answered_with_its_line_and_the_remedy(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_label_map(yaml_file(tmp_path, text))


def test_a_map_file_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    yaml_file(tmp_path, "a: b")
    with pytest.raises(DataError, match=r"label\.yaml: no such file\. Did you mean 'labels\.yaml'\?"):
        read_label_map(tmp_path / "label.yaml")


def test_labels_and_map_are_compared_as_they_look() -> None:
    mapping = {"co\u200blère": "an\u00adger", "a  b": "x"}
    after, counts = map_labels(manifest("cole\u0300re", "a\u00a0b"), "emotion", mapping)
    assert labels(after) == {"0": "anger", "1": "x"}
    assert [count.raw for count in counts] == ["a b", "colère"]


def test_map_keys_that_look_equal_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'joy' occurs twice, written in two ways"):
        map_labels(manifest("joy"), "emotion", {"joy": "x", "jo\u200by": "y"})
    with pytest.raises(DataError, match=r"line 2: .* occurs twice"):
        read_label_map(yaml_file(tmp_path, "joy: x\n'jo\u00ady': y\n"))


def test_a_map_key_that_yaml_reads_as_false_is_refused() -> None:
    mapping: dict[Any, str] = {False: "neutral"}
    with pytest.raises(DataError, match=r"YAML reads a word such as yes, no.*in quotes"):
        map_labels(manifest("no"), "emotion", mapping)


def test_words_for_nothing_are_missing_labels_and_counted() -> None:
    with pytest.raises(DataError, match=r"3 of 4 .* no 'emotion' \(2 with 'nan', 1 with 'None'\):\n  0\n"):
        require_labels(manifest("nan", "joy", "None", "nan"), "emotion")


def test_a_word_for_nothing_that_the_map_names_is_a_label() -> None:
    mapping = {"none": "neutral", "joy": None}
    require_labels(manifest("none", "joy"), "emotion", mapping)
    assert labels(map_labels(manifest("none", "joy"), "emotion", mapping)[0]) == {"0": "neutral"}


@pytest.mark.parametrize("fraction", ["0.25", 0.25, "1e-3", "-0.5", "0,25"])
def test_numbers_with_fractions_are_no_classes(fraction: Any) -> None:
    with pytest.raises(
        DataError, match=r"holds numbers such as .* data\.label_map, or .* data\.label=arousal"
    ):
        require_labels(manifest("joy", fraction), "emotion")
    require_labels(manifest("joy", fraction), "emotion", {str(fraction): "low", "joy": "high"})


def test_a_field_of_numbers_is_not_advised_in_place_of_another() -> None:
    fields = {"arousal": "0.5", "emotion": "joy", "valence": "0.25"}
    one = Manifest((Utterance("a", Path("a.wav"), labels=fields),), "m.csv")
    with pytest.raises(DataError, match=r"such as data\.label=emotion\.$"):
        require_labels(one, "valence")


@pytest.mark.parametrize("name", ["1", "4.0", "inf", "1.2.3", "e5", 7])
def test_whole_numbers_and_words_are_classes(name: Any) -> None:
    require_labels(manifest("joy", name), "emotion")


def test_a_label_that_is_no_text_is_refused_where_it_is_read() -> None:
    strange: Any = [1, 2]
    with pytest.raises(DataError, match=r"m\.csv, utterance '1': 'emotion' is \[1, 2\], expected text"):
        require_labels(manifest("joy", strange), "emotion")


def test_many_integers_are_remarked_upon(caplog: pytest.LogCaptureFixture) -> None:
    require_labels(manifest(*range(21)), "emotion")
    assert "'emotion' holds 21 different numbers" in caplog.text


def test_lookalikes_among_labels_and_speakers_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    utterances = (
        Utterance(str(number), Path("a.wav"), speaker=speaker, labels={"emotion": label})
        for number, (speaker, label) in enumerate(
            [("s3", "Anger"), ("S3", "anger"), ("4", "joy"), ("4.0", "joy"), ("5", "joy")]
        )
    )
    warn_about_lookalikes(Manifest(tuple(utterances), "m.csv"), "emotion")
    assert "1 sets of labels of 'emotion' look alike" in caplog.text
    assert "'Anger' (1), 'anger' (1)" in caplog.text
    assert "2 sets of speakers look alike" in caplog.text
    assert "'4' (1), '4.0' (1)" in caplog.text
    assert "groups" not in caplog.text


def test_a_label_map_whose_aliases_grow_is_refused(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x]"]
    lines += [f"{here}: &{here} [{', '.join([f'*{before}'] * 8)}]" for before, here in pairwise("abcdefghi")]
    (tmp_path / "map.yaml").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"map\.yaml: its aliases .* more than 100000 values"):
        read_label_map(tmp_path / "map.yaml")
    (tmp_path / "map.yaml").write_text("a: " + "[" * 5000)
    with pytest.raises(DataError, match=r"map\.yaml: is nested too deeply"):
        read_label_map(tmp_path / "map.yaml")
