"""Write a run to TensorBoard: training curves, and settings and scores in the HPARAMS tab.

TensorBoard sorts charts by name and opens the first two groups: they are `train/` and `validation/`, with accuracy
and loss. Plots are in the group `views/`, which comes last.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from ser.report import figures

_NO_CURVES = ("epoch", "validation/majority_floor")  # added by Lightning; the same in every epoch
_COMPARED = ("accuracy", "uar")


class RunLogger(TensorBoardLogger):
    """Write curves during the training; scores of the best epoch afterwards are not points of a curve.

    Arguments are those of Lightning's TensorBoardLogger.
    """

    _is_trained = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a point to each curve during the training."""
        if not self._is_trained:
            curves = {name: value for name, value in metrics.items() if name not in _NO_CURVES}
            super().log_metrics(curves, step)

    @rank_zero_only
    def save(self) -> None:
        """Flush the log; no hparams.yaml is written, because config.yaml contains the settings."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the file after training, or after scoring."""
        super().finalize(status)
        self._is_trained = True


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
        if trainer.logger is not None:
            rate = {"train/lr": trainer.optimizers[0].param_groups[0]["lr"]}
            trainer.logger.log_metrics(rate, step=trainer.global_step)


def show(trainer: L.Trainer, name: str, figure: Any) -> None:
    """Add a plot to the group `views/`."""
    if trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
        image = figures.to_image(figure)
        trainer.logger.experiment.add_image(f"views/{name}", image, trainer.current_epoch, dataformats="HWC")


def write_scores(logger: Any, settings: Mapping[str, str | float], scores: Mapping[str, float]) -> None:
    """Add a run to the HPARAMS tab, with its settings and scores as columns of one table.

    The tab takes metrics from curves only, and a score that is not a curve would be a chart with one point. So scores
    are written as settings: they can be sorted, filtered and compared, too. TensorBoard finds the columns by joining
    those of all runs; an explicit list of columns would be that of one run.

    Args:
        logger: Logger of the run; nothing is written unless it is for TensorBoard.
        settings: Values of the typed settings.
        scores: Metrics of the best epoch, such as `test/accuracy`; accuracy and UAR are written.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    from torch.utils.tensorboard.summary import hparams

    compared = {f"best/{name}": value for name, value in scores.items() if name.split("/")[-1] in _COMPARED}
    _, start, end = hparams({**settings, **compared}, {})  # type: ignore[no-untyped-call]
    writer = logger.experiment._get_file_writer()
    writer.add_summary(start)
    writer.add_summary(end)
    logger.experiment.flush()


def typed_settings(config: Mapping[str, Any], words: Sequence[str]) -> dict[str, str | float]:
    """Return columns of the HPARAMS tab: the typed or swept settings, by key.

    Args:
        config: The complete config.
        words: Words given to Hydra, such as `model=lstm` or `optimizer.lr=1e-3`.
    """
    columns: dict[str, str | float] = {}
    for word in words:
        key, _, typed = word.lstrip("+~").partition("=")
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            columns[key] = typed  # an option of a group
        elif isinstance(value, int | float) and not isinstance(value, bool):
            columns[key] = value
        else:
            columns[key] = str(value)
    return columns
