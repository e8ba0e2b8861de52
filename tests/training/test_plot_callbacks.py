"""Callbacks that look on: what they leave, and that training does not notice them."""

import csv
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from ser.batching.datamodule import SpeechData
from ser.batching.samplers import BatchIndices
from ser.config.instantiate import build
from ser.config.settings import Train
from ser.errors import ConfigError
from ser.runs.run_folder import RunFolder
from ser.training import setup
from ser.training.plot_callbacks import (
    Architecture,
    LossCurve,
    OutputSpace,
    WaveformPictures,
    principal_components,
)
from ser.training.task import Task
from ser.training.trainer import make_trainer
from tests.commands import TINY
from tests.config.test_composed import composed

pytestmark = [  # of Lightning; a run of train.py does not show them either
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]

Pieces = tuple[dict[str, Any], SpeechData, Task]

LSTM = ("model=lstm", "model.hidden_dim=8", *TINY[2:])
WAVEFORMS = (
    *("features=waveform", "features.sample_rate=8000", "model=waveform_cnn", "model.channels=[4,4]"),
    *("target=binary", "target.class_names=[anger,sadness]", "augment=none", "pooling=mean", *TINY[2:]),
    *("batching.max_frames=1250", "split=random"),
)


def pieces(root: Path, tmp_path: Path, *overrides: str, data: str = "challenge") -> Pieces:
    """Config, data and task of a small run that draws at random wherever it can."""
    if data == "challenge":
        test = ("data.test=ser_test_1.json", "data.test_labels=gold_1.json", "augment.mixup=0.3")
        overrides = (*test, "model.dropout=0.2", *(overrides or TINY))
    place = (f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}")
    config = composed("train", [f"data={data}", *place, *overrides])
    L.seed_everything(0, verbose=False)
    settings = Train.of(config)
    speech = setup.make_data(settings, setup.read_splits(settings))
    return config, speech, setup.make_task(settings, speech)


def trainer_of(config: dict[str, Any], folder: Path, *callbacks: L.Callback, **settings: Any) -> L.Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    quiet = {"enable_model_summary": False, "enable_checkpointing": False}
    config = config | {"callbacks": {}, "trainer": config["trainer"] | quiet | settings}
    trainer = make_trainer(Train.of(config), RunFolder(folder))
    trainer.callbacks += callbacks
    return trainer


def fitted(
    folder: Path, made: Pieces, *callbacks: L.Callback, ckpt: Path | None = None, **settings: Any
) -> Task:
    config, data, task = made
    trainer = trainer_of(config, folder, *callbacks, **settings)
    trainer.fit(task, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return task


def differing(first: Task, second: Task) -> list[str]:
    others = second.state_dict()
    return [name for name, weight in first.state_dict().items() if not torch.equal(weight, others[name])]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard")).Reload()


@pytest.fixture(scope="module")
def watched(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pieces]:
    """The folder of a run with all observers, fitted, validated and tested."""
    folder = tmp_path_factory.mktemp("watched")
    config, data, task = made = pieces(challenge, folder)
    observers = (LossCurve(2, 20), OutputSpace(), WaveformPictures(), Architecture())
    trainer = trainer_of(config, folder / "run", *observers)
    trainer.fit(task, datamodule=data)
    trainer.validate(task, datamodule=data, verbose=False)
    trainer.test(task, datamodule=data, verbose=False)
    return folder / "run", made


def test_a_run_leaves_the_pictures_of_all_observers(watched: tuple[Path, Pieces]) -> None:
    left = {path.name for path in watched[0].iterdir()}
    assert {"loss_curve.png", "loss_curve.csv", "pca.png", "pca.csv", "model.txt", "architecture.png"} <= left
    assert "waveforms.png" not in left  # the data holds features
    tags = events(watched[0]).Tags()
    assert {
        f"views/{name}" for name in ("loss_curve", "validation/logits", "test/logits", "architecture")
    } <= {*tags["images"]}
    assert "model/text_summary" in tags["tensors"]


def test_the_loss_curve_has_a_point_every_so_many_steps(watched: tuple[Path, Pieces]) -> None:
    rows = read(watched[0] / "loss_curve.csv")
    assert [int(row["step"]) for row in rows] == [*range(2, 2 * len(rows) + 1, 2)]
    assert len(rows) >= 8
    for name in ("train", "validation"):
        logged = events(watched[0]).Scalars(f"{name}/loss_curve")
        assert [event.step for event in logged] == [int(row["step"]) for row in rows]
        assert [event.value for event in logged] == pytest.approx(
            [float(row[name]) for row in rows], rel=1e-5
        )


def test_every_logit_vector_of_the_test_split_has_its_place(watched: tuple[Path, Pieces]) -> None:
    folder, (_, data, task) = watched
    rows = read(folder / "pca.csv")
    dataset, names = data.datasets["test"], task.target.class_names
    assert [row["id"] for row in rows] == [*map(str, dataset.store.ids)]
    assert [row["label"] for row in rows] == [names[index] for index in dataset.targets.tolist()]
    task.eval()
    with torch.no_grad():
        audio = [dataset[BatchIndices(0, [index])].audio for index in range(len(dataset))]
        logits = torch.cat([task.model(one) for one in audio])
    assert [row["prediction"] for row in rows] == [names[index] for index in logits.argmax(-1).tolist()]
    points = np.array([[float(row["pc1"]), float(row["pc2"])] for row in rows])
    assert np.abs(points) == pytest.approx(np.abs(PCA(2).fit_transform(logits.numpy())), abs=1e-3)


def test_the_projector_has_a_point_and_a_class_for_each_utterance(watched: tuple[Path, Pieces]) -> None:
    folder, (_, _, task) = watched
    (config,) = folder.rglob("projector_config.pbtxt")
    assert "test/logits" in config.read_text()
    (points,) = (path for path in folder.rglob("tensors.tsv") if path.parent.name.startswith("test"))
    assert np.loadtxt(points).shape == (24, 4)
    labels = points.with_name("metadata.tsv").read_text().split()
    assert sorted(set(labels)) == sorted(task.target.class_names)


def test_the_table_of_the_model_adds_up(watched: tuple[Path, Pieces]) -> None:
    folder, (_, _, task) = watched
    lines = (folder / "model.txt").read_text().splitlines()
    total = sum(parameter.numel() for parameter in task.model.parameters())
    assert lines[-2:] == [f"parameters: {total:,}", f"trainable: {total:,}"]
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["(model)"].split()[1:] == ["Classifier", "[1,", "4]", f"{total:,}"]
    assert {"frontend", "encoder.stages.0", "pooling", "head"} <= set(rows)


@pytest.mark.parametrize("overrides", [(), LSTM], ids=["cnn", "lstm"])
def test_weights_are_the_same_with_and_without_observers(
    challenge: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    alone = fitted(tmp_path / "alone", pieces(challenge, tmp_path, *overrides))
    curve = LossCurve(1, 20)
    observers = (curve, OutputSpace(), WaveformPictures(), Architecture())
    observed = fitted(tmp_path / "observed", pieces(challenge, tmp_path, *overrides), *observers)
    assert not differing(alone, observed)
    assert alone.curves["train/loss"] == observed.curves["train/loss"]
    assert len(curve.points) == 24


class Witness(L.Callback):
    """Notes the losses of batches and, after each step, that of the whole validation split, one by one."""

    def __init__(self, data: SpeechData) -> None:
        self.dataset = data.datasets["validation"]
        self.train: list[float] = []
        self.validation: dict[int, float] = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        assert all(module.training for module in pl_module.model.modules())
        self.train.append(float(outputs["loss"]))
        pl_module.eval()
        with torch.no_grad():
            losses = [self._loss(pl_module, index) for index in range(len(self.dataset))]
        pl_module.train()
        self.validation[trainer.global_step] = float(torch.cat(losses).mean())

    def _loss(self, task: Task, index: int) -> Tensor:
        batch = self.dataset[BatchIndices(0, [index])]
        loss: Tensor = task.objective(task.model(batch.audio), batch)
        return loss


def test_a_point_is_the_loss_after_its_step(challenge: Path, tmp_path: Path) -> None:
    made = pieces(challenge, tmp_path)
    curve, witness = LossCurve(3, 1000), Witness(made[1])
    fitted(tmp_path / "run", made, curve, witness, max_epochs=1)
    assert [point[0] for point in curve.points] == [3, 6]
    for step, train, validation in curve.points:
        assert train == pytest.approx(witness.train[int(step) - 1])
        assert validation == pytest.approx(witness.validation[int(step)], rel=1e-4)


def test_a_step_of_several_batches_has_their_mean_loss(challenge: Path, tmp_path: Path) -> None:
    made = pieces(challenge, tmp_path)
    curve, witness = LossCurve(1, 8), Witness(made[1])
    fitted(tmp_path / "run", made, curve, witness, max_epochs=1, accumulate_grad_batches=2)
    pairs = np.array(witness.train).reshape(-1, 2)  # Lightning has halved each already
    assert [point[1] for point in curve.points] == pytest.approx(pairs.sum(1))
    assert [point[0] for point in curve.points] == [1, 2, 3, 4]


class SaveAt(L.Callback):
    """Saves a checkpoint after a step."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def test_a_resumed_curve_goes_on_where_it_was(challenge: Path, tmp_path: Path) -> None:
    whole, resumed = LossCurve(2, 20), LossCurve(2, 20)
    ckpt = tmp_path / "middle.ckpt"
    first = fitted(tmp_path / "whole", pieces(challenge, tmp_path), whole, SaveAt(11, ckpt))
    second = fitted(tmp_path / "resumed", pieces(challenge, tmp_path), resumed, ckpt=ckpt)
    assert not differing(first, second)
    assert resumed.points == whole.points
    assert len(whole.points) == 12


def test_the_same_utterances_are_drawn_in_every_run_of_a_seed(challenge: Path, tmp_path: Path) -> None:
    class Ids(LossCurve):
        def on_train_batch_end(self, *_: Any) -> None:
            self.ids = [name for batch in self._batches for name in batch.ids]

    curves = [Ids(utterances=10) for _ in range(2)]
    for curve in curves:
        fitted(tmp_path / "run", pieces(challenge, tmp_path), curve, max_steps=1)
    assert curves[0].ids == curves[1].ids
    assert len(set(curves[0].ids)) == 10


def test_the_validation_loss_is_computed_in_the_precision_of_training(
    challenge: Path, tmp_path: Path
) -> None:
    config, data, task = pieces(challenge, tmp_path)
    in_half = set()
    task.model.encoder.register_forward_hook(
        lambda module, *_: in_half.add((module.training, torch.is_autocast_enabled("cpu")))
    )
    curve = LossCurve(1, 8)
    settings = {"max_steps": 2, "limit_val_batches": 0, "precision": "bf16-mixed"}
    fitted(tmp_path / "run", (config, data, task), curve, **settings)
    assert in_half == {(True, True), (False, True)}
    assert np.isfinite(curve.points).all()


def test_a_run_of_few_steps_leaves_no_curve(challenge: Path, tmp_path: Path) -> None:
    fitted(tmp_path / "run", pieces(challenge, tmp_path), LossCurve(50), max_steps=2)
    assert not [*(tmp_path / "run").glob("loss_curve*")]


@pytest.mark.parametrize("setting", ["every_n_steps", "utterances"])
def test_a_curve_of_nothing_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"callbacks.loss_curve.{setting}=0: is below 1\. Give 1"):
        LossCurve(**{setting: 0})


def test_waveforms_and_one_logit_have_their_pictures(recordings: Path, tmp_path: Path) -> None:
    config, data, task = pieces(recordings, tmp_path, *WAVEFORMS, data="folder")
    observers = (OutputSpace(), WaveformPictures(3), Architecture())
    trainer = trainer_of(config, tmp_path / "run", *observers, max_steps=2)
    trainer.fit(task, datamodule=data)
    trainer.validate(task, datamodule=data, verbose=False)
    assert (tmp_path / "run" / "waveforms.png").is_file()
    rows = read(tmp_path / "run" / "pca.csv")
    assert [row["id"] for row in rows] == [*map(str, data.datasets["validation"].store.ids)]
    assert {row["pc2"] for row in rows} == {"0"}
    assert len({row["pc1"] for row in rows}) > 1
    assert {"views/waveforms", "views/validation/logits"} <= set(events(tmp_path / "run").Tags()["images"])


def test_components_agree_with_scikit_learn_and_their_signs_are_fixed() -> None:
    points = torch.randn(50, 6) * torch.arange(1, 7)
    placed, shares = principal_components(points)
    reference = PCA(2).fit(points.double().numpy())
    assert placed.abs().numpy() == pytest.approx(np.abs(reference.transform(points.double().numpy())))
    assert shares == pytest.approx(reference.explained_variance_ratio_)
    shuffled = torch.randperm(50)
    assert torch.allclose(principal_components(points[shuffled])[0], placed[shuffled])


@pytest.mark.parametrize("size", [(60, 300), (300, 60), (40, 40)])
def test_components_of_wide_and_tall_points_agree_with_numpy(size: tuple[int, int]) -> None:
    points = torch.randn(size) * torch.linspace(1, 3, size[1]) + 100
    points[10:20] = points[0]  # recordings that occur twice
    centred = points.double().numpy() - points.double().numpy().mean(0)
    left, scales, _ = np.linalg.svd(centred, full_matrices=False)
    placed, shares = principal_components(points)
    assert placed.abs().numpy() == pytest.approx(np.abs(left * scales)[:, :2], abs=1e-6)
    assert shares == pytest.approx((scales**2 / (scales**2).sum())[:2])


def test_points_on_a_line_have_one_component() -> None:
    points = torch.linspace(0, 1, 30, dtype=torch.float64)[:, None] * torch.arange(1.0, 51)
    placed, shares = principal_components(points)
    assert shares == (pytest.approx(1), 0)
    assert placed[:, 1].abs().max() == 0
    distances = (placed[:-1, 0] - placed[1:, 0]).abs().numpy()
    assert distances == pytest.approx(np.linalg.norm(np.arange(1, 51)) / 29)


def test_equal_loadings_have_a_sign_too() -> None:
    one = torch.randn(40, 1)
    placed, shares = principal_components(torch.cat([one, -one], 1) + torch.rand(40, 2) * 1e-6)
    assert shares[0] == pytest.approx(1)
    assert np.corrcoef(placed[:, 0], one[:, 0])[0, 1] > 0.99


@pytest.mark.parametrize("size", [(1, 4), (2, 4), (5, 1), (3, 2)])
def test_what_has_no_plane_has_zeros_there(size: tuple[int, int]) -> None:
    placed, shares = principal_components(torch.randn(size))
    assert placed.shape == (size[0], 2)
    assert np.isfinite(shares).all()
    assert shares[1] == pytest.approx(0) or size == (3, 2)
    alike, none = principal_components(torch.ones(size))
    assert (alike.abs().max(), none) == (0, (0, 0))


def test_the_settings_turn_all_of_them_on_and_the_default_none() -> None:
    default = composed("train", [])["callbacks"]
    chosen = composed("train", ["callbacks=language_id"])["callbacks"]
    names = ["loss_curve", "output_space", "waveforms", "architecture"]
    assert [default[name] for name in names] == [None] * 4
    built = [build(chosen[name], slot=f"callbacks.{name}") for name in names]
    assert [type(observer) for observer in built] == [LossCurve, OutputSpace, WaveformPictures, Architecture]
    assert {name: node for name, node in chosen.items() if name not in names} == {
        name: node for name, node in default.items() if name not in names
    }
