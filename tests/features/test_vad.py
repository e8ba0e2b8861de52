from typing import Any, get_args

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ser.batch import Padded
from ser.config.instantiate import build
from ser.config.validate import check
from ser.errors import ConfigError
from ser.features.extractors import Extractor, LogMel, Waveform
from ser.features.framing import Framing
from ser.features.vad import Mode, Silence, SilenceDetector
from tests.conftest import REPOSITORY, alone

RATE = 16000
FLOOR = 10 ** (-50 / 20)  # of the noise between bursts, -50 dB
BLUR = 320  # samples by which 25 ms frames every 10 ms may misplace an edge


def one(waveform: Tensor) -> Padded:
    return Padded(waveform[None, :, None], torch.tensor([len(waveform)]))


def bursts(*spans: tuple[float, float], seconds: float, floor: float = 0.0) -> tuple[Tensor, Tensor]:
    """Noise [samples] at -20 dB within spans of seconds, at `floor` times that elsewhere, and where they are."""
    time = torch.arange(round(seconds * RATE)) / RATE
    spoken = torch.zeros(len(time), dtype=torch.bool)
    for begin, end in spans:
        spoken |= (time >= begin) & (time < end)
    return 0.1 * torch.randn(len(time)) * torch.where(spoken, 1.0, floor), spoken


def speech_like(seconds: float) -> tuple[Tensor, Tensor]:
    """Voiced bursts of 0.5 to 2 s with syllables and fades, pauses of 0.4 to 1.5 s, a floor at -50 dB."""
    places = torch.cumsum(
        torch.stack([0.4 + 1.1 * torch.rand(99), 0.5 + 1.5 * torch.rand(99)], 1).flatten(), 0
    )
    spans = [(begin, end) for begin, end in places.view(-1, 2).tolist() if end < seconds]
    _, spoken = bursts(*spans, seconds=seconds)
    time = torch.arange(len(spoken)) / RATE
    voice = sum(torch.sin(2 * torch.pi * 120 * k * time) / k for k in range(1, 20))
    syllables = 0.6 + 0.4 * torch.sin(2 * torch.pi * 4 * time)
    speech = 0.2 * torch.as_tensor(voice) * syllables * spoken
    return speech + FLOOR * 0.2 * torch.randn(len(time)), spoken


def treated(waveforms: Padded, mode: Mode, **options: Any) -> tuple[Padded, Tensor]:
    """The waveforms as features, and which of their samples are speech."""
    silence = Silence(SilenceDetector(RATE, **options), mode)
    features, speech = Waveform(normalize="none", silence=silence).with_speech(waveforms)
    assert speech is not None
    return features, speech


def f1(found: Tensor, truth: Tensor) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def edges(found: Tensor) -> list[int]:
    """Samples at which a mask [samples] changes."""
    return (1 + found.int().diff().nonzero().flatten()).tolist()


def test_speech_is_found_above_a_noise_floor() -> None:
    waveform, spoken = speech_like(60)
    found = SilenceDetector(RATE, hang_over_s=0.0)(one(waveform))[0]
    assert f1(found, spoken) > 0.98
    assert f1(~found, ~spoken) > 0.97


def test_with_hang_over_all_speech_is_kept_and_silence_is_still_found() -> None:
    waveform, spoken = speech_like(60)
    found = SilenceDetector(RATE)(one(waveform))[0]
    assert not (spoken & ~found).any()
    assert f1(~found, ~spoken) > 0.85


@pytest.mark.parametrize("hang_over_s", [0.0, 0.05, 0.1, 0.2])
def test_hang_over_is_as_long_as_asked_for_on_both_sides(hang_over_s: float) -> None:
    waveform, _ = bursts((1, 2), seconds=3)
    begin, end = edges(SilenceDetector(RATE, hang_over_s=hang_over_s)(one(waveform))[0])
    bare = edges(SilenceDetector(RATE, hang_over_s=0.0)(one(waveform))[0])
    assert [bare[0] - begin, end - bare[1]] == [hang_over_s * RATE] * 2
    assert bare == pytest.approx([RATE, 2 * RATE], abs=BLUR)


@pytest.mark.parametrize(("pause", "stays"), [(0.1, True), (0.28, True), (0.33, False), (1.0, False)])
@pytest.mark.parametrize("where", ["begin", "middle", "end"])
def test_a_pause_shorter_than_the_minimum_is_speech(pause: float, stays: bool, where: str) -> None:
    spans = {"begin": [(pause, 1)], "middle": [(0, 0.5), (0.5 + pause, 2)], "end": [(0, 1)]}[where]
    waveform, _ = bursts(*spans, seconds=1 + pause if where == "end" else spans[-1][1])
    found = SilenceDetector(RATE, min_silence_s=0.3)(one(waveform))
    assert bool(found.all()) is stays


def test_a_click_is_silence_and_does_not_cut_a_pause_in_two() -> None:
    waveform, _ = bursts((0, 1), (1.5, 2.5), seconds=2.5)
    clicked = waveform.clone()
    clicked[20_000:20_016] = 0.9
    detector = SilenceDetector(RATE, hang_over_s=0.0)
    assert torch.equal(detector(one(clicked)), detector(one(waveform)))
    assert not detector(one(waveform)).all()
    with_clicks = SilenceDetector(RATE, hang_over_s=0.0, min_speech_s=0.0)(one(clicked))
    assert with_clicks[0, 20_008]


def test_digital_silence_is_silence_and_so_is_a_constant() -> None:
    constants = torch.cat([torch.zeros(1), torch.rand(20), 1e-6 * torch.rand(20)])
    waveforms = constants[:, None, None].expand(-1, 1000, 1)
    detector = SilenceDetector(RATE, min_speech_s=0.0)
    assert not detector(Padded(waveforms, torch.arange(960, 1001))).any()


def test_an_absolute_threshold_finds_noise_alone_to_be_silence() -> None:
    noise = 10 ** (-60 / 20) * torch.randn(RATE)
    assert SilenceDetector(RATE)(one(noise)).all()
    assert not SilenceDetector(RATE, absolute_db=-50)(one(noise)).any()
    assert SilenceDetector(RATE, relative_db=None, absolute_db=-70)(one(noise)).all()


def test_zero_decibels_are_a_full_scale_square_wave() -> None:
    sine = torch.sin(2 * torch.pi * 1000 / RATE * torch.arange(RATE))
    assert SilenceDetector(RATE, absolute_db=-3.1)(one(sine)).all()
    assert not SilenceDetector(RATE, absolute_db=-2.9)(one(sine)).any()


def test_a_relative_threshold_follows_the_level_and_both_together_need_both() -> None:
    loud, _ = bursts((0.5, 1.5), seconds=2, floor=FLOOR)
    both = SilenceDetector(RATE, relative_db=-40, absolute_db=-50)
    relative = SilenceDetector(RATE, relative_db=-40)
    assert torch.equal(relative(one(loud)), relative(one(loud / 1024)))
    assert torch.equal(both(one(loud)), relative(one(loud)))
    assert not both(one(loud / 1024)).any()


@pytest.mark.parametrize("offset", [0.3, -0.9])
def test_an_offset_changes_nothing(offset: float) -> None:
    waveform, _ = bursts((0.5, 1.5), seconds=2.5, floor=FLOOR)
    detector = SilenceDetector(RATE)
    assert torch.equal(detector(one(waveform + offset)), detector(one(waveform)))
    assert not detector(one(waveform)).all()


@pytest.mark.parametrize("samples", [1, 2, 159, 160, 399, 400, 401, 560, 561])
def test_clips_about_as_short_as_a_frame_are_answered(samples: int) -> None:
    noise = one(0.1 * torch.randn(samples))
    assert not SilenceDetector(RATE)(one(torch.zeros(samples))).any()
    assert SilenceDetector(RATE, min_speech_s=0.0)(noise).all() == (samples > 1)  # one sample has no variance
    for mode in ("remove", "mute"):
        assert treated(noise, mode)[0].lengths.tolist() == [samples]


@settings(max_examples=25)
@given(st.lists(st.integers(1, 12_000), min_size=1, max_size=4), st.sampled_from([8000, 11025, 16000]))
def test_an_answer_is_the_same_alone_in_a_batch_and_over_any_padding(lengths: list[int], rate: int) -> None:
    size = max(lengths) + 700
    level = 10 ** (-3 * torch.rand(len(lengths), size // 400 + 1, 1))
    values = (level.expand(-1, -1, 400) * torch.randn(len(lengths), size // 400 + 1, 400)).flatten(1)[
        :, :size
    ]
    batch = Padded(values.unsqueeze(-1), torch.tensor(lengths))
    batch = batch.with_values(
        batch.values.where(batch.mask.unsqueeze(-1), 100 * batch.values)
    )  # loud padding
    detector = SilenceDetector(rate, min_silence_s=0.05, hang_over_s=0.02, relative_db=-20)
    together = detector(batch)
    assert not together[~batch.mask].any()
    for index, length in enumerate(lengths):
        assert torch.equal(together[index, :length], detector(alone(batch, index))[0])


def test_long_audio_is_answered_as_if_it_were_not_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = one(speech_like(10)[0])
    whole = SilenceDetector(RATE)(waveform)
    monkeypatch.setattr("ser.features.vad._BLOCK", 7)
    assert torch.equal(SilenceDetector(RATE)(waveform), whole)


def test_with_an_absolute_threshold_what_comes_later_than_its_reach_changes_nothing() -> None:
    waveform, _ = speech_like(20)
    detector = SilenceDetector(RATE, relative_db=None, absolute_db=-45, min_speech_s=0.1)
    reach = round(detector.reach_s * RATE)
    whole = detector(one(waveform))[0]
    assert not whole.all()
    for end in torch.randint(reach, len(waveform), (40,)).tolist():
        assert torch.equal(detector(one(waveform[:end]))[0, : end - reach], whole[: end - reach])


def test_padding_is_no_pause_that_ends_in_speech() -> None:
    waveform, _ = bursts((0, 0.5), seconds=2)
    batch = Padded.collate([waveform[:, None], torch.zeros(len(waveform) + 1600, 1)])
    detector = SilenceDetector(RATE, relative_db=None, absolute_db=-45)
    assert torch.equal(detector(batch)[0, : len(waveform)], detector(one(waveform))[0])


def test_a_frame_of_features_made_every_10_ms_is_as_the_detectors_own() -> None:
    waveform, _ = speech_like(8)
    detector = SilenceDetector(RATE)
    frames = detector.frames(one(waveform[:-77]))
    _, speech = LogMel(silence=Silence(detector)).with_speech(one(waveform[:-77]))
    assert speech is not None
    assert frames.values.dtype == torch.bool
    assert frames.lengths.tolist() == [speech.shape[1] + 1]  # its last one need not be full
    assert torch.equal(speech[0], frames.values[0, :-1, 0])
    assert speech.any()
    assert not speech.all()


@given(
    st.sampled_from([(25.0, 10.0), (64.0, 16.0), (10.0, 4.0), (5.0, 40.0)]),
    st.sampled_from(["causal", "causal_padded", "centered", "centered_padded"]),
    st.sampled_from([8000, 11025, 16000]),
    st.lists(st.integers(1100, 9000), min_size=1, max_size=3),
)
def test_a_step_is_as_the_10_ms_around_its_centre(
    milliseconds: tuple[float, float], align: Any, rate: int, lengths: list[int]
) -> None:
    size = max(lengths) + 200
    level = 10 ** (-3 * torch.rand(len(lengths), size // 300 + 1))
    noise = level.repeat_interleave(300, 1)[:, :size] * torch.randn(len(lengths), size)
    batch = Padded(noise[..., None], torch.tensor(lengths))
    detector = SilenceDetector(rate, min_silence_s=0.02, min_speech_s=0.02, hang_over_s=0.0, relative_db=-20)
    length, shift = milliseconds
    extractor = LogMel(
        sample_rate=rate,
        frame_length_ms=length,
        frame_shift_ms=shift,
        fft_length=2048,
        num_mel_bins=20,
        align=align,
        silence=Silence(detector),
    )
    features, speech = extractor.with_speech(batch)
    assert speech is not None
    samples, framing = detector(batch), extractor.framing
    for index, count in enumerate(features.lengths.tolist()):
        centres = [step * framing.shift - framing.lead + framing.length // 2 for step in range(count)]
        places = [min(max(centre, 0), lengths[index] - 1) for centre in centres]
        assert speech[index, :count].tolist() == samples[index, places].tolist()
        assert not speech[index, count:].any()


def test_samples_are_as_the_cells_they_lie_in_and_the_outer_cells_reach_to_the_ends() -> None:
    detector = SilenceDetector(RATE)
    frames = Padded(torch.tensor([True, False, True])[None, :, None], torch.tensor([3]))
    samples = detector.speech_at_steps(frames, Framing(1, 1), one(torch.zeros(720)))[0]
    # Frame 1 covers 160 to 560, its centre is 360, and its cell 280 to 440.
    assert edges(samples) == [280, 440]
    assert detector.frame_at(280) == 1
    assert detector.frame_at(279) == 0


def test_keep_mask_and_class_leave_features_and_say_where_speech_is() -> None:
    waveforms = one(speech_like(3)[0])
    plain = LogMel()(waveforms)
    assert LogMel().with_speech(waveforms)[1] is None
    detector = SilenceDetector(RATE)
    for mode in ("keep", "mask", "class"):
        features, speech = LogMel(silence=Silence(detector, mode)).with_speech(waveforms)
        assert torch.equal(features.values, plain.values)
        assert speech is not None
        assert speech.any()
        assert not speech.all()


@pytest.mark.parametrize("extractor", [LogMel, Waveform])
def test_remove_leaves_the_steps_of_speech_in_order(extractor: type[Extractor]) -> None:
    first, second = speech_like(6)[0], bursts((0, 0.5), (1, 1.5), seconds=1.5)[0]
    waveforms = Padded.collate([first[:, None], second[:, None]])
    kept, speech = extractor(silence=Silence(SilenceDetector(RATE))).with_speech(waveforms)
    left, all_speech = extractor(silence=Silence(SilenceDetector(RATE), "remove")).with_speech(waveforms)
    assert left.lengths.tolist() == speech.sum(1).tolist()
    assert (left.lengths < kept.lengths).all()
    assert torch.equal(all_speech, left.mask)
    for index, length in enumerate(left.lengths.tolist()):
        assert torch.equal(left.values[index, :length], kept.values[index][speech[index]])
        assert not left.values[index, length:].any()


def test_mute_makes_silence_digital_and_keeps_every_place() -> None:
    waveforms = one(bursts((0.5, 1.5), seconds=3, floor=FLOOR)[0])
    muted, speech = treated(waveforms, "mute")
    assert torch.equal(speech, SilenceDetector(RATE)(waveforms))
    assert torch.equal(muted.lengths, waveforms.lengths)
    assert torch.equal(muted.values[speech], waveforms.values[speech])
    assert not muted.values[~speech].any()
    silence = Silence(SilenceDetector(RATE), "mute")
    assert torch.equal(LogMel(silence=silence)(waveforms).values, LogMel()(muted).values)


def test_an_utterance_without_speech_stays_whole_when_silence_is_removed() -> None:
    quiet = 1e-4 * torch.randn(RATE, 1)
    waveforms = Padded.collate([quiet, bursts((0, 1), seconds=2)[0][:, None]])
    removed, speech = treated(waveforms, "remove", absolute_db=-50)
    assert torch.equal(removed.values[0, :RATE], quiet)
    assert removed.lengths[0] == RATE
    assert not speech[0].any()
    assert speech[1, : removed.lengths[1]].all()
    assert not treated(waveforms, "mute", absolute_db=-50)[0].values[0].any()


@pytest.mark.parametrize("mode", ["remove", "mute", "mask"])
@pytest.mark.parametrize("extractor", [LogMel, Waveform])
def test_treated_alone_or_in_a_batch_an_utterance_is_the_same(mode: Mode, extractor: type[Extractor]) -> None:
    parts = [speech_like(seconds)[0][:, None] for seconds in (2.0, 5.3, 0.04)]
    treat = extractor(silence=Silence(SilenceDetector(RATE), mode))
    batch = Padded.collate(parts)
    together, speech = treat.with_speech(batch)
    for index, length in enumerate(together.lengths.tolist()):
        single, own_speech = treat.with_speech(alone(batch, index))
        assert single.lengths.tolist() == [length]
        assert torch.equal(speech[index, :length], own_speech[0])
        torch.testing.assert_close(together.values[index, :length], single.values[0], atol=1e-5, rtol=1e-5)


def test_frames_of_a_stream_are_sound_where_those_of_the_whole_are() -> None:
    waveform = speech_like(6)[0][: 6 * RATE - 77]
    for absolute_db in (-60.0, -45.0, -30.0):
        detector = SilenceDetector(
            RATE, relative_db=None, absolute_db=absolute_db, min_speech_s=0, hang_over_s=0
        )
        detector.smoothing = type(detector.smoothing)(0, 0, 0)
        found = detector.frames(one(waveform)).values[0, :, 0].tolist()
        full = detector.framing.num_full_frames(len(waveform))
        assert detector.detect_sounds(waveform) == found[:full]
        singles = [detector.detect_sounds(waveform[160 * step : 160 * step + 400])[0] for step in range(full)]
        assert singles == found[:full]
        assert len(set(found)) == 2


@pytest.mark.parametrize("mode", get_args(Mode))
def test_every_treatment_is_an_option(mode: Mode) -> None:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        settings = check(compose("train", overrides=["features=log_mel", f"silence={mode}"]))
    extractor: Extractor = build(settings["features"], slot="features")
    assert extractor.silence is not None
    assert extractor.silence.mode == mode
    assert extractor.silence.detector.framing.shift == RATE // 100


def test_an_unknown_treatment_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"features\.silence\.mode=removed: .*Did you mean 'remove'"):
        Silence(SilenceDetector(RATE), "removed")  # type: ignore[arg-type]


DETECTOR = r"features\.silence\.detector\."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"relative_db": None},
            rf"{DETECTOR}relative_db=null, {DETECTOR}absolute_db=null.*{DETECTOR}relative_db=-40",
        ),
        (
            {"relative_db": 40.0},
            rf"{DETECTOR}relative_db=40\.0: expected decibels below 0.*Set {DETECTOR}relative_db=-40",
        ),
        ({"absolute_db": float("nan")}, r"absolute_db=nan: expected decibels below 0"),
        ({"min_silence_s": -1.0}, r"min_silence_s=-1\.0: expected seconds, 0 or more"),
        ({"hang_over_s": float("inf")}, r"hang_over_s=inf: expected seconds"),
    ],
)
def test_settings_that_make_no_sense_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SilenceDetector(RATE, **options)
