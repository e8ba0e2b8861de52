import hashlib
import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ser.runs import environment

GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text("layers = 2\n")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "First"]):
        subprocess.run([*GIT, *words], cwd=tmp_path, check=True)
    return tmp_path


def described(**facts: Any) -> environment.Environment:
    return environment.Environment(command="", seed=7, data={"train.json": "ab12"}, **facts)


def test_an_environment_is_written_with_everything_given(tmp_path: Path) -> None:
    described(overrides=["model=cnn"]).write(tmp_path)
    read = json.loads((tmp_path / "environment.json").read_text())
    assert (read["seed"], read["data"], read["overrides"]) == (7, {"train.json": "ab12"}, ["model=cnn"])
    assert {"commit", "dirty", "python", "platform", "cpus", "devices", "inputs"} <= {*read}


def test_a_typed_line_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["python", "train.py", "data.root=my data", "model=cnn,lstm"]
    monkeypatch.setitem(environment._typed, "command", words)
    assert environment.typed_line() == "python train.py 'data.root=my data' model=cnn,lstm"
    assert shlex.split(environment.typed_line()) == words


def test_versions_are_those_installed() -> None:
    packages = described().packages
    assert packages["torch"] == metadata.version("torch")
    assert packages["hydra-core"] == metadata.version("hydra-core")
    assert set(packages) >= {"lightning", "omegaconf", "torchmetrics", "numpy"}


def test_a_package_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package",))
    assert described().packages == {"no-such-package": None}


def test_the_time_is_now_in_utc() -> None:
    time = datetime.fromisoformat(described().time)
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(seconds=10)


def test_describing_imports_no_library() -> None:
    call = "from ser.runs.environment import Environment as E; E(command='', seed=0, data={})"
    code = f"import sys; {call}; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_a_clean_checkout_has_its_commit(checkout: Path) -> None:
    head = subprocess.check_output([*GIT, "rev-parse", "HEAD"], cwd=checkout, text=True).strip()
    assert environment.git_commit(checkout) == head
    assert environment.has_local_changes(checkout) is False


@pytest.mark.parametrize("name", ["model.py", "new.py", "conf/new.yaml"])
def test_changed_or_new_code_and_configs_make_it_dirty(checkout: Path, name: str) -> None:
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("layers: 3\n")
    assert environment.has_local_changes(checkout) is True


def test_notes_do_not_make_it_dirty(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("try three layers\n")
    assert environment.has_local_changes(checkout) is False


def test_a_hook_does_not_redirect_the_question(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(checkout / "elsewhere"))
    assert environment.git_commit(checkout) is not None


def test_a_folder_inside_a_foreign_repository_is_no_checkout(
    checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    installed = checkout / "site-packages"
    installed.mkdir()
    assert environment.git_commit(installed) is None
    assert environment.has_local_changes(installed) is None
    assert capfd.readouterr() == ("", "")


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert environment.git_commit(checkout) is None
    assert environment.has_local_changes(checkout) is None


def test_inputs_named_by_settings_are_hashed_by_content(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("a: b\n")
    (tmp_path / "noises").mkdir()
    (tmp_path / "noises" / "n.wav").write_bytes(b"noise")
    config = {
        "data": {"root": str(tmp_path), "label_map": str(tmp_path / "map.yaml"), "label": "x"},
        "waveform_augment": {"noises": {"root": str(tmp_path / "noises")}},
        "init": str(tmp_path / "absent.ckpt"),
        "seed": 1,
    }
    before = environment.hash_inputs(config)
    assert before.keys() == {"data.label_map", "waveform_augment.noises.root"}
    assert before["data.label_map"] == hashlib.sha256(b"a: b\n").hexdigest()
    (tmp_path / "noises" / "n.wav").write_bytes(b"other")
    (tmp_path / "map.yaml").write_text("a: c\n")
    after = environment.hash_inputs(config)
    assert all(after[key] != before[key] for key in before)
