"""Every command of the README runs, on small data."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.commands import TINY, run
from tests.conftest import REPOSITORY
from tests.test_layers import ROOMS

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
def folder(challenge: Path, recordings: Path, arrays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with two finished runs and input files, in which the README's commands are typed."""
    cwd = tmp_path_factory.mktemp("readme")
    run("train.py", "data=challenge", f"data.root={challenge}", *TINY, "hydra.run.dir=RUN", cwd=cwd)
    languages = ("experiment=language_id", "data=language_id_arrays", f"data.root={arrays}", "debug=fast")
    run("train.py", *languages, "trainer.accelerator=cpu", "hydra.run.dir=LANGUAGES", cwd=cwd)
    live = ("experiment=language_id_stream", "data=folder", f"data.root={recordings}", "split=random")
    run("train.py", *live, "debug=fast", "trainer.accelerator=cpu", "hydra.run.dir=STREAM", cwd=cwd)
    np.save(cwd / "clips.npy", np.load(arrays / "inputs_test_fp16.npy")[:3])
    (cwd / "FILE").write_bytes((challenge / "ser_test_1.json").read_bytes())
    files = sorted(recordings.rglob("*.wav"))
    for name in ("long.wav", "x.wav", "a.wav", "b.wav"):
        (cwd / name).write_bytes(files[0].read_bytes())
    rows = [f"{file.relative_to(recordings)},{file.parent.name},{file.stem[-2:]}" for file in files]
    (cwd / "table.csv").write_text("\n".join(["path,emotion,speaker", *rows, ""]))
    for emotion in recordings.iterdir():
        (cwd / emotion.name).symlink_to(emotion)
    return cwd


@pytest.fixture(scope="module")
def roots(challenge: Path, recordings: Path, arrays: Path) -> dict[str, Path]:
    """What stands for DIR, by a word of the command; recordings, where there is none of these."""
    return {"data=challenge": challenge, "data=language_id_arrays": arrays, "": recordings}


def typed(command: str, roots: dict[str, Path]) -> list[str]:
    """The words behind `python SCRIPT`, with folders that are there."""
    words = shlex.split(command)[2:]
    root = next(root for word, root in roots.items() if word in [*words, ""])
    if "stream=true" in words:
        return [word.replace("RUN", "STREAM") for word in words]
    run_folder = "LANGUAGES/" if "input=clips.npy" in words else "RUN/"
    given = {"DIR": str(root), "AUDIO": str(root), "RUN/": run_folder}
    return [re.sub("DIR|AUDIO|RUN/", lambda found: given[found[0]], word) for word in words]


@pytest.mark.parametrize("command", TRAININGS)
def test_training_commands_run(
    command: str, folder: Path, challenge: Path, recordings: Path, roots: dict[str, Path]
) -> None:
    words = typed(command, roots)
    if "resume=RUN" not in words:  # a finished run is resumed as it is: nothing is left to train
        words += [
            "debug=fast",
            "batching.max_utterances=8",
            "trainer.enable_progress_bar=false",
            "test=false",
        ]
        if "experiment=language_id_stream" in command:
            words += ["data=folder", f"data.root={recordings}", "split=random"]
        elif "experiment=language_id" in command and "data=" not in command:
            words += ["data.clips=[6,4]"]
        elif not any(word.startswith("data=") for word in words):
            words += ["data=challenge", f"data.root={challenge}"]
        words += [
            f"hydra.run.dir=run_{TRAININGS.index(command)}",
            f"hydra.sweep.dir=sweep_{TRAININGS.index(command)}",
        ]
    run("train.py", *words, cwd=folder)


def test_prediction_and_validation_run(folder: Path, roots: dict[str, Path]) -> None:
    predictions = [command for command in COMMANDS if command.startswith("python predict.py")]
    assert predictions
    for command in predictions:
        run("predict.py", *typed(command, roots), "overwrite=true", cwd=folder)
    assert "ser validate pred.json FILE" in COMMANDS
    run("ser", "validate", "pred.json", "FILE", cwd=folder)


@pytest.mark.parametrize("name", ["describe", "export-challenge"])
def test_commands_on_corpora_run(name: str, folder: Path, roots: dict[str, Path]) -> None:
    (command,) = (command for command in COMMANDS if command.startswith(f"ser {name} "))
    run("ser", name, *typed(command, roots), cwd=folder)


@pytest.mark.parametrize("row", SETTINGS)
def test_settings_of_the_table_exist(row: str, tmp_path: Path) -> None:
    """Options of the same group stand apart by commas: each is checked on its own."""
    (tmp_path / "data").mkdir()
    for code in re.findall(r"`(.*?)`", row):
        words = code.split() if "=" in code else [f"{row.split('=')[0].strip('| `')}={code}"]
        groups = [word.split("=")[0] for word in words]
        words = [word for index, word in enumerate(words) if word.split("=")[0] not in groups[index + 1 :]]
        of_recordings = words[0].startswith(("data.", "features", "silence", "split", "waveform_augment"))
        data = ["data=folder" if of_recordings else "data=challenge", "data.root=data"]
        run("train.py", *data, *words, "--cfg", "job", cwd=tmp_path)


def test_the_tree_names_every_room_in_order() -> None:
    places = [README.index(f"\n  {room}/ ") for room in ROOMS if room]
    assert places == sorted(places)
