"""Sweeps: statuses, objectives of failed jobs, the table, and the command line from end to end."""

import csv
import json
import math
import shlex
import shutil
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest
import torch

from ser.errors import DivergedError, SerError, program, shell_word
from ser.runs import sweep
from ser.runs.changes import find_changes, fingerprint
from ser.runs.sweep import (
    UNSEEN_WORST,
    Job,
    failed_objective,
    find_folder,
    hash_settings,
    record_status,
    run_job,
)
from ser.runs.sweep_tables import repeated_test_speakers, summarize
from tests.commands import warm_python
from tests.conftest import REPOSITORY

ROOT = REPOSITORY
PYTHON = program("python")


def status_of(folder):
    return json.loads((folder / "status.json").read_text())


# ---- one job ----


def test_a_status_keeps_what_is_not_said_again(tmp_path):
    record_status(tmp_path / "0", "running", overrides=["seed=1"], mode="min")
    record_status(tmp_path / "0", "completed", monitor="validation/loss", value=0.5)
    assert status_of(tmp_path / "0") == {
        "status": "completed",
        "error": None,
        "monitor": "validation/loss",
        "epochs": None,
        "mode": "min",
        "value": 0.5,
        "overrides": ["seed=1"],
        "settings": None,
        "reason": None,
        "number": None,
        "depends": None,
    }
    assert [path.name for path in (tmp_path / "0").iterdir()] == ["status.json"]


def test_a_new_run_in_the_same_folder_forgets_the_old_one(tmp_path):
    record_status(tmp_path, "failed", error="old", value=0.5)
    record_status(tmp_path, "running")
    assert (status_of(tmp_path)["error"], status_of(tmp_path)["value"]) == (None, None)


def test_a_status_that_cannot_be_written_leaves_the_old_one(tmp_path):
    record_status(tmp_path, "completed", value=0.5)
    before = (tmp_path / "status.json").read_text()
    with pytest.raises(SerError, match="returned nan: training diverged"):
        record_status(tmp_path, "completed", value=math.nan)
    with pytest.raises(TypeError):
        record_status(tmp_path, "failed", error=object())
    assert (tmp_path / "status.json").read_text() == before


def tried(run, sweep_dir, name="0", mode="max", **more):
    folder = sweep_dir / name
    facts = {"log": folder / "train.log", "overrides": ["seed=1"], "settings": "0f", "mode": mode}
    return run_job(run, Job(folder=folder, sweep_dir=sweep_dir, **facts | more)), folder


def test_a_completed_job_returns_and_records_its_objective(tmp_path):
    value, folder = tried(lambda _: 0.25, tmp_path)
    assert value == 0.25
    assert (status_of(folder)["status"], status_of(folder)["value"]) == ("completed", 0.25)


def test_a_job_that_was_pruned_stays_pruned(tmp_path):
    def pruned(_):
        record_status(tmp_path / "0", "pruned", value=0.25, epochs=2)
        return 0.25

    value, folder = tried(pruned, tmp_path)
    assert value == 0.25
    assert (status_of(folder)["status"], status_of(folder)["epochs"]) == ("pruned", 2)


def test_a_failed_job_is_recorded_with_its_traceback_and_does_not_raise(tmp_path, capsys):
    value, folder = tried(lambda _: 1 // 0, tmp_path)
    assert math.isfinite(value)
    assert status_of(folder)["status"] == "failed"
    assert status_of(folder)["error"].startswith("ZeroDivisionError: ")
    assert "Traceback (most recent call last)" in (folder / "train.log").read_text()
    printed = capsys.readouterr().err
    assert "Traceback (most" not in printed
    assert "Failed: seed=1\nZeroDivisionError: " in printed
    assert f"The traceback is in {folder}/train.log." in printed


@pytest.mark.parametrize("objective", [math.nan, math.inf])
def test_an_objective_that_is_not_finite_fails_the_job(tmp_path, objective):
    value, folder = tried(lambda _: objective, tmp_path)
    assert math.isfinite(value)
    assert "training diverged" in status_of(folder)["error"]


def test_an_interrupt_is_recorded_and_goes_on_up(tmp_path):
    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tried(interrupted, tmp_path)
    assert status_of(tmp_path / "0")["error"] == "interrupted"


@pytest.mark.parametrize(("mode", "worst"), [("max", 0.25), ("min", 0.75)])
def test_a_failed_job_counts_as_the_worst_seen(tmp_path, mode, worst):
    assert abs(failed_objective(tmp_path, mode)) == UNSEEN_WORST
    assert (failed_objective(tmp_path, mode) < 0) == (mode == "max")
    for index, value in enumerate([0.5, 0.25, 0.75]):
        record_status(tmp_path / str(index), "completed", value=value)
    record_status(tmp_path / "3", "failed")
    assert failed_objective(tmp_path, mode) == worst


# ---- the table ----


@pytest.mark.parametrize(("mode", "best"), [("max", "10"), ("min", "2")])
def test_the_table_ranks_by_the_mode_and_puts_failures_last(tmp_path, capsys, mode, best):
    for name, value in [("2", 0.1), ("10", 0.9), ("3", 0.5)]:
        record_status(tmp_path / name, "running", overrides=[f"x={name}", "a=[1,2]"])
        record_status(tmp_path / name, "completed", value=value, mode=mode, monitor="validation/x")
    record_status(
        tmp_path / "1",
        "failed",
        error="2 problems in the configuration:\n  a: bad|worse\n  b",
        mode=mode,
        overrides=["x=1"],
    )
    record_status(tmp_path / "4", "running", overrides=[])
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "status.json").write_text('{"status": "comp')

    assert summarize(tmp_path, ["python", "my train.py"]) == 2

    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    order = ["10", "3", "2"] if mode == "max" else ["2", "3", "10"]
    assert [row["folder"] for row in rows] == [*order, "1", "4"]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "", ""]
    assert [row["status"] for row in rows[2:]] == ["completed", "failed: a: bad|worse", "killed"]
    assert rows[0][f"validation/x ({mode})"] == {"10": "0.9", "2": "0.1"}[best]
    markdown = (tmp_path / "sweep.md").read_text().splitlines()
    assert markdown[0] == f"| rank | validation/x ({mode}) | overrides | folder | status |"
    assert r"bad\|worse" in markdown[5]
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"Best, to repeat it: {PYTHON} 'my train.py' x={best} 'a=[1,2]'"
    assert "validation/x" in printed


def test_a_sweep_without_a_completed_job_names_no_best(tmp_path, capsys):
    record_status(tmp_path / "0", "failed", error="x")
    assert summarize(tmp_path, ["python", "train.py"]) == 1
    assert "Best" not in capsys.readouterr().out


SAME = {
    "majority_floor_mean": "0.25",
    "majority_floor_sd": "0",
    "recall_joy_mean": "0.5",
    "recall_joy_sd": "0",
}


def test_scores_are_averaged_over_seeds_and_folds_and_over_nothing_else(tmp_path, capsys):
    jobs = [("model=cnn", 0, 0.5), ("model=cnn", 1, 0.7), ("model=lstm", 0, 0.6), ("model=lstm", 1, 0.6)]
    for number, (model, seed, value) in enumerate(jobs):
        overrides = ["data=x", model, f"seed={seed}", f"data.split.fold={seed}"]
        record_status(tmp_path / str(number), "completed", overrides=overrides, value=value)
        scores = {
            "test/accuracy": value,
            "test/majority_floor": 0.25,
            "test/loss": 9.0,
            "test/recall_joy": 0.5,
        }
        (tmp_path / str(number) / "metrics.json").write_text(json.dumps(scores))
    record_status(tmp_path / "4", "failed", overrides=["model=cnn", "seed=2"], error="x")
    record_status(tmp_path / "5", "completed", overrides=["data=x", "model=alone"], value=1.0)
    (tmp_path / "5" / "metrics.json").write_text('{"test/accuracy": 1.0}')

    summarize(tmp_path, ["python", "train.py"])

    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    others = {f"test/{name}": value for name, value in SAME.items()}
    head = [
        ("cnn", "2", "0.6", "0.141421"),
        ("lstm", "2", "0.6", "0"),
        ("alone", "1", "1", ""),
    ]
    names = ("model", "jobs", "test/accuracy_mean", "test/accuracy_sd")
    assert rows == [
        dict(zip(names, row, strict=True)) | (others if row[1] == "2" else dict.fromkeys(others, ""))
        for row in head
    ]
    printed = capsys.readouterr().out
    assert "60.0% +- 14.1" in printed
    assert "test recall joy" in printed


def test_scores_of_values_are_the_concordance_of_each_field(tmp_path, capsys):
    for seed, value in enumerate((0.5, 0.7)):
        overrides = ["model=cnn", f"seed={seed}"]
        record_status(tmp_path / str(seed), "completed", overrides=overrides, value=value)
        scores = {"ccc": value, "ccc_mean": value, "ccc_arousal": value - 0.1, "mse": 0.2}
        scores = {
            f"{split}/{name}": score for split in ("validation", "test") for name, score in scores.items()
        }
        (tmp_path / str(seed) / "metrics.json").write_text(json.dumps(scores))
    summarize(tmp_path, ["python", "train.py"])
    printed = capsys.readouterr().out
    assert "0.600 +- 0.141" in printed
    assert "test ccc arousal" in printed
    with (tmp_path / "scores.csv").open() as file:
        row = next(csv.DictReader(file))
    names = [f"{split}/{name}_mean" for split in ("validation", "test") for name in ("ccc", "ccc_arousal")]
    assert [name for name in row if name.endswith("_mean")] == names
    assert row["test/ccc_arousal_mean"] == "0.5"


def jobs(sweep_dir, *rows, name="model"):
    """Write finished jobs: setting, fold, value; a value of None is a job that failed."""
    for number, (setting, fold, value) in enumerate(rows):
        overrides = [f"{name}={setting}", f"data.split.fold={fold}"]
        status = "failed" if value is None else "completed"
        record_status(sweep_dir / str(number), status, overrides=overrides, value=value, mode="max")


def test_folds_are_averaged_and_the_luckiest_is_not_the_best(tmp_path, capsys):
    jobs(tmp_path, ("a", 0, 0.9), ("a", 1, 0.1), ("b", 0, 0.6), ("b", 1, 0.6))
    summarize(tmp_path, ["python", "train.py"])
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"Best, to repeat it: {PYTHON} train.py -m model=b data.split.fold=0,1"
    assert "2 settings, ranked by the mean over seeds and folds." in printed
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["rank"], row["mean"], row["folder"]) for row in rows] == [
        ("1", "0.6", "2"),
        ("1", "0.6", "3"),
        ("2", "0.5", "0"),
        ("2", "0.5", "1"),
    ]


def test_split_seeds_that_test_the_same_speakers_are_named(tmp_path, capsys):
    for number, speakers in enumerate((["a"], ["b"], ["a"])):
        folder = tmp_path / str(number)
        words = ["model=cnn", f"data.split.seed={number}"]
        record_status(folder, "running", overrides=words)
        record_status(folder, "completed", monitor="m", mode="max", value=0.5)
        (folder / "splits.json").write_text(json.dumps({"speakers": {"test": speakers}}))
    summarize(tmp_path, ["python", "train.py"])
    told = capsys.readouterr().out
    assert "data.split.seed=0 and data.split.seed=2 test the same 1 speaker (a)" in told
    assert "data.split.seed=1" not in told.partition("test the same")[0].rpartition("\n")[2]


def test_folds_of_one_setting_are_not_ranked(tmp_path, capsys):
    jobs(tmp_path, ("a", 0, 0.9), ("a", 1, 0.1))
    summarize(tmp_path, ["python", "train.py"])
    printed = capsys.readouterr().out
    assert "Best" not in printed
    assert printed.splitlines()[-1] == f"To repeat it: {PYTHON} train.py -m model=a data.split.fold=0,1"


def test_a_setting_with_fewer_folds_is_not_compared(tmp_path, capsys):
    jobs(tmp_path, ("a", 0, 0.9), ("a", 1, None), ("b", 0, 0.6), ("b", 1, 0.5))
    assert summarize(tmp_path, ["python", "train.py"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "Not compared, as fewer than 2 jobs of each completed: 1 setting."
    assert lines[-1].startswith(f"To repeat it: {PYTHON} train.py -m model=b")


def test_scores_table_has_a_column_for_each_setting(tmp_path):
    for number, (model, rate) in enumerate([("cnn", "0.1"), ("lstm", "0.2")]):
        words = [f"model={model}", f"optimizer.lr={rate}", "data=x"]
        record_status(tmp_path / str(number), "completed", overrides=words, value=0.5)
        (tmp_path / str(number) / "metrics.json").write_text('{"test/accuracy": 0.464}')
    summarize(tmp_path, ["python", "train.py"])
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["model", "optimizer.lr", "jobs", "test/accuracy_mean", "test/accuracy_sd"]
    assert [*rows[1].values()] == ["lstm", "0.2", "1", "0.464", ""]


# ---- a sweep that is repeated ----


def test_a_job_is_named_by_what_its_result_depends_on():
    settings = {"model": {"a": 1, "b": [1e-3]}, "seed": 0}
    name = hash_settings(settings)
    assert len(name) == 10
    assert hash_settings({"seed": 0, "model": {"b": [0.001], "a": 1}}) == name
    free = {"resume": "x", "sweep": {"skip_done": False}, "experiment_name": "y", "trust": ["z"]}
    assert hash_settings(settings | free) == name
    assert hash_settings({"model": {**settings["model"], "cache_dir": "c"}, "seed": 0}) == name
    assert hash_settings({"model": {"a": 1, "b": [1e-4]}, "seed": 0}) != name


def test_a_folder_of_another_job_is_never_used(tmp_path):
    record_status(tmp_path / "1", "completed", overrides=["a=1"], settings="aa", value=0.5)
    assert find_folder(tmp_path / "1", tmp_path, "aa") == tmp_path / "1"
    assert find_folder(tmp_path / "1", tmp_path, "bb") == tmp_path / "bb"
    assert find_folder(tmp_path / "2", tmp_path, "bb") == tmp_path / "2"


def finished(sweep_dir, **facts):
    record_status(sweep_dir / "0", "completed", settings="0f", value=0.5, overrides=["seed=1"], **facts)
    (sweep_dir / "0" / "metrics.json").write_text("{}")


def test_a_finished_job_is_skipped_with_its_value(tmp_path, capsys):
    finished(tmp_path)
    assert tried(lambda _: 1 / 0, tmp_path)[0] == 0.5
    assert "Skipped, as it finished before: seed=1" in capsys.readouterr().out


def test_a_finished_job_runs_again_if_asked_and_keeps_its_results(tmp_path, capsys):
    finished(tmp_path)
    value, folder = tried(lambda _: 0.75, tmp_path, skip_done=False)
    assert (value, status_of(folder)["value"]) == (0.75, 0.75)
    assert not (folder / "metrics.json").exists()
    assert status_of(tmp_path / "replaced" / "0_1")["value"] == 0.5
    assert (tmp_path / "replaced" / "0_1" / "metrics.json").exists()
    assert [*sweep.read_statuses(tmp_path)] == [folder]
    assert f"its earlier results are in {tmp_path}/replaced/0_1" in capsys.readouterr().out


def test_a_job_with_other_code_is_kept_and_named(tmp_path, capsys):
    finished(tmp_path, depends={"code": "a", "data": "b"})
    now = {"fingerprint": lambda: {"code": "c", "data": "b", "packages": "unknown then"}}
    assert tried(lambda _: 1 / 0, tmp_path, **now)[0] == 0.5
    assert "finished before, with other code than now: seed=1" in capsys.readouterr().out
    summarize(tmp_path, ["python", "train.py"])
    assert "completed, before code changed" in (tmp_path / "sweep.md").read_text()
    assert tried(lambda _: 1 / 0, tmp_path, fingerprint=lambda: {"code": "a", "data": "b"})[0] == 0.5
    assert status_of(tmp_path / "0")["changed"] == []


def test_a_job_with_other_data_runs_again_under_rerun(tmp_path):
    finished(tmp_path, depends={"data": "b"})
    changed = {"fingerprint": lambda: {"data": "c"}, "reruns_changed": True}
    assert tried(lambda _: 0.75, tmp_path, **changed)[0] == 0.75
    assert status_of(tmp_path / "0")["depends"] == {"data": "c"}
    assert tried(lambda _: 1 / 0, tmp_path, **changed)[0] == 0.75


def test_a_killed_job_resumes_from_its_checkpoint(tmp_path):
    record_status(tmp_path / "0", "running", settings="0f")
    (tmp_path / "0" / "checkpoints").mkdir()
    (tmp_path / "0" / "checkpoints" / "last.ckpt").touch()
    given = []
    tried(lambda resume: given.append(resume) or 0.5, tmp_path)
    assert given == [tmp_path / "0"]


def test_a_job_that_another_process_runs_is_left_to_it(tmp_path, capsys):
    finished(tmp_path)
    record_status(tmp_path / "0", "running", overrides=["seed=1"])
    with sweep.hold_job(tmp_path / "0") as mine:
        assert mine
        before = status_of(tmp_path / "0")
        tried(lambda _: 1 / 0, tmp_path)
        assert status_of(tmp_path / "0") == before
        summarize(tmp_path, ["python", "train.py"])
    assert "another process runs this job now" in capsys.readouterr().err
    assert (tmp_path / "sweep.csv").read_text().splitlines()[1].endswith("0,running")
    summarize(tmp_path, ["python", "train.py"])
    assert (tmp_path / "sweep.csv").read_text().splitlines()[1].endswith("0,killed")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (DivergedError("the loss is not finite"), "diverged"),
        (ZeroDivisionError("a bug"), "error"),
    ],
)
def test_a_failure_is_recorded_with_its_reason(tmp_path, error, reason):
    def fail(_):
        raise error

    tried(fail, tmp_path)
    assert status_of(tmp_path / "0")["reason"] == reason


def test_code_packages_and_data_are_compared(tmp_path):
    (tmp_path / "model.py").write_text("a = 1")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.wav").write_text("a")
    config = {"data": {"root": str(tmp_path / "corpus"), "cache_dir": str(tmp_path)}, "seed": 0}
    before = fingerprint(config, [tmp_path / "model.py"])
    assert find_changes(before, fingerprint(config, [tmp_path / "model.py"])) == []
    (tmp_path / "other.py").write_text("a = 2")
    (tmp_path / "corpus" / "a.wav").write_text("ab")
    assert find_changes(before, fingerprint(config, [tmp_path / "other.py"])) == ["code", "data"]
    assert find_changes(None, before) == []


# ---- from end to end ----

SCRIPT = """
    import os, signal, sys
    from hydra.core.hydra_config import HydraConfig
    from ser.config.main import main
    from ser.runs.sweep import record_status


    @main("train")
    def train(settings):
        cfg = settings.config
        if cfg["seed"] == 13:
            raise RuntimeError("a bug")
        if cfg["seed"] == 14:
            os.kill(os.getpid(), signal.SIGKILL)
        if cfg["seed"] == 17 and not os.path.exists("killed_once"):
            open("killed_once", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if cfg["seed"] == 15:
            raise KeyboardInterrupt
        value = cfg["optimizer"]["lr"] + (cfg["model"]["_target_"] == "ser.models.CNNEncoder")
        folder = HydraConfig.get().runtime.output_dir
        record_status(folder, "completed", monitor=cfg["monitor"], mode=cfg["mode"], value=value)
        return value


    if __name__ == "__main__":
        train()
"""

TREE = {
    "train.yaml": """
        defaults: [_self_, model: cnn]
        seed: 0
        monitor: validation/accuracy
        mode: max
        optimizer: {_target_: torch.optim.AdamW, lr: 1e-3}
        hydra:
          sweep: {dir: "logs/${now:%H-%M-%S-%f}", subdir: "${hash_of_settings:}"}
          run: {dir: logs/single}
          output_subdir: null
    """,
    "model/cnn.yaml": "_target_: ser.models.CNNEncoder\n",
    "model/lstm.yaml": "_target_: ser.models.LSTMEncoder\ncell: lstm\n",
}


def unactivated():
    """The interpreter as a message names it, where PATH is empty."""
    return shell_word(warm_python())


def run(folder, *arguments):
    """Run a script of a small tree of configs as a user does; return the process and its newest sweep."""
    if not (folder / "train.py").exists():
        (folder / "train.py").write_text(textwrap.dedent(SCRIPT))
        for name, text in TREE.items():
            (folder / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "conf" / name).write_text(textwrap.dedent(text).lstrip())
    before = {*folder.glob("logs/*")}
    done = subprocess.run(
        [warm_python(), "train.py", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done, next(iter({*folder.glob("logs/*")} - before), None)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def mixed(app):
    """A sweep of which some jobs fail: by a bug, by a wrong value, by a key that one model does not have."""
    return run(app, "model=cnn,lstm", "-m", "optimizer.lr=1e-3,abc", "seed=1,13", "model.cell=gru")


def jobs_of(sweep_dir):
    """Return the folders of a sweep in the order of its jobs."""
    return sorted(
        (path.parent for path in sweep_dir.glob("*/status.json")), key=lambda each: status_of(each)["number"]
    )


def test_every_combination_has_a_folder_and_a_status(mixed):
    _, folder = mixed
    folders = jobs_of(folder)
    statuses = [status_of(each) for each in folders]
    assert [each.name for each in folders] == [status["settings"] for status in statuses]
    # A CNN has no `cell`; an LSTM with a number for lr and without the bug completes.
    assert [index for index, each in enumerate(statuses) if each["status"] == "completed"] == [4]
    assert statuses[4]["overrides"] == ["model=lstm", "optimizer.lr=0.001", "seed=1", "model.cell=gru"]
    assert "model.cell=gru: unknown key" in statuses[0]["error"]
    assert statuses[5]["error"] == "RuntimeError: a bug"
    assert "optimizer.lr=abc: expected float" in statuses[6]["error"]
    assert "RuntimeError: a bug" in (folders[5] / "train.log").read_text()


def test_a_sweep_ends_with_its_table_and_fails_if_a_job_failed(mixed):
    done, folder = mixed
    assert done.returncode == 1
    table, last = done.stdout.splitlines()[:-1], done.stdout.splitlines()[-1]
    assert any("1 " in line and "0.001" in line and "model=lstm" in line for line in table)
    assert (
        last
        == f"Best, to repeat it: {unactivated()} train.py model=lstm optimizer.lr=0.001 seed=1 model.cell=gru"
    )
    assert {"sweep.csv", "sweep.md"} <= {path.name for path in folder.iterdir()}
    assert "++" not in done.stdout + (folder / "sweep.csv").read_text()


def test_jobs_that_cannot_run_are_announced_before_the_first_starts(mixed):
    done, _ = mixed
    assert done.stderr.startswith("6 of the first 8 combinations will fail, the others run:\n")


def test_the_best_command_repeats_the_best_job(app, mixed):
    best = shlex.split(mixed[0].stdout.splitlines()[-1].partition(": ")[2])
    assert Path(shutil.which(best[0]) or "").samefile(warm_python())  # without an activated environment
    assert best[1] == "train.py"
    done, folder = run(app, *best[2:])
    assert done.returncode == 0, done.stderr
    assert status_of(folder)["value"] == status_of(jobs_of(mixed[1])[4])["value"]


def test_a_sweep_in_which_no_job_could_run_starts_none(app):
    done, folder = run(app, "-m", "model=cnn,lstm", "optimizer.lrr=1,2")
    assert done.returncode == 1
    assert folder is None
    assert done.stderr.splitlines() == [
        "1 problem in the configuration:",
        "  optimizer.lrr=1: unknown key. Did you mean 'optimizer.lr'?",
    ]


def test_a_sweep_without_failures_exits_with_0(app):
    done, folder = run(app, "hydra.mode=MULTIRUN", "model=glob(c*)", "seed=range(0,2)")
    assert (done.returncode, done.stderr) == (0, "")
    assert [status_of(each)["status"] for each in jobs_of(folder)] == ["completed"] * 2


def test_a_killed_job_leaves_running(app):
    done, folder = run(app, "-m", "seed=1,14")
    assert done.returncode == -signal.SIGKILL
    assert [status_of(each)["status"] for each in jobs_of(folder)] == ["completed", "running"]


def test_an_extended_sweep_keeps_finished_jobs_and_reruns_killed_ones(app):
    done, _ = run(app, "-m", "model=lstm", "seed=1,17", "hydra.sweep.dir=logs/extended")
    assert done.returncode == -signal.SIGKILL
    done, _ = run(app, "-m", "model=cnn,lstm", "seed=1,17,2", "hydra.sweep.dir=logs/extended")
    assert (done.returncode, done.stderr) == (0, "")
    folder = app / "logs/extended"
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/status.json")}
    assert sorted((job["status"], *job["overrides"]) for job in found.values()) == sorted(
        ("completed", f"model={model}", f"seed={seed}") for model in ("cnn", "lstm") for seed in (1, 2, 17)
    )
    assert {path.name for path in folder.iterdir()} == {*found, "sweep.csv", "sweep.md", "multirun.yaml"}
    assert done.stdout.count("Skipped, as it finished before: ") == 1
    assert f"Best, to repeat it: {unactivated()} train.py -m model=cnn seed=1,17,2" in done.stdout


def test_an_interrupted_sweep_still_shows_what_is_done(app):
    done, folder = run(app, "-m", "seed=1,15,2")
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")
    assert (
        f"To repeat it: {unactivated()} train.py -m seed=1,15" in done.stdout
        or f"repeat it: {unactivated()} train.py" in done.stdout
    )
    assert len(jobs_of(folder)) == 2


def test_jobs_that_test_the_same_speakers_are_named():
    splits = {
        "data.split.seed=0": {"speakers": {"train": ["c"], "test": ["a", "b"]}},
        "data.split.seed=1": {"speakers": {"train": ["a", "b"], "test": ["c"]}},
        "data.split.seed=2": {"speakers": {"train": ["c", "d"], "test": ["a", "b"]}},
        "seed=3": {"speakers": {"test": None}},
        "seed=4": {},
    }
    assert repeated_test_speakers(splits) == [
        "data.split.seed=0 and data.split.seed=2 test the same 2 speakers (a, b): they are not different splits."
    ]
