"""Equal and nearly equal recordings: copies are found, other recordings are not."""

import numpy as np
import pytest
import torch

from ser.audio.reader import resample
from ser.audit.duplicates import COMPARED_RATE, candidates, compare_waveforms, find_duplicates
from ser.audit.measures import measure
from tests.audit.faults import COPIES
from tests.audit.speech import RATE, speech

ORIGINALS = 12


def pairs_of(waveforms: list[np.ndarray]) -> list[tuple[int, int, bool]]:
    narrow = [resample(waveform, RATE, COMPARED_RATE) for waveform in waveforms]
    found = find_duplicates([measure(waveform, RATE)[1] for waveform in waveforms], narrow.__getitem__)
    return [(pair.first, pair.second, pair.is_exact) for pair in found]


def test_different_recordings_are_no_pairs() -> None:
    assert pairs_of([speech(seed) for seed in range(ORIGINALS)]) == []


@pytest.mark.parametrize("kind", COPIES)
def test_each_copy_is_paired_with_its_original(kind: str) -> None:
    random = np.random.default_rng(0)
    originals = [speech(seed, seconds=1.5 + seed / 20) for seed in range(ORIGINALS)]
    copies = [COPIES[kind](waveform, RATE, random) for waveform in originals]
    found = pairs_of([*originals, *copies])
    expected = {(index, index + ORIGINALS, kind == "exact") for index in range(ORIGINALS)}
    assert {*found} <= expected
    assert len(found) == ORIGINALS


def test_silent_and_single_recordings_are_compared() -> None:
    silence = np.zeros(RATE, dtype=np.float32)
    assert pairs_of([]) == pairs_of([speech(0)]) == []
    assert pairs_of([silence, silence, speech(0)]) == [(0, 1, True)]


def test_waveforms_match_at_any_shift_gain_and_sign() -> None:
    waveform = speech(1)
    shifted = -0.3 * np.concatenate([np.zeros(777, dtype=np.float32), waveform])[: len(waveform)]
    assert compare_waveforms(waveform, shifted) == pytest.approx(1, abs=1e-3)
    assert compare_waveforms(waveform, speech(2)) < 0.5


def test_only_recordings_of_similar_length_are_compared() -> None:
    vectors = torch.nn.functional.normalize(torch.ones(6, 4))
    seconds = np.array([1.0, 1.2, 1.4, 3.0, 3.1, 9.0])
    found = torch.cat([*candidates(vectors, seconds)]).tolist()
    assert sorted(map(tuple, found)) == [(0, 1), (0, 2), (1, 2), (3, 4)]
