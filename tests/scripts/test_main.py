"""The command `ser`: what it lists, what it runs, and how messages name it."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ser.__main__ import COMMANDS, main
from ser.runs import environment as called
from tests.commands import TINY, environment, run, warm_python
from tests.conftest import REPOSITORY

ENTRY = "import sys; from ser.__main__ import main; sys.argv[0] = '/bin/ser'; sys.exit(main())"
"""What the program `ser` of an installation runs."""


def ser(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    entry = cwd / "bin" / "ser"
    entry.parent.mkdir()
    entry.write_text(ENTRY)
    return subprocess.run(
        [warm_python(), str(entry), *arguments],
        cwd=cwd,
        env=environment(cwd / "cache") | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_script_is_a_command() -> None:
    scripts = [path.stem for path in (REPOSITORY / "ser" / "scripts").glob("*.py") if path.stem != "__init__"]
    assert sorted(COMMANDS) == sorted(name.replace("_", "-") for name in scripts)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_each_command_on_one_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ser", *arguments])
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    for name, text in COMMANDS.items():
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert line.endswith(text)
        assert len(line) <= 100


def test_help_imports_no_library(tmp_path: Path) -> None:
    code = ENTRY.replace("sys.exit(main())", "main(); print('hydra' in sys.modules, 'numpy' in sys.modules)")
    child = [sys.executable, "-c", code, "--help"]
    start = time.monotonic()
    told = subprocess.check_output(child, cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY)}, text=True)
    assert told.splitlines()[-1] == "False False"
    assert time.monotonic() - start < 3  # 0.1 s alone; other tests run beside it


def test_an_unknown_command_gets_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ser", "trian"])
    assert main() == 1
    assert capsys.readouterr().err == "ser trian: no such command. Did you mean 'train'?\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_prints_its_help(name: str, tmp_path: Path) -> None:
    told = run("ser", name, "--help", cwd=tmp_path).stdout
    assert f"ser {name} " in told
    assert "python train.py" not in told
    begins = {"describe": "Describe a corpus", "export-challenge": "Write rec", "extract": "Compute the f"}
    assert told.startswith(begins.get(name, ""))


def test_a_script_and_a_command_name_themselves_in_their_help(tmp_path: Path) -> None:
    assert f"  python {REPOSITORY / 'train.py'} model=lstm" in run("train.py", "--help", cwd=tmp_path).stdout
    assert "  ser train model=lstm" in ser("train", "--help", cwd=tmp_path).stdout
    assert "  python -m ser train model=lstm" in run("ser", "train", "--help", cwd=tmp_path).stdout


def test_a_run_of_ser_train_prints_commands_that_begin_with_ser(challenge: Path, tmp_path: Path) -> None:
    words = ("data=challenge", f"data.root={challenge}", *TINY, "trainer.max_epochs=1")
    done = ser("train", *words, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.replace(" \\\n     ", "")
    assert "ser predict ckpt=run/checkpoints/best.ckpt input=FILE" in printed
    assert "ser train -m data=challenge" in printed
    assert "train.py" not in printed + (tmp_path / "run" / "report.md").read_text()
    typed = shlex.split(json.loads((tmp_path / "run" / "environment.json").read_text())["command"])
    assert typed == ["ser", "train", *words, "hydra.run.dir=run"]


def test_a_child_process_gets_the_same_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bin/ser", "model=lstm"])
    monkeypatch.setattr(called, "_program", ["ser", "train"])
    assert called.restart() == [sys.executable, "-P", "-m", "ser", "train"]
    monkeypatch.setattr(called, "_program", ["python", "-m", "ser", "train"])
    assert called.restart() == [sys.executable, "-m", "ser", "train"]
    monkeypatch.setattr(called, "_program", [])
    assert called.restart() == [sys.executable, str(Path("bin/ser").absolute())]
