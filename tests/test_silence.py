import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ser.batch import Padded
from ser.errors import ConfigError
from ser.features.silence import Silence, SilenceDetector, speech_frames
from tests.conftest import alone

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
    for mode in ("remove", "mask"):
        treated = Silence(SilenceDetector(RATE), mode)(noise)
        assert treated.lengths.tolist() == [samples]


@settings(max_examples=25, deadline=None)
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
    monkeypatch.setattr("ser.features.silence._BLOCK", 7)
    assert torch.equal(SilenceDetector(RATE)(waveform), whole)


def test_with_an_absolute_threshold_what_comes_later_than_its_reach_changes_nothing() -> None:
    waveform, _ = speech_like(20)
    detector = SilenceDetector(RATE, relative_db=None, absolute_db=-45, min_speech_s=0.1)
    reach = round(detector.reach_s * RATE)
    whole = detector(one(waveform))[0]
    assert not whole.all()
    for end in torch.randint(reach, len(waveform), (40,)).tolist():
        assert torch.equal(detector(one(waveform[:end]))[0, : end - reach], whole[: end - reach])


def test_frames_are_speech_where_half_of_their_samples_are() -> None:
    speech = torch.zeros(2, 1000, dtype=torch.bool)
    speech[0, 300:700] = True
    speech[1, 150:] = True
    lengths = torch.tensor([1000, 450])
    speech[1, 450:] = False
    frames = speech_frames(speech, lengths, torch.tensor([9, 4]), frame_length=200, frame_shift=100)
    # Frame 0 covers 0..199, frame 1 100..299, ...; of the second utterance the last frame has 150 samples.
    assert frames[0].int().tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    assert frames[1].int().tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 0]


def test_frames_that_reach_beyond_the_end_count_what_is_there_and_later_ones_are_silence() -> None:
    speech = torch.tensor([[False] * 10 + [True] * 4])
    frames = speech_frames(speech, torch.tensor([14]), torch.tensor([5]), frame_length=8, frame_shift=4)
    assert frames[0].int().tolist() == [0, 0, 1, 1, 0]


@pytest.mark.parametrize("shift", [80, 160, 200])
def test_the_mask_of_frames_agrees_with_a_loop_over_them(shift: int) -> None:
    waveform, _ = speech_like(5)
    speech = SilenceDetector(RATE)(one(waveform))
    count = len(waveform) // shift + 1
    frames = speech_frames(
        speech, torch.tensor([len(waveform)]), torch.tensor([count]), frame_length=400, frame_shift=shift
    )
    stretches = [speech[0, start : start + 400] for start in range(0, count * shift, shift)]
    assert frames[0].tolist() == [len(s) > 0 and bool(2 * s.sum() >= len(s)) for s in stretches]


def test_keep_changes_nothing() -> None:
    waveforms = one(speech_like(3)[0])
    assert Silence(SilenceDetector(RATE))(waveforms) is waveforms


def test_remove_leaves_the_samples_of_speech_in_order() -> None:
    first, second = speech_like(6)[0], bursts((0, 0.5), (1, 1.5), seconds=1.5)[0]
    waveforms = Padded.collate([first[:, None], second[:, None]])
    detector = SilenceDetector(RATE)
    speech = detector(waveforms)
    removed = Silence(detector, "remove")(waveforms)
    assert removed.lengths.tolist() == speech.sum(1).tolist()
    assert (removed.lengths < waveforms.lengths).all()
    for index, length in enumerate(removed.lengths.tolist()):
        assert torch.equal(removed.values[index, :length], waveforms.values[index][speech[index]])
        assert not removed.values[index, length:].any()


def test_mask_makes_silence_digital_and_keeps_every_place() -> None:
    waveforms = one(bursts((0.5, 1.5), seconds=3, floor=FLOOR)[0])
    detector = SilenceDetector(RATE)
    speech = detector(waveforms)[0]
    masked = Silence(detector, "mask")(waveforms)
    assert torch.equal(masked.lengths, waveforms.lengths)
    assert torch.equal(masked.values[0][speech], waveforms.values[0][speech])
    assert not masked.values[0][~speech].any()


def test_an_utterance_without_speech_stays_whole_when_silence_is_removed() -> None:
    quiet = 1e-4 * torch.randn(RATE, 1)
    waveforms = Padded.collate([quiet, bursts((0, 1), seconds=2)[0][:, None]])
    detector = SilenceDetector(RATE, absolute_db=-50)
    removed = Silence(detector, "remove")(waveforms)
    assert torch.equal(removed.values[0, :RATE], quiet)
    assert removed.lengths[0] == RATE
    assert not Silence(detector, "mask")(waveforms).values[0].any()


@pytest.mark.parametrize("mode", ["remove", "mask"])
def test_treated_alone_or_in_a_batch_an_utterance_is_the_same(mode: str) -> None:
    parts = [speech_like(seconds)[0][:, None] for seconds in (2.0, 5.3, 0.01)]
    treat = Silence(SilenceDetector(RATE), mode)
    batch = Padded.collate(parts)
    together = treat(batch)
    for index, length in enumerate(together.lengths.tolist()):
        single = treat(alone(batch, index))
        assert single.lengths.tolist() == [length]
        assert torch.equal(together.values[index, :length], single.values[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relative_db": None}, r"relative_db=null and absolute_db=null.*relative_db=-40"),
        ({"relative_db": 40.0}, r"relative_db=40\.0: expected decibels below 0.*Write -40"),
        ({"absolute_db": float("nan")}, r"absolute_db=nan: expected decibels below 0"),
        ({"min_silence_s": -1.0}, r"min_silence_s=-1\.0: expected seconds, 0 or more"),
        ({"hang_over_s": float("inf")}, r"hang_over_s=inf: expected seconds"),
    ],
)
def test_settings_that_make_no_sense_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SilenceDetector(RATE, **options)
