"""What TensorBoard shows of a run: curves of its training, and settings beside scores in the HPARAMS tab.

TensorBoard sorts charts by name and opens the first two groups: they are `train/` and `validation/`, with accuracy
and loss. Pictures are in the group `views/`, which comes last.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from ser.report import plots

_NO_CURVES = ("epoch", "validation/majority_floor")  # added by Lightning; the same in every epoch
_COMPARED = ("accuracy", "uar")


class RunLogger(TensorBoardLogger):
    """Write curves while a model is trained; the scores of its best epoch afterwards are no points of a curve.

    Args are those of Lightning's TensorBoardLogger.
    """

    _is_trained = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a point to each curve, as long as the model is trained."""
        if not self._is_trained:
            curves = {name: value for name, value in metrics.items() if name not in _NO_CURVES}
            super().log_metrics(curves, step)

    @rank_zero_only
    def save(self) -> None:
        """Write what is logged to the disk; config.yaml has the settings, so that no hparams.yaml is needed."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the file after training, or after scoring."""
        super().finalize(status)
        self._is_trained = True


class LearningRate(L.Callback):
    """Log the learning rate as `train/lr`; all groups of parameters have the same.

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
    """Add a picture to the group `views/`."""
    if trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
        image = plots.to_image(figure)
        trainer.logger.experiment.add_image(f"views/{name}", image, trainer.current_epoch, dataformats="HWC")


def write_scores(logger: Any, settings: Mapping[str, str | float], scores: Mapping[str, float]) -> None:
    """Add a run to the HPARAMS tab: its settings and its scores are columns of one table.

    The tab takes what it calls metrics from curves alone, and a score that is no curve would be a chart of one dot.
    So scores are written as settings are: they can be sorted, filtered and compared as well. Which columns there
    are is left to TensorBoard, which joins those of all runs; a list of columns would be that of one run.

    Args:
        logger: of the run; nothing is written by one that is not for TensorBoard.
        settings: what was typed -> its value.
        scores: metrics of the best epoch, such as `test/accuracy`; accuracy and UAR are written.
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
    """Columns of the HPARAMS tab: the settings that were typed or swept, by their keys.

    Args:
        config: the complete one.
        words: such as `model=lstm` or `optimizer.lr=1e-3`, as Hydra was given them.
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
