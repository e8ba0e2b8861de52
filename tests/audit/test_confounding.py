"""Labels that are known from the speaker or the text."""

from pathlib import Path

import numpy as np
import pytest

from ser.audit.confounding import associate, associate_all
from ser.data.manifest import Manifest, Utterance


def test_speakers_with_one_label_each_explain_all_of_it() -> None:
    labels = [index % 4 for index in range(80)]
    found = associate("speaker", labels, [index % 8 for index in range(80)])
    assert found is not None
    assert (found.groups, found.one_label) == (8, 8)
    assert found.explained == pytest.approx(1)
    assert str(found).startswith("CONFOUNDED: 8 of 8 speakers have one label each")


def test_random_labels_of_small_groups_are_not_explained() -> None:
    labels = np.random.default_rng(1).integers(0, 4, 300).tolist()
    found = associate("speaker", labels, [index // 5 for index in range(300)])  # uncorrected: 0.4
    assert found is not None
    assert found.explained < 0.1
    assert str(found).startswith("Not confounded: ")


def test_explained_share_without_chance_is_that_of_the_formula() -> None:
    labels = [0] * 900 + [1] * 100 + [0] * 100 + [1] * 900
    found = associate("speaker", labels, ["a"] * 1000 + ["b"] * 1000)
    noise = -0.9 * np.log2(0.9) - 0.1 * np.log2(0.1)
    assert found is not None
    assert found.explained == pytest.approx(1 - noise, abs=2e-3)  # of one bit


@pytest.mark.parametrize("groups", [[None] * 4, ["a"] * 4])
def test_there_is_no_association_without_two_groups(groups: list[str | None]) -> None:
    assert associate("speaker", [0, 1, 0, 1], groups) is None


def test_texts_that_occur_once_say_nothing() -> None:
    utterances = tuple(
        Utterance(str(index), Path(f"{index}.wav"), speaker=str(index % 2), text=f"text {index}")
        for index in range(8)
    )
    found = associate_all(Manifest(utterances, "table"), ["a", "a", "b", "b"] * 2)
    assert [each.kind for each in found] == ["speaker"]
