"""What the folder of a run tells for a model card: data, scores with intervals, settings. Each part may be missing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ser.catalogue import CORPORA, Corpus
from ser.comparison.intervals import Interval
from ser.config.instantiate import find_class
from ser.errors import ConfigError, DataError
from ser.files import read_text
from ser.html_report.answers import read_answers
from ser.html_report.scores import found_intervals
from ser.runs.predictions_file import predictions_path
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
        intervals: 95% intervals of metrics of the scored split, by their names within it.
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
    def scores_frames(self) -> bool:
        """Return whether scores are those of frames, of which the labels are those of their utterance."""
        try:
            target = find_class(self.config["target"], slot="target")
        except (ConfigError, KeyError):
            return False
        return (target.resolution, target.labelled_at) == ("frame", "utterance")

    def interval(self, name: str) -> Interval | None:
        """Return the interval of a metric of the scored split; those of fields of values are without their task."""
        return self.intervals.get(name) or self.intervals.get(name.rpartition("/")[2])

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


def is_best(checkpoint: Path) -> bool:
    """Return whether a checkpoint is the best one of its run, which was scored and calibrated."""
    return checkpoint.name == run_of(checkpoint).best.name


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
    if not is_best(checkpoint):
        return replace(found, metrics={}, caveats="", unscored=checkpoint.name if found.metrics else "")
    return replace(found, intervals=_read_intervals(run.path, found))


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(read_text(path))) if path.is_file() else {}


def _read_caveats(report: Path) -> str:
    """Return the section of a report about what its scores do not show; empty if it has none."""
    if not report.is_file():
        return ""
    _, found, rest = read_text(report).partition(_CAVEATS)
    return rest.partition("\n## ")[0].strip() if found else ""


def _read_intervals(run_dir: Path, facts: RunFacts) -> dict[str, Interval]:
    """Compute the intervals of the scored split over its speakers, or over utterances where these are unknown.

    Predictions of a model of frames are those of whole utterances, as `file_accuracy` and `file_uar` are. These count
    an utterance without an answer as wrong, so there is no interval then.

    Raises:
        DataError: The predictions cannot be read.
    """
    path = predictions_path(run_dir, facts.split)
    if not path.is_file():
        return {}
    try:
        answers = read_answers(path)
    except (LookupError, TypeError, ValueError) as error:  # TypeError: the last line is cut off
        raise DataError(
            f"{path}: is damaged ({error}). Copy it again from where it was trained, or remove it."
        ) from error
    found = found_intervals(answers)
    if not facts.scores_frames:
        return found
    return {} if answers.unanswered else {f"file_{name}": interval for name, interval in found.items()}
