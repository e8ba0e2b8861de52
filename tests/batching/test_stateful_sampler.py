"""Rows that follow recordings, and a training that goes on with its state."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser.batch import Padded
from ser.batching.stateful_sampler import StatefulSampler
from ser.errors import ConfigError
from ser.models.lstm import LSTMEncoder
from ser.training.task import carried


def begins_of(pieces: list[int]) -> np.ndarray:
    return np.concatenate([np.arange(count) == 0 for count in pieces])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 8), st.integers(0, 3))
def test_every_sequence_comes_once_and_those_that_go_on_follow_in_their_row(pieces, lanes, epoch):
    begins = begins_of(pieces)
    sampler = StatefulSampler(np.full(len(begins), 50), begins=begins, max_utterances=lanes, seed=1)
    sampler.set_epoch(epoch)
    draws = [*sampler]
    assert len(draws) == len(sampler)
    assert sorted(index for draw in draws for index in draw.indices) == [*range(len(begins))]
    assert draws[0].continues == [False] * len(draws[0].indices)
    for before, after in pairwise(draws):
        assert len(after.indices) <= len(before.indices) <= lanes
        for row, (index, goes_on) in enumerate(zip(after.indices, after.continues, strict=True)):
            assert goes_on == (not begins[index])
            assert not goes_on or before.indices[row] == index - 1


def test_lanes_are_about_equally_long_and_drawn_anew_in_every_epoch():
    begins = begins_of([7, 5, 3, 9, 4, 6, 8, 2])
    sampler = StatefulSampler(np.full(len(begins), 50), begins=begins, max_utterances=4, seed=0)
    assert len(sampler) <= 13  # 44 sequences in 4 rows are 11
    first = [draw.indices for draw in sampler]
    sampler.set_epoch(1)
    assert [draw.indices for draw in sampler] != first
    assert len([*sampler]) == len(first)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"batching\.max_utterances=0: expected 1 or more"):
        StatefulSampler([50, 50], begins=[True, True], max_utterances=0, seed=0)


def test_several_processes_are_refused():
    with pytest.raises(ConfigError, match=r"carry_state=true, trainer\.devices=2: .*Train on one device"):
        StatefulSampler([50, 50], begins=[True, True], max_utterances=2, seed=0, ranks=2)


def test_what_is_carried_makes_sequences_one_recording_and_gradients_end_there():
    encoder = LSTMEncoder(4, hidden_dim=6, bidirectional=False, dropout=0.0)
    whole = torch.randn(3, 20, 4)
    _, left = encoder.step(whole[:, :12], encoder.initial_state(3))
    continues = torch.tensor([True, False])  # the third row has ended
    before = carried(left, encoder.initial_state(2), continues)
    steps, _ = encoder.step(whole[:2, 12:], before)
    expected = encoder(Padded(whole[:2], torch.tensor([20, 20]))).values[:, 12:]
    torch.testing.assert_close(steps[0], expected[0])
    fresh, _ = encoder.step(whole[1:2, 12:], encoder.initial_state(1))
    torch.testing.assert_close(steps[1], fresh[0])
    assert not before[1][0][0].requires_grad


def test_the_first_batch_of_an_epoch_begins_anew():
    encoder = LSTMEncoder(4, hidden_dim=6, bidirectional=False)
    fresh = encoder.initial_state(3)
    assert carried(None, fresh, torch.zeros(3, dtype=torch.bool)) is fresh
    _, left = encoder.step(torch.randn(1, 5, 4), encoder.initial_state(1))
    begun = carried(left, fresh, torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(begun[1][0][0], fresh[1][0][0])
