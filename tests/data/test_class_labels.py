"""Between labels and targets: fields and classes come from the data, and what does not fit is named."""

from typing import Any

import numpy as np
import pytest

from ser.data.class_labels import complete_target, select_labelled
from ser.data.store import Store
from ser.errors import ConfigError
from ser.targets.classification import Classes
from ser.targets.labels import label_columns
from ser.targets.quadrants import Quadrant
from ser.targets.soft_labels import SoftClasses

OPEN = {"_target_": "ser.targets.Classes", "class_names": None, "field": None}


def store(*labels: tuple[Any, ...], names: tuple[str, ...] = ("emotion",)) -> Store:
    count = len(labels)
    return Store(
        ids=list(range(count)),
        audio=np.arange(count, dtype=np.float32)[:, None],
        offsets=np.arange(count + 1),
        labels=np.array(labels) if labels else None,
        label_names=names,
        layout="object",
        fingerprint="f",
    )


def test_classes_are_those_of_all_splits_in_alphabetical_order() -> None:
    stores = {"train": store(("joy",), ("anger",), ("fear",)), "validation": store(("fear",))}
    assert complete_target(OPEN, stores) == {
        **OPEN,
        "field": "emotion",
        "class_names": ["anger", "fear", "joy"],
    }


def test_what_the_config_says_stays() -> None:
    spec = {**OPEN, "class_names": ["joy", "anger"]}
    assert complete_target(spec, {"train": store(("joy",), ("anger",), ("fear",))})["class_names"] == [
        "joy",
        "anger",
    ]
    quadrant = {"_target_": "ser.targets.Quadrant"}
    assert complete_target(quadrant, {"train": store(("joy",))}) == quadrant


@pytest.mark.parametrize(
    ("spec", "labels", "names", "words"),
    [
        ({"field": "emotoin"}, [("a",)], ("emotion",), r"target.field=emotoin: .*Did you mean 'emotion'\?"),
        ({}, [("a", "b")], ("emotion", "gender"), r"target.field=null: .*emotion, gender. Name one"),
        ({}, [("a",), ("a",)], ("emotion",), r"target.field=emotion: all utterances are labelled 'a'"),
        ({"class_names": ["a", "x"]}, [("a",), ("b",)], ("emotion",), r"no utterance is labelled 'x'"),
    ],
)
def test_targets_that_do_not_fit_the_data_are_refused(
    spec: dict[str, Any], labels: list[tuple[str, ...]], names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        complete_target({**OPEN, **spec}, {"train": store(*labels, names=names)})


@pytest.mark.parametrize("names", [None, ["joy", "fear", "anger"]])
def test_a_class_that_train_lacks_is_refused(names: list[str] | None) -> None:
    stores = {"train": store(("joy",), ("fear",)), "test": store(("anger",))}
    with pytest.raises(ConfigError, match=r"train has no utterance labelled 'anger'.*target\.class_names="):
        complete_target({**OPEN, "class_names": names}, stores)


def test_class_names_may_be_integers_and_are_compared_as_they_look() -> None:
    stores = {"train": store(("1",), ("2",), ("ze\u0301ro",))}
    spec = complete_target({**OPEN, "class_names": [2, 1, "zéro\u200b"], "field": "emo\u200btion"}, stores)
    assert (spec["class_names"], spec["field"]) == (["2", "1", "zéro"], "emotion")
    target = Classes([2, 1], "emotion")
    assert target.class_names == ("2", "1")
    assert target.encode(np.array([[1], [2], [3]])).tolist() == [1, 0, -1]


def test_a_quadrant_without_a_bit_is_no_class() -> None:
    assert Quadrant().encode(np.array([["0", "1"], ["", "1"], ["1", "1"]])).tolist() == [1, -1, 3]


def test_utterances_of_no_class_are_left_out() -> None:
    kept, classes = select_labelled(
        store(("joy",), ("fear",), ("anger",)), Classes(["anger", "joy"], "emotion")
    )
    assert classes is not None
    assert (kept.ids, classes.tolist()) == ([0, 2], [1, 0])
    whole, classes = select_labelled(
        store(("0", "1"), ("1", "1"), names=("valence", "activation")), Quadrant()
    )
    assert classes is not None
    assert (len(whole), classes.tolist()) == (2, [1, 3])


def test_utterances_without_a_vote_for_any_class_are_left_out_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = ("p_anger", "p_joy")
    kept, shares = select_labelled(
        store(("0.25", "0.75"), ("", ""), ("1", "0"), names=names),
        SoftClasses(["anger", "joy"]),
        name="train",
    )
    assert shares is not None
    assert (kept.ids, shares.tolist()) == ([0, 2], [[0.25, 0.75], [1, 0]])
    assert "train: 1 of 3 utterances have no label in p_anger, p_joy, and are left out" in caplog.text


def test_a_target_names_the_labels_it_misses() -> None:
    with pytest.raises(
        ConfigError, match=r"needs the labels valence, activation.*has emotion.*target=classes.*label_map"
    ):
        label_columns(Quadrant.label_names, store(("joy",)))


def test_a_store_without_labels_has_no_classes() -> None:
    assert select_labelled(store(), Quadrant())[1] is None
