import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score
from torch.nn import functional

from ser.errors import ConfigError, DataError
from ser.targets import losses
from ser.targets.classification import Binary, Classes
from ser.targets.metrics import ClassificationScores, QuadrantScores
from ser.targets.quadrants import QUADRANTS, MultiView, Quadrant, TwoBinary
from tests.targets.batches import batch_of

BITS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
TARGETS = [Quadrant(), TwoBinary(), MultiView()]
labels_and_answers = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


def one_hot(answers: list[int]) -> torch.Tensor:
    return functional.one_hot(torch.tensor(answers), 4).float()


@given(labels_and_answers)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scores_equal_scikit_learn_also_for_absent_classes(pairs: list[tuple[int, int]]) -> None:
    truth, answers = map(list, zip(*pairs, strict=True))
    metric = QuadrantScores(QUADRANTS)
    metric.update(one_hot(answers), torch.tensor(truth))
    scores = metric.compute()
    present = sorted(set(truth))
    assert scores["accuracy"].item() == pytest.approx(accuracy_score(truth, answers))
    assert scores["uar"].item() == pytest.approx(
        recall_score(truth, answers, labels=present, average="macro")
    )
    assert scores["macro_f1"].item() == pytest.approx(f1_score(truth, answers, average="macro"))
    valence, activation = np.array(truth) // 2, np.array(truth) % 2
    assert scores["valence_accuracy"].item() == pytest.approx(np.mean(valence == np.array(answers) // 2))
    assert scores["activation_accuracy"].item() == pytest.approx(np.mean(activation == np.array(answers) % 2))
    assert scores["majority_floor"].item() == pytest.approx(np.bincount(truth).max() / len(truth))


FRAMES = torch.zeros(0)  # of no interest to targets of utterances


def test_scores_are_of_the_whole_split_and_not_means_of_batches() -> None:
    metric = ClassificationScores(QUADRANTS)
    metric.update(one_hot([0, 0, 0]), torch.tensor([0, 0, 0]))
    metric.update(one_hot([0]), torch.tensor([1]))
    assert metric.compute()["accuracy"].item() == pytest.approx(0.75)


def test_classes_are_numbered_two_valence_plus_activation() -> None:
    target = Quadrant()
    classes = target.encode(BITS)
    assert classes.tolist() == [0, 1, 2, 3]
    assert target.class_names == ("sadness", "anger", "pleasure", "joy")
    assert target.decode(classes)[2] == {"valence": 1, "activation": 0}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: type(target).__name__)
def test_scores_are_probabilities_and_decoding_inverts_encoding(target: Quadrant) -> None:
    logits = torch.randn(50, target.out_dim)
    scores = target.scores(logits)
    assert torch.allclose(scores.sum(-1), torch.ones(50))
    decoded = target.decode(scores.argmax(-1))
    bits = np.array([[answer["valence"], answer["activation"]] for answer in decoded])
    assert torch.equal(target.encode(bits), scores.argmax(-1))
    assert all(type(bit) is int for answer in decoded for bit in answer.values())


def test_two_binary_answers_with_the_sign_of_each_logit() -> None:
    logits = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    assert TwoBinary().scores(logits).argmax(-1).tolist() == [0, 1, 2, 3]


def test_two_binary_loss_is_the_sum_of_both_binary_cross_entropies() -> None:
    logits, labels = torch.randn(20, 2), torch.randint(4, (20,))
    objective = losses.Objective(
        TwoBinary(), losses.CrossEntropy(), TwoBinary().counts(labels, FRAMES, FRAMES)
    )
    bits = torch.stack([labels // 2, labels % 2], -1).float()
    expected = functional.binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(-1)
    assert torch.allclose(objective(logits, batch_of(labels)), expected, atol=1e-6)


def test_multi_view_adds_the_weighted_bits_to_the_four_classes() -> None:
    logits, labels = torch.randn(20, 6), torch.randint(4, (20,))
    target = MultiView(bit_weight=0.3)
    objective = losses.Objective(target, losses.CrossEntropy(), target.counts(labels, FRAMES, FRAMES))
    bits = torch.stack([labels // 2, labels % 2], -1).float()
    binary = functional.binary_cross_entropy_with_logits(logits[:, 4:], bits, reduction="none").sum(-1)
    expected = functional.cross_entropy(logits[:, :4], labels, reduction="none") + 0.3 * binary
    assert torch.allclose(objective(logits, batch_of(labels)), expected, atol=1e-6)


def test_balanced_weights_are_inverse_frequencies_by_class_with_mean_one_over_utterances() -> None:
    labels = torch.tensor([3] * 6 + [1] * 3 + [0])  # first seen last: the order must not matter
    target = Quadrant()
    objective = losses.Objective(
        target, losses.CrossEntropy(class_weights="balanced"), target.counts(labels, FRAMES, FRAMES)
    )
    weights = objective.class_weights("quadrant")
    assert torch.allclose(weights, torch.tensor([10 / 3, 10 / 9, 0.0, 10 / 18]))
    assert weights[labels].mean().item() == pytest.approx(1.0)


def test_focal_loss_is_cross_entropy_at_gamma_zero_and_smaller_on_what_is_known() -> None:
    logits, labels = torch.tensor([[4.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0])
    plain = losses.CrossEntropy()(logits, labels)
    assert torch.allclose(losses.Focal(gamma=0.0)(logits, labels), plain)
    ratio = losses.Focal(gamma=2.0)(logits, labels) / plain
    assert ratio[0] < 0.001
    assert ratio[1].item() == pytest.approx(0.25)


@pytest.mark.parametrize("share", [-0.1, 2.0])
@pytest.mark.parametrize("criterion", [losses.CrossEntropy, losses.Focal])
def test_smoothing_by_more_than_all_of_a_label_is_refused(criterion: type, share: float) -> None:
    with pytest.raises(ConfigError, match=rf"loss\.label_smoothing={share}: is a share .* Write 0\.1"):
        criterion(label_smoothing=share)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_focal_loss_has_a_finite_slope_where_all_is_known(gamma: float, label_smoothing: float) -> None:
    logits = torch.tensor([[100.0, 0.0], [0.0, 100.0]], requires_grad=True)
    losses.Focal(gamma, label_smoothing)(logits, torch.tensor([0, 0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().max() < 0.1


def test_losses_are_computed_in_float32() -> None:
    target = Quadrant()
    labels = torch.tensor([0, 1])
    objective = losses.Objective(target, losses.CrossEntropy(), target.counts(labels, FRAMES, FRAMES))
    assert objective(torch.randn(2, 4, dtype=torch.bfloat16), batch_of(labels)).dtype == torch.float32


def test_named_classes_keep_their_order_and_leave_other_labels_out() -> None:
    target = Classes(["joy", "anger"], "emotion")
    classes = target.encode(np.array([["anger"], ["joy"], ["boredom"]]))
    assert classes.tolist() == [1, 0, -1]
    assert target.decode(classes[:2]) == [{"emotion": "anger"}, {"emotion": "joy"}]
    assert (target.out_dim, target.label_names) == (2, ("emotion",))


@pytest.mark.parametrize("names", [None, ["joy"], ["joy", "joy"]])
def test_named_classes_must_be_two_or_more_and_differ(names: list[str] | None) -> None:
    with pytest.raises(ConfigError, match=r"target\.class_names=.*two names or more, each once.*null"):
        Classes(names, "emotion")


@pytest.mark.parametrize("label", ["2", "high"])
def test_bits_that_are_no_bits_are_refused(label: str) -> None:
    with pytest.raises(DataError, match=rf"valence, activation: found '{label}'.*0 or 1.*label_map"):
        Quadrant().encode(np.array([["0", "1"], ["1", label]]))


def test_one_logit_is_trained_with_binary_cross_entropy_and_answers_with_two_names() -> None:
    target = Binary(["en", "es"], "language")
    logits, labels = torch.randn(50, 1), torch.randint(2, (50,))
    objective = losses.Objective(target, losses.CrossEntropy(), target.counts(labels, FRAMES, FRAMES))
    expected = functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float(), reduction="none")
    torch.testing.assert_close(objective(logits, batch_of(labels)), expected)
    torch.testing.assert_close(target.scores(logits)[:, 1], logits[:, 0].sigmoid())
    assert target.encode(np.array([["es"], ["de"], ["en"]])).tolist() == [1, -1, 0]
    assert target.decode(target.scores(torch.tensor([[0.5], [-0.5]])).argmax(-1)) == [
        {"language": "es"},
        {"language": "en"},
    ]


def test_one_logit_for_three_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="one logit tells two classes apart, not 3"):
        Binary(["de", "en", "es"], "language")
