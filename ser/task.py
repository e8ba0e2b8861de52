"""Training: one shared step, and scores over whole splits."""

import time
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from ser.batch import Batch
from ser.build import build
from ser.features.augment import Augment
from ser.features.listen import Listen
from ser.losses import Objective
from ser.models.classifier import Classifier
from ser.randomness import seed_dropout
from ser.tally import Tally
from ser.targets import Target

SPLITS = ("train", "validation", "test")
LIBRARIES = ("ser.", "torch.optim.", "lightning.")
"""Where a config's `_target_` may point to. A checkpoint's may point to `ser.` alone."""


class Task(L.LightningModule):
    """Fit a classifier to a target.

    Args:
        model: features in, logits out.
        target: what the logits mean.
        objective: loss of each utterance.
        augment: applied to training batches of features, on their device.
        listen: makes features where batches hold waveforms; None where they hold features.
        optimizer: `_target_` spec; it is given the parameters.
        schedule: `_target_` spec of a function in ser.schedules, empty for a constant learning rate.
        description: plain containers from which `ser.checkpoint` rebuilds model and target; stored with them.
        seed: of the run.
    """

    def __init__(
        self,
        model: Classifier,
        target: Target,
        *,
        objective: Objective,
        augment: Augment,
        optimizer: Mapping[str, Any],
        schedule: Mapping[str, Any] | None,
        description: Mapping[str, Any],
        listen: Listen | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.listen = listen or Listen()
        self.target = target
        self.objective = objective
        self.augment = augment
        self.optimizer_spec = optimizer
        self.schedule_spec = schedule
        self.description = description
        self.seed = seed
        self.scores = nn.ModuleDict({split: target.metrics() for split in ("validation", "test")})
        self.confusions: dict[str, Tensor] = {}
        """Split -> confusion matrix [C, C] of its last evaluation, rows true."""
        self.curves: dict[str, dict[int, float]] = {}
        """Metric -> epoch, from 1 -> value, of all epochs trained so far."""
        self.tallies = {split: Tally() for split in SPLITS}
        self.epoch_started = self.last_batch_ended = 0.0

    def on_train_epoch_start(self) -> None:
        """Start the clock of the throughput."""
        self.epoch_started = time.monotonic()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout from (seed, step, rank), so that a resumed run draws what an uninterrupted one would."""
        step = self.trainer.fit_loop.epoch_loop.total_batch_idx
        seed_dropout(self.seed, step, self.global_rank, self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss over the batch's utterances, whatever their lengths."""
        audio, share = self.augment(self.listen(batch.audio, batch.keys), batch.keys)
        logits = self.model(audio)
        labels: Any = batch.targets
        losses = (1 - share) * self.objective(logits, labels)
        if self.augment.mixup is not None:
            losses = losses + share * self.objective(logits, labels.roll(1))
        self._count("train", batch, losses, self.target.scores(logits.float()))
        loss: Tensor = losses.mean()
        trainer: Any = self.trainer
        if self.global_step % trainer.log_every_n_steps == 0:
            self.log("train/loss_step", loss.detach(), batch_size=len(batch))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Note the time: validation must not count as training."""
        self.last_batch_ended = time.monotonic()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Count the batch into the scores of the validation split; callbacks are given the logits."""
        return self._evaluate("validation", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Count the batch into the scores of the test split; callbacks are given the logits."""
        return self._evaluate("test", batch)

    def on_train_epoch_end(self) -> None:
        """Log loss and accuracy on augmented training batches, padding and throughput."""
        seconds = max(self.last_batch_ended - self.epoch_started, 1e-9)
        sums = self._take("train")
        frames = sums.pop("frames")
        self._record(
            {f"train/{name}": value for name, value in sums.items()}
            | {"train/frames_per_second": frames / seconds}
        )

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation split."""
        self._log_scores("validation")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test split."""
        self._log_scores("test")

    def configure_optimizers(self) -> Any:
        """The optimiser, with weight decay on matrices only, and its schedule."""
        optimizer: Optimizer = build(
            self.optimizer_spec, allowed=LIBRARIES, params=parameter_groups(self.model)
        )
        if not self.schedule_spec:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = build(self.schedule_spec, optimizer=optimizer, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model, the curves, and what an interrupted epoch has tallied."""
        checkpoint["ser"] = dict(self.description)
        checkpoint["ser_progress"] = {"curves": self.curves, "tally": self.tallies["train"].state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the curves and the tally of the interrupted epoch."""
        self.curves = checkpoint["ser_progress"]["curves"]
        self.tallies["train"].load(checkpoint["ser_progress"]["tally"])

    def _evaluate(self, split: str, batch: Batch) -> Tensor:
        logits: Tensor = self.model(self.listen(batch.audio))
        scores = self.target.scores(logits.float())
        metric: Any = self.scores[split]
        metric.update(scores, batch.targets)
        self._count(split, batch, self.objective(logits, batch.targets), scores)
        return logits

    def _count(self, split: str, batch: Batch, losses: Tensor, scores: Tensor) -> None:
        labels: Any = batch.targets
        self.tallies[split].add(batch, losses, scores.argmax(-1).eq(labels))

    def _take(self, split: str) -> dict[str, float]:
        def over_ranks(sums: Tensor) -> Tensor:
            total: Tensor = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum")
            return total

        return self.tallies[split].take(over_ranks)

    def _log_scores(self, split: str) -> None:
        metric: Any = self.scores[split]
        values = metric.compute()
        self.confusions[split] = values.pop("confusion")
        metric.reset()
        self._record(
            {f"{split}/{name}": float(value) for name, value in values.items()}
            | {f"{split}/loss": self._take(split)["loss"]}
        )

    def _record(self, values: Mapping[str, float]) -> None:
        """Log values of an epoch; while fitting, also keep them for the learning curves."""
        for name, value in values.items():
            self.log(name, value, prog_bar=name == f"validation/{self.target.monitor}")
        if self.trainer.state.fn == TrainerFn.FITTING:
            for name, value in values.items():
                self.curves.setdefault(name, {})[self.current_epoch + 1] = value


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Matrices and kernels, which the optimiser's weight decay is for; then biases and norms without any."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2]},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
