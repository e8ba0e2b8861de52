"""An answer for every frame: what is learnt, what is scored, what is decided."""

import pytest
import torch
from torch import Tensor

from ser.batch import Batch, Padded
from ser.targets.frames import FrameClasses
from ser.targets.losses import CrossEntropy, Objective

NAMES = ["en", "hi", "cmn"]
LENGTHS = torch.tensor([5, 3])
SPEECH = torch.tensor([[True, False, True, True, False], [False, True, True, False, False]])
LABELS = torch.tensor([2, 0])


def a_batch(speech: Tensor | None = SPEECH) -> Batch:
    audio = Padded(torch.zeros(2, 5, 4), LENGTHS)
    return Batch(["a", "b"], audio, LABELS, torch.zeros(2, dtype=torch.int64), speech=speech)


def a_target(silence: str) -> FrameClasses:
    return FrameClasses(NAMES, "language", silence=silence)


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(8, 4)


def test_masked_frames_are_not_learnt(logits):
    rows, labels = a_target("mask").training_outputs(logits[:, :3], a_batch())
    torch.testing.assert_close(rows, logits[[0, 2, 3, 6, 7], :3])
    assert labels.tolist() == [2, 2, 2, 0, 0]


@pytest.mark.parametrize("mode", ["keep", "remove", "mute"])
def test_kept_silence_is_learnt_as_the_class_of_its_recording(mode, logits):
    rows, labels = a_target(mode).training_outputs(logits[:, :3], a_batch())
    torch.testing.assert_close(rows, logits[:, :3])
    assert labels.tolist() == [2] * 5 + [0] * 3


def test_silence_may_be_a_class_of_its_own(logits):
    target = a_target("class")
    assert target.out_dim == 4
    rows, labels = target.training_outputs(logits, a_batch())
    torch.testing.assert_close(rows, logits)
    assert labels.tolist() == [2, 3, 2, 2, 3, 3, 0, 0]


@pytest.mark.parametrize("mode", ["keep", "remove", "mute", "mask", "class"])
def test_scores_are_over_frames_of_speech_and_named_classes_in_every_mode(mode, logits):
    target = a_target(mode)
    scores, labels = target.metric_inputs(logits[:, : target.out_dim], a_batch())
    torch.testing.assert_close(scores, logits[[0, 2, 3, 6, 7], :3].softmax(-1))
    assert labels.tolist() == [2, 2, 2, 0, 0]


def test_without_a_detector_every_frame_is_speech(logits):
    scores, labels = a_target("keep").metric_inputs(logits[:, :3], a_batch(speech=None))
    assert len(scores) == len(labels) == 8


def test_a_recording_is_decided_by_the_mean_over_its_speech(logits):
    decided = a_target("mask").answers(logits[:, :3], a_batch())
    scores = logits[:, :3].softmax(-1)
    expected = torch.stack([scores[[0, 2, 3]].mean(0), scores[[6, 7]].mean(0)])
    torch.testing.assert_close(decided, expected)


def test_where_silence_is_a_class_the_model_says_what_is_silence():
    logits = torch.tensor([[2.0, 0, 0, 1], [0, 0, 0, 5], [0, 3, 0, 1], [0, 0, 0, 9], [0, 0, 0, 9]])
    logits = torch.cat([logits, torch.tensor([[0.0, 0, 0, 5]] * 3)])
    decided = a_target("class").answers(logits, a_batch())
    torch.testing.assert_close(decided[0], logits[[0, 2], :3].softmax(-1).mean(0))
    assert decided[1].isnan().all()  # nothing but silence: no decision


def test_a_recording_of_silence_has_no_decision(logits):
    speech = torch.tensor([[True] * 5, [False] * 5])
    decided = a_target("mask").answers(logits[:, :3], a_batch(speech))
    assert decided[0].isfinite().all()
    assert decided[1].isnan().all()


def test_padding_never_changes_what_is_learnt_scored_or_decided(logits):
    longer = Padded(torch.zeros(2, 9, 4), LENGTHS)
    speech = torch.cat([SPEECH, torch.zeros(2, 4, dtype=torch.bool)], 1)
    padded = Batch(["a", "b"], longer, LABELS, torch.zeros(2, dtype=torch.int64), speech=speech)
    target = a_target("class")
    for ask in (target.training_outputs, target.metric_inputs):
        for one, other in zip(ask(logits, a_batch()), ask(logits, padded), strict=True):
            torch.testing.assert_close(one, other)
    torch.testing.assert_close(
        target.answers(logits, a_batch()), target.answers(logits, padded), equal_nan=True
    )


@pytest.mark.parametrize(
    ("mode", "counts"), [("keep", [13, 20, 0]), ("mask", [6, 4, 0]), ("class", [6, 4, 0, 23])]
)
def test_class_weights_count_the_frames_that_are_learnt(mode, counts):
    classes, frames, spoken = torch.tensor([0, 1, 0]), torch.tensor([10, 20, 3]), torch.tensor([5, 4, 1])
    assert a_target(mode).counts(classes, frames, spoken)["language"].tolist() == counts


def test_balanced_losses_weigh_all_classes_alike():
    target = a_target("mask")
    counts = target.counts(torch.tensor([0, 1, 2]), torch.tensor([60, 30, 10]), torch.tensor([60, 30, 10]))
    objective = Objective(target, CrossEntropy(class_weights="balanced"), counts)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([60, 30, 10]))
    losses = objective.compare(torch.zeros(100, 3), labels, "language")
    sums = torch.stack([losses[labels == index].sum() for index in range(3)])
    torch.testing.assert_close(sums, sums.mean().expand(3))
    torch.testing.assert_close(losses.mean(), torch.tensor(3.0).log())
