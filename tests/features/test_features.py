import math
from typing import Any

import pytest
import torch

from ser.batch import Padded
from ser.errors import ConfigError
from ser.features.augment_features import Augment, FrequencyWarp, Gain, Mixup, SpecAugment, TimeStretch
from ser.models.frontend import Frontend, GlobalNormalizer, UtteranceNormalizer, deltas
from ser.randomness import utterance_keys
from tests.conftest import alone

KEYS = utterance_keys(0, 0, torch.arange(6))


def test_global_normaliser_gives_zero_mean_and_unit_deviation_over_chunks() -> None:
    frames = torch.randn(1000, 26) * 7 + 100
    normalizer = GlobalNormalizer(26)
    normalizer.fit(frames.split(64))
    values = normalizer(Padded(frames[None], torch.tensor([1000]))).values[0]
    assert torch.allclose(values.mean(0), torch.zeros(26), atol=1e-4)
    assert torch.allclose(values.std(0, correction=0), torch.ones(26), atol=1e-4)


def test_a_constant_feature_is_normalised_to_zero() -> None:
    normalizer = GlobalNormalizer(1)
    normalizer.fit([torch.full((10, 1), 3.0)])
    assert normalizer(Padded(torch.full((1, 2, 1), 3.0), torch.tensor([2]))).values.abs().max() == 0


def test_utterance_normaliser_ignores_padding(audio: Padded) -> None:
    together = UtteranceNormalizer(26)(audio)
    for index in range(4):
        single = UtteranceNormalizer(26)(alone(audio, index)).values[0]
        assert torch.allclose(together.values[index, : len(single)], single, atol=1e-5)
        assert torch.allclose(single.mean(0), torch.zeros(26), atol=1e-5)


def test_deltas_of_a_line_are_its_slope_and_repeat_the_last_step_at_an_end() -> None:
    line = Padded(torch.arange(8.0).reshape(1, 8, 1), torch.tensor([6]))
    slope = deltas(line).values[0, :6, 0]
    assert torch.allclose(slope[2:4], torch.ones(2))
    # At the last step of a line cut at 5: ((5 - 4) + 2 * (5 - 3)) / 10.
    assert torch.allclose(slope[5], torch.tensor(0.5))


@pytest.mark.parametrize("normalize", ["global", "utterance", "none"])
def test_frontend_does_not_see_padding(audio: Padded, normalize: str) -> None:
    frontend = Frontend(26, normalize=normalize, floor=0.0, delta_scale=3.0)
    frontend.fit([audio.values[0]])
    garbage = audio.with_values(torch.where(audio.mask.unsqueeze(-1), audio.values, 1e3))
    assert torch.equal(frontend(audio).values, frontend(garbage).values)
    assert frontend(audio).values.shape == (6, 90, 52)


def test_floor_is_applied_before_the_statistics_are_fitted() -> None:
    frames = torch.tensor([[-36.0], [2.0], [4.0]])
    frontend = Frontend(1, floor=0.0)
    frontend.fit([frames])
    assert frontend.normalizer.mean.item() == pytest.approx(2.0)


def test_time_stretch_changes_lengths_within_its_limit_and_keeps_the_ends(audio: Padded) -> None:
    stretched = TimeStretch(0.2)(audio, KEYS)
    ratio = stretched.lengths[:4] / audio.lengths[:4]
    assert ((ratio > 1 / 1.23) & (ratio < 1 / 0.78)).all()
    assert len(set(ratio.tolist())) > 1
    assert torch.allclose(stretched.values[:, 0], audio.values[:, 0])


def test_frequency_warp_moves_a_peak_along_the_mel_axis() -> None:
    bands = torch.arange(26.0)
    peak = torch.exp(-((bands - 13) ** 2) / 8).expand(6, 4, 26)
    warped = FrequencyWarp(0.2)(Padded(peak, torch.full((6,), 4)), KEYS).values
    places = warped[:, 0].argmax(-1)
    assert len(set(places.tolist())) > 1
    assert ((places >= 10) & (places <= 17)).all()


def test_gain_adds_one_number_to_the_whole_utterance(audio: Padded) -> None:
    change = Gain(5.0)(audio, KEYS).values - audio.values
    assert torch.allclose(change, change[:, :1, :1].expand_as(change), atol=1e-5)
    assert (change.abs().amax((1, 2)) <= 5.0 * 0.2303).all()


def test_spec_augment_hides_what_it_says_and_fills_in_the_mean(audio: Padded) -> None:
    hidden = SpecAugment(time_masks=1, max_time_share=0.5, frequency_masks=0)(audio, KEYS)
    changed = (hidden.values != audio.values)[0].all(-1)
    assert 0 < changed.sum() <= 45
    mean = audio.values[0, :90].mean()
    assert torch.allclose(hidden.values[0][changed], mean, atol=1e-4)


def test_mixup_adds_energies_where_both_speak() -> None:
    values = torch.zeros(2, 3, 1)
    mixed, share = Mixup(0.5)(Padded(values, torch.tensor([3, 1])), KEYS[:2])
    expected = torch.log(1 - share[0] + share[0])
    assert mixed.values[0, 0, 0] == pytest.approx(expected.item(), abs=1e-6)
    assert mixed.values[0, 1, 0] == pytest.approx(torch.log(1 - share[0]).item(), abs=1e-6)


def test_augmentation_of_an_utterance_does_not_depend_on_its_mates(audio: Padded) -> None:
    augment = Augment(time_stretch=0.2, frequency_warp=0.1, gain_db=6.0, time_masks=1, frequency_masks=1)
    together, share = augment(audio, KEYS)
    assert not share.any()
    for index in range(5):
        single, _ = augment(alone(audio, index), KEYS[index : index + 1])
        assert torch.allclose(together.values[index, : single.values.shape[1]], single.values[0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [
        *[
            ("time_stretch", 20.0, 0.5),
            ("time_stretch", -0.1, 0.5),
            ("mixup", 1.5, 0.5),
            ("frequency_warp", 2.0, 0.3),
        ],
        *[
            ("gain_db", -6.0, 100),
            ("time_masks", -1, 100),
            ("frequency_masks", -1, 100),
            ("mixup", math.nan, 0.5),
        ],
    ],
)
def test_augmentation_out_of_range_is_refused(name: str, value: float, most: float) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=rf"augment\.{name}={value}: expected .* from 0 to {most}\. Set 0"):
        Augment(**settings)


def test_augmentation_at_the_ends_of_its_range_is_finite(audio: Padded) -> None:
    augment = Augment(
        time_stretch=0.5, frequency_warp=0.3, gain_db=100.0, time_masks=100, frequency_masks=100, mixup=0.5
    )
    changed, share = augment(audio, utterance_keys(0, 0, torch.arange(len(audio.lengths))))
    assert changed.values.isfinite().all()
    assert 0 <= share.min() <= share.max() <= 0.5


def test_augment_without_pieces_changes_nothing(audio: Padded) -> None:
    same, share = Augment()(audio, KEYS)
    assert same is audio
    assert not share.any()
