"""Log the learning rate as one curve."""

from typing import Any, Literal

import lightning as L


class LearningRate(L.Callback):
    """Log the learning rate as `train/lr`; all parameter groups have the same.

    Args:
        logging_interval: `epoch`, or `step` for every step at which the loss is logged.
    """

    def __init__(self, logging_interval: Literal["epoch", "step"] = "epoch") -> None:
        self.logging_interval = logging_interval

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log it for the epoch."""
        if self.logging_interval == "epoch":
            self._log(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Log it for the step."""
        interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.logging_interval == "step" and interval and trainer.global_step % interval == 0:
            self._log(trainer)

    def _log(self, trainer: L.Trainer) -> None:
        rate = {"train/lr": trainer.optimizers[0].param_groups[0]["lr"]}
        for logger in trainer.loggers:
            logger.log_metrics(rate, step=trainer.global_step)
