"""What a training reports to the trial of a search that it belongs to; without one, nothing of this is active."""

import math
from pathlib import Path
from typing import Any

import lightning as L

from ser.config.settings import Train
from ser.runs import ranks
from ser.runs.run_folder import RunFolder
from ser.runs.sweep import record_status
from ser.search.journal import make_pruner, open_study, quiet
from ser.search.trial import TrialOfJob
from ser.trackers.run_trackers import close_trackers
from ser.training.trainer import best_checkpoint

_WARMUP = 3  # a third of the epochs


class TrialReports(L.Callback):
    """Report the monitored value of each epoch to the trial, and stop the training if the trial is pruned.

    Args:
        trial: Trial of this job.
        monitor: Name of the metric.
        warmup: Number of epochs in which the pruner `median` does not stop the training.
    """

    def __init__(self, trial: TrialOfJob, monitor: str, *, warmup: int = 1) -> None:
        self.trial = trial
        self.monitor = monitor
        self.warmup = warmup
        self.is_pruned = False
        self._open: Any = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report after the validation of an epoch."""
        value = trainer.callback_metrics.get(self.monitor)
        if value is None or not math.isfinite(value):
            return  # not validated in this epoch; a training that diverged fails elsewhere
        processes = ranks.current_ranks()
        stops = self.report(float(value), trainer.current_epoch + 1) if processes.is_first else False
        if processes.share(stops):
            self.is_pruned = trainer.should_stop = True

    def report(self, value: float, epoch: int) -> bool:
        """Report a value, and return whether the trial is to stop.

        A training that was resumed may repeat an epoch: its first value stays.
        """
        with quiet():
            trial = self._trial()
            if epoch not in trial.study._storage.get_trial(trial._trial_id).intermediate_values:
                trial.report(value, epoch)
            return bool(trial.should_prune())

    def end(self, trainer: L.Trainer, settings: Train, run: RunFolder) -> float | None:
        """Record that the trial was pruned, and return the best value until then."""
        best: Any = best_checkpoint(trainer).best_model_score
        value = None if best is None else float(best)
        epochs = trainer.current_epoch
        close_trackers(trainer.loggers)
        if ranks.current_ranks().is_first:
            record_status(
                run.path,
                "pruned",
                monitor=settings.monitor,
                mode=settings.mode,
                value=value,
                epochs=epochs,
            )
            print(f"Pruned after {epochs} epochs, as other trials were better by then.")
        return value

    def _trial(self) -> Any:
        if self._open is None:
            from optuna.trial import Trial

            pruner = make_pruner(self.trial.pruner, self.trial.startup, warmup=self.warmup)
            study = open_study(Path(self.trial.journal), pruner=pruner)
            found = next(each for each in study.get_trials(False) if each.number == self.trial.number)
            self._open = Trial(study, found._trial_id)
        return self._open


def watch_trial(trainer: L.Trainer, monitor: str) -> TrialReports | None:
    """Let a training report to its trial; None outside of a search.

    `median` waits for a third of the epochs, as the schedule of the learning rate and the average of the weights hide
    before what a setting is worth: from the first epoch on, the best of 30 trials on generated speech had 47.5 % on
    average, and without pruning 49.4 %.
    """
    trial = TrialOfJob.current()
    if trial is None:
        return None
    reports = TrialReports(trial, monitor, warmup=max(1, (trainer.max_epochs or 0) // _WARMUP))
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks.insert(0, reports)  # those that save checkpoints stay last
    return reports
