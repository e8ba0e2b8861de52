import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.errors import ConfigError
from ser.features.augment_waveforms import (
    Noise,
    Polarity,
    Reverberation,
    Speed,
    WaveformAugment,
    WaveformBank,
    WaveformGain,
    change_speed,
    white_noise,
)
from ser.randomness import utterance_keys
from tests.conftest import alone

RATE = 16000
KEYS = utterance_keys(0, 0, torch.arange(4))
MANY_KEYS = utterance_keys(0, 0, torch.arange(1000))


@pytest.fixture
def waveforms() -> Padded:
    """Four utterances, the last of one sample; the padding is zero."""
    return Padded(0.1 * torch.randn(4, 16_000, 1), torch.tensor([16_000, 12_345, 4_001, 1])).zeroed()


@pytest.fixture
def rooms() -> WaveformBank:
    decay = torch.exp(-torch.arange(2000) / 300)
    responses = [torch.randn(size) * decay[:size] for size in (2000, 700, 1300)]
    for response, delay in zip(responses, (40, 0, 333), strict=True):
        response[delay] = 5.0
    return WaveformBank(responses)


@pytest.fixture
def noises() -> WaveformBank:
    return WaveformBank([torch.randn(size) for size in (500, 30_000, 1)])


def everything(rooms: WaveformBank, noises: WaveformBank | None) -> WaveformAugment:
    return WaveformAugment(
        speed=0.2,
        speed_probability=0.7,
        impulses=rooms,
        impulse_probability=0.7,
        noise_snr_db=[5, 20],
        noises=noises,
        noise_probability=0.7,
        gain_db=6.0,
        flip_probability=0.5,
    )


def one(waveform: Tensor) -> Padded:
    return Padded(waveform[None, :, None], torch.tensor([len(waveform)]))


def sine(frequency: float, samples: int, *, speed: float = 1.0) -> Tensor:
    time = torch.arange(samples, dtype=torch.float64) * speed / RATE
    return torch.sin(2 * torch.pi * frequency * time).float()


def decibels(share: Tensor) -> float:
    return 20 * math.log10(float(share.double().square().mean().sqrt()) * math.sqrt(2) + 1e-30)


def test_white_noise_is_gaussian() -> None:
    noise = white_noise(MANY_KEYS, "x", 1001)
    assert noise.shape == (1000, 1001)
    mean, variance = noise.mean(), noise.var()
    assert mean.abs() < 0.004  # 4 deviations of a mean of a million numbers
    assert variance == pytest.approx(1, abs=0.006)
    assert (noise**3).mean().abs() < 0.016
    assert (noise**4).mean() == pytest.approx(3, abs=0.04)
    share_beyond_two = (noise.abs() > 2).float().mean()
    assert share_beyond_two == pytest.approx(0.0455, abs=0.001)


def test_white_noise_is_white_within_and_between_utterances() -> None:
    noise = white_noise(KEYS, "x", 100_000).double()
    for lag in (1, 2, 3, 50, 1000):
        assert (noise[:, lag:] * noise[:, :-lag]).mean(1).abs().max() < 0.015
    assert torch.triu(torch.corrcoef(noise), 1).abs().max() < 0.015
    power = torch.fft.rfft(noise).abs().square()[:, 1:].unflatten(1, (50, -1)).mean((0, 2)) / 100_000
    assert ((power - 1).abs() < 0.07).all()


def test_white_noise_begins_the_same_whatever_its_length() -> None:
    # The last of 77 samples fill no vector of the CPU, so their logarithms may be rounded otherwise.
    torch.testing.assert_close(white_noise(KEYS, "x", 1000)[:, :77], white_noise(KEYS, "x", 77))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 40.0])
@pytest.mark.parametrize("recorded", [False, True])
def test_the_signal_to_noise_ratio_is_the_one_asked_for(
    waveforms: Padded, noises: WaveformBank, snr_db: float, recorded: bool
) -> None:
    noisy = Noise([snr_db, snr_db], noises if recorded else None)(waveforms, KEYS)
    for index, length in enumerate(waveforms.lengths.tolist()):
        clean = waveforms.values[index, :length].double()
        noise = noisy.values[index, :length].double() - clean
        ratio = 10 * torch.log10(clean.square().sum() / noise.square().sum())
        assert ratio.item() == pytest.approx(snr_db, abs=0.1)


def test_ratios_fill_the_range_evenly() -> None:
    waveforms = Padded(torch.randn(1000, 200, 1), torch.full((1000,), 200))
    noise = (Noise([10, 30])(waveforms, MANY_KEYS).values - waveforms.values).square().sum((1, 2))
    ratios = 10 * torch.log10(waveforms.values.square().sum((1, 2)) / noise)
    assert 9.9 < ratios.min() < 10.5
    assert 29.5 < ratios.max() < 30.1
    assert ratios.mean() == pytest.approx(20, abs=0.8)


def test_a_short_recording_of_noise_is_repeated() -> None:
    pulse = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    tone = one(sine(1000, 1000))
    noise = (Noise([0, 0], WaveformBank([pulse]))(tone, KEYS[:1]).values - tone.values)[0, :, 0]
    places = (noise > 1).nonzero().flatten()
    assert places.diff().unique().tolist() == [5]
    assert len(places) == 200


def test_a_recording_of_noise_is_heard_from_anywhere() -> None:
    starts = WaveformBank([torch.arange(1000.0)]).draw_segments(MANY_KEYS, "x", 1)
    assert torch.histc(starts, 4, 0, 1000).min() > 200


def test_each_recording_is_drawn_about_as_often() -> None:
    bank = WaveformBank([torch.full((7,), value) for value in (1.0, 2.0, 3.0)])
    counts = torch.bincount(bank.draw_segments(MANY_KEYS, "x", 3)[:, 0].long(), minlength=4)[1:]
    assert (counts > 270).all()
    assert torch.equal(
        bank.draw_segments(MANY_KEYS, "x", 1)[:, 0], bank.draw_recordings(MANY_KEYS, "x").values[:, 6, 0]
    )


def test_convolution_agrees_with_numpy(waveforms: Padded, rooms: WaveformBank) -> None:
    heard = Reverberation(rooms)(waveforms, KEYS)
    assert torch.equal(heard.lengths, waveforms.lengths)
    responses = rooms.draw_recordings(KEYS, "wroom")
    assert len(set(responses.lengths.tolist())) > 1
    for index, length in enumerate(waveforms.lengths.tolist()):
        dry = waveforms.values[index, :length, 0].double().numpy()
        response = responses.values[index, : responses.lengths[index], 0].double().numpy()
        wet = np.convolve(dry, response)[np.abs(response).argmax() :][:length]
        wet *= np.sqrt((dry**2).sum() / (wet**2).sum())
        np.testing.assert_allclose(heard.values[index, :length, 0].numpy(), wet, atol=1e-5)


def test_a_room_keeps_the_energy_and_the_place_of_the_direct_path(rooms: WaveformBank) -> None:
    click = torch.zeros(5000)
    click[1000] = 0.5
    heard = Reverberation(rooms)(Padded(click.expand(4, -1).unsqueeze(-1), torch.full((4,), 5000)), KEYS)
    assert heard.values[..., 0].abs().argmax(1).tolist() == [1000] * 4
    assert torch.allclose(heard.values.square().sum((1, 2)), torch.full((4,), 0.25), atol=1e-5)


@pytest.mark.parametrize("percent", [50, 90, 99, 101, 110, 150])
def test_speed_moves_a_tone_and_divides_the_length(percent: int) -> None:
    changed = change_speed(one(sine(1000, 22_000)), torch.tensor([percent]))
    length = int(changed.lengths)
    assert length == round(22_000 * 100 / percent)
    tone = changed.values[0, :, 0]
    spectrum = torch.fft.rfft(tone * torch.hann_window(length)).abs()
    assert float(spectrum.argmax()) * RATE / length == pytest.approx(10 * percent, abs=RATE / length)
    inner = slice(100, length - 100)
    error = tone[inner] - sine(1000, length, speed=percent / 100)[inner]
    assert decibels(error) < -80


def test_what_a_higher_speed_lifts_beyond_the_highest_frequency_is_not_folded_down() -> None:
    changed = change_speed(one(sine(7700, RATE)), torch.tensor([110]))  # 8470 Hz would fold to 7530 Hz
    assert decibels(changed.values[0, 500:-500, 0]) < -45


def test_the_passband_is_flat_and_a_constant_stays_one() -> None:
    loud = change_speed(one(sine(6000, RATE)), torch.tensor([105])).values[0, 500:-500, 0]
    assert decibels(loud) == pytest.approx(0, abs=0.1)
    constant = change_speed(one(torch.ones(2000)), torch.tensor([93])).values[0, 100:-100, 0]
    assert torch.allclose(constant, torch.ones_like(constant), atol=1e-5)


def test_unchanged_speed_changes_no_bit(waveforms: Padded) -> None:
    same = change_speed(waveforms, torch.tensor([100, 100, 100, 100]))
    assert torch.equal(same.values, waveforms.values)
    assert torch.equal(same.lengths, waveforms.lengths)


def test_speeds_are_drawn_evenly_from_whole_percents() -> None:
    waveforms = Padded(torch.ones(1000, 10_000, 1), torch.full((1000,), 10_000))
    lengths = Speed(0.02)(waveforms, MANY_KEYS).lengths
    values, counts = lengths.unique(return_counts=True)
    assert values.tolist() == [round(1e6 / percent) for percent in (102, 101, 100, 99, 98)]
    assert (counts > 150).all()


def test_gain_is_within_its_limit_and_one_number_an_utterance(waveforms: Padded) -> None:
    louder = WaveformGain(6.0)(waveforms, KEYS)
    ratio = (louder.values / waveforms.values)[waveforms.mask]
    change = 20 * torch.log10(ratio[:, 0])
    assert change.abs().max() <= 6.001
    assert len(change.mul(1000).round().unique()) <= 4 + 4  # one value each, but for rounding
    assert change.std() > 0.1


def test_polarity_flips_about_half_of_the_utterances_and_nothing_else() -> None:
    ones = Padded(torch.ones(1000, 3, 1), torch.full((1000,), 3))
    signs = Polarity(0.5)(ones, MANY_KEYS).values[..., 0]
    assert signs.abs().eq(1).all()
    assert torch.equal(signs[:, 0], signs[:, 2])
    assert 400 < (signs[:, 0] < 0).sum() < 600


@pytest.mark.parametrize(("share", "fewest", "most"), [(0.0, 0, 0), (0.3, 60, 120), (1.0, 270, 300)])
def test_a_piece_changes_its_share_of_the_utterances(share: float, fewest: int, most: int) -> None:
    waveforms = Padded(torch.randn(300, 300, 1), torch.full((300,), 300))
    room = WaveformBank([torch.tensor([1.0, 0.5])])
    for piece in (
        Speed(0.1, probability=share),
        Reverberation(room, probability=share),
        Noise([10, 10], probability=share),
    ):
        changed = piece(waveforms, MANY_KEYS[:300]).values[
            :, :270
        ]  # the shortest, at a speed of 1.1, has 273
        assert fewest <= (changed != waveforms.values[:, :270]).any(1).sum() <= most


@pytest.mark.parametrize("recorded", [False, True])
def test_alone_or_in_a_batch_an_utterance_becomes_the_same(
    waveforms: Padded, rooms: WaveformBank, noises: WaveformBank, recorded: bool
) -> None:
    augment = everything(rooms, noises if recorded else None)
    together = augment(waveforms, KEYS)
    for index, length in enumerate(together.lengths.tolist()):
        single = augment(alone(waveforms, index), KEYS[index : index + 1])
        assert single.lengths.tolist() == [length]
        assert torch.allclose(together.values[index, :length], single.values[0], atol=1e-5)


def test_padding_stays_zero_and_is_never_heard(
    waveforms: Padded, rooms: WaveformBank, noises: WaveformBank
) -> None:
    garbage = waveforms.with_values(waveforms.values.where(waveforms.mask.unsqueeze(-1), 1e3))
    for augment in (Speed(0.2), Reverberation(rooms), Noise([0, 20]), Noise([0, 20], noises)):
        expected, found = augment(waveforms, KEYS), augment(garbage, KEYS)
        assert torch.equal(found.values, expected.values)
        assert not found.values[~found.mask].any()
    cut = Padded(torch.ones(2, 500, 1), torch.tensor([500, 300]))  # loud up to its end
    slower = change_speed(cut, torch.tensor([90, 90]))
    assert not slower.values[~slower.mask].any()


def test_the_same_keys_give_the_same_numbers_and_others_give_others(
    waveforms: Padded, rooms: WaveformBank, noises: WaveformBank
) -> None:
    augment = everything(rooms, noises)
    first = augment(waveforms, KEYS)
    torch.manual_seed(1)
    again = augment(waveforms, KEYS)
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.lengths, again.lengths)
    for others in (utterance_keys(0, 1, torch.arange(4)), utterance_keys(1, 0, torch.arange(4))):
        other = augment(waveforms, others)
        for index in range(3):
            size = min(first.values.shape[1], other.values.shape[1])
            assert not torch.allclose(first.values[index, :size], other.values[index, :size], atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 1e-30, 1e-12])
def test_silence_stays_finite(rooms: WaveformBank, noises: WaveformBank, level: float) -> None:
    silence = Padded(torch.full((4, 3000, 1), level), torch.tensor([3000, 2000, 1, 3000]))
    for bank in (None, noises, WaveformBank([torch.zeros(10)]), WaveformBank([torch.full((10,), 1e-30)])):
        changed = everything(rooms, bank)(silence, KEYS)
        assert changed.values.isfinite().all()
        assert changed.values.abs().max() <= 100 * level


def test_pieces_come_in_the_order_in_which_sound_travels(rooms: WaveformBank) -> None:
    kinds = [type(piece) for piece in everything(rooms, None).pieces]
    assert kinds == [Speed, Reverberation, Noise, WaveformGain, Polarity]


def test_without_pieces_nothing_changes(waveforms: Padded) -> None:
    assert WaveformAugment()(waveforms, KEYS) is waveforms


def test_a_checkpoint_does_not_hold_the_recordings(rooms: WaveformBank, noises: WaveformBank) -> None:
    assert not everything(rooms, noises).state_dict()
    assert isinstance(rooms, nn.Module)  # so that they move to the device with what uses them


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"speed": 1.5},
            r"speed=1\.5: expected 0\.01 to 0\.5, or 0 for none.*Set waveform_augment\.speed=0\.1",
        ),
        ({"speed": 0.001}, r"speed=0\.001: expected 0\.01"),
        (
            {"noise_snr_db": [30, 10]},
            r"noise_snr_db=\[30, 10\]: expected low and high in dB.*Set waveform_augment\.noise_snr_db=\[10,30\]",
        ),
        ({"noise_snr_db": [10]}, r"noise_snr_db=\[10\]: expected low and high"),
        (
            {"noises": WaveformBank([torch.ones(3)])},
            r"noises: are given, but waveform_augment\.noise_snr_db=null.*=\[10,30\]",
        ),
        ({"gain_db": -3.0}, r"gain_db=-3\.0: expected decibels from 0.*Set waveform_augment\.gain_db=6"),
        ({"flip_probability": 50.0}, r"flip_probability=50\.0: expected a share from 0 to 1"),
        ({"speed": 0.1, "speed_probability": -1.0}, r"speed_probability=-1\.0: expected a share"),
        ({"noise_snr_db": [1, 2], "noise_probability": 2.0}, r"noise_probability=2\.0: expected a share"),
    ],
)
def test_settings_that_make_no_sense_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WaveformAugment(**options)
