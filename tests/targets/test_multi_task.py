"""Several targets at once: each learnt and scored where it is labelled."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ser.errors import ConfigError
from ser.targets.classification import Classes
from ser.targets.frames import FrameClasses
from ser.targets.losses import ConcordanceLoss, CrossEntropy, Focal, Objective, SquaredError
from ser.targets.metrics import numbers
from ser.targets.multi_task import MultiTask
from ser.targets.regression import Regression
from ser.targets.soft_labels import SoftClasses
from tests.targets.batches import batch_of

NONE = torch.zeros(0)
LABELS = np.array(
    [["joy", "0.5", "1.0"], ["anger", "", "-1.0"], ["", "0.2", ""], ["", "", ""], ["joy", "0.9", "0.1"]]
)
FIELDS = ("emotion", "arousal", "valence")


@dataclass
class Table:
    labels: np.ndarray | None
    label_names: tuple[str, ...] = FIELDS
    ids: tuple[str, ...] = ("u0", "u1", "u2", "u3", "u4")


def emotion() -> Classes:
    return Classes(["anger", "joy"], "emotion")


def values() -> Regression:
    return Regression(["arousal", "valence"])


def a_target(**weights: float) -> MultiTask:
    return MultiTask(
        {
            "emotion": {"target": emotion(), "weight": weights.get("emotion", 1.0), "loss": CrossEntropy()},
            "affect": {"target": values(), "weight": weights.get("affect", 1.0), "loss": SquaredError()},
        }
    )


def test_outputs_and_fields_are_those_of_all_tasks():
    target = a_target()
    assert (target.out_dim, target.label_names, target.monitor) == (4, FIELDS, "emotion/accuracy")
    assert target.logit_names == ("emotion/anger", "emotion/joy", "affect/arousal", "affect/valence")
    assert target.class_names == ()


def test_labels_of_each_task_come_back_from_the_encoding():
    own = a_target().labels_of_tasks(a_target().encode(LABELS))
    assert own["emotion"].tolist() == [1, 0, -1, -1, 1]
    torch.testing.assert_close(own["affect"], values().encode(LABELS[:, 1:]), equal_nan=True)


def test_an_utterance_is_labelled_where_some_task_is():
    target = a_target()
    assert target.is_labelled(target.encode(LABELS)).tolist() == [True, True, True, False, True]


def test_the_loss_is_the_weighted_sum_over_labelled_tasks():
    target, outputs = a_target(emotion=2.0, affect=0.5), torch.randn(5, 4)
    found = Objective(target, CrossEntropy(), {})(outputs, batch_of(target.encode(LABELS)))
    own = target.labels_of_tasks(target.encode(LABELS))
    known = own["emotion"] >= 0
    expected = 0.5 * SquaredError()(outputs[:, 2:], own["affect"])
    expected[known] += 2.0 * CrossEntropy()(outputs[known, :2], own["emotion"][known])
    torch.testing.assert_close(found, expected)
    assert found[3] == 0


def test_a_batch_loss_is_of_the_labelled_utterances_alone():
    target = MultiTask({"a": {"target": emotion(), "loss": None}, "b": {"target": values(), "loss": None}})
    assert isinstance(target.losses["a"], CrossEntropy)
    outputs = torch.randn(5, 4)
    encoded = target.encode(LABELS)
    encoded[:, 0] = -1
    found = Objective(target, CrossEntropy(), {})(outputs, batch_of(encoded))
    rows = torch.tensor([0, 1, 2, 4])
    expected = ConcordanceLoss()(outputs[rows, 2:], values().encode(LABELS[:, 1:])[rows])
    torch.testing.assert_close(found[rows], expected)


def test_a_missing_task_has_no_gradient():
    target = a_target()
    outputs = torch.randn(5, 4, requires_grad=True)
    Objective(target, CrossEntropy(), {})(outputs, batch_of(target.encode(LABELS))).mean().backward()
    assert outputs.grad is not None
    assert (outputs.grad[2:4, :2] == 0).all()
    assert (outputs.grad[[0, 1, 4], :2] != 0).all()
    assert outputs.grad.isfinite().all()


def test_balanced_class_weights_count_the_labelled_utterances():
    target = MultiTask(
        {
            "emotion": {"target": emotion(), "loss": Focal(class_weights="balanced")},
            "affect": {"target": values(), "loss": None},
        }
    )
    counts = target.counts(target.encode(LABELS), NONE, NONE)
    assert {name: count.tolist() for name, count in counts.items()} == {"emotion/emotion": [1, 2]}
    objective = Objective(target, CrossEntropy(), counts)
    outputs = torch.zeros(5, 4)
    losses = objective(outputs, batch_of(target.encode(LABELS)))
    assert losses[1].item() > losses[4].item()


def test_each_task_is_scored_where_it_is_labelled():
    target = a_target()
    metric = target.metrics()
    outputs = torch.tensor([[0, 9, 0.5, 1.0], [0, 9, 0, 0], [9, 0, 0.2, 0], [9, 0, 0, 0], [0, 9, 0.9, 0.1]])
    metric.update(*target.metric_inputs(outputs, batch_of(target.encode(LABELS))))
    computed = metric.compute()
    found = numbers(computed)
    assert found["emotion/accuracy"] == pytest.approx(2 / 3)
    assert found["affect/ccc_arousal"] == pytest.approx(1.0)
    assert {*metric.names} >= {"emotion/uar", "affect/ccc", "affect/mse_valence"}
    results = metric.results(computed)
    assert [(result.name, result.headline, result.count) for result in results] == [
        ("emotion", "accuracy", 3),
        ("affect", "ccc", 4),
    ]
    metric.reset()
    metric.update(*target.metric_inputs(outputs[:1], batch_of(target.encode(LABELS[:1]))))
    assert numbers(metric.compute())["emotion/accuracy"] == 1.0


def test_predictions_have_the_columns_of_all_tasks():
    target = MultiTask({"emotion": {"target": emotion()}, "affect": {"target": values()}})
    (row,) = target.predictions(torch.tensor([[0.25, 0.75, 0.5, -0.5]]))
    assert row == {
        "emotion": "joy",
        "p_emotion_anger": 0.25,
        "p_emotion_joy": 0.75,
        "arousal": 0.5,
        "valence": -0.5,
    }
    assert target.probability_columns == ("p_emotion_anger", "p_emotion_joy")
    assert target.describe([0.25, 0.75, 0.5, -0.5]) == "joy 75.0%, arousal 0.50, valence -0.50"
    assert target.labels_of(torch.tensor([[0.25, 0.75, 0.5, -0.5]])) == [
        {"emotion": "joy", "arousal": 0.5, "valence": -0.5}
    ]


def test_soft_labels_can_be_a_task():
    target = MultiTask(
        {
            "votes": {"target": SoftClasses(["anger", "joy"], ["r1", "r2"])},
            "affect": {"target": Regression(["a"])},
        }
    )
    encoded = target.encode(np.array([["joy", "anger", "0.5"], ["", "", "1"]]))
    torch.testing.assert_close(target.labels_of_tasks(encoded)["votes"][0], torch.tensor([0.5, 0.5]))
    losses = Objective(target, CrossEntropy(), {})(torch.zeros(2, 3), batch_of(encoded))
    assert losses.isfinite().all()


SPEC = {
    "_target_": "ser.targets.MultiTask",
    "tasks": {
        "emotion": {"target": {"_target_": "ser.targets.Classes", "class_names": None, "field": "emotion"}},
        "affect": {"target": {"_target_": "ser.targets.Regression", "fields": ["arousal", "valence"]}},
    },
}


def test_each_task_is_completed_from_the_data():
    tasks = MultiTask.complete(SPEC, {"train": Table(LABELS)})["tasks"]
    assert tasks["emotion"]["target"]["class_names"] == ["anger", "joy"]
    assert tasks["affect"]["target"]["mean"] == pytest.approx([1.6 / 3, 0.1 / 3])


def test_a_split_without_labels_of_a_task_is_refused():
    other = LABELS.copy()
    other[:, 1:] = ""
    with pytest.raises(
        ConfigError, match=r"target\.tasks.affect: no utterance of test has a label in arousal, valence"
    ):
        MultiTask.complete(SPEC, {"train": Table(LABELS), "test": Table(other)})


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({"emotion": {"target": emotion()}}, "fewer than two tasks"),
        ({"a/b": {"target": emotion()}, "c": {"target": values()}}, "name without a slash"),
        ({"a": {"target": FrameClasses(["x", "y"], "z")}, "c": {"target": values()}}, "answers utterances"),
        (
            {"a": {"target": emotion(), "weight": 0}, "c": {"target": values()}},
            r"target.tasks.a.weight=0.0: expected",
        ),
        (
            {"emotion": {"target": emotion(), "loss": ConcordanceLoss()}, "c": {"target": values()}},
            r"target.tasks.emotion.loss=ccc: measures values, .* Set target.tasks.emotion.loss=null, or",
        ),
    ],
)
def test_tasks_that_do_not_fit_are_refused(tasks, words):
    with pytest.raises(ConfigError, match=words):
        MultiTask(tasks)


def test_mixup_is_refused_where_a_task_has_a_batch_loss():
    with pytest.raises(ConfigError, match=r"augment.mixup: target.tasks.b.loss=ccc is of a whole batch"):
        MultiTask({"a": {"target": emotion()}, "b": {"target": values()}}).check_loss(
            CrossEntropy(), mixup=True
        )
    a_target().check_loss(ConcordanceLoss(), mixup=True)


def test_the_table_of_splits_counts_each_task():
    target = a_target()
    rows = target.summary(target.encode(LABELS))
    assert rows["emotion: labelled"] == "3"
    assert (rows["emotion: joy"], rows["affect: labelled"]) == ("2", "4")
    assert rows["arousal"] == "0.53 +- 0.29 (3)"


def test_right_answers_of_a_task_are_those_that_are_labelled():
    target = a_target()
    truth = target.encode(LABELS)
    logits = torch.tensor([[0.0, 9.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    answers = target.scores(torch.cat([logits, torch.zeros(5, 2)], 1))
    assert target.accuracy_names == ("emotion/accuracy",)
    assert target.correct(answers, truth)["emotion/accuracy"].tolist() == [True, False, True]


def test_messages_of_a_task_name_its_settings():
    own = {**SPEC["tasks"]["emotion"]["target"], "class_names": ["anger", "sadness"]}
    spec = {**SPEC, "tasks": {**SPEC["tasks"], "emotion": {"target": own}}}
    with pytest.raises(ConfigError, match=r"target\.tasks\.emotion\.target\.class_names: no utterance is"):
        MultiTask.complete(spec, {"train": Table(LABELS)})
