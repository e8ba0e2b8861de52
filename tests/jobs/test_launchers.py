"""Sweeps whose jobs run in other processes: each job is a command of its own, and so is its end."""

import contextlib
import json
import shutil
import subprocess
import textwrap
from pathlib import Path
from threading import Thread

import pytest

from ser.errors import ConfigError
from ser.jobs import gpus, installed
from tests.commands import warm_python
from tests.conftest import REPOSITORY
from tests.runs.test_sweep import TREE

SCRIPT = """
    import os, signal, sys
    from pathlib import Path
    from hydra.core.hydra_config import HydraConfig
    from ser.config.main import main


    @main("train")
    def train(settings):
        seed = settings.config["seed"]
        if seed == 13:
            raise RuntimeError("a bug")
        if seed == 14:
            os.kill(os.getpid(), signal.SIGKILL)
        facts = f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}"
        Path(HydraConfig.get().runtime.output_dir, "facts").write_text(facts)
        print("trained")
        return float(seed)


    if __name__ == "__main__":
        train()
"""


def sweep(folder: Path, *words: str, code: int = 0, **variables: str) -> str:
    """Run a sweep of a small script in `folder`, into its subfolder `sweep`; return what it printed."""
    (folder / "train.py").write_text(textwrap.dedent(SCRIPT))
    for name, text in TREE.items():
        (folder / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "conf" / name).write_text(textwrap.dedent(text).lstrip())
    shutil.copytree(REPOSITORY / "conf" / "hydra" / "launcher", folder / "conf" / "hydra" / "launcher")
    done = subprocess.run(
        [warm_python(), "train.py", "-m", "hydra.sweep.dir=sweep", *words],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def statuses(folder: Path) -> dict[str, dict[str, str]]:
    found = (json.loads(path.read_text()) for path in folder.glob("sweep/*/status.json"))
    return {status["overrides"][-1]: status for status in found}


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep by joblib of which one job raises and one is killed."""
    folder = tmp_path_factory.mktemp("joblib")
    words = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,13,14,2")
    return folder, sweep(folder, *words, code=1)


def test_a_killed_and_a_failed_job_stop_no_other(failing: tuple[Path, str]) -> None:
    folder, _ = failing
    found = statuses(folder)
    assert {word: job["status"] for word, job in found.items()} == {
        "seed=1": "completed",
        "seed=13": "failed",
        "seed=14": "failed",
        "seed=2": "completed",
    }
    assert (found["seed=1"]["value"], found["seed=2"]["value"]) == (1.0, 2.0)
    assert found["seed=13"]["error"] == "RuntimeError: a bug"
    assert found["seed=14"]["error"].startswith("killed by SIGKILL. Perhaps memory ran out")


def test_each_job_is_a_process_and_prints_to_its_log(failing: tuple[Path, str]) -> None:
    folder, printed = failing
    processes = {path.read_text() for path in folder.glob("sweep/*/facts")}
    assert len(processes) == 2
    assert "trained" not in printed
    assert sum("trained" in path.read_text() for path in folder.glob("sweep/*/train.log")) == 2
    assert "Traceback" not in printed
    assert sum("a bug" in path.read_text() for path in folder.glob("sweep/*/train.log")) == 1


def test_a_parallel_sweep_ends_with_its_table(failing: tuple[Path, str]) -> None:
    folder, printed = failing
    assert "#0 : seed=1" in printed
    assert "Best, to repeat it" in printed or "To repeat it" in printed
    rows = (folder / "sweep" / "sweep.csv").read_text().splitlines()
    assert sum("completed" in row for row in rows) == 2
    assert sum("killed by SIGKILL" in row for row in rows) == 1


@pytest.mark.parametrize("option", ["joblib", "submitit_local", "ray"])
def test_a_missing_launcher_names_its_installation(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setattr(installed, "_is_installed", lambda _: False)
    extra = installed.EXTRAS[option]
    with pytest.raises(ConfigError, match=rf"hydra-{extra}-launcher is not installed\. Run: .*pip install"):
        installed.check_launcher(option)


def test_a_missing_plugin_is_found_missing() -> None:
    assert installed._is_installed("hydra_plugins.hydra_joblib_launcher")
    assert not installed._is_installed("hydra_plugins.hydra_other_launcher")
    assert not installed._is_installed("missing_plugins.hydra_joblib_launcher")


def test_submitit_runs_jobs_and_survives_a_killed_one(tmp_path: Path) -> None:
    printed = sweep(tmp_path, "hydra/launcher=submitit_local", "seed=14,2", code=1)
    found = statuses(tmp_path)
    assert found["seed=2"]["value"] == 2.0
    assert (found["seed=14"]["status"], found["seed=14"]["reason"]) == ("failed", "killed")
    assert "killed by SIGKILL" in printed
    assert "UserWarning" not in printed


def test_gpus_of_a_queue_are_held_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "_LOOK_S", 0.01)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 7")
    with gpus.queue_of(1) as size, gpus.hold_gpu() as first:
        with gpus.hold_gpu() as second:
            assert (size, first, second) == (2, shown("4"), shown("7"))
            taken: list[dict[str, str]] = []
            waiting = Thread(target=lambda: taken.append(gpus.hold_gpu().__enter__()))
            waiting.start()
            waiting.join(0.1)
            assert taken == []
        waiting.join(10)
        assert taken == [shown("7")]
    with gpus.hold_gpu() as free:
        assert free == {}, "without a queue, a job sees what the sweep sees"


def shown(name: str) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": name}


def test_jobs_can_share_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with gpus.queue_of(2) as size, contextlib.ExitStack() as held:
        assert size == 4
        seen = [held.enter_context(gpus.hold_gpu())["CUDA_VISIBLE_DEVICES"] for _ in range(4)]
        assert seen == ["4", "7", "4", "7"]


def test_a_queue_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(ConfigError, match="no GPU is visible on this machine"), gpus.queue_of(1):
        pass


def test_slurm_is_refused_where_there_is_no_sbatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="there is no program sbatch here"):
        installed.check_cluster()
