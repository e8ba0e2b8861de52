"""The frontend of streams: what comes out step by step is what comes out of the whole."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.frontend import Frontend, deltas
from tests.conftest import alone


def fitted(**options: Any) -> Frontend:
    frontend = Frontend(3, **options)
    frontend.fit([torch.tensor([2.0, -1.0, 7.0]) + torch.tensor([1.0, 4.0, 0.1]) * torch.randn(500, 3)])
    return frontend


@given(
    st.sampled_from(
        [
            {},
            {"normalize": "none"},
            {"floor": 1.5},
            {"delta_scale": 3.0, "delta_align": "causal"},
            {"delta_scale": 3.0, "delta_align": "causal", "normalize": "none", "floor": 0.0},
        ]
    ),
    st.lists(st.integers(0, 6), min_size=1, max_size=8).filter(any),
)
def test_step_by_step_is_as_at_once(options: dict[str, Any], sizes: list[int]) -> None:
    frontend = fitted(**options)
    audio = Padded(3 * torch.randn(2, sum(sizes), 3), torch.full((2,), sum(sizes)))
    state, parts = frontend.initial_state(2), []
    for chunk in audio.values.split(sizes, dim=1):
        before = state.clone()
        part, later = frontend.step(chunk, state)
        assert torch.equal(frontend.step(chunk, state)[0], part)
        assert torch.equal(state, before)
        parts.append(part)
        state = later
    assert state.shape[1] <= 4
    torch.testing.assert_close(torch.cat(parts, 1), frontend(audio).values, atol=1e-6, rtol=1e-6)


def test_causal_deltas_are_centered_ones_two_steps_later(audio: Padded) -> None:
    centered, causal = deltas(audio), deltas(audio, align="causal")
    torch.testing.assert_close(causal.values[0, 4:], centered.values[0, 2:-2])
    # At the second step of a line that begins at 0: ((0 - 0) + 2 * (1 - 0)) / 10.
    line = Padded(torch.arange(8.0).reshape(1, 8, 1), torch.tensor([8]))
    assert deltas(line, align="causal").values[0, :2, 0].tolist() == pytest.approx([0.0, 0.2])


def test_causal_deltas_do_not_see_what_comes_later_nor_padding(audio: Padded) -> None:
    together = deltas(audio, align="causal")
    for index in range(len(audio.lengths)):
        single = deltas(alone(audio, index), align="causal").values[0]
        torch.testing.assert_close(together.values[index, : len(single)], single)  # sums of other shapes
    prefix = Padded(audio.values[:1, :20], torch.tensor([20]))
    torch.testing.assert_close(deltas(prefix, align="causal").values[0], together.values[0, :20])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"normalize": "utterance"},
            r"frontend\.normalize=utterance: .*the statistics of the utterance.*normalize=global",
        ),
        (
            {"normalize": "speaker"},
            r"frontend\.normalize=speaker: .*the statistics of the speaker.*normalize=global",
        ),
        (
            {"delta_scale": 3.0},
            r"frontend\.delta_align=centered: deltas need 2 future steps.*delta_align=causal",
        ),
    ],
)
def test_what_no_stream_can_know_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Frontend(3, **options).initial_state(1)


def test_an_unknown_alignment_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"frontend\.delta_align=causl: .*Did you mean 'causal'"):
        Frontend(3, delta_align="causl")  # type: ignore[arg-type]


def test_feature_constant_in_training_is_zero_elsewhere() -> None:
    frontend = Frontend(3)
    train = torch.tensor([0.0, 0.3, 5.0]) * torch.ones(500, 3)
    train[:, 2] += torch.randn(500)
    frontend.fit(train.split(100))
    other = Padded(torch.tensor([[[0.07, 0.3, 7.0]]]), torch.tensor([1]))
    found = frontend(other).values[0, 0]
    expected = (7.0 - train[:, 2].mean()) / train[:, 2].std(correction=0)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, float(expected)]), atol=1e-4, rtol=1e-4)
