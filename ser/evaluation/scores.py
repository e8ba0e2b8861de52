"""Score answers to a labelled corpus: metrics, floors, intervals over speakers, scores of each speaker and others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ser.comparison.intervals import Interval, difference_interval, standard_error
from ser.comparison.scored import Scored
from ser.evaluation.corpus import LabelledCorpus
from ser.evaluation.labels import LeftOut
from ser.runs.predictions_file import TRAINING, answer_columns
from ser.targets.base import Target, TaskAnswers
from ser.targets.labels import encode_labels
from ser.targets.metrics import Result, numbers


@dataclass(frozen=True)
class Group:
    """Scores of the utterances with one value of a column.

    Args:
        value: The value, such as a speaker.
        utterances: Number of its utterances.
        speakers: Number of its speakers; None if some are unknown.
        metrics: Its scores, by name.
    """

    value: str
    utterances: int
    speakers: int | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Scores of a labelled corpus.

    Args:
        metrics: Scores, floors and numbers of utterances and speakers, by name.
        intervals: 95% intervals over speakers of some of the scores.
        clustered_by: What is independent in them: speakers, or utterances if speakers are unknown.
        results: Results of each task.
        groups: Column -> scores of each of its values.
        rows: Rows of predictions.csv.
        left_out: Utterances that could not be scored.
        absent: Classes of the model that no utterance has, after the name of their task where there are several.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    clustered_by: str
    results: Sequence[Result]
    groups: Mapping[str, Sequence[Group]]
    rows: Sequence[Mapping[str, Any]]
    left_out: Sequence[LeftOut]
    absent: Sequence[str]


def evaluate_answers(corpus: LabelledCorpus, answers: Tensor, target: Target) -> Evaluation:
    """Score answers [N, A] to the utterances of a corpus; those without speech have NaN, and are left out.

    Args:
        corpus: Utterances with labels in the fields of the target.
        answers: Probabilities or values.
        target: Target of the models.

    Raises:
        SerError: A label is not one of the target.
    """
    targets = encode_labels(target, corpus.store)
    labelled, decided = target.is_labelled(targets), ~answers.isnan().any(-1)
    scored = (labelled & decided).nonzero().flatten()
    places = scored.numpy()
    left_out = [*corpus.left_out, *_unscored(corpus, targets, target, labelled, decided)]
    speakers = [corpus.speakers[place] for place in places.tolist()]
    answers, targets = answers[scored], targets[scored]
    metrics, results = _measure(answers, targets, target)
    clusters = _clusters(speakers)
    found: dict[str, Interval] = {}
    floors: dict[str, float] = {}
    absent: list[str] = []
    for task in target.task_answers(answers, targets):
        prefix = f"{task.name}/" if task.name else ""
        own = _intervals(task, clusters[task.rows.numpy()], has_speakers=None not in speakers)
        found |= {f"{prefix}{name}": interval for name, interval in own.items()}
        floors |= {f"{prefix}{name}": value for name, value in _floors(task).items()}
        present = _present(task)
        absent += [f"{prefix}{name}" for name in task.target.class_names if name not in present]
    counts = {"utterances": len(places), "left_out": len(left_out)}
    if None not in speakers:
        counts["speakers"] = len({*speakers})
    for name, interval in found.items():
        metrics |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    ids = [corpus.store.ids[place] for place in places.tolist()]
    columns = map(answer_columns, target.label_columns(targets), target.predictions(answers))
    training = corpus.columns.get(TRAINING)
    seen = [{} if training is None else {TRAINING: training[place]} for place in places.tolist()]
    return Evaluation(
        metrics={**metrics, **floors, **counts},
        intervals=found,
        clustered_by="speakers" if None not in speakers else "utterances",
        results=results,
        groups=_groups(corpus, places, answers, targets, target),
        rows=[
            {"id": name, "speaker": speaker, **own, **row}
            for name, speaker, own, row in zip(ids, speakers, seen, columns, strict=True)
        ],
        left_out=left_out,
        absent=absent,
    )


def _unscored(
    corpus: LabelledCorpus, targets: Tensor, target: Target, labelled: Tensor, decided: Tensor
) -> list[LeftOut]:
    """Describe the utterances without a label of the target, and those without a decision."""
    found = []
    for place in (~(labelled & decided)).nonzero().flatten().tolist():
        reason = "no speech, so no decision" if labelled[place] else "no label"
        label = target.describe_label(targets[place][None]) if labelled[place] else ""
        found.append(LeftOut(corpus.store.ids[place], corpus.speakers[place], label, reason))
    return found


def _measure(answers: Tensor, targets: Tensor, target: Target) -> tuple[dict[str, float], list[Result]]:
    """Compute the metrics of the target, those that are defined, and its results."""
    metric = target.metrics()
    metric.update(answers, target.truth(targets))
    computed = metric.compute()
    defined = {name: value for name, value in numbers(computed).items() if not math.isnan(value)}
    return defined, metric.results(computed)


def _present(task: TaskAnswers) -> list[str]:
    """Return the classes that utterances have; none where there are no classes."""
    names = task.target.class_names
    if not names or not len(task.targets):
        return []
    return [names[index] for index in sorted({*task.target.class_index(task.targets).tolist()})]


def _floors(task: TaskAnswers) -> dict[str, float]:
    """Return the scores of answers without any input: of UAR by the classes that occur, of errors by train's mean."""
    present = _present(task)
    uar = {"uar_floor": 1 / len(present)} if present and "uar" in task.target.metrics().names else {}
    return {**uar, **(task.target.floors_of_train(task.targets) if len(task.targets) else {})}


def _clusters(speakers: Sequence[str | None]) -> np.ndarray:
    """Return the speaker of each utterance [N], 0..S-1; its own number if a speaker is unknown."""
    if None in speakers:
        return np.arange(len(speakers))
    return np.unique(np.array(speakers), return_inverse=True)[1]


def _intervals(task: TaskAnswers, clusters: np.ndarray, *, has_speakers: bool) -> dict[str, Interval]:
    """Compute intervals over speakers: of accuracy and UAR for classes, of the headline for values.

    There are none for fewer than two speakers, and for values of unknown speakers.
    """
    clusters = np.unique(clusters, return_inverse=True)[1]
    if not len(clusters) or clusters.max() < 1:
        return {}
    if not task.target.class_names:
        return _value_interval(task, clusters) if has_speakers else {}
    truth = task.target.class_index(task.targets)
    scored = Scored(
        correct=task.answers.argmax(-1).eq(truth)[None].double().numpy(),
        labels=np.unique(truth.numpy(), return_inverse=True)[1],
        clusters=clusters,
        has_speakers=has_speakers,
    )
    found = {name: interval for name, (interval,) in scored.intervals().items()}
    return {name: interval for name, interval in found.items() if interval.low < interval.high}


def _value_interval(task: TaskAnswers, clusters: np.ndarray) -> dict[str, Interval]:
    """Compute the interval of a headline such as CCC by leaving out each speaker."""
    metrics, results = _measure(task.answers, task.targets, task.target)
    names = [result.headline for result in results]
    if len(names) != 1:
        return {}
    (name,) = names
    without = []
    for speaker in range(int(clusters.max()) + 1):
        kept = torch.from_numpy(clusters != speaker)
        own, _ = _measure(task.answers[kept], task.targets[kept], task.target)
        without.append(own.get(name, math.nan))
    if name not in metrics or np.isnan(without).any():
        return {}
    error = float(standard_error(np.array(without)))
    return {name: difference_interval(metrics[name], error, len(without))}


def _groups(
    corpus: LabelledCorpus, places: np.ndarray, answers: Tensor, targets: Tensor, target: Target
) -> dict[str, list[Group]]:
    """Score the utterances of each value of each column that has two values or more."""
    found: dict[str, list[Group]] = {}
    for column, given in corpus.columns.items():
        values = ["unknown" if given[place] is None else str(given[place]) for place in places.tolist()]
        if len({*values}) < 2:
            continue
        groups = []
        for value in sorted({*values}):
            rows = np.flatnonzero(np.array(values) == value)
            speakers = {corpus.speakers[place] for place in places[rows].tolist()}
            metrics, _ = _measure(answers[rows], targets[rows], target)
            groups.append(Group(value, len(rows), None if None in speakers else len(speakers), metrics))
        found[column] = groups
    return found
