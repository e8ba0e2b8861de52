"""Sums over an epoch."""

import pytest
import torch
from torch import Tensor

from ser.batch import Batch, Padded
from ser.training.epoch_totals import EpochTotals


def batch(*lengths: int) -> Batch:
    audio = Padded.collate([torch.ones(length, 3) for length in lengths])
    return Batch(list(lengths), audio, None, torch.zeros(len(lengths), dtype=torch.int64))


def filled() -> EpochTotals:
    tally = EpochTotals(["accuracy"])
    tally.add(batch(2, 4), torch.tensor([1.0, 3.0]), {"accuracy": torch.tensor([True, False])})
    tally.add(batch(6), torch.tensor([5.0]), {"accuracy": torch.tensor([True])})
    return tally


def test_every_utterance_weighs_the_same_whatever_its_batch() -> None:
    means = filled().take(lambda sums: sums)
    assert means["loss"] == pytest.approx(3.0)
    assert means["accuracy"] == pytest.approx(2 / 3)
    assert means["padding_ratio"] == pytest.approx(14 / 12)
    assert means["frames"] == 12


def test_taking_begins_anew() -> None:
    tally = filled()
    tally.take(lambda sums: sums)
    assert tally.state().tolist() == [0.0] * 6


def test_a_tally_goes_on_from_its_state() -> None:
    first, second = EpochTotals(["accuracy"]), EpochTotals(["accuracy"])
    first.add(batch(2, 4), torch.tensor([1.0, 3.0]), {"accuracy": torch.tensor([True, False])})
    second.load(first.state())
    second.add(batch(6), torch.tensor([5.0]), {"accuracy": torch.tensor([True])})
    assert torch.equal(second.state(), filled().state())


def test_sums_are_added_up_over_processes_before_means_are_taken() -> None:
    def with_a_twin_that_was_wrong(sums: Tensor) -> Tensor:
        return sums + torch.tensor([9.0, 0.0, 12.0, 3.0, 3.0, 14.0])

    assert filled().take(with_a_twin_that_was_wrong)["accuracy"] == pytest.approx(1 / 3)


def test_counts_of_many_batches_are_exact() -> None:
    tally = EpochTotals(["accuracy"])
    for _ in range(1030):  # more than are held on the device at once
        tally.add(batch(3), torch.tensor([0.1]), {"accuracy": torch.tensor([True])})
    means = tally.take()
    assert (means["frames"], means["accuracy"]) == (3090, 1.0)
    assert means["loss"] == pytest.approx(0.1, rel=1e-7)


def test_accuracies_of_several_tasks_have_their_own_counts() -> None:
    def filled_with_two() -> EpochTotals:
        totals = EpochTotals(["emotion/accuracy", "speaker/accuracy"])
        right = {"emotion/accuracy": torch.tensor([True]), "speaker/accuracy": torch.tensor([True, False])}
        totals.add(batch(2, 4), torch.tensor([1.0, 3.0]), right)
        return totals

    restored = EpochTotals(["emotion/accuracy", "speaker/accuracy"])
    restored.load(filled_with_two().state())
    for totals in (filled_with_two(), restored):
        means = totals.take()
        assert (means["emotion/accuracy"], means["speaker/accuracy"]) == (1.0, 0.5)
    assert "emotion/accuracy" not in EpochTotals(["emotion/accuracy"]).take()
