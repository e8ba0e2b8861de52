"""Words, turns and waveforms on the grid of 0.1 s, against a slow reference."""

import pytest
import torch

from ser.text.steps import (
    count_outside,
    count_steps,
    cut_waveform,
    gather_vectors,
    index_spans,
    is_subject_turn,
)


def slow_index(spans: list[tuple[float, float]], num_steps: int) -> list[int]:
    """Step by step: the last row whose rounded times hold the step."""
    found = []
    for step in range(num_steps):
        rows = [
            row for row, (start, end) in enumerate(spans) if round(start, 1) <= step / 10 <= round(end, 1)
        ]
        found.append(rows[-1] if rows else -1)
    return found


def random_spans(seed: int, count: int = 40) -> list[tuple[float, float]]:
    random = torch.Generator().manual_seed(seed)
    starts = (torch.rand(count, generator=random) * 10).tolist()
    lengths = (torch.rand(count, generator=random) * 0.6).tolist()
    return [
        (round(start, 2), round(start + length, 2)) for start, length in zip(starts, lengths, strict=True)
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_steps", [1, 37, 90, 200])
def test_spans_cover_the_steps_of_the_reference(seed: int, num_steps: int) -> None:
    spans = random_spans(seed)
    found = index_spans(spans, num_steps)
    assert found.tolist() == slow_index(spans, num_steps)
    assert is_subject_turn(spans, num_steps).tolist() == [index >= 0 for index in found.tolist()]


def test_both_ends_are_covered_and_later_rows_overwrite() -> None:
    assert index_spans([(0.1, 0.34), (0.3, 0.3), (0.62, 0.7)], 8).tolist() == [-1, 0, 0, 1, -1, -1, 2, 2]


def test_times_are_rounded_to_tenths_as_by_python() -> None:
    assert index_spans([(0.25, 0.25)], 5).tolist() == [-1, -1, 0, -1, -1]
    assert index_spans([(0.35, 0.35)], 5).tolist() == [-1, -1, -1, 0, -1]


def test_spans_beyond_the_end_are_counted() -> None:
    spans = [(-1.0, -0.2), (0.0, 0.1), (0.4, 2.0), (1.0, 1.2)]
    assert index_spans(spans, 6).tolist() == [1, 1, -1, -1, 2, 2]
    assert count_outside(spans, 6) == 2


def test_without_turns_everything_is_the_subjects() -> None:
    assert is_subject_turn(None, 3).all()
    assert not is_subject_turn([], 3).any()


def test_uncovered_steps_have_zeros_for_a_word() -> None:
    vectors = torch.randn(2, 3)
    steps = gather_vectors(vectors, torch.tensor([-1, 1, 0, 0]))
    torch.testing.assert_close(steps, torch.stack([torch.zeros(3), vectors[1], vectors[0], vectors[0]]))
    assert gather_vectors(torch.zeros(0, 3), torch.tensor([-1, -1])).shape == (2, 3)


@pytest.mark.parametrize("num_samples", [1, 2_205, 2_206, 24_000])
@pytest.mark.parametrize("given", [False, True])
def test_wave_frames_equal_the_reference(num_samples: int, given: bool) -> None:
    waveform = torch.randn(num_samples)
    num_steps = count_steps(num_samples)
    subject = torch.rand(num_steps) > 0.5
    times = [step / 10 for step in range(num_steps)]
    frames = cut_waveform(waveform, subject, times=times if given else None)
    assert frames.shape == (num_steps, 4_410)
    for step in range(num_steps):
        expected = torch.zeros(2, 2_205)
        for place in range(2_205):
            sample = round(22_050 * times[step]) + place
            if sample < num_samples:
                expected[0 if subject[step] else 1, place] = waveform[sample]
        torch.testing.assert_close(frames[step], expected.flatten())


def test_more_steps_than_samples_are_zero() -> None:
    frames = cut_waveform(torch.ones(3_000), torch.ones(4, dtype=torch.bool))
    assert frames[1].sum() == 795
    assert not frames[2:].any()


def test_steps_begin_at_the_times_of_labels() -> None:
    waveform = torch.arange(22_050.0)
    frames = cut_waveform(waveform, torch.tensor([True, False, True]), times=[0.05, 0.7, 3.0])
    assert frames[0, 0] == int(0.05 * 22_050)
    assert frames[1, 2_205] == 15_435  # not 15,434, the whole part of 0.7 * 22050 in floats
    assert not frames[2].any()
