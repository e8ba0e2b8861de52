"""Views of crops: equal to a slow reference, sample by sample, and to what they were after a resume."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ser.errors import ConfigError
from ser.pretraining.views import Views
from ser.randomness import uniform, utterance_keys


def keys_of(size: int, epoch: int = 0) -> Tensor:
    return utterance_keys(0, epoch, torch.arange(size))


def slow_view(crop: Tensor, past: list[Tensor], key: Tensor, number: int, views: Views) -> Tensor:
    """One view of one crop [T, F] with torch's own interpolation."""
    share, place = uniform(key[None], f"mixup{number}", 2)[0].tolist()
    if past:
        other, alpha = past[int(place * len(past))], views.mixup * share
        crop = ((1 - alpha) * crop.double().exp() + alpha * other.double().exp()).log().float()
    spans = []
    draws = uniform(key[None], f"resize{number}", 4)[0].numpy()
    wide = int(views.canvas * len(crop))
    for draw, scale, size, canvas in (
        (draws[:2], views.frequency_scale, crop.shape[1], crop.shape[1]),
        (draws[2:], views.time_scale, len(crop), wide),
    ):
        span = np.clip(int((scale[0] + np.float32(scale[1] - scale[0]) * draw[0]) * size), 1, canvas)
        spans.append((int(draw[1] * np.float32(canvas - span + 1)), int(span)))
    (top, height), (begin, width) = spans
    image = torch.zeros(crop.shape[1], wide)
    left = (wide - len(crop)) // 2
    image[:, left : left + len(crop)] = crop.T
    cut = image[None, None, top : top + height, begin : begin + width]
    resized = functional.interpolate(cut, size=(crop.shape[1], len(crop)), mode="bicubic", align_corners=True)
    return resized[0, 0].T


def test_views_equal_a_slow_reference_within_1e_4() -> None:
    views, past = Views(memory=50), list[Tensor]()
    for epoch in range(4):  # the third batch replaces the oldest inputs
        crops, keys = torch.randn(24, 96, 64) * 2, keys_of(24, epoch)
        found = views(crops, keys)
        for number, view in enumerate(found):
            expected = torch.stack(
                [
                    slow_view(*pair, number, views)
                    for pair in zip(crops, [_placed(past, 50)] * 24, keys, strict=True)
                ]
            )
            torch.testing.assert_close(view, expected, atol=1e-4, rtol=1e-4)
        past += [*crops]
    assert views.memory.size == 50


def _placed(past: list[Tensor], capacity: int) -> list[Tensor]:
    """The places of a memory that replaces its oldest input."""
    places: list[Tensor] = []
    for number, crop in enumerate(past):
        if number < capacity:
            places.append(crop)
        else:
            places[number % capacity] = crop
    return places


def test_the_two_views_of_a_crop_differ() -> None:
    first, second = Views()(torch.randn(8, 96, 64), keys_of(8))
    assert (first - second).abs().amax((1, 2)).min() > 0.1


def test_a_view_depends_on_no_batch_mate() -> None:
    crops, keys = torch.randn(6, 96, 64), keys_of(6)
    together, alone = Views()(crops, keys), Views()(crops[4:5], keys[4:5])
    torch.testing.assert_close(together[0][4], alone[0][0], atol=1e-5, rtol=1e-5)


def test_restored_memory_gives_the_same_views() -> None:
    whole, before = Views(memory=5), Views(memory=5)
    for epoch in range(3):
        crops = torch.randn(4, 32, 64)
        whole(crops, keys_of(4, epoch))
        before(crops, keys_of(4, epoch))
    after = Views(memory=5)
    after.memory.load(before.memory.state(), torch.device("cpu"))
    for epoch in (3, 4):
        crops = torch.randn(4, 32, 64)
        for one, other in zip(whole(crops, keys_of(4, epoch)), after(crops, keys_of(4, epoch)), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "value"),
    [("mixup", 1.0), ("memory", 0), ("canvas", 0.9), ("frequency_scale", [1.0]), ("time_scale", [0, 1])],
)
def test_a_setting_out_of_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"pretraining\.{name}=.*expected"):
        Views(**{name: value})  # type: ignore[arg-type]
