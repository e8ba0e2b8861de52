"""Every command of the README runs, on small data."""

import re
import shlex
from pathlib import Path

import pytest

from tests.commands import TINY, run
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
TRAININGS = [command for command in COMMANDS if command.startswith("python train.py")]
SETTINGS = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)


def test_the_two_commands_are_there() -> None:
    assert {"make train", "make test"} <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert {command.split()[1] for command in COMMANDS if command.startswith("make ")} <= targets


@pytest.fixture(scope="module")
def folder(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a finished run, in which the README's commands are typed."""
    cwd = tmp_path_factory.mktemp("readme")
    run("train.py", "data=challenge", f"data.root={challenge}", *TINY, "hydra.run.dir=RUN", cwd=cwd)
    (cwd / "FILE").write_bytes((challenge / "ser_test_1.json").read_bytes())
    return cwd


@pytest.mark.parametrize("command", TRAININGS)
def test_training_commands_run(command: str, folder: Path, challenge: Path) -> None:
    words = [word.replace("DIR", str(challenge)) for word in shlex.split(command)[2:]]
    if "resume=RUN" not in words:  # a finished run is resumed as it is: nothing is left to train
        words += [
            "debug=fast",
            "batching.max_utterances=8",
            "trainer.enable_progress_bar=false",
            "test=false",
        ]
        words += [] if any(word.startswith("data.root=") for word in words) else ["data=challenge"]
        words += [] if any(word.startswith("data.root=") for word in words) else [f"data.root={challenge}"]
        words += [f"hydra.run.dir=run_{TRAININGS.index(command)}", "hydra.sweep.dir=sweep"]
    run("train.py", *words, cwd=folder)


def test_prediction_and_validation_run(folder: Path) -> None:
    predictions = [command for command in COMMANDS if command.startswith("python predict.py")]
    assert predictions
    for command in predictions:
        run("predict.py", *shlex.split(command)[2:], "overwrite=true", cwd=folder)
    assert "python -m ser.validate pred.json FILE" in COMMANDS
    run("ser/validate.py", "pred.json", "FILE", cwd=folder)


@pytest.mark.parametrize("row", SETTINGS)
def test_settings_of_the_table_exist(row: str, challenge: Path, tmp_path: Path) -> None:
    """Options of the same group stand apart by commas: each is checked on its own."""
    for code in re.findall(r"`(.*?)`", row):
        words = code.split() if "=" in code else [f"{row.split('=')[0].strip('| `')}={code}"]
        groups = [word.split("=")[0] for word in words]
        words = [word for index, word in enumerate(words) if word.split("=")[0] not in groups[index + 1 :]]
        run("train.py", "data=challenge", f"data.root={challenge}", *words, "--cfg", "job", cwd=tmp_path)


def test_the_tree_names_every_file_of_the_package() -> None:
    for path in (REPOSITORY / "ser").rglob("*.py"):
        relative = path.relative_to(REPOSITORY / "ser")
        if path.stem == "__init__" or relative.parts[0] in ("models", "features"):
            continue
        assert path.name in README, path
