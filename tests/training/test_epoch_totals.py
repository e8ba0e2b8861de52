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
    tally = EpochTotals()
    tally.add(batch(2, 4), torch.tensor([1.0, 3.0]), torch.tensor([True, False]))
    tally.add(batch(6), torch.tensor([5.0]), torch.tensor([True]))
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
    first, second = EpochTotals(), EpochTotals()
    first.add(batch(2, 4), torch.tensor([1.0, 3.0]), torch.tensor([True, False]))
    second.load(first.state())
    second.add(batch(6), torch.tensor([5.0]), torch.tensor([True]))
    assert torch.equal(second.state(), filled().state())


def test_sums_are_added_up_over_processes_before_means_are_taken() -> None:
    def with_a_twin_that_was_wrong(sums: Tensor) -> Tensor:
        return sums + torch.tensor([9.0, 0.0, 12.0, 3.0, 3.0, 14.0])

    assert filled().take(with_a_twin_that_was_wrong)["accuracy"] == pytest.approx(1 / 3)


def test_counts_of_many_batches_are_exact() -> None:
    tally = EpochTotals()
    for _ in range(1030):  # more than are held on the device at once
        tally.add(batch(3), torch.tensor([0.1]), torch.tensor([True]))
    means = tally.take()
    assert (means["frames"], means["accuracy"]) == (3090, 1.0)
    assert means["loss"] == pytest.approx(0.1, rel=1e-7)
