"""Metrics of several tasks, each over the utterances that are labelled for it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from ser.targets.metrics import Result, Scores

if TYPE_CHECKING:
    from ser.targets.multi_task import MultiTask


class MultiTaskScores(Scores):
    """The metrics of several tasks, each over the utterances that are labelled for it.

    Args:
        target: splits answers and labels.
    """

    def __init__(self, target: "MultiTask") -> None:
        super().__init__()
        self.target = target
        self.metrics = nn.ModuleList(part.metrics() for part in target.targets.values())
        self.names = tuple(f"{name}/{metric}" for name, part in self.parts.items() for metric in part.names)
        self.headline = target.monitor

    @property
    def parts(self) -> dict[str, Scores]:
        """Return the metric of each task by its name."""
        return dict(zip(self.target.targets, cast("list[Scores]", [*self.metrics]), strict=True))

    def update(self, answers: Tensor, truth: Tensor) -> None:
        """Count answers [B, A] against encoded utterances [B, W]."""
        parts = self.parts
        own, known = self.target.labels_of_tasks(truth), self.target._known(truth)
        for name, part in self.target._split(answers, self.target._answers).items():
            rows = known[name]
            parts[name].update(part[rows], self.target.targets[name].truth(own[name][rows]))

    def compute(self) -> dict[str, Tensor]:
        """Return `<task>/<metric>` -> value."""
        return {
            f"{name}/{metric}": value
            for name, part in self.parts.items()
            for metric, value in part.compute().items()
        }

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        for part in self.parts.values():
            part.reset()

    def results(self, values: Mapping[str, Tensor]) -> list[Result]:
        """Return what a report shows of each task."""
        found: list[Result] = []
        for name, part in self.parts.items():
            own = {
                key.removeprefix(f"{name}/"): value
                for key, value in values.items()
                if key.startswith(f"{name}/")
            }
            found += [cast(Result, replace(cast(Any, result), name=name)) for result in part.results(own)]
        return found
