from pathlib import Path
from typing import Any

import pytest

from ser.data.labels import LabelCount, lonely_classes, map_labels, read_label_map, require_labels
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
    with pytest.raises(DataError, match=r"m\.csv: 2 labels of 'emotion' are not in the label map") as caught:
        map_labels(manifest("joy", "calm", "surprise", "calm"), "emotion", mapping)
    assert str(caught.value).splitlines()[1:] == [
        "  'calm', 2 utterances",
        "  'surprise', 1 utterances; 'surprize' is in the map and never occurs",
        "Map each to a label, or to null to drop its utterances.",
    ]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"joy": None}, r"m\.csv: the label map of 'emotion' drops all utterances"),
        ({"joy": True}, r"'joy' is mapped to True, expected a label.*null to drop it.*in quotes"),
        ({"joy": 0.5}, r"'joy' is mapped to 0\.5, expected a label"),
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
    assert lonely_classes(data, "emotion") == ["fear", "joy"]


def test_where_speakers_are_unknown_no_class_is_called_lonely() -> None:
    assert lonely_classes(manifest("joy", "joy"), "emotion") == []


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
