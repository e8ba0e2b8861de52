"""Labels of annotators who react late: found and moved back in the training split."""

import itertools

import numpy as np
import pytest
import torch

from ser.batching.annotation_delay import compensate_store, resolve_delay
from ser.data.store import Store

DELAY = 24  # steps, 2.4 s


def smoothed(steps: int, columns: int) -> np.ndarray:
    noise = torch.randn(steps + 8, columns).unfold(0, 9, 1).mean(-1)
    return 3 * noise.numpy()


@pytest.fixture
def store() -> Store:
    """Three recordings whose labels are their features 2.4 s before."""
    lengths = [300, 400, 250]
    features = np.concatenate([smoothed(length, 6) for length in lengths]).astype(np.float32)
    labels = np.full((len(features), 2), 0.0, np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    for first, last in itertools.pairwise(offsets):
        labels[first + DELAY : last] = features[first : last - DELAY, :2]
    plain = Store([*"abc"], features, offsets, None, (), "object", "0")
    return plain.with_step_labels(labels, ("arousal", "valence"))


def test_planted_delay_is_estimated(store: Store) -> None:
    spec = resolve_delay({"delay_s": "estimate", "fields": ["arousal"]}, store)
    assert spec["delay_s"] == pytest.approx(2.4, abs=0.2)
    assert spec["fields"] == ["arousal"]


def test_a_number_is_kept(store: Store) -> None:
    assert resolve_delay({"delay_s": 1.5}, store) == {"delay_s": 1.5}


def test_wave_steps_are_estimated_by_their_energies(store: Store) -> None:
    loud = np.exp(np.repeat(store.audio[:, :2], 500, axis=1)).astype(np.float32)
    waves = Store(store.ids, loud, store.offsets, None, (), "object", "0")
    assert store.step_labels is not None
    waves = waves.with_step_labels(store.step_labels, store.label_names)
    assert resolve_delay({"delay_s": "estimate"}, waves)["delay_s"] == pytest.approx(2.4, abs=0.2)


def test_labels_move_within_each_recording_of_a_split(store: Store) -> None:
    split = store.select(np.array([2, 0]))
    moved = compensate_store(split, 2.4)
    for own in (0, 1):
        span = np.array([own]), np.zeros(1, int), split.lengths[[own]]
        labels, frames = moved.gather_step_labels(*span), split.gather(*span)[0].numpy()
        np.testing.assert_array_equal(labels[:-DELAY], frames[:-DELAY, :2])
        assert np.isnan(labels[-DELAY:]).all()
    assert moved.fingerprint != split.fingerprint
