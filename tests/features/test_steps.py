"""Words, turns and waveforms on the grid of 0.1 s, against a slow reference."""

import pytest
import torch

from ser.batch import Padded
from ser.errors import ConfigError
from ser.features.extractors import LogMel
from ser.features.steps import (
    StepLogMel,
    StepWaveform,
    count_outside,
    index_spans,
    is_subject_turn,
    split_roles,
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


@pytest.mark.parametrize("num_samples", [1, 2_205, 2_206, 24_000])
def test_wave_steps_equal_the_reference(num_samples: int) -> None:
    waveform = torch.randn(num_samples)
    turns = [(0.0, 0.2), (0.61, 0.85)]
    roles = split_roles(waveform, turns, 22_050)
    steps = StepWaveform()(Padded(roles[None], torch.tensor([num_samples]))).values[0]
    subject = [step in (0, 1, 2, 6, 7, 8) for step in range(len(steps))]
    assert steps.shape == (-(-num_samples // 2_205), 4_410)
    for step, is_subject in enumerate(subject):
        expected = torch.zeros(2, 2_205)
        own = waveform[step * 2_205 : (step + 1) * 2_205]
        expected[0 if is_subject else 1, : len(own)] = own
        torch.testing.assert_close(steps[step], expected.flatten())


def test_roles_of_minutes_add_up_to_the_waveform() -> None:
    waveform, turns = torch.randn(14_003), [(0.0, 59.8), (60.1, 61.0), (119.9, 125.0)]
    roles = split_roles(waveform, turns, 100)
    is_subject = is_subject_turn(turns, 1_401).repeat_interleave(10)[:14_003]
    assert torch.equal(roles[:, 0], waveform.where(is_subject, 0))
    assert torch.equal(roles[:, 1], waveform.where(~is_subject, 0))


@pytest.mark.parametrize("extractor", [StepWaveform(), StepLogMel()], ids=["waveform", "log_mel"])
def test_steps_do_not_depend_on_batch_mates(extractor: StepWaveform | StepLogMel) -> None:
    roles = [
        split_roles(torch.randn(samples), [(0.0, 0.3)], extractor.sample_rate) for samples in (9_000, 20_001)
    ]
    together = extractor(Padded.collate(roles))
    for row, own in enumerate(roles):
        alone = extractor(Padded(own[None], torch.tensor([len(own)])))
        length = int(alone.lengths[0])
        assert together.lengths[row] == length
        torch.testing.assert_close(together.values[row, :length], alone.values[0])


@pytest.mark.parametrize("extractor", [StepWaveform(), StepLogMel()], ids=["waveform", "log_mel"])
def test_one_channel_is_the_subjects(extractor: StepWaveform | StepLogMel) -> None:
    waveform = torch.randn(12_345)
    both = split_roles(waveform, None, extractor.sample_rate)
    lengths = torch.tensor([len(waveform)])
    expected = extractor(Padded(both[None], lengths)).values
    torch.testing.assert_close(extractor(Padded(waveform[None, :, None], lengths)).values, expected)


def test_log_mels_of_a_step_are_those_of_its_frames() -> None:
    waveform = torch.randn(16_000)
    lengths = torch.tensor([16_000])
    frames = LogMel(num_mel_bins=40, align="centered_padded")(Padded(waveform[None, :, None], lengths)).values
    steps = StepLogMel()(Padded(waveform[None, :, None], lengths)).values[0]
    assert steps.shape == (10, 160)
    torch.testing.assert_close(steps[3, :40], frames[0, 30:40].mean(0))
    torch.testing.assert_close(steps[3, 40:80], frames[0, 30:40].std(0, correction=0))
    assert not steps[:, 120:].any()


def test_a_shift_that_does_not_divide_a_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"features\.frame_shift_ms.*Set features\.frame_shift_ms=10\.0"):
        StepLogMel(frame_shift_ms=15.0)
