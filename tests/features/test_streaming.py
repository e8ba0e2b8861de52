"""Streams of samples against whole recordings: the same features, the same speech, in any pieces."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ser.batch import Padded
from ser.errors import ConfigError, DataError
from ser.features.extractors import MFCC, Extractor, LogMel, Waveform
from ser.features.streaming import FeatureStream, StreamFrames
from ser.features.vad import Mode, Silence, SilenceDetector

RATE = 8000
QUICK = {"sample_rate": RATE, "num_mel_bins": 20}
EXTRACTORS: dict[str, Any] = {
    "log_mel": lambda silence: LogMel(**QUICK, silence=silence),
    "emphasized": lambda silence: LogMel(**QUICK, preemphasis=0.97, silence=silence),
    "mfcc": lambda silence: MFCC(**QUICK, num_coefficients=13, log="decibel", silence=silence),
    "kaldi": lambda silence: MFCC(
        **QUICK,
        num_coefficients=13,
        preemphasis=0.97,
        preemphasis_of="frame",
        remove_mean=True,
        silence=silence,
    ),
    "challenge": lambda silence: LogMel(
        **QUICK,
        frame_shift_ms=20.0,
        align="causal_padded",
        preemphasis=0.97,
        precision="float64",
        floor_by="zero",
        silence=silence,
    ),
    "long_frames": lambda silence: LogMel(**QUICK, frame_length_ms=90.0, frame_shift_ms=7.0, silence=silence),
    "short_frames": lambda silence: LogMel(
        **QUICK,
        frame_length_ms=4.0,
        frame_shift_ms=33.0,
        align="causal_padded",
        fft_length=512,
        silence=silence,
    ),
    "waveform": lambda silence: Waveform(sample_rate=RATE, normalize="none", silence=silence),
}


def detector(**options: Any) -> SilenceDetector:
    durations = {"min_silence_s": 0.07, "min_speech_s": 0.03, "hang_over_s": 0.02}
    return SilenceDetector(RATE, **({"relative_db": None, "absolute_db": -45.0} | durations | options))


def spoken(samples: int, seed: int = 0) -> Tensor:
    """Noise in bursts of 5 to 200 ms with pauses as long between, [samples]."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(40, 1600, (samples // 400 + 2,), generator=generator)
    loud = torch.randint(0, 2, (len(sizes),), generator=generator)
    level = (1e-4 + 0.2 * loud).repeat_interleave(sizes)[:samples]
    return level * torch.randn(len(level), generator=generator)


def stream(extractor: Extractor, waveform: Tensor, sizes: list[int]) -> Iterator[StreamFrames]:
    """What comes out, piece by piece and at the end; sizes are repeated until everything is pushed."""
    features = FeatureStream(extractor)
    state, begin = features.initial_state(), 0
    for size in itertools.cycle(sizes):
        if begin >= len(waveform):
            break
        frames, state = features.push(waveform[begin : begin + size], state)
        begin += size
        yield frames
    yield features.finish(state)


def joined(parts: list[StreamFrames]) -> tuple[Tensor, list[int], list[bool]]:
    values = torch.cat([part.values for part in parts])
    numbers = [number for part in parts for number in part.numbers]
    speech: list[bool] = []
    for part in parts:
        assert part.first == len(speech) or not part.speech
        speech += part.speech
    return values, numbers, speech


def whole(extractor: Extractor, waveform: Tensor) -> tuple[Tensor, Tensor | None]:
    batch = Padded(waveform[None, :, None], torch.tensor([len(waveform)]))
    features, speech = extractor.with_speech(batch)
    return features.values[0], None if speech is None else speech[0]


@settings(max_examples=20)
@given(
    st.integers(1, 12_000),
    st.lists(st.sampled_from([0, 1, 2, 79, 80, 81, 200, 333, 1000]), min_size=1, max_size=5).filter(
        lambda sizes: sum(sizes) > 70
    ),
    st.integers(0, 99),
)
@pytest.mark.parametrize("name", EXTRACTORS)
def test_a_stream_has_the_features_and_the_speech_of_the_whole(
    name: str, samples: int, sizes: list[int], seed: int
) -> None:
    waveform = spoken(samples, seed)
    extractor = EXTRACTORS[name](Silence(detector(), "mask"))
    values, numbers, speech = joined([*stream(extractor, waveform, sizes)])
    if samples < extractor.min_samples:
        assert not len(values)
        assert not speech
        return
    expected, expected_speech = whole(extractor, waveform)
    assert expected_speech is not None
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-5)
    assert numbers == [*range(len(expected))]
    assert speech == expected_speech.tolist()


@settings(max_examples=15)
@given(st.integers(800, 12_000), st.lists(st.integers(1, 700), min_size=1, max_size=4), st.integers(0, 99))
@pytest.mark.parametrize("name", ["emphasized", "mfcc", "challenge", "long_frames"])
def test_where_silence_is_removed_a_stream_gives_the_speech_of_the_whole_and_says_when_it_was(
    name: str, samples: int, sizes: list[int], seed: int
) -> None:
    waveform = spoken(samples, seed)
    values, numbers, speech = joined([*stream(EXTRACTORS[name](removing()), waveform, sizes)])
    expected, expected_speech = whole(EXTRACTORS[name](Silence(detector(), "keep")), waveform)
    assert expected_speech is not None
    assert speech == expected_speech.tolist()
    assert numbers == expected_speech.nonzero().flatten().tolist()
    torch.testing.assert_close(values, expected[expected_speech], atol=1e-5, rtol=1e-5)
    if numbers:
        torch.testing.assert_close(
            values, whole(EXTRACTORS[name](removing()), waveform)[0], atol=1e-5, rtol=1e-5
        )


def removing() -> Silence:
    return Silence(detector(), "remove")


@pytest.mark.parametrize("name", ["mfcc", "emphasized", "waveform"])
def test_without_a_detector_features_come_and_nothing_is_said_of_speech(name: str) -> None:
    waveform, extractor = spoken(5_000), EXTRACTORS[name](None)
    values, numbers, speech = joined([*stream(extractor, waveform, [77])])
    torch.testing.assert_close(values, whole(extractor, waveform)[0], atol=1e-5, rtol=1e-5)
    assert numbers == [*range(len(values))]
    assert not speech


@pytest.mark.parametrize("mode", ["mask", "remove"])
def test_an_old_state_stays_good_and_nothing_is_remembered_elsewhere(mode: Mode) -> None:
    features, waveform = FeatureStream(EXTRACTORS["mfcc"](Silence(detector(), mode))), spoken(9_000)
    _, state = features.push(waveform[:4_000], features.initial_state())
    once, later = features.push(waveform[4_000:], state)
    features.push(waveform[:3_000], later)
    waveform_again = waveform[4_000:].clone()
    again, _ = features.push(waveform_again, state)
    waveform_again.zero_()  # what the caller does with the samples afterwards is the caller's
    assert torch.equal(once.values, again.values)
    assert [*once.numbers] == [*again.numbers]
    assert once.speech == again.speech
    assert features.finish(later).speech == features.finish(later).speech


def test_after_a_reset_a_stream_begins_anew() -> None:
    features, waveform = FeatureStream(EXTRACTORS["emphasized"](None)), spoken(3_000)
    first, state = features.push(waveform, features.initial_state())
    anew, _ = features.push(waveform, features.initial_state())
    on, _ = features.push(waveform, state)
    assert torch.equal(first.values, anew.values)
    assert len(on.values) > len(first.values)  # what was left over counts


def test_speech_is_answered_no_later_than_the_look_ahead_says() -> None:
    found, late = detector(), []
    features, state = FeatureStream(EXTRACTORS["mfcc"](Silence(found))), None
    state = features.initial_state()
    for piece in spoken(60_000, seed=3).split(80):
        _, state = features.push(piece, state)
        late.append(state.steps - state.decided)
    assert 0 < max(late) <= found.smoothing.look_ahead


@pytest.mark.parametrize("mode", ["mask", "remove"])
@pytest.mark.parametrize("name", ["mfcc", "long_frames", "short_frames"])
def test_what_is_remembered_does_not_grow(name: str, mode: Mode) -> None:
    features = FeatureStream(EXTRACTORS[name](Silence(detector(), mode)))
    state = features.initial_state()
    for seed in range(4):
        _, state = features.push(spoken(50_000, seed), state)
        _, state = features.push(torch.zeros(20_000), state)
        stored = [tensor.untyped_storage().nbytes() // 4 for tensor in (state.samples, state.held)]
        assert max(stored) < 20_000  # one piece
        assert len(state.samples) <= 1 + 90 * 8 + 33 * 8
        assert len(state.held) + len(state.detected) < 50


def test_a_recording_without_speech_gives_nothing_where_silence_is_removed() -> None:
    parts = [*stream(EXTRACTORS["mfcc"](removing()), torch.zeros(4_000), [160])]
    values, numbers, speech = joined(parts)
    assert values.shape == (0, 13)
    assert not numbers
    assert len(speech) == 48
    assert not any(speech)


def test_an_empty_push_gives_nothing_and_an_empty_stream_ends() -> None:
    features = FeatureStream(EXTRACTORS["challenge"](Silence(detector())))
    frames, state = features.push(torch.empty(0), features.initial_state())
    assert frames.values.shape == (0, 20)
    assert features.finish(state).values.shape == (0, 20)
    assert not features.finish(state).speech


def test_half_precision_and_double_are_taken_as_well() -> None:
    features, waveform = FeatureStream(EXTRACTORS["mfcc"](None)), spoken(800).half()
    frames = [
        features.push(waveform.to(kind), features.initial_state()) for kind in (torch.half, torch.double)
    ]
    assert torch.equal(frames[0][0].values, frames[1][0].values)
    assert frames[1][1].samples.dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_sample_that_is_no_number_is_named_with_its_time(value: float) -> None:
    features = FeatureStream(EXTRACTORS["mfcc"](None))
    _, state = features.push(torch.zeros(4_000), features.initial_state())
    broken = torch.zeros(500)
    broken[100] = value
    with pytest.raises(
        DataError, match=rf"stream, sample 4100 \(0\.512 s\): is {value}, .*push 0\.0 in its place"
    ):
        features.push(broken, state)


def test_huge_samples_are_numbers() -> None:
    features = FeatureStream(EXTRACTORS["mfcc"](None))
    frames, _ = features.push(torch.full((400,), 1e19), features.initial_state())
    assert len(frames.values) == 3


@pytest.mark.parametrize("samples", [torch.zeros(1, 160), torch.zeros(160, dtype=torch.int16)])
def test_samples_of_another_kind_are_refused(samples: Tensor) -> None:
    features = FeatureStream(EXTRACTORS["mfcc"](None))
    with pytest.raises(
        DataError, match=r"stream, after 0 samples: torch\..*expected \[n\] floating-point.*one channel"
    ):
        features.push(samples, features.initial_state())


@pytest.mark.parametrize(
    ("extractor", "words"),
    [
        (LogMel(align="centered"), r"features\.align=centered: .*future samples.*features\.align=causal"),
        (MFCC(top_db=80.0), r"features\.top_db=80\.0: depends on the loudest frame.*features\.top_db=null"),
        (Waveform(), r"features\.normalize=peak: .*known at its end.*features\.normalize=none"),
        (
            LogMel(silence=Silence(detector(), "mute")),
            r"features\.silence\.mode=mute: .*only later.*silence\.mode=keep",
        ),
        (
            LogMel(silence=Silence(SilenceDetector(RATE))),
            r"features\.silence\.detector\.relative_db=-40\.0: needs the whole recording.*absolute_db=-45",
        ),
    ],
)
def test_what_no_stream_can_know_is_refused(extractor: Extractor, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FeatureStream(extractor)
