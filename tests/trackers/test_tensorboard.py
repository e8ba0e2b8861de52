"""What TensorBoard is given: curves without dots, one learning rate, and what was typed beside the scores."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from ser.trackers import TensorBoard
from ser.trackers.learning_rate import LearningRate
from ser.trackers.run_trackers import typed_settings, write_scores

CONFIG = {
    "seed": 3,
    "init": None,
    "test": True,
    "model": {"_target_": "ser.models.CNNEncoder", "channels": [8, 8]},
    "optimizer": {"lr": 0.001},
}


@pytest.fixture
def logger(tmp_path: Path) -> TensorBoard:
    return TensorBoard(tmp_path, name="tensorboard", version="")


def events(logger: TensorBoard) -> EventAccumulator:
    logger.finalize("success")
    return EventAccumulator(logger.log_dir).Reload()


def test_epoch_and_floor_are_no_curves(logger: TensorBoard) -> None:
    logger.log_metrics({"epoch": 1.0, "validation/majority_floor": 0.4, "validation/loss": 2.0}, 5)
    assert events(logger).Tags()["scalars"] == ["validation/loss"]


def test_scores_after_training_add_no_points(logger: TensorBoard) -> None:
    logger.log_metrics({"validation/loss": 2.0}, 5)
    logger.finalize("success")
    logger.log_metrics({"validation/loss": 1.0, "test/loss": 1.0}, 5)
    found = events(logger)
    assert found.Tags()["scalars"] == ["validation/loss"]
    assert [point.value for point in found.Scalars("validation/loss")] == [2.0]


def test_no_empty_hparams_file_is_left(logger: TensorBoard) -> None:
    logger.log_metrics({"train/loss": 2.0}, 5)
    logger.finalize("success")
    assert [path.name[:6] for path in Path(logger.log_dir).iterdir()] == ["events"]


def test_scores_are_columns_of_the_table_and_no_charts(logger: TensorBoard) -> None:
    scores = {"test/accuracy": 0.5, "test/uar": 0.4, "test/recall_joy": 0.1, "validation/accuracy": 0.6}
    write_scores([logger], scores, {"model": "lstm", "optimizer.lr": 1e-3}, step=5)
    found = events(logger)
    assert found.Tags()["scalars"] == []
    content = found.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    columns = metadata.parse_session_start_info_plugin_data(content).hparams
    assert columns["model"].string_value == "lstm"
    assert columns["optimizer.lr"].number_value == 1e-3
    assert {*columns} == {
        *("model", "optimizer.lr", "best/test/accuracy", "best/test/uar", "best/validation/accuracy")
    }
    assert columns["best/validation/accuracy"].number_value == 0.6
    assert metadata.EXPERIMENT_TAG not in found.summary_metadata  # it would hide what other runs typed


def test_typed_settings_are_options_numbers_and_texts() -> None:
    words = ["model=cnn", "optimizer.lr=1e-3", "+seed=3", "model.channels=[8,8]", "test=true", "~init"]
    assert typed_settings(CONFIG, words) == {
        "model": "cnn",
        "optimizer.lr": 0.001,
        "seed": 3,
        "model.channels": "[8, 8]",
        "test": "True",
        "init": "None",
    }
    assert typed_settings(CONFIG, []) == {}


def test_groups_of_parameters_share_one_learning_rate_curve(logger: TensorBoard) -> None:
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [one]} for one in parameters], lr=0.25)
    trainer = SimpleNamespace(loggers=[logger], optimizers=[optimizer], global_step=4, log_every_n_steps=2)
    LearningRate().on_train_epoch_start(trainer, None)
    LearningRate("step").on_train_batch_start(trainer, None, None, 0)
    LearningRate().on_train_batch_start(trainer, None, None, 0)
    found = events(logger)
    assert found.Tags()["scalars"] == ["train/lr"]
    assert [(point.step, point.value) for point in found.Scalars("train/lr")] == [(4, 0.25)] * 2
