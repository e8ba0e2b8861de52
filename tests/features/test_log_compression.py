"""Logarithms of energies, down to silence."""

import math
from typing import Any

import pytest
import torch

from ser.errors import ConfigError
from ser.features.log_compression import Logarithm


@pytest.mark.parametrize(("log", "expected"), [("natural", math.log(1e3)), ("log10", 3), ("decibel", 30)])
def test_a_logarithm_is_the_one_of_its_name(log: Any, expected: float) -> None:
    assert float(Logarithm(log)(torch.tensor(1e3))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("floor_by", "expected"), [("max", [-2, -2, 0]), ("add", [-2, -1.9586, 0.0043]), ("zero", [-2, -3, 0])]
)
def test_the_floor_is_a_limit_an_offset_or_a_stand_in_for_zero(floor_by: Any, expected: list[float]) -> None:
    energies = torch.tensor([0.0, 1e-3, 1.0])
    assert Logarithm("log10", 1e-2, floor_by)(energies).tolist() == pytest.approx(expected, abs=1e-4)


def test_a_tenfold_magnitude_is_twenty_decibels_more() -> None:
    assert float(Logarithm("decibel", power=1)(torch.tensor(1e3))) == pytest.approx(60)


@pytest.mark.parametrize("log", ["natural", "log10", "decibel"])
def test_top_db_cuts_magnitudes_where_it_cuts_their_energies(log: Any) -> None:
    magnitudes = torch.tensor([[[100.0], [1.0], [1e-3]]])
    lengths = torch.tensor([3])
    of_energies, of_magnitudes = Logarithm(log, top_db=40.0), Logarithm(log, top_db=40.0, power=1)
    (expected,) = of_energies.apply_top_db([of_energies(magnitudes.square())], lengths)
    (found,) = of_magnitudes.apply_top_db([of_magnitudes(magnitudes)], lengths)
    torch.testing.assert_close(found * (1 if log == "decibel" else 2), expected)


@pytest.mark.parametrize("log", ["natural", "log10", "decibel"])
def test_top_db_is_below_an_utterances_own_peak(log: Any) -> None:
    logarithm = Logarithm(log, top_db=20.0)
    energies = torch.tensor([[1e4, 1e3, 1.0], [1e-2, 1e-9, 1e9]])
    blocks = logarithm(energies).unsqueeze(-1).split([2, 1], dim=1)
    raised = torch.cat([*logarithm.apply_top_db(blocks, torch.tensor([3, 2]))], dim=1)[..., 0]
    expected = logarithm(torch.tensor([[1e4, 1e3, 1e2], [1e-2, 1e-4, 1.0]]))
    torch.testing.assert_close(raised[0], expected[0])
    torch.testing.assert_close(raised[1, :2], expected[1, :2])


@pytest.mark.parametrize("floor", [0.0, -1.0, float("nan")])
def test_silence_needs_a_floor(floor: float) -> None:
    with pytest.raises(ConfigError, match=r"floor=.*silence has no logarithm\. Set an energy above 0"):
        Logarithm(floor=floor)


def test_top_db_is_above_zero() -> None:
    with pytest.raises(
        ConfigError, match=r"top_db=-80\.0: expected decibels above 0\. Set features\.top_db=80"
    ):
        Logarithm(top_db=-80.0)
