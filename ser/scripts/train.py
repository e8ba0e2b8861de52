"""Train, choose the best epoch on validation, score it, report.

ser train model=lstm optimizer.lr=1e-3
"""

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ser.config.command_line import App
from ser.config.main import main
from ser.config.paths import resume_arguments
from ser.config.repeats import Folds, expand_repeats
from ser.config.settings import Train
from ser.runs import ranks
from ser.runs.run_folder import RunFolder
from ser.runs.sweep import record_status
from ser.search.sweeper import register


def rewrite(arguments: list[str], app: App) -> list[str]:
    """Turn `folds=`, `seeds=` and `resume=` into what Hydra starts from."""
    return resume_arguments(expand_repeats(arguments, app, count_folds))


def count_folds(config: Mapping[str, Any]) -> Folds:
    """Read the manifest of a corpus, and count the folds that its rule makes of it."""
    from ser.training import setup

    settings = Train.of(config)
    corpus = setup.build_corpus(settings, setup.example_target(settings.target))
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the jobs log the same
    try:
        manifest, *_ = corpus.labelled() if hasattr(corpus, "labelled") else [corpus.utterances()]
    finally:
        logging.disable(previous)
    count, what = corpus.split.count_folds(manifest)
    return Folds(count, f"{what}, as {manifest.source} has {len(manifest)} utterances")


@main("train", rewrite=rewrite, prepare=register)
def train(settings: Train) -> float | None:
    """Run one training, or the job of a sweep, and return the monitored value."""
    return run_training(settings)


def run_training(settings: Train) -> float | None:
    """Run one training and return the monitored value of its best checkpoint; None if it is undefined."""
    from ser.training.consistency import check_augment, check_complete, check_training, without_validation

    job = HydraConfig.get()
    settings = without_validation(settings)
    checks = [partial(check, settings) for check in (check_complete, check_training, check_augment)]
    if settings.pretraining is not None:
        from ser.pretraining.data import check_pretraining

        checks.append(partial(check_pretraining, settings))
    ranks.check_alike(settings.trainer, *checks)
    from ser.checkpoints import resume
    from ser.pretraining.run import train as pretrain
    from ser.runs import launcher
    from ser.search.pruning import watch_trial
    from ser.training import ensemble, evaluation, setup
    from ser.training.trainer import build_trainer, fit_task, set_run_folder

    started = time.monotonic()
    setup.prepare(settings)
    trainer = build_trainer(settings)
    with launcher.joined(trainer, settings.trainer) as processes, ExitStack() as held:
        run = RunFolder(processes.share_folder(job.runtime.output_dir))
        processes.run_first(lambda: held.enter_context(run.hold(resuming=settings.resume is not None)))
        processes.run_first(lambda: setup.announce(settings, run))
        if settings.resume is not None:
            processes.run_first(lambda: resume.check_unchanged(settings, run))
        sets = processes.run_on_all(lambda: evaluation.read_further_corpora(settings))
        if settings.pretraining is not None:
            loss = pretrain(settings, run, trainer, started=started)
            record_status(run.path, "completed", monitor=settings.monitor, mode=settings.mode, value=loss)
            return loss
        splits = processes.run_in_turn(lambda: setup.read_splits(settings))
        if settings.ensemble is not None:
            value = ensemble.train(settings, run, splits, started=started)
            record_status(run.path, "completed", monitor=settings.monitor, mode=settings.mode, value=value)
            return value
        data = processes.run_on_all(lambda: setup.make_data(settings, splits))
        processes.run_on_all(lambda: evaluation.check_further_corpora(sets, settings, data))
        task = processes.run_on_all(lambda: setup.make_task(settings, data))
        set_run_folder(trainer, settings, run)
        trial = watch_trial(trainer, settings.monitor)
        if processes.is_first:
            setup.record(settings, run, data)
        fit_task(trainer, task, data, run)
        if trial and trial.is_pruned:
            return trial.end(trainer, settings, run)
        evaluation.fit_match_to_train(trainer, task, data, run)
        scores = evaluation.evaluate(settings, trainer, task, data)
        if processes.is_first:
            scores = evaluation.add_further_corpora(scores, sets, run, str(trainer.strategy.root_device))
            seconds = time.monotonic() - started
            evaluation.write_report(
                settings, run, trainer, task=task, data=data, scores=scores, seconds=seconds
            )
            record_status(
                run.path,
                "completed",
                monitor=settings.monitor,
                mode=settings.mode,
                value=scores.value,
                epochs=trainer.current_epoch,
            )
        return scores.value
