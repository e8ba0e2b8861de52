"""Every command of the README runs, on small data; every command of the other pages composes."""

import argparse
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from ser.__main__ import COMMANDS as OURS
from ser.config.command_line import App, read_command
from ser.config.repeats import Folds, expand_repeats
from ser.config.settings import SCHEMAS
from ser.scripts.matrix import rewrite as expand_corpora
from tests.commands import TINY, run
from tests.conftest import REPOSITORY
from tests.remedies import setting_faults
from tests.test_layers import ROOMS

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
GENERATED = "benchmarks.md"  # by python -m benchmarks
README = PAGES[0].read_text()


def commands_of(page: Path) -> list[str]:
    """The commands in a page's blocks of shell, without comments."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.split("#")[0].strip()]


COMMANDS = commands_of(PAGES[0])
OTHERS = {
    f"{page.name}: {command}": command
    for page in PAGES[1:]
    for command in commands_of(page)
    if page.name != GENERATED
}
TRAININGS = [command for command in COMMANDS if command.startswith("python train.py")]
SETTINGS = [
    (row, page.stem)
    for page in PAGES
    for table in re.findall(r"^\| setting \|.*\n\|[-|]+\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE)
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
]


def test_the_two_commands_are_there() -> None:
    assert {"make train", "make test"} <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert {command.split()[1] for command in COMMANDS if command.startswith("make ")} <= targets


@pytest.fixture(scope="module")
def folder(challenge: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a finished run and input files, in which the README's commands are typed."""
    cwd = tmp_path_factory.mktemp("readme")
    run("train.py", "data=challenge", f"data.root={challenge}", *TINY, "hydra.run.dir=RUN", cwd=cwd)
    (cwd / "FILE").write_bytes((challenge / "ser_test_1.json").read_bytes())
    files = sorted(recordings.rglob("*.wav"))
    rows = [f"{file.relative_to(recordings)},{file.parent.name},{file.stem[-2:]}" for file in files]
    (cwd / "table.csv").write_text("\n".join(["path,emotion,speaker", *rows, ""]))
    for emotion in recordings.iterdir():
        (cwd / emotion.name).symlink_to(emotion)
    return cwd


@pytest.fixture(scope="module")
def roots(challenge: Path, recordings: Path) -> dict[str, Path]:
    """What stands for DIR, by a word of the command; recordings, where there is none of these."""
    return {"data=challenge": challenge, "": recordings}


def typed(command: str, roots: dict[str, Path]) -> list[str]:
    """The words behind `python SCRIPT`, with folders that are there."""
    words = shlex.split(command)[2:]
    root = next(root for word, root in roots.items() if word in [*words, ""])
    return [word.replace("DIR", str(root)) for word in words]


@pytest.mark.parametrize("command", TRAININGS)
def test_training_commands_run(command: str, folder: Path, challenge: Path, roots: dict[str, Path]) -> None:
    words = typed(command, roots)
    if "resume=RUN" not in words:  # a finished run is resumed as it is: nothing is left to train
        number = TRAININGS.index(command)
        words += [
            "debug=fast",
            "batching.max_utterances=8",
            "trainer.enable_progress_bar=false",
            "test=false",
        ]
        words += [f"hydra.run.dir=run_{number}", f"hydra.sweep.dir=sweep_{number}"]
        if not any(word.startswith("data=") for word in words):
            words += ["data=challenge", f"data.root={challenge}"]
    run("train.py", *words, cwd=folder)


def test_prediction_and_validation_run(folder: Path, roots: dict[str, Path]) -> None:
    predictions = [command for command in COMMANDS if command.startswith("python predict.py")]
    assert predictions
    for command in predictions:
        run("predict.py", *typed(command, roots), "overwrite=true", cwd=folder)
    assert "ser validate pred.json FILE" in COMMANDS
    run("ser", "validate", "pred.json", "FILE", cwd=folder)


def test_the_command_on_a_corpus_runs(folder: Path, roots: dict[str, Path]) -> None:
    (command,) = (command for command in COMMANDS if command.startswith("ser describe "))
    run("ser", "describe", *typed(command, roots), cwd=folder)


@pytest.fixture(scope="module")
def folder_of_recordings(folder: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run that was trained on recordings, and single ones."""
    cwd = tmp_path_factory.mktemp("recordings_of_pages")
    words = (f"data.root={recordings}", "data.split.validation=0.35")  # of fewer, no temperature is fitted
    run("train.py", "data=ravdess", *words, *TINY, "hydra.run.dir=RUN", cwd=cwd)
    for name in ("a.wav", "speech.wav"):
        (cwd / name).symlink_to(next(recordings.rglob("*.wav")))
    for name in ("table.csv", *(emotion.name for emotion in recordings.iterdir())):
        (cwd / name).symlink_to(folder / name)
    return cwd


CHEAP = re.compile(
    r"data=(ravdess|folder|manifest|challenge)|data\.(root=DIR|path=table\.csv|label=emotion|validation=none)"
    r"|ckpt=RUN(/checkpoints/best\.ckpt)?|input=(DIR|FILE|a\.wav|speech\.wav|table\.csv)|output=[a-z]+\.(csv|json)"
    r"|label_map=\w+|target=(quadrant|regression)|split=random|corpus=ravdess|subset=validation|audit=false"
    r"|model=(lstm|transformer)|optimizer\.lr=1e-3|trainer\.devices=1|calibrate=true|min_probability=0\.6"
)
"""Words of the commands that run within seconds on the small data of the tests."""
PROGRAMS = ("python train.py", "python predict.py", "ser describe", "ser evaluate", "ser extract")


def is_cheap(command: str) -> bool:
    program, words = " ".join(command.split()[:2]), shlex.split(command)[2:]
    return program in PROGRAMS and words != [] and all(CHEAP.fullmatch(word) for word in words)


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted({*filter(is_cheap, OTHERS.values())}))
def test_cheap_commands_of_the_pages_run(
    command: str, folder: Path, folder_of_recordings: Path, roots: dict[str, Path]
) -> None:
    is_of_challenge = "data=challenge" in command or "input=FILE" in command
    words = typed(command, roots)
    if command.startswith("ser describe "):  # table.csv is there already
        words = [word.replace("output=table.csv", "output=described.csv") for word in words]
    number = re.sub(r"\W+", "_", command)
    if "train.py" in command:
        words += [
            "debug=fast",
            "batching.max_utterances=8",
            "trainer.enable_progress_bar=false",
            "test=false",
        ]
    words.append("overwrite=true" if "predict.py" in command else f"hydra.run.dir=pages/{number}")
    script = ["ser", command.split()[1]] if command.startswith("ser ") else [command.split()[1]]
    run(*script, *words, cwd=folder if is_of_challenge else folder_of_recordings)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with everything that a page names, all of it empty."""
    folder = tmp_path_factory.mktemp("pages")
    for name in (
        "DIR/ravdess",
        "DIR/emodb",
        "DIR/emodb4",
        "RUN/checkpoints",
        "A/checkpoints",
        "B/checkpoints",
        "AUDIO",
        "data",
    ):
        (folder / name).mkdir(parents=True)
    for name in ("FILE", "a.wav", "x.wav", "long.wav", "clips.npy", "table.csv", "FILE.pth"):
        (folder / name).touch()
    for run_folder in ("RUN", "A", "B"):
        (folder / run_folder / "checkpoints" / "best.ckpt").touch()
    return folder


def jobs_of(words: list[str]) -> list[list[str]]:
    """Return as many jobs of a sweep as its longest list has values; each value of each key occurs in one."""
    if "-m" not in words:
        return [words]
    words = [re.sub(r"=.*interval\(([^,]+),.*", r"=\1", word) for word in words]  # its start stands for all
    values = [[word] if "[" in word else word.split(",") for word in words if word != "-m"]
    values = [[own[0], *(f"{own[0].partition('=')[0]}={other}" for other in own[1:])] for own in values]
    return [[own[min(place, len(own) - 1)] for own in values] for place in range(max(map(len, values)))]


def compose(words: list[str]) -> None:
    """Compose the config of a command of ours, and refuse what a run would refuse.

    Args:
        words: its name and its arguments.
    """
    name = dict.fromkeys(("export-challenge", "extract", "matrix"), "train").get(words[0], words[0])
    existing = {
        "predict": ["ckpt", "input"],
        "export": ["ckpt"],
        "evaluate": ["ckpt"],
        "serve": ["ckpt"],
        "align": ["audio", "transcript"],
        "serab": ["corpora_root"],
    }.get(name, [])
    app = App(REPOSITORY / "conf", name, existing, SCHEMAS[name])
    arguments = [*words[1:], "--cfg", "job"]
    arguments = expand_corpora(arguments, app) if words[0] == "matrix" else arguments
    read_command(expand_repeats(arguments, app, lambda _: Folds(1, "the first")), app)


WITHOUT_HYDRA = ("validate", "serab-compare", "ensemble", "compare")


def parse(words: list[str]) -> None:
    """Parse the arguments of a command that is not of Hydra, up to where it would read files."""
    script = importlib.import_module(f"ser.scripts.{words[0].replace('-', '_')}")

    class ParsedError(Exception):
        pass

    def stop(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
        assert PARSE(parser, arguments)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(ParsedError):
            getattr(script, words[0].replace("-", "_"))(words[1:])


PARSE = argparse.ArgumentParser.parse_args


def check_other_program(words: list[str]) -> None:
    """Check the command of a program of others: its targets, extras and modules exist."""
    if words[0] == "make":
        assert f"\n{words[1]}:" in (REPOSITORY / "Makefile").read_text()
    elif words[0] == "pip":
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"][
            "optional-dependencies"
        ]
        (named,) = re.findall(r"\[(.*)\]", words[-1])
        assert {*named.split(",")} <= {*extras}
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2])
    else:
        assert words[0] in ("curl", "tensorboard", "mlflow", "wandb"), words


@pytest.mark.parametrize("command", OTHERS.values(), ids=[*OTHERS])
def test_commands_of_the_pages_compose(command: str, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places)
    words = shlex.split(command.split("|")[-1])
    if words[0] == "ser":
        words = words[1:]
        assert words[0] in OURS
    elif script := next((word for word in words if word in ("train.py", "predict.py")), None):
        words = [script.removesuffix(".py"), *words[words.index(script) + 1 :]]
    else:
        check_other_program(words)
        return
    if words[0] in WITHOUT_HYDRA:
        parse(words)
        return
    if "--config-dir" in words or "mypackage" in command:
        return  # test_extending runs those of a user's own package
    for job in jobs_of([word for word in words if word != "resume=RUN"]):
        compose(job)


def test_blocks_of_code_are_in_a_language_that_a_test_reads() -> None:
    """Blocks without a language show files or output; python and yaml are run by the tests of these pages."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for language in re.findall(r"^```(\w+)$", page.read_text(), re.MULTILINE):
            found.setdefault(language, set()).add(page.name)
    assert {*found} == {"sh", "python", "yaml"}
    in_inference = {"README.md", "python.md", "streaming.md"}
    others = {"export.md", "frozen.md", "extending.md", "serab.md", "serve.md"}
    assert found["python"] == in_inference | others
    assert found["yaml"] == {"extending.md", "serab.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_output_that_a_page_shows_is_printed(page: Path, tmp_path: Path) -> None:
    """Of blocks that begin with `$ command`; `...` stands for anything."""
    for block in re.findall(r"^```\n\$ (.*?)```", page.read_text(), re.DOTALL | re.MULTILINE):
        command, expected = block.split("\n", 1)
        words = shlex.split(command)
        assert words[0] == "python"
        printed = run(words[1], *words[2:], cwd=tmp_path, code=1).stderr
        assert re.fullmatch(re.escape(expected).replace(r"\.\.\.", ".*"), printed)


@pytest.mark.parametrize(("row", "page"), SETTINGS)
def test_settings_of_the_tables_exist(row: str, page: str) -> None:
    """Options of the same group stand apart by commas; tests.config.test_options composes each of them."""
    for code in re.findall(r"`(.*?)`", row):
        words = code.split() if "=" in code else [f"{row.split('=')[0].strip('| `')}={code}"]
        for word in words:
            assert setting_faults(word, [page if page == "serve" else "train"]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_the_readme_links_every_page_and_stays_short() -> None:
    for page in PAGES[1:]:
        assert f"](docs/{page.name})" in README
    assert README.count("\n") < 200


def test_the_tree_names_every_room_in_order() -> None:
    places = [README.index(f"\n  {room}/ ") for room in ROOMS if room]
    assert places == sorted(places)
