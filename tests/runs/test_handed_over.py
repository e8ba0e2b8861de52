"""Folders of runs that somebody else hands over: what could run code or write elsewhere is refused."""

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from ser.config.command_line import App, read_command
from ser.config.paths import resume_arguments
from ser.config.validate import check
from ser.errors import ConfigError
from ser.runs.handed_over import check_links, check_resolved
from ser.runs.run_folder import RunFolder
from tests.conftest import REPOSITORY

APP = App(REPOSITORY / "conf", "train", ())
GOLDEN = REPOSITORY / "tests" / "golden" / "configs" / "train.yaml"


def handed_over(folder: Path, *, name: str = "config", text: str = "", **nodes: Any) -> Path:
    """A run's folder with a config that a run wrote, changed; text is put before it."""
    folder.mkdir(exist_ok=True)
    settings = yaml.safe_load(GOLDEN.read_text()) | nodes
    (folder / f"{name}.yaml").write_text(text + yaml.safe_dump(settings, sort_keys=False))
    return folder


CALLBACK = {"callbacks": {"x": {"_target_": "torch.load", "f": "trap.pkl", "weights_only": False}}}


def test_config_that_a_run_wrote_is_accepted(tmp_path: Path) -> None:
    check_resolved(handed_over(tmp_path / "run") / "config.yaml")
    assert resume_arguments([f"resume={tmp_path / 'run'}"])[:2] == ["--config-path", str(tmp_path / "run")]


@pytest.mark.parametrize(
    ("nodes", "text", "words"),
    [
        ({"hydra": CALLBACK}, "", "has a node 'hydra'"),
        ({"hydra": {"searchpath": ["pkg://evil"]}}, "", "has a node 'hydra'"),
        ({"defaults": ["other"]}, "", "has a node 'defaults'"),
        ({}, "# @package hydra\n", "has a header"),
        ({}, "\n# comment\n#   @package hydra.callbacks\n", "has a header"),
        ({"experiment_name": "${oc.env:HOME}"}, "", r"an interpolation, \$\{oc\.env:HOME\}"),
        ({"experiment_name": ["a", {"b": "x${seed}"}]}, "", "an interpolation"),
        ({"${seed}": 1}, "", "an interpolation"),
        ({}, "a: !!python/object/apply:os.mkdir [trap]\n", "cannot be read as YAML"),
        ({}, "x: &a [1, 1]\ny: [*a, *a]\n", "does not hold the settings"),
        ({}, "[" * 5000 + "\n", "cannot be read as YAML"),
        ({}, "x: \0\n", "cannot be read as YAML"),
    ],
)
def test_resume_refuses_what_no_run_writes(
    tmp_path: Path, nodes: dict[str, Any], text: str, words: str
) -> None:
    folder = handed_over(tmp_path / "run", text=text, **nodes)
    with pytest.raises(ConfigError, match=words):
        check_resolved(folder / "config.yaml")
    with pytest.raises(ConfigError, match=words):
        resume_arguments([f"resume={folder}"])


def test_a_job_of_a_sweep_is_checked_as_a_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    folder = handed_over(tmp_path / "0", name="job", hydra=CALLBACK)
    with pytest.raises(ConfigError, match="has a node 'hydra'"):
        read_command(["--config-path", str(folder), "--config-name", "job"], APP)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"callbacks": {"x": {"_target_": "torch.load"}}}, "hydra.callbacks: runs code"),
        ({"launcher": {"_target_": "os.system"}}, r"hydra\.launcher\._target_=os\.system: is no launcher"),
        ({"job_logging": {"handlers": {"x": {"class": "os.system"}}}}, "names os.system to be called"),
        ({"job_logging": {"handlers": {"x": {"()": "os.system"}}}}, "names os.system to be called"),
    ],
)
def test_a_config_of_ones_own_cannot_name_code_to_hydra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"defaults": ["_self_"], "seed": 0, "hydra": nodes}))
    with pytest.raises(ConfigError, match=words):
        read_command(["--config-path", str(tmp_path), "--config-name", "own"], APP)


@pytest.mark.parametrize(
    ("key", "node"),
    [
        ("data", {"_target_": "ser.files.write_atomic", "path": "trap", "content": "x"}),
        ("data", {"_target_": "ser.data.store_io.write", "path": "trap"}),
        ("logger", {"_target_": "ser.files.write_atomic", "path": "trap", "content": "x"}),
        ("model", {"_target_": "ser.embeddings.TrainedModel", "ckpt": "x"}),
        ("seed", {"_target_": "ser.files.write_atomic", "path": "trap", "content": "x"}),
        ("callbacks", {"x": {"_target_": "ser.runs.run_folder.RunFolder", "path": "trap"}}),
    ],
)
def test_config_check_refuses_what_belongs_elsewhere(key: str, node: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"which belongs here|nothing is built here|no class or function"):
        check(OmegaConf.create({key: node}), root_keys={key})


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "~/x", "C:\\x", "s3://bucket/x"])
def test_writers_stay_in_the_folder_of_the_run(path: str) -> None:
    nodes = {
        "callbacks": {"best": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "filename": path}},
        "logger": {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "sub_dir": path},
        "trainer": {"_target_": "lightning.pytorch.Trainer", "default_root_dir": path},
    }
    for key, node in nodes.items():
        with pytest.raises(ConfigError, match="leads out of the run's folder"):
            check(OmegaConf.create({key: node}), root_keys={key})


def test_a_link_out_of_a_run_is_refused_on_resume(tmp_path: Path) -> None:
    folder = handed_over(tmp_path / "run")
    (folder / "inside.md").symlink_to(folder / "config.yaml")
    check_links(folder)
    (tmp_path / "victim").write_text("mine")
    (folder / "report.md").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match=r"report\.md: is a link to a place outside"):
        resume_arguments([f"resume={folder}"])


def test_the_lock_of_a_run_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "victim")
    with (
        pytest.raises(Exception, match="cannot write the run's results"),
        RunFolder(tmp_path / "run").hold(resuming=False),
    ):
        pass
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_pickle_beside_a_run_is_not_loaded(tmp_path: Path) -> None:
    folder = handed_over(tmp_path / "run", hydra=CALLBACK)
    (folder / "trap.pkl").write_bytes(pickle.dumps(Path(tmp_path / "trap").mkdir))
    with pytest.raises(ConfigError):
        resume_arguments([f"resume={folder}"])
    assert not (tmp_path / "trap").exists()


def test_code_that_a_handed_over_config_names_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    (tmp_path / "trap_of_a_run.py").write_text("raise SystemExit('imported')\n")
    model = {"_target_": "trap_of_a_run.Model"}
    folder = handed_over(tmp_path / "run", model=model, trust=["trap_of_a_run"])
    with pytest.raises(
        ConfigError, match=r"model\._target_=trap_of_a_run\.Model: .*'trust=\[trap_of_a_run\]'"
    ):
        read_command(resume_arguments([f"resume={folder}"]), APP)
    with pytest.raises(ConfigError, match="is code of 'trap_of_a_run'"):
        check(OmegaConf.create({"model": model}))
    assert "trap_of_a_run" not in sys.modules


def logger_config(**node: Any) -> Any:
    return OmegaConf.create({"logger": {"x": node}})


@pytest.mark.parametrize(
    ("node", "variable", "value"),
    [
        (
            {"_target_": "ser.trackers.MLflow", "tracking_uri": "http://there:1"},
            "MLFLOW_TRACKING_URI",
            "http://there:1",
        ),
        ({"_target_": "ser.trackers.WandB", "offline": False}, "WANDB_MODE", "online"),
    ],
)
def test_a_run_folder_sends_nothing_away_unasked(
    node: dict[str, Any], variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match=f"export {variable}={value}"):
        check(logger_config(**node))
    check(logger_config(**node), is_own=True)
    monkeypatch.setenv(variable, value)
    check(logger_config(**node))
