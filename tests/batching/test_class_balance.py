"""What an epoch has of lopsided classes, and what the members of an ensemble have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.batching.bucketing import plan_batches
from ser.batching.class_balance import (
    corpus_cells,
    corpus_quotas,
    ensemble_size,
    epoch_indices,
    member_indices,
)
from ser.batching.samplers import BucketSampler
from ser.errors import ConfigError

LOPSIDED = np.repeat([0, 1, 2], [33, 10, 23])
some_classes = st.lists(st.integers(0, 3), min_size=2, max_size=60).map(np.array)


def counts_of(indices: np.ndarray, classes: np.ndarray) -> list[int]:
    return np.unique(classes[indices], return_counts=True)[1].tolist()


@given(some_classes, st.integers(0, 5))
def test_undersampling_takes_each_class_as_often_as_the_smallest_and_none_twice(classes, seed):
    drawn = epoch_indices(classes, "undersample", np.random.default_rng(seed))
    fewest = np.unique(classes, return_counts=True)[1].min()
    assert set(counts_of(drawn, classes)) == {fewest}
    assert len({*drawn.tolist()}) == len(drawn)


@given(some_classes, st.integers(0, 5))
def test_oversampling_has_everybody_and_each_class_as_often_as_the_largest(classes, seed):
    drawn = epoch_indices(classes, "oversample", np.random.default_rng(seed))
    assert set(counts_of(drawn, classes)) == {np.unique(classes, return_counts=True)[1].max()}
    assert {*drawn.tolist()} == {*range(len(classes))}


def test_without_a_balance_everybody_is_there_once():
    assert epoch_indices(LOPSIDED, "none", np.random.default_rng(0)).tolist() == [*range(66)]


@pytest.mark.parametrize("balance", ["oversample", "undersample"])
def test_every_epoch_draws_others_but_has_as_many_batches(balance):
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 500, len(LOPSIDED))
    settings = {"max_frames": 2000, "max_utterances": 8, "pool": 16, "seed": 3, "balance": balance}
    plans = [plan_batches(lengths, epoch=epoch, classes=LOPSIDED, **settings) for epoch in range(30)]
    assert len({len(plan) for plan in plans}) == 1
    drawn = [sorted(index for batch in plan for index in batch) for plan in plans]
    assert drawn[0] != drawn[1]
    for epoch in drawn:
        frequent = counts_of(np.array(epoch), LOPSIDED)
        assert max(frequent) - min(frequent) <= 8  # a batch may have been left out
    assert all(
        lengths[batch].max() * len(batch) <= 2000 for plan in plans for batch in plan if len(batch) > 1
    )


def test_a_sampler_balances_and_says_so_in_its_plan():
    settings = {"max_frames": 400, "max_utterances": 4, "pool": 100, "seed": 0}
    sampler = BucketSampler([50] * 66, **settings, classes=LOPSIDED, balance="undersample")
    drawn = [index for draw in sampler for index in draw.indices]
    assert counts_of(np.array(drawn), LOPSIDED) == [10, 10, 10]
    assert sampler.fingerprint["plan"] != BucketSampler([50] * 66, **settings).fingerprint["plan"]


def test_members_have_the_smallest_class_whole_and_parts_of_the_others():
    assert ensemble_size(LOPSIDED) == 3
    members = [member_indices(LOPSIDED, member, 3, seed=1) for member in range(3)]
    assert [counts_of(own, LOPSIDED) for own in members] == [[11, 10, 12], [11, 10, 11], [11, 10, 12]]
    for own in members:
        assert {*np.flatnonzero(LOPSIDED == 1)} <= {*own.tolist()}
    assert {*np.concatenate(members).tolist()} == {*range(66)}
    english = [{*own[LOPSIDED[own] == 0].tolist()} for own in members]
    assert not english[0] & english[1]


def test_classes_of_one_size_need_one_member():
    assert ensemble_size(np.array([0, 1, 2] * 5)) == 1


def test_a_member_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"member 3: there are 3, counted from 0\. Give one of them"):
        member_indices(LOPSIDED, 3, 3, seed=0)


CORPORA = ["big"] * 60 + ["small"] * 12
OF_EACH = np.repeat([0, 1, 0, 1], [45, 15, 4, 8])


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1, [45, 15, 4, 8]), (None, [18, 18, 18, 18])],
)
def test_quotas_are_sizes_at_temperature_1_and_equal_without(temperature, expected):
    assert corpus_quotas(CORPORA, OF_EACH, temperature).tolist() == expected


def test_quotas_follow_the_formula_and_add_up_to_the_epoch():
    quotas = corpus_quotas(CORPORA, OF_EACH, 2)
    shares = np.sqrt([60, 12]) / np.sqrt([60, 12]).sum()
    within = np.sqrt([45, 15]) / np.sqrt([45, 15]).sum(), np.sqrt([4, 8]) / np.sqrt([4, 8]).sum()
    exact = 72 * np.concatenate([shares[0] * within[0], shares[1] * within[1]])
    np.testing.assert_allclose(quotas, exact, atol=1)
    assert quotas.sum() == 72


def test_an_epoch_of_balanced_corpora_repeats_no_utterance_more_than_needed():
    cells, quotas = corpus_cells(CORPORA, OF_EACH), corpus_quotas(CORPORA, OF_EACH, None)
    drawn = epoch_indices(cells, "corpora", np.random.default_rng(0), quotas)
    assert counts_of(drawn, cells) == [18, 18, 18, 18]
    times = np.bincount(drawn, minlength=72)
    for cell in range(4):
        assert np.ptp(times[cells == cell]) <= 1
