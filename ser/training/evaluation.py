"""Score the best checkpoint of a run, and write its report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch
from rich.console import Console

from ser.batching.datamodule import SpeechData
from ser.batching.samplers import EvaluationSampler
from ser.calibration.run import calibrate_run
from ser.checkpoints import checkpoint
from ser.config.instantiate import build
from ser.config.settings import Train, names_of
from ser.curves import PostProcessing, fit_match
from ser.errors import ConfigError
from ser.evaluation.test_set_scores import check_test_sets, score_test_sets
from ser.evaluation.test_sets import TestSet, read_test_sets
from ser.features.extractors import Extractor
from ser.html_report.embeddings import Plane
from ser.html_report.material import Material
from ser.html_report.run_page import write_run_page
from ser.mix.scores import flat_scores, score_corpora
from ser.report import report
from ser.report.facts import RunReport
from ser.runs import environment, ranks
from ser.runs.run_folder import RunFolder
from ser.targets.metrics import Result
from ser.trackers.run_trackers import typed_settings, watch_commands, write_scores
from ser.training.plot_callbacks import Embeddings
from ser.training.setup import logged_names
from ser.training.task import Task
from ser.training.trainer import best_checkpoint


@dataclass(frozen=True)
class Scores:
    """Scores of the best checkpoint.

    Args:
        metrics: Metrics by flat names such as `validation/accuracy`.
        results: Results of each task, by split.
        value: Value of the monitored metric; None if it is undefined.
        remarks: Warnings to every reader, such as scores that are undefined.
        test_sets: Header and rows of the scores of further corpora; empty for none.
    """

    metrics: dict[str, float]
    results: dict[str, list[Result]]
    value: float | None
    remarks: Sequence[str] = ()
    test_sets: Sequence[Sequence[str]] = ()


def evaluate(settings: Train, trainer: L.Trainer, task: Task, data: SpeechData) -> Scores:
    """Score the best checkpoint on validation, if there is one, and, once, on test."""
    metrics: dict[str, float] = {}
    if settings.has_validation:
        metrics |= trainer.validate(task, datamodule=data, verbose=False)[0]
    else:
        last = {
            name: curve[task.best_epoch] for name, curve in task.curves.items() if task.best_epoch in curve
        }
        metrics |= {name: value for name, value in last.items() if name in logged_names(task.target)}
    if settings.test and data.has_test and trainer.limit_test_batches != 0:
        metrics |= trainer.test(task, datamodule=data, verbose=False)[0]
    metrics |= floors(data, task.results)
    undefined = [name for name, value in metrics.items() if math.isnan(value) and not name.endswith("loss")]
    metrics = {name: value for name, value in metrics.items() if name not in undefined}
    value = None if settings.monitor in undefined else _monitored(settings.monitor, metrics, task)
    return Scores(metrics, dict(task.results), value, describe_undefined(undefined, settings.monitor))


def read_further_corpora(settings: Train) -> list[TestSet]:
    """Read the setting `test_sets`, before any data.

    Raises:
        ConfigError: One of its corpora is not there, or a pre-training could not score it.
    """
    sets = read_test_sets(names_of(settings.test_sets), settings.data, settings.test_settings or {})
    if sets and settings.pretraining is not None:
        raise ConfigError("test_sets: a pre-training has no classes to score. Leave it out.")
    return sets


def check_further_corpora(sets: Sequence[TestSet], settings: Train, data: SpeechData) -> None:
    """Check before the training that test sets can be scored; print a line for each, and warnings.

    Raises:
        SerError: One cannot.
    """
    speakers = {*data.speakers.get("train", {}).values()}
    for line in check_test_sets(
        sets, data.target, settings.frontend, settings.data, head=settings.head, speakers=speakers
    ):
        print(line)


def add_further_corpora(scores: Scores, sets: Sequence[TestSet], run: RunFolder, device: str) -> Scores:
    """Add the scores of the best checkpoint of a run, or of an ensemble, on further corpora."""
    found = score_test_sets(sets, run.path, device=device)
    return replace(
        scores,
        metrics={**scores.metrics, **found.metrics},
        remarks=[*scores.remarks, *found.stamps],
        test_sets=found.table,
    )


@torch.inference_mode()
def fit_match_to_train(trainer: L.Trainer, task: Task, data: SpeechData, run: RunFolder) -> None:
    """Fit the matching of predictions to the labels of the training split, and add it to the best checkpoint.

    It does nothing for targets without one.
    """
    if task.target.match == "none":
        return
    target: Any = task.target
    unmatched = build({**task.description["target"], "delay_s": 0.0, "match": "none"}, slot="target")
    dataset = data.datasets["train"]
    task.eval().to(trainer.strategy.root_device)
    pairs = []
    for draw in EvaluationSampler(dataset.lengths, **data.limits):
        batch = dataset[draw].to(task.device)
        pairs.append(unmatched.metric_inputs(task.model(batch.audio).float(), batch))
    predicted, labels = (torch.cat(parts).cpu() for parts in zip(*pairs, strict=True))
    scale, offset = fit_match(predicted, labels, target.match)
    spec = {**task.description["target"], "scale": [*scale], "offset": [*offset]}
    task.target = build(spec, slot="target")
    task.description = {**task.description, "target": spec}
    print(f"Predictions are matched to the labels of train: {PostProcessing(scale=scale, offset=offset)}.")

    def rewrite() -> None:
        best = checkpoint.read(run.best)
        best["ser"]["target"] = spec
        trainer.strategy.checkpoint_io.save_checkpoint(best, run.best)

    ranks.current_ranks().run_first(rewrite)


def describe_undefined(names: Sequence[str], monitor: str) -> list[str]:
    """Describe scores that a limited evaluation leaves undefined, as it scored no label for them."""
    if not names:
        return []
    was = [f"{monitor} did not choose the epoch, as it is undefined: raise trainer.limit_val_batches"] * (
        monitor in names
    )
    problem = f"{len(names)} scores are undefined, as no utterance that was scored has a label for them"
    return [f"{problem}: {', '.join(names)}", *was]


def floors(data: SpeechData, splits: Iterable[str]) -> dict[str, float]:
    """Compute for each split the scores of a prediction without any input, if metrics do not contain them."""
    train = data.datasets["train"].targets
    assert train is not None
    found: dict[str, float] = {}
    for split in splits:
        targets = data.datasets[split].targets
        values = {} if targets is None else data.target.floors(train, targets)
        found |= {f"{split}/{name}": value for name, value in values.items()}
    return found


def _monitored(name: str, metrics: Mapping[str, float], task: Task) -> float:
    """Return the value of the best epoch: from its scores, or as logged at the end of that epoch."""
    return metrics[name] if name in metrics else task.curves[name][task.best_epoch]


def write_report(
    settings: Train,
    run: RunFolder,
    trainer: L.Trainer,
    *,
    task: Task,
    data: SpeechData,
    scores: Scores,
    seconds: float,
) -> None:
    """Write report.md, metrics.json, pictures and the scores in trackers; print the closing table."""
    best = best_checkpoint(trainer)
    content = collect_facts(
        settings,
        run,
        [task],
        data=data,
        scores=scores,
        seconds=seconds,
        title=f"{settings.experiment_name}: {type(task.model.encoder).__name__}",
        epochs=trainer.current_epoch,
        best_epoch=task.best_epoch,
        monitor=best.monitor,
        mode=best.mode,
        checkpoint=run.best,
        curves=task.curves,
    )
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    plane = next((each.plane for each in callbacks if isinstance(each, Embeddings)), None)
    print_report(settings, run, content, data, plane)
    typed = typed_settings(settings.config, content.overrides)
    write_scores(trainer.loggers, content.metrics, typed, step=trainer.global_step)


def collect_facts(
    settings: Train,
    run: RunFolder,
    tasks: Sequence[Task],
    *,
    data: SpeechData,
    scores: Scores,
    seconds: float,
    **others: Any,
) -> RunReport:
    """Collect the content of a report.

    Args:
        settings: Settings of the run.
        run: Folder of the run.
        tasks: The task, or those of all members of an ensemble.
        data: Data of the run.
        scores: Scores to report.
        seconds: Duration of the run.
        others: Arguments of RunReport in which a single model and an ensemble differ.
    """
    corpora = {split: found for split in scores.results if (found := score_corpora(run.path, split))}
    return RunReport(
        command=environment.typed_line(),
        seed=settings.seed,
        duration_s=seconds,
        num_parameters=sum(parameter.numel() for task in tasks for parameter in task.model.parameters()),
        metrics={**scores.metrics, **flat_scores(corpora)},
        corpora=corpora,
        test_sets=scores.test_sets,
        results=scores.results,
        unit=tasks[0].target.resolution,
        labelled_at=tasks[0].target.labelled_at,
        takes_words=data.facts.words is not None,
        splits=data.summaries(),
        lengths={name: dataset.store.lengths for name, dataset in data.datasets.items()},
        overrides=environment.typed_overrides(run.path),
        trust=environment.trust_words(),
        watch=watch_commands(settings, run.path),
        stamps=[*data.facts.stamps, *scores.remarks],
        leaks=data.facts.leaks,
        cross_validation=data.facts.cross_validation,
        calibration=calibrate_run(run.path) if tasks[0].target.class_names else (),
        **others,
    )


def print_report(
    settings: Train, run: RunFolder, content: RunReport, data: SpeechData, plane: Plane | None = None
) -> None:
    """Write the files of a report, and print its closing table.

    Args:
        settings: Settings of the run.
        run: Folder of the run.
        content: Content of the report.
        data: Data of the run.
        plane: Embeddings of the headline split; None for none.
    """
    report.write_report(run.path, content)
    if settings.report.html:
        write_run_page(run, content, material_of(settings, data, content), plane)
    Console().print(report.closing_table(run.path, content), soft_wrap=True)


def material_of(settings: Train, data: SpeechData, content: RunReport) -> Material | None:
    """Return recordings and features of the headline split, for report.html; None if nothing was scored."""
    split = content.headline_split
    if split not in content.results:
        return None
    extractor: Extractor = build(settings.features, slot="features")
    is_raw = data.extractor is not None
    return Material(
        store=data.datasets[split].store,
        step_s=1 / extractor.sample_rate if is_raw else extractor.frame_shift_s,
        is_waveform=is_raw or extractor.is_waveform,
        recordings={each.id: each for each in data.manifests.get(split, ())},
        has_audio=settings.report.audio,
    )
