"""Trainings in this process: logged steps, precisions, limits, overflow."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from ser.errors import ConfigError
from ser.training.callbacks import AveragedWeights
from ser.training.divergence import LossWatch, running_statistics
from ser.training.evaluation import evaluate
from ser.training.task import Task
from tests.fits import fit


def step_losses(folder: Path) -> dict[int, float]:
    """Step -> value of train/loss_step in TensorBoard."""
    events = EventAccumulator(str(next((folder / "tensorboard").glob("events*")))).Reload()
    if "train/loss_step" not in events.Tags()["scalars"]:
        return {}
    return {event.step: event.value for event in events.Scalars("train/loss_step")}


@pytest.mark.parametrize("batches", [1, 2])
def test_the_loss_of_a_step_is_logged_at_that_step(
    challenge: Path, tmp_path: Path, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    plain = Task.training_step

    def spied(self: Task, *arguments: object) -> torch.Tensor:
        loss = plain(self, *arguments)  # type: ignore[arg-type]
        seen.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(Task, "training_step", spied)
    fit(challenge, tmp_path, "trainer.log_every_n_steps=3", f"trainer.accumulate_grad_batches={batches}")
    steps = [sum(seen[at : at + batches]) / batches for at in range(0, len(seen), batches)]
    expected = {step: steps[step - 1] for step in range(3, len(steps) + 1, 3)}
    assert step_losses(tmp_path) == pytest.approx(expected, rel=1e-5)


def test_no_step_is_logged_at_an_interval_of_zero(challenge: Path, tmp_path: Path) -> None:
    fit(challenge, tmp_path, "trainer.log_every_n_steps=0", "callbacks.learning_rate.logging_interval=step")
    assert step_losses(tmp_path) == {}


def test_a_sanity_check_leaves_no_point_on_the_curves(challenge: Path, tmp_path: Path) -> None:
    epochs = ("trainer.max_epochs=2", "trainer.check_val_every_n_epoch=2")
    task = fit(challenge, tmp_path, "trainer.num_sanity_val_steps=1", *epochs).task
    assert set(task.curves["validation/accuracy"]) == {2}


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "64-true", "bf16-mixed"])
def test_a_training_ends_in_every_precision(challenge: Path, tmp_path: Path, precision: str) -> None:
    fitted = fit(challenge, tmp_path, f"trainer.precision={precision}", "trainer.log_every_n_steps=1")
    scores = evaluate(fitted.settings, fitted.trainer, fitted.task, fitted.data)
    assert 0 <= scores.metrics["validation/accuracy"] <= 1
    assert all(torch.tensor([*curve.values()]).isfinite().all() for curve in fitted.task.curves.values())


def test_a_training_without_a_logger_ends(challenge: Path, tmp_path: Path) -> None:
    fitted = fit(challenge, tmp_path, "logger=none")
    assert fitted.trainer.logger is None
    assert not (tmp_path / "tensorboard").exists()
    assert fitted.run.best.is_file()


def test_test_batches_can_be_switched_off(challenge: Path, tmp_path: Path) -> None:
    labelled = ("data.test=ser_test_1.json", "data.test_labels=gold_1.json", "+trainer.limit_test_batches=0")
    fitted = fit(challenge, tmp_path, *labelled)
    scores = evaluate(fitted.settings, fitted.trainer, fitted.task, fitted.data)
    assert {name.partition("/")[0] for name in scores.metrics} == {"validation"}


def test_a_batch_that_overflows_leaves_running_statistics_as_they_were(
    challenge: Path, tmp_path: Path
) -> None:
    task = fit(challenge, tmp_path).task.train()
    batch = next(iter(fit(challenge, tmp_path / "other").data.train_dataloader()))
    before = [buffer.clone() for buffer in running_statistics(task._norms)]
    task.watch = LossWatch(is_scaled=True)  # as with 16-mixed, whose scaler leaves such a step out
    batch.audio.values[0, 0, 0] = torch.inf
    task.training_step(batch, 0)
    assert all(map(torch.equal, running_statistics(task._norms), before))
    batch.audio.values[0, 0, 0] = 0
    task.training_step(batch, 0)
    assert not any(map(torch.equal, running_statistics(task._norms), before))


def test_averaged_weights_leave_what_does_not_train_alone() -> None:
    callback = AveragedWeights()
    module = nn.Linear(2, 2)
    module.register_buffer("bank", torch.zeros(1000), persistent=False)
    callback.on_fit_start(None, module)  # type: ignore[arg-type]
    assert {id(weight) for _, weight in callback._pairs} == {id(module.weight), id(module.bias)}


def test_averages_of_half_precision_weights_are_not_rounded_away() -> None:
    callback = AveragedWeights(decay=0.999)
    module = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    module.weight.data.fill_(1.0)
    callback.on_fit_start(None, module)  # type: ignore[arg-type]
    module.weight.data.fill_(1.5)
    for callback._latest_update_step in range(100_000, 100_100):
        callback._move(callback._pairs)
    callback.on_train_end(None, module)  # type: ignore[arg-type]
    assert float(callback._averages["weight"]) == pytest.approx(1.5 - 0.5 * 0.999**100, rel=1e-4)


@pytest.mark.parametrize(
    "stopping", ["callbacks.early_stopping.patience=15", "callbacks.early_stopping=null"]
)
def test_a_training_that_ends_before_validation_is_refused(
    challenge: Path, tmp_path: Path, stopping: str
) -> None:
    with pytest.raises(
        ConfigError, match=r"trainer\.max_steps=3: training ended before its first validation"
    ):
        fit(challenge, tmp_path, "+trainer.max_steps=3", stopping)


@pytest.mark.parametrize("word", ["trainer.val_check_interval=0", "trainer.gradient_clip_val=-1"])
def test_an_interval_or_clip_of_nothing_is_refused(challenge: Path, tmp_path: Path, word: str) -> None:
    with pytest.raises(ConfigError, match=f"{word}.*expected more than 0"):
        fit(challenge, tmp_path, f"++{word}")
