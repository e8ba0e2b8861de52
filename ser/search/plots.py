"""Picture of a search: the value of each trial, and the best so far."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser.report import figures
from ser.report.palette import PALETTE


def best_so_far(values: Sequence[float | None], *, is_min: bool) -> list[float]:
    """Return the best value up to each trial; NaN before the first."""
    known = np.array([np.nan if value is None else value for value in values], dtype=float)
    best = (np.fmin if is_min else np.fmax).accumulate(known)
    return [float(value) for value in best]


def draw_search(study: Any, path: Path, monitor: str) -> None:
    """Draw completed, pruned and failed trials in their order, and the best value so far."""
    trials = study.get_trials(deepcopy=False)
    by_state: dict[str, dict[int, Any]] = {}
    for trial in trials:
        by_state.setdefault(trial.state.name, {})[trial.number + 1] = trial.value
    completed = by_state.get("COMPLETE", {})
    is_min = study.direction.name == "MINIMIZE"
    best = best_so_far([completed.get(trial.number + 1) for trial in trials], is_min=is_min)
    figure, (axes,) = figures.make_panels(f"Search: {len(trials)} trials", size=(7.2, 4.4))
    axes.step(range(1, len(best) + 1), best, where="post", color=PALETTE[0], label="best so far")
    axes.plot([*completed], [*completed.values()], "o", color=PALETTE[0], alpha=0.6, label="completed")
    _mark(axes, by_state.get("PRUNED", {}), "v", "pruned, at its last epoch")
    if failed := by_state.get("FAIL"):
        lowest = axes.get_ylim()[0]
        axes.plot([*failed], [lowest] * len(failed), "x", color=figures.INK, clip_on=False, label="failed")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{monitor} ({'lower' if is_min else 'higher'} is better)")
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    axes.legend(frameon=False, fontsize=figures.SIZES["note"])
    figures.save(figure, path)


def _mark(axes: Any, points: Mapping[int, float | None], marker: str, label: str) -> None:
    known = {number: value for number, value in points.items() if value is not None}
    if known:
        axes.plot([*known], [*known.values()], marker, color=PALETTE[1], mfc="none", label=label)
