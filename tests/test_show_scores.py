"""What predict.py prints of labelled utterances: scores, and what is left out of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ser.data.manifest import Manifest, Utterance
from ser.data.store import Store
from ser.inference import predict
from ser.targets.classification import Classes, Target
from ser.targets.quadrants import Quadrant


def store(labels: list[list[str]], target: Target) -> Store:
    count = len(labels)
    return Store(
        ids=[*range(count)],
        audio=np.zeros((count, 1), np.float32),
        offsets=np.arange(count + 1),
        labels=np.array(labels),
        label_names=target.label_names,
        layout="object",
        fingerprint="f",
    )


def test_labels_that_are_no_class_are_counted_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    target = Classes(["anger", "joy"], "emotion")
    labels = [["anger"], ["jo\u200by"], ["Anger"], [""], ["Anger"]]
    predict.print_scores(torch.eye(2)[[0, 1, 0, 0, 0]], store(labels, target), target)
    printed = capsys.readouterr().out
    assert "2 of 5 utterances are scored" in printed
    assert "none of anger, joy (2 'Anger', 1 'no label')." in printed
    assert "accuracy             100.0%" in printed


def test_quadrants_with_a_missing_bit_are_left_out_of_scores(capsys: pytest.CaptureFixture[str]) -> None:
    target = Quadrant()
    predict.print_scores(torch.eye(4)[[1, 0]], store([["0", "1"], ["", "0"]], target), target)
    assert "1 of 2 utterances are scored" in capsys.readouterr().out


@pytest.mark.parametrize(("label", "name"), [("nan", ""), ("N/A", ""), ("joy", "joy"), (4, "4")])
def test_words_for_nothing_are_no_labels_in_predictions(label: str | int, name: str) -> None:
    (utterance,) = Manifest((Utterance("a", Path("a.wav"), labels={"emotion": label}),), "m.csv")
    assert predict._label(utterance.labels, "emotion") == name
