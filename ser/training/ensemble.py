"""Train an ensemble: several models in one run, each on its part of the data, whose predictions are averaged."""

import time
from collections.abc import Sequence
from typing import Any

import torch

from ser.batching.class_balance import ensemble_size
from ser.batching.datamodule import SpeechData
from ser.config.settings import Train
from ser.errors import ConfigError
from ser.runs.run_folder import RunFolder
from ser.splits.base import Splits
from ser.targets.metrics import Result, numbers
from ser.trackers.run_trackers import build_trackers, typed_settings, write_scores
from ser.training import evaluation, setup
from ser.training.evaluation import Scores
from ser.training.recording_callbacks import describe_answers, scores_of_recordings, write_rows
from ser.training.task import Task
from ser.training.trainer import fit_task, make_trainer

_MOST = 10  # members with ensemble=auto


def train(settings: Train, run: RunFolder, splits: Splits, *, started: float) -> float | None:
    """Train all members, each in its own run folder, and score their mean.

    Args:
        settings: Settings of the run.
        run: Folder of the run.
        splits: Splits of its corpus.
        started: Start of the run, by time.monotonic.

    Returns:
        The monitored score of the mean.

    Raises:
        ConfigError: The number of members is not plausible, or the monitored value is not a score of a split.
    """
    data = setup.make_data(settings, splits)
    scored: Any = data.target.metrics()
    if settings.monitor not in [f"validation/{name}" for name in scored.names]:
        raise ConfigError(
            f"monitor={settings.monitor}: the mean of an ensemble has no such score. "
            "Set monitor=validation/accuracy and mode=max, or monitor=validation/uar and mode=max."
        )
    sets = evaluation.read_further_corpora(settings)
    evaluation.check_further_corpora(sets, settings, data)
    members = members_of(settings.ensemble, data)
    setup.record(settings, run, data)
    tasks = [
        _train_member(settings, run.member(number), splits, (number, members)) for number in range(members)
    ]
    parts = {"validation": data.val_dataloader()}
    if settings.test and data.has_test:
        parts["test"] = data.test_dataloader()
    found = {split: _score(tasks, loader) for split, loader in parts.items()}
    for split, (_, _, scored) in found.items():
        write_rows(run.path, split, scored, data)
    metrics = {
        f"{split}/{name}": value for split, (values, _, _) in found.items() for name, value in values.items()
    }
    results = {split: shown for split, (_, shown, _) in found.items()}
    scores = Scores(metrics, results, metrics[settings.monitor])
    scores = evaluation.add_further_corpora(scores, sets, run, "auto")
    _write_report(settings, run, tasks, data=data, scores=scores, seconds=time.monotonic() - started)
    return scores.value


def members_of(wanted: int | str | None, data: SpeechData) -> int:
    """Return the number of members, from the config or from the class counts.

    Raises:
        ConfigError: It is neither `auto` nor a number of 2 or more.
    """
    if wanted == "auto":
        labels = data.datasets["train"].targets
        assert labels is not None
        found = ensemble_size(data.target.class_index(labels).numpy())
        if found > _MOST:
            raise ConfigError(
                f"ensemble=auto: the largest class is {found} times as large as the smallest, so there would be as "
                "many members. Give a number, such as ensemble=5, or ensemble=null with balance=class_weight."
            )
        return found
    if not isinstance(wanted, int) or wanted < 2:
        raise ConfigError(
            f"ensemble={wanted}: expected auto, or a number of members. Give 2 or more, or null."
        )
    return wanted


def _train_member(settings: Train, run: RunFolder, splits: Splits, member: tuple[int, int]) -> Task:
    """Train one member, and return its task with the best weights."""
    print(f"Member {member[0] + 1} of {member[1]}")
    started = time.monotonic()
    run.path.mkdir(exist_ok=True)
    data = setup.make_data(settings, splits, member=member)
    seeded = Train.of({**settings.config, "seed": settings.seed + member[0]})
    setup.prepare(seeded)
    task = setup.make_task(seeded, data)
    trainer = make_trainer(seeded, run)
    setup.record(seeded, run, data)
    fit_task(trainer, task, data, run)
    scores = evaluation.evaluate(seeded, trainer, task, data)
    seconds = time.monotonic() - started
    evaluation.write_report(seeded, run, trainer, task=task, data=data, scores=scores, seconds=seconds)
    return task.eval()


@torch.inference_mode()
def _score(tasks: Sequence[Task], loader: Any) -> tuple[dict[str, float], list[Result], list[Any]]:
    """Compute metrics, results and predictions of the mean of all members' probabilities."""
    target: Any = tasks[0].target
    metric = target.metrics()
    decisions: list[tuple[Any, list[float], int]] = []
    rows: list[Any] = []
    for batch in loader:
        outputs = [task.model(task.to_features(batch.audio), batch.groups).float() for task in tasks]
        scored = [task.target.metric_inputs(own, batch) for task, own in zip(tasks, outputs, strict=True)]
        metric.update(torch.stack([scores for scores, _ in scored]).mean(0), scored[0][1])
        decided = [task.target.answers(own, batch) for task, own in zip(tasks, outputs, strict=True)]
        answers = torch.stack(decided).mean(0)
        rows += describe_answers(target, answers, batch)
        decisions += zip(batch.ids, answers.tolist(), target.class_index(batch.targets).tolist(), strict=True)
    place = {name: number for number, name in enumerate(loader.dataset.store.ids)}
    rows.sort(key=lambda row: place[row[0]])
    computed = metric.compute()
    values = numbers(computed)
    if target.resolution == "frame":
        whole = scores_of_recordings(decisions, target.class_names)
        values |= {"file_accuracy": whole["accuracy"], "file_uar": whole["uar"]}
    return values, metric.results(computed), rows


def _write_report(
    settings: Train,
    run: RunFolder,
    tasks: Sequence[Task],
    *,
    data: SpeechData,
    scores: Scores,
    seconds: float,
) -> None:
    """Write the report of the mean, and its scores to the trackers."""
    content = evaluation.collect_facts(
        settings,
        run,
        tasks,
        data=data,
        scores=scores,
        seconds=seconds,
        title=f"{settings.experiment_name}: {len(tasks)} {type(tasks[0].model.encoder).__name__}s, averaged",
        epochs=settings.trainer["max_epochs"],
        best_epoch=None,
        monitor=settings.monitor,
        mode=settings.mode,
        checkpoint=run.path,
    )
    evaluation.print_report(settings, run, content, data)
    typed = typed_settings(settings.config, content.overrides)
    write_scores(build_trackers(settings, run.path), content.metrics, typed, step=0)
