"""Frames against a plain implementation in numpy, for every alignment, batch and block size."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser.batch import Padded
from ser.errors import ConfigError
from ser.features.framing import (
    _FRAMES_AT_A_TIME,
    Framing,
    apply_preemphasis,
    compute_spectrum,
    make_window,
    subtract_mean,
)

ALIGNMENTS = ("causal", "causal_padded", "centered", "centered_padded")


def plain_frames(waveform: np.ndarray, framing: Framing, preemphasis: float) -> np.ndarray:
    """Frames [T, length] of one waveform, pre-emphasized and padded as a whole."""
    samples = np.append(waveform[0], waveform[1:] - preemphasis * waveform[:-1])
    length, shift, half = framing.length, framing.shift, framing.length // 2
    if framing.align == "causal_padded":
        steps = 1 + max(0, -((length - len(samples)) // shift))
        samples = np.pad(samples, (0, max(0, (steps - 1) * shift + length - len(samples))))
    elif framing.align != "causal":
        mode: Any = "reflect" if framing.align == "centered" else "constant"
        samples = np.pad(samples, (length - half, half), mode=mode)
    return np.lib.stride_tricks.sliding_window_view(samples, length)[::shift]


@given(
    align=st.sampled_from(ALIGNMENTS),
    length=st.integers(1, 12),
    shift=st.integers(1, 15),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    preemphasis=st.sampled_from([0.0, 0.97]),
    at_a_time=st.sampled_from([1, 3, 512]),
)
def test_frames_are_those_of_each_waveform_alone(
    align: Any, length: int, shift: int, sizes: list[int], preemphasis: float, at_a_time: int
) -> None:
    framing = Framing(length, shift, align)
    sizes = [max(size, framing.min_samples) for size in sizes]
    waveforms = [np.random.default_rng(size).normal(size=size) for size in sizes]
    batch = Padded.collate([torch.from_numpy(waveform)[:, None] for waveform in waveforms])
    batch = batch.with_values(batch.values.masked_fill(~batch.mask.unsqueeze(-1), float("nan")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ser.features.framing._FRAMES_AT_A_TIME", at_a_time)
        found = torch.cat([*framing.blocks(batch, preemphasis, torch.float64)], dim=1)
    counts = framing.num_frames(batch.lengths).tolist()
    assert found.shape[1] == max(counts)
    for index, waveform in enumerate(waveforms):
        expected = plain_frames(waveform, framing, preemphasis)
        np.testing.assert_allclose(found[index, : counts[index]].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (400, 1), (401, 2), (720, 2), (721, 3), (16_000, 50)])
def test_with_padding_every_sample_falls_into_a_frame(samples: int, steps: int) -> None:
    assert Framing(400, 320, "causal_padded").num_frames(torch.tensor([samples])).tolist() == [steps]


def test_blocks_are_small_however_many_waveforms_there_are() -> None:
    for count, seconds in itertools.product((1, 40), (1, 30)):
        batch = Padded(torch.zeros(count, 1_000 * seconds, 1), torch.tensor([1_000 * seconds] * count))
        for block in Framing(25, 10).blocks(batch, 0.0, torch.float32):
            assert block.shape[0] * block.shape[1] <= _FRAMES_AT_A_TIME


def test_a_frame_is_emphasized_without_the_samples_before_it() -> None:
    found = apply_preemphasis(torch.tensor([[2.0, 3.0, 5.0]]), 0.5)
    assert found.tolist() == [[1.0, 2.0, 3.5]]


def test_frames_lose_their_own_mean() -> None:
    assert subtract_mean(torch.tensor([[1.0, 3.0], [5.0, 5.0]])).tolist() == [[-1.0, 1.0], [0.0, 0.0]]


def test_a_spectrum_is_one_of_magnitudes_or_energies() -> None:
    tone = 3 * torch.cos(2 * torch.pi * 4 * torch.arange(32, dtype=torch.float64) / 32)[None]
    expected = torch.zeros(17, dtype=torch.float64)
    expected[4] = 3 * 16
    torch.testing.assert_close(compute_spectrum(tone, 32, 1)[0], expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(compute_spectrum(tone, 32, 2)[0], expected**2, atol=1e-9, rtol=0)


def test_windows_are_those_of_their_names() -> None:
    symmetric = torch.hann_window(400, periodic=False, dtype=torch.float64)
    expected = {
        "hann": torch.hann_window(400, dtype=torch.float64),
        "hann_symmetric": symmetric,
        "povey": symmetric**0.85,
        "hamming": torch.hamming_window(400, periodic=False, dtype=torch.float64),
        "rectangular": torch.ones(400, dtype=torch.float64),
    }
    for name, window in expected.items():
        torch.testing.assert_close(make_window(name, 400), window)  # type: ignore[arg-type]


@pytest.mark.parametrize(("length", "shift"), [(0, 160), (400, 0)])
def test_frames_have_samples_and_move_on(length: int, shift: int) -> None:
    words = rf"{length} and {shift} samples.*expected 1 or more.*Set .* such as features\.frame_length_ms=25"
    with pytest.raises(ConfigError, match=words):
        Framing(length, shift)
