"""Lightning module of a pre-training: crops, views, loss, target network and monitors."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from ser.batch import Batch, Padded
from ser.config.instantiate import build
from ser.errors import REPEAT_RUN, CheckpointError, DivergedError
from ser.precision import in_float32
from ser.pretraining.byol import BYOL
from ser.pretraining.probe import Probe
from ser.pretraining.processes import share_batch_norms, standardize
from ser.pretraining.spread import Spread
from ser.pretraining.views import Views
from ser.randomness import seed_dropout
from ser.runs import ranks
from ser.training.divergence import LossWatch, diverged
from ser.training.epoch_totals import EpochTotals
from ser.training.task import parameter_groups

_ASK_EVERY = 50  # batches between two checks on a device, as each check synchronises
_LEAST_RANK = 1.5
"""Effective rank of projections that lie on a line, nearly."""


class Pretraining(L.LightningModule):
    """Train BYOL on crops of log-mels.

    Args:
        model: Networks.
        views: Views of a crop.
        frames: Number of frames of a crop; shorter recordings are filled at both ends.
        silence: Log-mel of digital silence, which fills them.
        mean: Mean of the log-mels of the crops of train.
        std: Their deviation.
        optimizer: `_target_` spec of the optimiser, without parameters.
        schedule: `_target_` spec of a function in ser.training; empty for a constant learning rate.
        probe: Labelled recordings; None where there are none.
        probe_every: Number of epochs between two probes.
        collapse_below: Deviation of projections below which the training stops.
        description: Plain values to store in checkpoints.
        seed: Seed of the run.
    """

    def __init__(
        self,
        model: BYOL,
        views: Views,
        *,
        frames: int,
        silence: float,
        mean: float,
        std: float,
        optimizer: Mapping[str, Any],
        schedule: Mapping[str, Any] | None,
        probe: Probe | None,
        probe_every: int,
        collapse_below: float,
        description: Mapping[str, Any],
        seed: int,
    ) -> None:
        super().__init__()
        self.model, self.views = model, views
        self.frames, self.silence, self.mean, self.std = frames, silence, mean, std
        self.optimizer_spec, self.schedule_spec = optimizer, schedule
        self.probe, self.probe_every, self.collapse_below = probe, probe_every, collapse_below
        self.description = description
        self.seed = seed
        self.curves: dict[str, dict[int, float]] = {}
        """Metric -> epoch, from 1 -> value, of all epochs trained so far."""
        self.totals = EpochTotals()
        self.spreads = {"embedding": Spread(), "projection": Spread()}
        self.watch = LossWatch()
        self.has_started = False

    def on_train_start(self) -> None:
        """Start to watch the losses, and probe the untrained encoder, as epoch 0."""
        self.has_started = True
        self.watch = LossWatch(is_scaled=getattr(self.trainer.precision_plugin, "scaler", None) is not None)
        if self.probe and not self.curves and not self.global_step:
            values = ranks.current_ranks().run_first(self._probe)
            self._keep(values, 0)
            for logger in self.loggers:
                logger.log_metrics(values, step=0)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout from (seed, step, rank), so that a resumed run draws the same numbers."""
        step = self.trainer.fit_loop.epoch_loop.total_batch_idx
        seed_dropout(self.seed, step, self.global_rank, self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Compute the mean loss of a batch of crops; a batch of one has no statistics, and is skipped."""
        if len(batch) < 2 and self.trainer.world_size == 1:
            return None
        with in_float32(self.device):
            crops = fill_ends(batch.audio, self.frames, self.silence)
            pair = self.views((crops - self.mean) / self.std, batch.keys)
            first, second = standardize(torch.cat(pair)).chunk(2)
        outputs = self.model(first, second)
        with in_float32(self.device):
            self.spreads["embedding"].add(outputs.embeddings)
            self.spreads["projection"].add(outputs.projections)
        self.totals.add(batch, outputs.losses, {})
        loss: Tensor = outputs.losses.mean()
        self.watch.add(loss, self.global_step + 1)
        is_alone = self.device.type == "cpu" and self.trainer.world_size == 1
        if is_alone or batch_idx % _ASK_EVERY == 0:
            self._ask_watch()
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step, and then move the target network, before any checkpoint of this step is saved."""
        super().optimizer_step(*args, **kwargs)
        self.model.move_target()

    def on_train_epoch_end(self) -> None:
        """Log loss and spread, probe the encoder in some epochs, and stop a training that has collapsed.

        Raises:
            DivergedError: All crops have nearly the same projection, or projections on a line.
        """
        self._ask_watch()
        reduce = self._sum if self.trainer.world_size > 1 else None
        values = {"train/loss": self.totals.take(reduce)["loss"]}
        for name, spread in self.spreads.items():
            values[f"train/{name}_deviation"], values[f"train/{name}_rank"] = spread.take(reduce)
        epoch = self.current_epoch + 1
        if self.probe and (epoch % self.probe_every == 0 or epoch in (1, self.trainer.max_epochs)):
            values |= ranks.current_ranks().run_first(self._probe)
        for name, value in values.items():
            self.log(name, value, prog_bar=name in ("train/loss", "probe/accuracy"))
        self._keep(values, epoch)
        self._stop_if_collapsed(values)

    def configure_optimizers(self) -> Any:
        """Build the optimiser, with weight decay on matrices only, and its schedule."""
        optimizer: Optimizer = build(
            self.optimizer_spec, slot="optimizer", params=parameter_groups(self.model)
        )
        if not self.schedule_spec:
            return optimizer
        steps = {"total_steps": int(self.trainer.estimated_stepping_batches)}
        schedule = build(self.schedule_spec, slot="schedule", optimizer=optimizer, **steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def setup(self, stage: str) -> None:
        """Share batch statistics, if several processes train together."""
        if self.trainer.world_size > 1:
            share_batch_norms(self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the settings, the curves, the memory of past inputs, and the sums of an interrupted epoch."""
        mine = {
            "tally": self.totals.state(),
            "memory": self.views.memory.state(),
            "spreads": {name: spread.state() for name, spread in self.spreads.items()},
        }
        checkpoint["ser"] = dict(self.description)
        checkpoint["ser_progress"] = {"curves": self.curves, "ranks": ranks.current_ranks().gather(mine)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the curves, the memory, and the sums of the interrupted epoch.

        Raises:
            CheckpointError: The run had another number of processes.
        """
        progress, processes = checkpoint["ser_progress"], ranks.current_ranks()
        if len(progress["ranks"]) != processes.size:
            raise CheckpointError(
                f"resume: the checkpoint is of {len(progress['ranks'])} processes, this run has {processes.size}. "
                f"Resume with the same trainer.devices and trainer.num_nodes, or {REPEAT_RUN}."
            )
        mine = progress["ranks"][processes.rank]
        self.curves = progress["curves"]
        self.totals.load(mine["tally"])
        self.views.memory.load(mine["memory"], self.device)
        for name, spread in self.spreads.items():
            spread.load(mine["spreads"][name])

    def _keep(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self.curves.setdefault(name, {})[epoch] = value

    def _probe(self) -> dict[str, float]:
        assert self.probe is not None
        with in_float32(self.device):
            return self.probe.score(self.model.encoder, self.mean, self.std)

    def _sum(self, mine: Tensor) -> Tensor:
        total: Tensor = self.trainer.strategy.reduce(mine.to(self.device), reduce_op="sum")
        return total

    def _ask_watch(self) -> None:
        first: Tensor = self.trainer.strategy.reduce(self.watch.first.to(self.device), reduce_op="max")
        if int(first) >= 0:
            raise diverged(
                f"epoch {self.current_epoch + 1}, step {int(first)}: the loss is",
                learning_rate=self.optimizer_spec.get("lr"),
            )

    def _stop_if_collapsed(self, values: Mapping[str, float]) -> None:
        deviation, rank = values["train/projection_deviation"], values["train/projection_rank"]
        if deviation >= self.collapse_below and rank >= _LEAST_RANK:
            return
        raise DivergedError(
            f"epoch {self.current_epoch + 1}: the encoder has collapsed: it answers nearly the same to all recordings "
            f"(deviation of projections {deviation:.3f}, effective rank {rank:.1f}). Train again with a lower "
            f"optimizer.lr than {self.optimizer_spec.get('lr'):g}, or a larger batching.max_utterances."
        )


def fill_ends(audio: Padded, frames: int, value: float) -> Tensor:
    """Fill sequences [B, T, F] of at most `frames` steps at both ends, evenly: [B, frames, F]."""
    if audio.values.shape[1] < frames:
        missing = frames - audio.values.shape[1]
        audio = audio.with_values(torch.nn.functional.pad(audio.values, (0, 0, 0, missing)))
    steps = torch.arange(frames, device=audio.values.device)
    source = steps - (frames - audio.lengths)[:, None] // 2
    is_real = (source >= 0) & (source < audio.lengths[:, None])
    index = source.clamp(0, frames - 1)[:, :, None].expand_as(audio.values)
    return audio.values.gather(1, index).where(is_real[:, :, None], value)
