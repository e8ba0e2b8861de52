"""Lightning module: training step, evaluation, and scores over whole splits."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ser.batch import Batch, Padded
from ser.checkpoints.resume import is_planned
from ser.config.instantiate import build
from ser.errors import REPEAT_RUN, CheckpointError, advise_init
from ser.features.augment_features import Augment
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.inference.head_statistics import fit_head
from ser.models.base import State
from ser.models.classifier import Classifier, GroupZScores
from ser.precision import in_float32
from ser.randomness import seed_dropout
from ser.runs import ranks
from ser.splits.assignment import SPLITS
from ser.targets.base import Target
from ser.targets.losses import Objective
from ser.targets.metrics import Result, numbers
from ser.training.divergence import LossWatch, diverged, keep_finite, running_statistics
from ser.training.epoch_totals import EpochTotals

_ASK_EVERY = 50  # batches between two checks on a device, as each check synchronises

_HALF_EPS = 1e-4  # squares of gradients below 2.4e-4 are 0 in float16, and Adam would divide 0 by 0


class Task(L.LightningModule):
    """Fit a classifier to a target.

    Args:
        model: Model from features to logits.
        target: Target that interprets the logits.
        objective: Loss of each utterance.
        augment: Augmentation of training batches of features, on their device.
        to_features: Feature extraction, if batches hold waveforms; None if they hold features.
        optimizer: `_target_` spec of the optimiser, without parameters.
        schedule: `_target_` spec of a function in ser.training.schedules; empty for a constant learning rate.
        description: Plain containers from which `ser.checkpoints.checkpoint` rebuilds model and target; stored with
            them.
        seed: Seed of the run.
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
        to_features: OnTheFlyFeatures | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.to_features = to_features or OnTheFlyFeatures()
        self.target = target
        self.objective = objective
        self.augment = augment
        self.optimizer_spec = optimizer
        self.schedule_spec = schedule
        self.description = description
        self.seed = seed
        self.scores = nn.ModuleDict({split: target.metrics() for split in ("validation", "test")})
        self.results: dict[str, list[Result]] = {}
        """Split -> what a report shows of its last evaluation."""
        self.curves: dict[str, dict[int, float]] = {}
        """Metric -> epoch, from 1 -> value, of all epochs trained so far."""
        self.best_epoch = 0
        """From 1, the epoch whose weights are loaded after training; 0 before."""
        self.totals = {split: EpochTotals(target.accuracy_names) for split in SPLITS}
        self.carried: State = None
        """State of the model after the last training batch, from which continued sequences start."""
        self.epoch_started = self.last_batch_ended = 0.0
        self.has_started = False
        """Whether training has begun, so that its checkpoint has been restored."""
        self.watch = LossWatch()
        self.lost_logits: dict[str, Tensor] = {}
        """Split -> number of evaluated batches with logits that are not finite."""
        self._last_step = 0
        self._step_losses: list[Tensor] = []
        self._norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        self._by_group = next((part for part in model.modules() if isinstance(part, GroupZScores)), None)

    def on_train_start(self) -> None:
        """Store the step at which training starts or resumes, prepare the encoder, and start to watch the losses."""
        self.model.encoder.begin_epoch(self.current_epoch)
        self._last_step, self._step_losses = self.global_step, []
        self.has_started = True
        self.watch = LossWatch(is_scaled=getattr(self.trainer.precision_plugin, "scaler", None) is not None)

    def on_train_epoch_start(self) -> None:
        """Prepare the encoder, note the learning rate, and start the clock of the throughput."""
        self.model.encoder.begin_epoch(self.current_epoch)
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.curves.setdefault("train/lr", {})[self.current_epoch + 1] = float(rate)
        self.epoch_started = time.monotonic()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout from (seed, step, rank), so that a resumed run draws the same numbers."""
        step = self.trainer.fit_loop.epoch_loop.total_batch_idx
        seed_dropout(self.seed, step, self.global_rank, self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the mean loss over the utterances or frames of a batch."""
        with in_float32(self.device):
            audio, share = self.augment(self.to_features(batch.audio, batch.keys), batch.keys)
        running = running_statistics(self._norms) if self.watch.is_scaled else []
        before = [buffer.clone() for buffer in running]
        outputs = self._outputs(audio, batch)
        keep_finite(running, before)
        losses = self.objective(outputs, batch)
        if self.augment.mixup is not None:
            mixed = replace(batch, targets=batch.labels.roll(1, 0))
            losses = (1 - share) * losses + share * self.objective(outputs, mixed)
        self._count("train", batch, losses, *self.target.metric_inputs(outputs.detach().float(), batch))
        loss: Tensor = losses.sum() / self._losses_per_rank(len(losses))
        self._stop_if_diverged(loss, batch_idx)
        self._step_losses.append(loss.detach())
        return loss

    def _losses_per_rank(self, mine: int) -> float | Tensor:
        """Return the mean number of losses per rank in this step.

        Ranks' gradients are averaged: with this divisor, they are those of the mean over all utterances of the step.
        """
        if self.trainer.world_size == 1:
            return max(mine, 1)  # a batch of silence has nothing to learn
        count = torch.tensor(float(mine), device=self.device)
        total: Tensor = self.trainer.strategy.reduce(count, reduce_op="sum")
        return total.clamp_min(1) / self.trainer.world_size

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Store the time, so that validation does not count as training; log the loss of a step."""
        self.last_batch_ended = time.monotonic()
        if self.global_step != self._last_step:
            self._log_step()

    def _log_step(self) -> None:
        """Log the mean loss of the batches of the step that has just been taken, at its number.

        Lightning's `log` writes at the steps that it chooses, from a value logged at another one.
        """
        losses, self._step_losses = self._step_losses, []
        self._last_step = self.global_step
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and self._last_step % every == 0:
            for logger in self.loggers:
                logger.log_metrics(
                    {"train/loss_step": float(torch.stack(losses).mean())}, step=self._last_step
                )

    def on_validation_epoch_start(self) -> None:
        """Compute the statistics by which the head normalises the validation split, if it needs some."""
        self._fit_head("validation")

    def on_test_epoch_start(self) -> None:
        """Compute the statistics by which the head normalises the test split, if it needs some."""
        self._fit_head("test")

    def _fit_head(self, split: str) -> None:
        if self._by_group is not None:
            data: Any = cast(Any, self.trainer).datamodule
            fit_head(self.model, data.datasets[split], self.to_features, device=self.device, **data.limits)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Add the batch to the scores of the validation split; callbacks get the logits."""
        return self._evaluate("validation", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Add the batch to the scores of the test split; callbacks get the logits."""
        return self._evaluate("test", batch)

    def on_train_epoch_end(self) -> None:
        """Log loss and accuracy on augmented training batches, padding and throughput."""
        self._ask_watch()
        seconds = max(self.last_batch_ended - self.epoch_started, 1e-9)
        sums = self._take("train")
        frames = sums.pop("frames")
        self._record(
            {f"train/{name}": value for name, value in sums.items()}
            | {"train/speed_frames_per_second": frames / seconds}
        )
        self._step_plateaus()

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation split."""
        self._check_logits("validation")
        self._log_scores("validation")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test split."""
        self._check_logits("test")
        self._log_scores("test")

    def configure_optimizers(self) -> Any:
        """Build the optimiser, with weight decay on matrices only, and its schedule."""
        groups = parameter_groups(self.model, lr=self.optimizer_spec.get("lr"))
        optimizer: Optimizer = build(self.optimizer_spec, slot="optimizer", params=groups)
        for group in optimizer.param_groups:
            if "eps" in group and any(weight.dtype == torch.float16 for weight in group["params"]):
                group["eps"] = max(group["eps"], _HALF_EPS)
        if not self.schedule_spec:
            return optimizer
        steps = (
            {"total_steps": int(self.trainer.estimated_stepping_batches)}
            if is_planned(self.schedule_spec)
            else {}
        )
        schedule = build(self.schedule_spec, slot="schedule", optimizer=optimizer, **steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a schedule, except one that monitors a loss: see `_step_plateaus`."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description of the model, the curves, and the totals of an interrupted epoch."""
        checkpoint["ser"] = dict(self.description)
        mine = {"tally": self.totals["train"].state(), "carried": self.carried}
        parts = ranks.current_ranks().gather(mine)
        checkpoint["ser_progress"] = {"curves": self.curves, "ranks": parts}
        if self._by_group is not None:
            checkpoint["ser_progress"]["head"] = self._by_group.tables()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the curves and the totals of the interrupted epoch."""
        progress = checkpoint["ser_progress"]
        parts = self._parts(progress)
        processes = ranks.current_ranks()
        if len(parts) != processes.size:
            raise CheckpointError(
                f"resume: the checkpoint is of {len(parts)} processes, this run has {processes.size}. "
                f"Resume with the same trainer.devices and trainer.num_nodes, or {REPEAT_RUN}."
            )
        self.curves = progress["curves"]
        if self._by_group is not None and "head" in progress:
            self._by_group.load_tables(progress["head"])
        mine = parts[processes.rank]
        self.totals["train"].load(mine["tally"])
        self.carried = mine["carried"]

    def _parts(self, progress: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the totals of each process; old runs hold those of one process.

        Raises:
            CheckpointError: Such a run counted the lengths of its batches in samples, where frames of 10 ms count now.
        """
        if "ranks" in progress:
            parts: list[Mapping[str, Any]] = progress["ranks"]
            return parts
        extractor = self.to_features.extractor
        if extractor is not None and extractor.batching_frame_s != extractor.frame_shift_s:
            raise CheckpointError(
                "resume: this run was started by an older version, which counted the lengths in `batching` in samples, "
                "not in frames of 10 ms. " + advise_init("RUN")
            )
        return [progress]

    def _step_plateaus(self) -> None:
        """Step schedules that monitor a loss, in epochs that have one.

        Lightning would do so after the epoch's checkpoint is saved, and a resumed run would miss the step.
        """
        for config in self.trainer.lr_scheduler_configs:
            epochs = self.curves.get(config.monitor or "", {})
            if isinstance(config.scheduler, ReduceLROnPlateau) and self.current_epoch + 1 in epochs:
                config.scheduler.step(epochs[self.current_epoch + 1])

    def _outputs(self, audio: Padded, batch: Batch) -> Tensor:
        """Compute the logits; sequences that continue others start from the state of these."""
        if batch.continues is None:
            logits: Tensor = self.model(audio, batch.groups)
            return logits
        before = carried(self.carried, self.model.initial_state(len(batch)), batch.continues)
        stepped, self.carried = self.model.step(audio.values, before)
        rows: Tensor = stepped[audio.mask]
        return rows

    def _evaluate(self, split: str, batch: Batch) -> Tensor:
        logits: Tensor = self.model(self.to_features(batch.audio), batch.groups)
        lost = (~logits.isfinite().all()).long()
        self.lost_logits[split] = self.lost_logits.get(split, 0) + lost
        answers, truth = self.target.metric_inputs(logits.float(), batch)
        metric: Any = self.scores[split]
        metric.update(answers, truth)
        self._count(split, batch, self.objective(logits, batch), answers, truth)
        return logits

    def _stop_if_diverged(self, loss: Tensor, batch_idx: int) -> None:
        """Raise an error if a loss is not finite; on a device or with several processes, check every 50 batches.

        Raises:
            DivergedError: A loss is not finite; the message names the epoch and the step.
        """
        self.watch.add(loss, self.global_step + 1)
        is_alone = self.device.type == "cpu" and self.trainer.world_size == 1
        if is_alone or batch_idx % _ASK_EVERY == 0:
            self._ask_watch()

    def _ask_watch(self) -> None:
        first: Tensor = self.trainer.strategy.reduce(self.watch.first.to(self.device), reduce_op="max")
        if int(first) >= 0:
            raise diverged(
                f"epoch {self.current_epoch + 1}, step {int(first)}: the loss is",
                learning_rate=self.optimizer_spec.get("lr"),
            )

    def _check_logits(self, split: str) -> None:
        """Raise an error if logits of a split are not finite.

        Raises:
            DivergedError: Logits are not finite; the message names the epoch and the split.
        """
        lost = self.lost_logits.pop(split, torch.tensor(0)).to(self.device)
        total: Tensor = self.trainer.strategy.reduce(lost, reduce_op="sum")
        if int(total):
            raise diverged(
                f"epoch {self.current_epoch + 1}, {split}: the model's answers to {int(total)} batches are",
                learning_rate=self.optimizer_spec.get("lr"),
            )

    def _count(self, split: str, batch: Batch, losses: Tensor, answers: Tensor, truth: Tensor) -> None:
        self.totals[split].add(batch, losses, self.target.correct(answers, truth))

    def _take(self, split: str) -> dict[str, float]:
        def over_ranks(sums: Tensor) -> Tensor:
            total: Tensor = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum")
            return total

        return self.totals[split].take(over_ranks if self.trainer.world_size > 1 else None)

    def _log_scores(self, split: str) -> None:
        metric: Any = self.scores[split]
        values = metric.compute()
        self.results[split] = metric.results(values)
        metric.reset()
        self._record(
            {f"{split}/{name}": value for name, value in numbers(values).items()}
            | {f"{split}/loss": self._take(split)["loss"]}
        )

    def _record(self, values: Mapping[str, float]) -> None:
        """Log values of an epoch; while fitting, also keep them for the learning curves."""
        for name, value in values.items():
            self.log(name, value, prog_bar=name == f"validation/{self.target.monitor}")
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            for name, value in values.items():
                if not math.isnan(value):  # undefined, where no label was scored
                    self.curves.setdefault(name, {})[self.current_epoch + 1] = value


def carried(before: State, fresh: State, continues: Tensor) -> State:
    """Select the states of rows that continue, and fresh ones for the others, without gradients.

    Args:
        before: States of the previous batch, nested tuples of tensors [B', ...]; B' < B only at the start of an
            epoch; None before the first batch.
        fresh: Initial states, the same nested tuples of [B, ...].
        continues: Whether each row continues [B] bool.
    """
    if before is None:
        return fresh
    if isinstance(fresh, tuple):
        return tuple(carried(one, other, continues) for one, other in zip(before, fresh, strict=True))
    fresh = fresh.to(continues.device)  # that of a frontend, which has no weights, begins on the CPU
    if len(before) < len(continues):
        return fresh
    kept = before[: len(continues)].detach().to(continues.device)
    return torch.where(continues.view(-1, *[1] * (fresh.ndim - 1)), kept, fresh)


def parameter_groups(model: nn.Module, *, lr: float | None = None) -> list[dict[str, Any]]:
    """Group parameters: matrices and kernels with weight decay, biases and norms without.

    Args:
        model: Model of which a module may have an `lr_scale`, for the parameters within it: they are groups of their
            own, with this multiple of the learning rate. The scale of a module within it replaces its own.
        lr: Learning rate of the optimiser; None where no module has a scale.
    """
    scales: dict[nn.Parameter, float] = {
        parameter: cast(Any, part).lr_scale
        for part in model.modules()
        if hasattr(part, "lr_scale")
        for parameter in part.parameters()
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = []
    for scale in (1.0, *sorted({scales[each] for each in trained if each in scales} - {1.0})):
        own = [parameter for parameter in trained if scales.get(parameter, 1.0) == scale]
        rate = {} if scale == 1 or lr is None else {"lr": lr * scale}
        groups += [
            {"params": [parameter for parameter in own if parameter.ndim >= 2], **rate},
            {"params": [parameter for parameter in own if parameter.ndim < 2], "weight_decay": 0.0, **rate},
        ]
    return groups
