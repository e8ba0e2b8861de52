"""What the folder of a run tells for a model card: data, scores with intervals, settings. Each part may be missing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ser.catalogue import CORPORA, Corpus
from ser.comparison.intervals import Interval
from ser.comparison.scored import Scored
from ser.config.instantiate import find_class
from ser.errors import ConfigError, DataError
from ser.files import read_text
from ser.runs.predictions_file import predictions_path, read_predictions
from ser.runs.run_folder import RunFolder
from ser.yaml_bombs import refuse_yaml_bomb

_CAVEATS = "## What these scores do not show"


@dataclass(frozen=True)
class RunFacts:
    """Facts about the run of a checkpoint; empty where its folder does not tell them.

    Args:
        config: Settings of the run.
        metrics: Metrics by flat names such as `test/uar`.
        splits: Summary of each split, as in splits.json.
        fingerprints: Digest of the data of each split.
        command: Command line of the training.
        versions: Version of each package.
        commit: Commit of the code.
        caveats: What the report says that the scores do not show.
        intervals: 95% interval of accuracy and UAR in the scored split.
        unscored: Name of the checkpoint, if the scores of the run are those of another one, and are left out here.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    splits: Sequence[Mapping[str, Any]] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    versions: Mapping[str, str | None] = field(default_factory=dict)
    commit: str | None = None
    caveats: str = ""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    unscored: str = ""

    @property
    def data(self) -> Mapping[str, Any]:
        """Return the config node of the corpus."""
        return self.config.get("data") or {}

    @property
    def split(self) -> str:
        """Return the split whose scores are the result: test, or validation if there is no test."""
        return "test" if any(name.startswith("test/") for name in self.metrics) else "validation"

    @property
    def corpora(self) -> list[Corpus]:
        """Return the published corpora of the data, which the catalogue knows."""
        nodes = [self.data, *(self.data.get("readers") or {}).values()]
        names = [str(node.get("corpus")) for node in nodes if isinstance(node, Mapping)]
        return [CORPORA[name] for name in dict.fromkeys(names) if name in CORPORA]

    @property
    def holds_frames(self) -> bool:
        """Return whether the data were frames of features, and no recordings."""
        try:
            return bool(self.data) and bool(
                getattr(find_class(self.data, slot="data"), "holds_frames", False)
            )
        except (ConfigError, KeyError):
            return False


def run_of(checkpoint: Path) -> RunFolder:
    """Return the folder of the run of a checkpoint."""
    return RunFolder(checkpoint.parents[1] if checkpoint.parent.name == "checkpoints" else checkpoint.parent)


def read_facts(checkpoint: Path) -> RunFacts:
    """Read the facts about the run of a checkpoint; without scores if it is another than best.ckpt, which was scored.

    Raises:
        DataError: A file of the run is damaged.
    """
    run = run_of(checkpoint)
    if not run.config.is_file():
        return RunFacts()
    text = read_text(run.config)
    refuse_yaml_bomb(run.config, text)
    try:
        config = yaml.safe_load(text)
        metrics, environment, splits = (
            _read_json(run.path / name) for name in ("metrics.json", "environment.json", "splits.json")
        )
        found = RunFacts(
            config=dict(config),
            metrics={name: float(value) for name, value in metrics.items()},
            splits=splits.get("splits") or (),
            fingerprints=environment.get("data") or {},
            command=str(environment.get("command") or ""),
            versions=environment.get("packages") or {},
            commit=environment.get("commit"),
            caveats=_read_caveats(run.path / "report.md"),
        )
    except (yaml.YAMLError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{run.path}: a file of this run is damaged ({error}). Copy the folder again from where it was trained."
        ) from error
    if checkpoint.name != run.best.name:
        return replace(found, metrics={}, caveats="", unscored=checkpoint.name if found.metrics else "")
    return replace(found, intervals=_read_intervals(run.path, found.split))


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(read_text(path))) if path.is_file() else {}


def _read_caveats(report: Path) -> str:
    """Return the section of a report about what its scores do not show; empty if it has none."""
    if not report.is_file():
        return ""
    _, found, rest = read_text(report).partition(_CAVEATS)
    return rest.partition("\n## ")[0].strip() if found else ""


def _read_intervals(run_dir: Path, split: str) -> dict[str, Interval]:
    """Compute the intervals of a split over its speakers, or over utterances where these are unknown."""
    path = predictions_path(run_dir, split)
    if not path.is_file():
        return {}
    try:
        found = read_predictions(path)
    except DataError:  # predictions of values, which have no such intervals
        return {}
    names = found.speakers if None not in found.speakers else found.ids
    _, clusters = np.unique([str(name) for name in names], return_inverse=True)
    if len(found.labels) < 2 or int(clusters.max()) < 1:
        return {}
    correct = (found.predicted == found.labels).astype(float)[None]
    scored = Scored(correct, found.labels, clusters, names is found.speakers)
    return {name: own[0] for name, own in scored.intervals().items()}
