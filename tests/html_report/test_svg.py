"""Charts: ticks, scales, gaps, text."""

import math
import re

import numpy as np
import pytest

from ser.html_report.svg import Axis, Plot, percent, thin


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]), (-1, 1, ["-1", "-0.5", "0", "0.5", "1"])],
)
def test_ticks_are_round_and_include_the_ends(low: float, high: float, ticks: list[str]) -> None:
    assert [text for _, text in Axis("x", low, high).shown_ticks()] == ticks


def test_a_logarithmic_axis_places_ratios() -> None:
    axis = Axis("seconds", 1, 100, is_log=True)
    assert axis.place(10) == pytest.approx(0.5)
    assert [text for _, text in axis.shown_ticks()] == ["1", "2", "5", "10", "20", "50", "100"]


def test_an_axis_around_one_value_has_a_width() -> None:
    for values in ([3.0], [0.0, 0.0], [], [math.nan]):
        axis = Axis.around("x", values)
        assert axis.low < axis.high


def test_a_gap_of_values_interrupts_the_line() -> None:
    plot = Plot(Axis("x", 0, 3), Axis("y", 0, 1))
    plot.line([(0, 0), (1, 1), (2, math.nan), (3, 0)], 0)
    (path,) = re.findall(r'<path d="([^"]+)" fill="none" stroke="var\(--c0\)"', plot.render("t"))
    assert re.sub(r"[^ML]", "", path) == "MLM"


def test_points_lie_where_the_axes_say() -> None:
    plot = Plot(Axis("x", 0, 10), Axis("share", 0, 1, form=percent), width=420, height=270)
    plot.points([(0, 0), (10, 1)], 2, titles=["<low>", "high"])
    drawn = plot.render("points & titles")
    centres = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert centres == [("60.0", "228.0"), ("402.0", "12.0")]
    assert "&lt;low&gt;" in drawn
    assert 'aria-label="points &amp; titles"' in drawn
    assert ">100%</text>" in drawn


def test_thinned_rows_keep_both_ends() -> None:
    rows = np.arange(1000)
    assert [*thin(rows, 5)] == [0, 250, 500, 749, 999]
    assert thin(rows[:3], 5) is not None
    assert len(thin(rows[:3], 5)) == 3
