"""Labels of a corpus as labels of a model."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ser.data.manifest import Label, Manifest, Utterance
from ser.errors import DataError
from ser.evaluation.corpus import select_labelled
from ser.evaluation.labels import Translator, translate_labels
from ser.targets import Classes, Quadrant, Regression, SoftClasses, Target

EMOTIONS = Classes(["anger", "happiness", "neutral"], "emotion")


def manifest_of(*labels: str, field: str = "emotion") -> Manifest:
    rows = [
        Utterance(f"u{place}", Path("x.wav"), labels={field: label}) for place, label in enumerate(labels)
    ]
    return Manifest(tuple(rows), "table.csv")


def translated(
    manifest: Manifest, target: Target, label: str = "emotion", **maps: object
) -> list[dict[str, Label]]:
    translator = Translator(target, maps.get("own"), maps.get("trained", ()))  # type: ignore[arg-type]
    found = translate_labels(manifest, label, translator)
    return [{name: each.labels[name] for name in target.label_names} for each in found.manifest]


def test_synonyms_of_an_emotion_are_translated() -> None:
    found = translated(manifest_of("Angry", "joy", "neu", field="label"), EMOTIONS, "label")
    assert found == [{"emotion": "anger"}, {"emotion": "happiness"}, {"emotion": "neutral"}]


def test_a_synonym_of_two_classes_is_left_out() -> None:
    target = Classes(["happy", "joy", "sad"], "emotion")
    found = translate_labels(
        manifest_of("happiness", "joy", "sadness"), "emotion", Translator(target, None, ())
    )
    assert [each.labels["emotion"] for each in found.manifest] == ["joy", "sad"]
    assert [(each.label, each.reason) for each in found.left_out] == [("happiness", "no class of the model")]


def test_emotions_are_translated_to_quadrants() -> None:
    found = translated(manifest_of("anger", "boredom", "happy", "calm", "pleasure"), Quadrant())
    bits = [(each["valence"], each["activation"]) for each in found]
    assert bits == [(0, 1), (0, 0), (1, 1), (1, 0), (1, 0)]


def test_the_label_map_of_the_training_is_applied() -> None:
    target = Classes(["negative", "positive"], "emotion")
    trained = {"anger": "negative", "happiness": "positive", "neutral": None}
    found = translate_labels(
        manifest_of("anger", "happy", "neutral", "awe"), "emotion", Translator(target, None, [trained])
    )
    assert [each.labels["emotion"] for each in found.manifest] == ["negative", "positive"]
    assert [each.reason for each in found.left_out] == [
        "dropped by the label map of the training",
        "no class of the model",
    ]
    assert found.counts["awe"] == (None, 1)
    assert found.counts["happy"] == ("positive", 1)


def test_the_label_map_of_the_command_comes_first() -> None:
    own = {"a": "anger", "n": None, "x": {"valence": 0, "activation": 1}}
    found = translate_labels(
        manifest_of("a", "n", "x"), "emotion", Translator(EMOTIONS, own, [{"a": "neutral"}])
    )
    assert [each.labels["emotion"] for each in found.manifest] == ["anger"]
    assert [each.reason for each in found.left_out] == [
        "dropped by the label map",
        "mapped to other fields than the model's",
    ]


def test_maps_follow_one_another() -> None:
    found = translated(manifest_of("ang"), Quadrant(), own={"ang": "anger"})
    assert found == [{"valence": 0, "activation": 1}]


def test_fields_of_the_target_are_read_as_they_are() -> None:
    rows = (
        Utterance("a", Path("x.wav"), labels={"valence": "1", "activation": "0", "emotion": "anger"}),
        Utterance("b", Path("x.wav"), labels={"emotion": "anger"}),
    )
    found = translate_labels(Manifest(rows, "t"), "emotion", Translator(Quadrant(), None, ()))
    assert [each.id for each in found.manifest] == ["a"]
    assert [(each.id, each.reason) for each in found.left_out] == [("b", "no label")]


def test_values_come_from_columns_or_the_map_of_the_training() -> None:
    trained = {"anger": {"arousal": 0.9, "valence": -0.8}}
    rows = (
        Utterance("a", Path("x.wav"), labels={"emotion": "anger", "arousal": 0.5}),
        Utterance("b", Path("x.wav"), labels={"emotion": "joy"}),
    )
    translator = Translator(Regression(["arousal", "valence"]), None, [trained])
    found = translate_labels(Manifest(rows, "t"), "emotion", translator)
    assert [(each.labels["arousal"], each.labels["valence"]) for each in found.manifest] == [(0.5, -0.8)]
    assert [each.id for each in found.left_out] == ["b"]


def test_a_name_becomes_a_distribution_or_the_votes_of_raters() -> None:
    assert translated(manifest_of("joy"), SoftClasses(["anger", "joy"])) == [{"p_anger": 0.0, "p_joy": 1.0}]
    raters = SoftClasses(["anger", "joy"], ["r1", "r2"])
    assert translated(manifest_of("joy"), raters) == [{"r1": "joy", "r2": "joy"}]


def test_labels_without_a_class_in_common_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"none of its labels 'emotion' \(awe, pain\) is one of the model's \(anger, "
    ):
        translated(manifest_of("awe", "pain"), EMOTIONS)


def test_a_corpus_without_the_label_field_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"has a label 'emotion'\. Choose another field with data\.label=mood"
    ):
        translated(manifest_of("anger", field="mood"), EMOTIONS)


def test_a_corpus_without_values_is_refused() -> None:
    with pytest.raises(DataError, match="no utterance has a label in arousal"):
        translated(manifest_of("anger"), Regression(["arousal"]))


def test_the_map_of_a_corpus_of_a_mix_comes_before_the_common_one() -> None:
    rows = [
        Utterance(f"{corpus}/{label}", Path("x.wav"), corpus=corpus, labels={"emotion": label})
        for corpus, labels in {"a": ("anger", "joy"), "b": ("X", "Y", "Z")}.items()
        for label in labels
    ]
    own = {"a": None, "b": {"X": "cross", "Y": "joy", "Z": None}}
    mix = SimpleNamespace(
        utterances=lambda: Manifest(tuple(rows), "a + b"),
        readers={name: SimpleNamespace(label_map=mapping) for name, mapping in own.items()},
        label="emotion",
        label_map={"cross": "anger"},
    )
    found = select_labelled(mix, EMOTIONS)
    labels = {each.id: each.labels["emotion"] for each in found.manifest}
    assert labels == {"a/anger": "anger", "a/joy": "happiness", "b/X": "anger", "b/Y": "happiness"}
    assert found.counts["b: X"] == ("anger", 1)
    assert [(each.id, each.reason) for each in found.left_out] == [("b/Z", "dropped by the label map")]


def test_a_corpus_of_a_mix_without_a_label_of_the_model_names_its_map() -> None:
    row = Utterance("b/1", Path("x.wav"), corpus="b", labels={"emotion": "X"})
    mix = SimpleNamespace(
        utterances=lambda: Manifest((row,), "b"),
        readers={"b": SimpleNamespace(label_map={"X": "awe"})},
        label="emotion",
        label_map=None,
    )
    with pytest.raises(DataError, match=r"data\.settings\.b\.label_map=FILE"):
        select_labelled(mix, EMOTIONS)
