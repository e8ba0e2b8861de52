"""The training script, from the outside: what it leaves, resumes, repeats, sweeps and refuses."""

import json
import math
import os
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ser.checkpoints import checkpoint
from ser.errors import ConfigError
from ser.runs.predictions_file import read_predictions
from ser.runs.run_folder import RunFolder
from ser.targets.quadrants import QUADRANTS
from tests.commands import TINY, run

SCORES = {"accuracy", "valence_accuracy", "activation_accuracy", "uar", "macro_f1", "majority_floor", "loss"}
SCORES |= {f"recall_{name}" for name in QUADRANTS}


@pytest.fixture(scope="module")
def finished(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended."""
    cwd = tmp_path_factory.mktemp("finished")
    test = ("data.test=ser_test_1.json", "data.test_labels=gold_1.json")
    result = run(
        "train.py",
        "data=challenge",
        f"data.root={challenge}",
        *test,
        *TINY,
        "hydra.run.dir=run",
        cwd=cwd,
        fresh=True,
    )
    (cwd / "run" / "stdout.txt").write_text(result.stdout)
    return cwd / "run"


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    left = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "metrics.json",
        "environment.json",
        "splits.json",
        "utterances.csv",
        "predictions_validation.csv",
        "predictions_test.csv",
        "calibration.json",
        "calibration.png",
        "report.md",
        "report.html",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "confusion_validation.png",
        "confusion.png",
        "lengths.png",
    } <= left
    assert not [name for name in left if name.endswith(".ckpt") and "=" in name]


def test_the_command_of_a_run_is_kept_as_it_was_typed(finished: Path) -> None:
    words = shlex.split(json.loads((finished / "environment.json").read_text())["command"])
    assert words[0] == "python"
    assert words[1].endswith("train.py")
    assert words[2] == "data=challenge"
    assert words[-1] == "hydra.run.dir=run"


def test_metrics_are_finite_floats_for_validation_and_test(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert set(metrics) == {f"{split}/{name}" for split in ("validation", "test") for name in SCORES}
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    assert metrics["test/majority_floor"] == 0.25


@pytest.mark.parametrize("split", ["validation", "test"])
def test_predictions_of_a_run_add_up_to_its_scores(finished: Path, split: str) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    found = read_predictions(finished / f"predictions_{split}.csv")
    right = found.labels == found.predicted
    assert right.mean() == pytest.approx(metrics[f"{split}/accuracy"], abs=1e-6)
    recalls = [right[found.labels == label].mean() for label in range(4)]
    assert np.mean(recalls) == pytest.approx(metrics[f"{split}/uar"], abs=1e-6)
    assert (found.probabilities.argmax(1) == found.predicted).all()
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-4)
    assert [*found.ids] == [str(number) for number in range(len(right))]  # in the order of the input


def test_the_closing_table_names_the_folder_and_three_commands(finished: Path) -> None:
    printed = (finished / "stdout.txt").read_text().replace(" \\\n     ", "")  # lines that are folded
    assert "majority floor" in printed
    assert "run folder" in printed
    for command in ("predict.py ckpt=", "tensorboard --logdir", "train.py -m"):
        assert command in printed


def test_the_split_table_counts_what_is_in_the_files(finished: Path, challenge: Path) -> None:
    table = {row["name"]: row for row in json.loads((finished / "splits.json").read_text())["splits"]}
    for split, file in (("train", "train"), ("validation", "dev")):
        records = json.loads((challenge / f"{file}.json").read_text()).values()
        lengths = torch.tensor([float(len(record["features"])) for record in records])
        assert table[split]["utterances"] == len(records)
        assert table[split]["frames_mean"] == pytest.approx(lengths.mean().item())
        assert table[split]["frames_std"] == pytest.approx(lengths.std(correction=0).item())
        assert (table[split]["frames_min"], table[split]["frames_max"]) == (lengths.min(), lengths.max())
        angry = sum((record["valence"], record["activation"]) == (0, 1) for record in records)
        assert table[split]["class_counts"]["anger"] == angry


def test_tensorboard_opens_on_the_curves_of_accuracy_and_loss(finished: Path) -> None:
    scalars, images, plugins = set(), set(), set()
    for file in (finished / "tensorboard").glob("events*"):
        events = EventAccumulator(str(file)).Reload()
        scalars |= set(events.Tags()["scalars"])
        images |= set(events.Tags()["images"])
        plugins |= set(events.summary_metadata)
    rates = {name for name in scalars if "lr" in name}
    assert rates == {"train/lr"}
    assert {"train/loss", "train/padding_ratio", "validation/loss", "validation/accuracy"} <= scalars
    groups = sorted({name.split("/")[0] for name in scalars | images})
    assert groups == ["train", "validation", "views"]  # the first two are open
    assert {"views/lengths", "views/validation/confusion", "views/test/confusion"} <= images
    assert "_hparams_/session_start_info" in plugins


def test_no_curve_has_a_point_of_the_scoring_after_training(finished: Path) -> None:
    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    for name in ("validation/accuracy", "validation/loss", "train/loss"):
        assert len(events.Scalars(name)) == 3, name  # as many as epochs


def test_folder_and_tensorboard_command_are_printed_before_training(finished: Path) -> None:
    first, second, *_ = (finished / "stdout.txt").read_text().splitlines()
    assert first == "Run folder: run"
    assert second.endswith("tensorboard --logdir run")


def test_checkpoints_hold_plain_values_and_the_best_epoch_is_chosen_on_validation(finished: Path) -> None:
    for name in ("best", "last"):
        torch.load(finished / "checkpoints" / f"{name}.ckpt", weights_only=True)
    best = checkpoint.read(finished / "checkpoints" / "best.ckpt")
    curve = checkpoint.read(finished / "checkpoints" / "last.ckpt")["ser_progress"]["curves"][
        "validation/accuracy"
    ]
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["validation/accuracy"] == pytest.approx(max(curve.values()))
    assert curve[best["epoch"] + 1] == pytest.approx(max(curve.values()))


def test_the_normaliser_is_fitted_on_train_alone_and_travels_in_the_checkpoint(
    finished: Path, challenge: Path
) -> None:
    records = json.loads((challenge / "train.json").read_text()).values()
    frames = torch.cat([torch.tensor(record["features"]) for record in records]).clamp_min(0)
    normalizer = checkpoint.load(finished / "checkpoints" / "best.ckpt").model.frontend.normalizer
    assert torch.allclose(normalizer.mean, frames.mean(0), atol=1e-3)
    assert torch.allclose(normalizer.std, frames.std(0, correction=0), atol=1e-3)


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others(
    finished: Path, challenge: Path, tmp_path: Path
) -> None:
    again, other = (
        _metrics(challenge, tmp_path, f"seed={seed}", f"hydra.run.dir={seed}", folder=str(seed))
        for seed in (0, 1)
    )
    first = json.loads((finished / "metrics.json").read_text())
    assert again == {name: value for name, value in first.items() if name.startswith("validation/")}
    assert other != again


def _metrics(challenge: Path, cwd: Path, *overrides: str, folder: str = "run") -> dict[str, float]:
    run("train.py", "data=challenge", f"data.root={challenge}", *TINY, *overrides, cwd=cwd)
    return json.loads((cwd / folder / "metrics.json").read_text())


LONG = ("trainer.max_epochs=4", "callbacks.last.every_n_steps=3", "augment.mixup=0.3", "model.dropout=0.1")


def test_a_run_killed_in_mid_epoch_and_resumed_ends_like_one_that_was_not(
    challenge: Path, tmp_path: Path
) -> None:
    uninterrupted = _metrics(challenge, tmp_path, *LONG, "hydra.run.dir=whole", folder="whole")
    _kill(challenge, tmp_path, *LONG, batch=5)
    assert not (tmp_path / "killed" / "metrics.json").exists()
    run("train.py", "resume=killed", cwd=tmp_path)
    assert json.loads((tmp_path / "killed" / "metrics.json").read_text()) == uninterrupted
    assert len(list((tmp_path / "killed").glob("**/last.ckpt"))) == 1


def test_a_run_that_was_stopped_early_is_not_trained_on_when_it_is_resumed(
    challenge: Path, tmp_path: Path
) -> None:
    never_better = ("optimizer.lr=1e-12", "callbacks.early_stopping.patience=1", "trainer.max_epochs=9")
    arguments = ("data=challenge", f"data.root={challenge}", *TINY, *never_better, "hydra.run.dir=run")
    told = [run("train.py", *given, cwd=tmp_path).stdout for given in (arguments, ("resume=run",))]
    first, again = (next(line for line in text.splitlines() if "best epoch" in line) for text in told)
    assert "1 of 2" in first
    assert again == first
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["epoch"] == 1
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert facts["command"].endswith("train.py resume=run")
    assert {*facts["overrides"]} == {*arguments} - {"hydra.run.dir=run", "trainer.max_epochs=3"}
    assert "train.py -m data=challenge" in told[1].replace(" \\\n     ", "")


def _kill(challenge: Path, cwd: Path, *overrides: str, batch: int) -> None:
    """Begin a run in `killed`, which is killed once its checkpoint has trained so many batches of the third epoch."""
    arguments = ["data=challenge", f"data.root={challenge}", *TINY, *overrides, "hydra.run.dir=killed"]
    run("train.py", *arguments, cwd=cwd, code=-signal.SIGKILL, variables={"KILL_AT": f"0 2 {batch}"})


def test_a_used_folder_is_refused_and_left_as_it_is(finished: Path, challenge: Path, tmp_path: Path) -> None:
    before = (finished / "metrics.json").read_bytes()
    result = run(
        *("train.py", "data=challenge", f"data.root={challenge}", *TINY, f"hydra.run.dir={finished}"),
        cwd=tmp_path,
        code=1,
    )
    assert "holds a run already" in result.stderr
    assert f"resume={finished}" in result.stderr
    assert "Traceback" not in result.stderr
    assert (finished / "metrics.json").read_bytes() == before


def test_two_runs_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.hold(resuming=False), pytest.raises(ConfigError, match="another run is writing there"):  # noqa: SIM117
        with RunFolder(tmp_path / "run").hold(resuming=False):
            pass


def test_a_run_is_not_resumed_with_other_settings(finished: Path, tmp_path: Path) -> None:
    changes = ("trainer.max_epochs=9", "optimizer.lr=1", "trainer.enable_progress_bar=true")
    result = run("train.py", f"resume={finished}", *changes, cwd=tmp_path, code=1)
    assert "optimizer, trainer.max_epochs cannot change within a run" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_training_that_diverges_ends_with_a_message(challenge: Path, tmp_path: Path) -> None:
    arguments = ("data=challenge", f"data.root={challenge}", *TINY, "optimizer.lr=1e6", "hydra.run.dir=run")
    said = run("train.py", *arguments, cwd=tmp_path, code=1).stderr
    assert "loss is not finite: training has diverged. Train again with optimizer.lr=0.001" in said
    assert "Traceback" not in said
    assert not [*(tmp_path / "run").rglob("*.ckpt")]


def test_resuming_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    result = run("train.py", "resume=nowhere", cwd=tmp_path, code=1)
    assert "resume=nowhere: holds no run" in result.stderr


def test_a_sweep_runs_every_combination_and_survives_a_failing_one(challenge: Path, tmp_path: Path) -> None:
    result = run(
        *("train.py", "-m", "optimizer.lr=1e-3,3e-4", "batching.max_frames=400,0"),
        *("data=challenge", f"data.root={challenge}", *TINY, "trainer.max_epochs=1", "hydra.sweep.dir=sweep"),
        cwd=tmp_path,
        code=1,
    )
    rows = (tmp_path / "sweep" / "sweep.csv").read_text().splitlines()
    assert len(rows) == 5
    assert sum("completed" in row for row in rows) == 2
    assert sum("failed" in row and "batching.max_frames=0" in row for row in rows) == 2
    assert len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 2
    assert "train.py" in result.stdout.splitlines()[-1]
    assert "batching.max_frames=400" in result.stdout


@pytest.fixture(scope="module")
def swept(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of two trainings, each in two processes."""
    cwd = tmp_path_factory.mktemp("swept")
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1")
    run(
        *("train.py", "-m", "seed=0,1", "data=challenge", f"data.root={challenge}", *TINY, *ddp),
        "hydra.sweep.dir=sweep",
        cwd=cwd,
    )
    return cwd


def test_two_processes_train_and_count_every_utterance_once(swept: Path) -> None:
    job = next((swept / "sweep").glob("*/report.md")).parent
    report = (job / "report.md").read_text()
    metrics = json.loads((job / "metrics.json").read_text())
    assert metrics["validation/majority_floor"] == 0.25
    assert metrics["validation/accuracy"] * 32 == pytest.approx(
        round(metrics["validation/accuracy"] * 32), abs=1e-4
    )
    supports = [
        line.split("|")[-2].strip() for line in report.splitlines() if line.startswith(("| joy", "| anger"))
    ]
    assert "8" in supports
    assert len(list(job.glob("**/best.ckpt"))) == 1


def test_a_sweep_of_two_process_trainings_ends_with_its_table(swept: Path) -> None:
    rows = (swept / "sweep" / "sweep.csv").read_text().splitlines()
    assert sum("completed" in row for row in rows) == 2
    assert len(list((swept / "sweep").rglob("metrics.json"))) == 2
    assert len(list(swept.rglob("best.ckpt"))) == 2


MISTAKES = {
    "trainer.accelerator=gpu": ["trainer.accelerator=gpu", "trainer.accelerator=auto"],
    "monitor=validation/acuracy": ["validation/acuracy", "validation/accuracy"],
    "optimizer.lr=abc modle=cnn": ["optimizer.lr=abc", "modle=cnn", "'model'"],
    "model=lstm compile=true": ["compile=true", "LSTM", "compile=false"],
    "data.train=missing.json": ["missing.json"],
    "trainer.overfit_batches=1": ["limit_train_batches"],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_a_message_and_not_in_a_traceback(
    mistake: str, challenge: Path, tmp_path: Path
) -> None:
    if mistake == "trainer.accelerator=gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    base = ["data=challenge", f"data.root={challenge}", "hydra.run.dir=run"]
    result = run("train.py", *base, *mistake.split(), cwd=tmp_path, code=1)
    assert "Traceback" not in result.stderr
    for word in MISTAKES[mistake]:
        assert word in result.stderr
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_refused(challenge: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    result = run(
        *("train.py", "data=challenge", f"data.root={challenge}", *TINY, "hydra.run.dir=closed/run"),
        cwd=tmp_path,
        code=1,
    )
    assert "closed" in result.stderr
    assert "Traceback" not in result.stderr


def test_twenty_utterances_can_be_learnt_by_heart(challenge: Path, tmp_path: Path) -> None:
    run(
        *("train.py", "data=challenge", f"data.root={challenge}", "debug=overfit"),
        *("trainer.enable_progress_bar=false", "callbacks.early_stopping.stopping_threshold=0.999"),
        "hydra.run.dir=run",
        cwd=tmp_path,
    )
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["validation/accuracy"] == 1.0
