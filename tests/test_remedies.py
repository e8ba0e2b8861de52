"""What messages tell to type: settings that exist, written as bash wants them, which then work as they stand."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ser.config.settings import SCHEMAS, Train
from ser.config.types import signature
from ser.errors import ConfigError
from ser.models import FusionEncoder, SemanticEncoder
from ser.training.consistency import check_training
from tests import remedies
from tests.commands import TINY, run
from tests.conftest import REPOSITORY
from tests.fits import composed, with_value
from tests.remedies import find_faults, find_remedies, settings_of

CONF = REPOSITORY / "conf"
GROUPS = {path.name for path in CONF.iterdir() if path.is_dir()}
NO_MESSAGES = (
    *("config/old_names.py", "html_report/svg.py"),  # names of before; elements of pictures
    *("export/model_card.py", "export/standalone.py"),  # for people who have no ser
)
SOURCES = sorted({*(REPOSITORY / "ser").rglob("*.py")} - {REPOSITORY / "ser" / path for path in NO_MESSAGES})

# ---- every message: it names settings and packages that there are ----


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """The texts in a file that are no docstrings, with `{}` for what is filled in."""
    tree = ast.parse(path.read_text())
    nodes = [*ast.walk(tree)]
    docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in docs | parts:
            continue
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


MESSAGES = [
    (f"{path.relative_to(REPOSITORY)}:{line}", text)
    for path in SOURCES
    for line, text in literals(path)
    if " " in text
]
_SET = re.compile(r"(?<![\w.{}/<+-])([a-z_]+(?:\.[a-z_]+)*)=(?![=<>])([a-z_0-9]*)")  # KEY=VALUE
_DOTTED = re.compile(
    rf"(?<![\w.{{}}/-])((?:{'|'.join({*GROUPS, 'head', 'frontend'})})(?:\.[a-z_]+)+)(?![\w(/])"
)
NO_SETTINGS = {"file", "_target_", "feature_dim", "processes", "utterances", "model.safetensors", "leave_out"}
"""Keys of a YAML node, of a checkpoint, of our own functions; a file; a word of `ser matrix`; a field of a form."""


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def keys() -> dict[str, set[str]]:
    """All full keys of each script's settings, whatever options are chosen."""
    found = {name: {*settings_of(name)} for name in SCHEMAS}
    own = {f"model.{name}" for kind in (FusionEncoder, SemanticEncoder) for name in signature(kind)[0]}
    return found | {"train": found["train"] | own | GROUPS}


def named(text: str) -> set[str]:
    found = {match[1] for pattern in (_SET, _DOTTED) for match in pattern.finditer(text)}
    return {key for key in found if not key.startswith("hydra.")} - NO_SETTINGS


def test_settings_in_messages_exist(keys: dict[str, set[str]]) -> None:
    known = set().union(*keys.values())
    unknown = [f"{place}: {key}" for place, text in MESSAGES for key in sorted(named(text) - known)]
    assert unknown == []


def test_options_of_groups_in_messages_exist() -> None:
    for place, text in MESSAGES:
        for match in _SET.finditer(text):
            if match[1] in GROUPS and match[2]:
                assert match[2] in (*options(match[1]), "null"), f"{place}: {match[0]}"


PREDICTION = (
    *(
        "ser/scripts/predict.py",
        "ser/inference/predict.py",
        "ser/inference/console.py",
        "ser/inference/stream.py",
        "ser/inference/writers.py",
    ),
    *(
        "ser/inference/inputs.py",
        "ser/audio/reader.py",
        "ser/data/feature_store.py",
        "ser/data/json_fields.py",
        "ser/data/json_stream.py",
    ),
    *(
        "ser/data/manifest_rows.py",
        "ser/data/cache.py",
        "ser/data/store_io.py",
        "ser/checkpoints/checkpoint.py",
    ),
)
"""What predict.py runs: it has no settings of the data."""
TRANSLATED = {"data", "data.root", "data.cache_dir", "data.on_error"}
"""predict.py prints them without `data.`."""


def test_messages_of_predictions_name_settings_of_predict(keys: dict[str, set[str]]) -> None:
    wrong = [
        f"{place}: {key}"
        for place, text in MESSAGES
        if place.partition(":")[0] in PREDICTION and not re.search(r"[Tt]rain", text)
        for key in sorted(named(text) - keys["predict"] - TRANSLATED)
        if not key.startswith("init")
    ]
    assert wrong == []


def test_lists_in_messages_are_one_word_of_bash() -> None:
    split = [f"{place}: {text}" for place, text in MESSAGES if re.search(r"=\[[\w.-]+, ", text)]
    assert split == []


def test_packages_to_install_are_of_this_distribution() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    install = re.compile(r"pip install (?:--[\w-]+ )*[\"']?([\w-]+)(?:\[(\w+)\])?")
    found = [(place, *match.groups()) for place, text in MESSAGES for match in install.finditer(text)]
    for place, name, extra in found:
        assert name in (project["name"], "espeakng-loader"), place
        assert extra is None or extra in project["optional-dependencies"], place
    assert "pip install ser[" not in " ".join(text for _, text in MESSAGES)


# ---- every message that a test provokes: conftest.py types its remedies; here, that this can fail ----

WORKING = {
    "a setting": ("x: is wrong. Set optimizer.lr=1e-3.", ["optimizer.lr=1e-3"]),
    "a placeholder": (
        "x: is wrong. Set data.root=FOLDER, or give input=FILE.",
        ["data.root=FOLDER", "input=FILE"],
    ),
    "quotes": ("x: is wrong. Write 'data.label=\"a b\"'.", ["'data.label=\"a b\"'"]),
    "an option": ("x: is wrong. Use model=lstm, or logger=null.", ["model=lstm", "logger=null"]),
    "a place": ("optimizer.lr=[a: is wrong. Leave it out.", []),
    "a list": ("x: is wrong. Set model.channels=[8,16].", ["model.channels=[8,16]"]),
    "a command": (
        "x: is wrong. Run python train.py -m model=lstm seed=0,1. Or not.",
        ["python train.py -m model=lstm seed=0,1"],
    ),
    "lines": (
        "Predict:\n  python predict.py \\\n    ckpt=a input=FILE\n",
        ["python predict.py \\\n    ckpt=a input=FILE"],
    ),
    "a command of ser": (
        "x: is wrong (ser serab select=test).",
        ["ser serab select=test"],
    ),
    "pip": ('x: is gone. Run: python -m pip install "soxr>=0.5"', ['python -m pip install "soxr>=0.5"']),
    "curves": ("Curves: tensorboard --logdir logs", ["tensorboard --logdir logs"]),
}


@pytest.mark.parametrize("case", WORKING)
def test_a_remedy_that_works_is_found_and_accepted(case: str) -> None:
    message, expected = WORKING[case]
    assert [remedy.text for remedy in find_remedies(message)] == expected
    assert find_faults(message) == []


PLANTED = {
    "an unknown key": ("Set optimizer.rate=1e-3.", "has no setting optimizer.rate"),
    "a key of another script": ("Set data.root=FOLDER.", "predict has no setting data.root"),
    "an unknown option": ("Use model=lstn.", "no option lstn of the group model"),
    "a text for a number": ("Set trainer.max_epochs=many.", "does not take many"),
    "an unknown choice": ("Set on_error=raze.", "does not take raze"),
    "an unquoted list": ("Set model.channels=[8, 16].", "Hydra cannot read it"),
    "unquoted braces": ("Set data.label_map={a:b,c:d}.", "is 2 words of bash"),
    "an unquoted parenthesis": ("Set ckpt=run(1).", "bash cannot read"),
    "an open quote": ("Set data.label='it's'.", "bash cannot read"),
    "a sweep without -m": ("Set seed=0,1.", "is a sweep, without -m"),
    "a key of Hydra": ("Set hydra.run.folder=x.", "Hydra has no hydra.run.folder"),
    "a setting of a command": ("Run python predict.py chkpt=x.", "predict has no setting chkpt"),
    "a missing command": ("Run python -m ser.bundle ckpt=x.", "there is no such command"),
    "another project's package": (
        'Run: pip install "ser[audio]"\nor python -m pip install "ser[audio]"',
        "no package",
    ),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_remedy_that_does_not_work_is_found(case: str) -> None:
    remedy, reason = PLANTED[case]
    config = {"a key of another script": "predict", "an unknown choice": "predict"}.get(case, "train")
    faults = find_faults(f"x: is wrong. {remedy}", config)
    assert len(faults) == 1
    assert reason in faults[0]


def test_a_setting_that_is_refused_as_before_is_found() -> None:
    config = with_value(composed("data=challenge", "data.root=."), "trainer.fast_dev_run", True)
    with pytest.raises(ConfigError) as caught:
        check_training(Train.of(config))
    message = str(caught.value)
    assert [*remedies._find_circles(message, config)] == []
    (circle,) = remedies._find_circles(message.replace(" instead", ""), config)  # so that fast_dev_run stays
    assert circle.startswith("debug=fast: is refused, too: trainer.fast_dev_run")


# ---- typed and run ----

NAMES = ["lr=1e-3", "a,b", "run (1)", "it's", "~run", "[x]", "$HOME", "{x}", 'q"q', "a b;c&d", "überraschung"]
"""Names of files and folders that mean something to bash or to Hydra."""


def bash(text: str) -> list[str]:
    """The words that bash makes of what is typed."""
    done = subprocess.run(["bash", "-c", rf"printf '%s\0' {text}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def typed(message: str, pattern: str) -> list[str]:
    """The words of the remedy that a pattern finds in a message."""
    found = re.search(pattern, message)
    assert found is not None, message
    return bash(found[0])


def instead(words: list[str], remedy: list[str], without: tuple[str, ...] = ()) -> list[str]:
    """A command with the remedy: settings replace those of the same key, `without` names those to leave out."""
    replaced = {word.partition("=")[0] for word in remedy} | {*without}
    return [*(word for word in words if word.partition("=")[0] not in replaced), *remedy]


@pytest.fixture(scope="module")
def folder(challenge: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run of the challenge (RUN), one of recordings (REC), and files to predict."""
    cwd = tmp_path_factory.mktemp("remedies")
    once = (*TINY, "trainer.max_epochs=1")
    run("train.py", "data=challenge", f"data.root={challenge}", *once, "hydra.run.dir=RUN", cwd=cwd)
    run("train.py", "data=ravdess", f"data.root={recordings}", *once, "hydra.run.dir=REC", cwd=cwd)
    files = sorted(recordings.rglob("*.wav"))
    shutil.copy(files[0], cwd / "x.wav")
    (cwd / "broken.wav").write_bytes(b"RIFF")
    (cwd / "some.csv").write_text("path\nx.wav\nbroken.wav\n")
    (cwd / "tables").mkdir()
    rows = [file.relative_to(recordings).as_posix() for file in files[:2]]
    (cwd / "tables" / "elsewhere.csv").write_text("\n".join(["path", *rows, ""]))
    return cwd


@pytest.mark.parametrize("name", NAMES)
def test_a_used_folder_of_any_name_is_resumed_as_printed(name: str, folder: Path, challenge: Path) -> None:
    shutil.copytree(folder / "RUN", folder / name)
    words = ["data=challenge", f"data.root={challenge}", *TINY, "trainer.max_epochs=1"]
    refused = run("train.py", *words, *bash(shlex.quote(f"hydra.run.dir={name}")), cwd=folder, code=1)
    remedy = typed(refused.stderr, r"'?resume=.*")
    assert len(remedy) == 1
    run("train.py", *remedy, cwd=folder)


def test_commands_after_a_run_of_any_name_work_as_printed(folder: Path, challenge: Path) -> None:
    name = "a,b (1) it's lr=1e-3 [x] $HOME"
    words = ["data=challenge", f"data.root={challenge}", *TINY, "trainer.max_epochs=1"]
    printed = run("train.py", *words, f"hydra.run.dir={name}", cwd=folder).stdout
    command = typed(printed, r"\S*python \S*predict\.py (?:.*\\\n)*.*")
    answers = [word.replace("FILE", str(challenge / "ser_test_1.json")) for word in command[2:]]
    run("predict.py", *answers, cwd=folder)
    shown = typed(printed, r"\S*tensorboard --logdir (?:.*\\\n)*.*")
    assert (folder / shown[-1]).is_dir()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_predicted_or_answered_with_what_works(name: str, folder: Path) -> None:
    shutil.copy(folder / "x.wav", folder / f"{name}.wav")
    words = ["ckpt=REC", f"input={name}.wav", "output=any.csv", "overwrite=true"]
    run("predict.py", *words, cwd=folder)


PREDICTIONS = {
    "output": ([], r"overwrite=\w+"),
    "device": (["device=cuda", "output=device.csv"], r"(?<=Use )device=\w+"),
    "damaged": (["input=some.csv", "output=damaged.csv"], r"on_error=\w+"),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_a_remedy_of_predict_works_as_printed(case: str, folder: Path) -> None:
    if case == "device" and torch.cuda.is_available():
        pytest.skip("the device is there")
    (folder / "output.csv").touch()
    given, pattern = PREDICTIONS[case]
    words = instead(["ckpt=REC", "input=x.wav", "output=output.csv"], given)
    refused = run("predict.py", *words, cwd=folder, code=1)
    run("predict.py", *instead(words, typed(refused.stderr, pattern)), cwd=folder)


def test_audio_of_a_table_that_lies_elsewhere_is_found_by_root(folder: Path, recordings: Path) -> None:
    words = ["ckpt=REC", "input=tables/elsewhere.csv", "output=elsewhere.csv"]
    refused = run("predict.py", *words, cwd=folder, code=1)
    (remedy,) = typed(refused.stderr, r"(?<![.\w])root=\w+")
    run("predict.py", *words, remedy.replace("FOLDER", str(recordings)), cwd=folder)


TRAININGS = {
    "accelerator": (["trainer.accelerator=gpu"], r"trainer\.accelerator=auto trainer\.devices=1", ()),
    "mode": (["monitor=validation/loss"], r"(?<=Set )mode=\w+", ()),
    "fast_dev_run": (["trainer.fast_dev_run=true"], r"debug=\w+", ("trainer.fast_dev_run",)),
    "sweep": (["optimizer.lr=1e-3,2e-3", "hydra.sweep.dir=SWEEP"], r"(?<=Add )-m", ("hydra.run.dir",)),
    "text": (["experiment_name=true"], r"(?<=quote it: )\S+(?=\.)", ()),
    "silence": (["silence=mask"], r"features\.silence\.mode=remove", ()),
    "carried": (["batching.carry_state=true"], r"batching\.carry_state=false", ()),
    "rate": (["init=REC", "features.sample_rate=8000"], r"features\.sample_rate=\d+", ()),
}


@pytest.mark.parametrize("case", TRAININGS)
def test_a_remedy_of_train_works_as_printed(
    case: str, folder: Path, challenge: Path, recordings: Path
) -> None:
    if case == "accelerator" and torch.cuda.is_available():
        pytest.skip("the accelerator is there")
    given, pattern, without = TRAININGS[case]
    data = (
        ["data=ravdess", f"data.root={recordings}"]
        if case in ("silence", "rate")
        else ["data=challenge", f"data.root={challenge}"]
    )
    words = instead([*data, *TINY, "trainer.max_epochs=1", f"hydra.run.dir=train_{case}"], given)
    refused = run("train.py", *words, cwd=folder, code=1)
    run("train.py", *instead(words, typed(refused.stderr, pattern), without), cwd=folder)


@pytest.mark.parametrize("group", sorted(GROUPS - {"hydra", "extractor", "optimizer"}))
def test_a_group_may_be_null(group: str, tmp_path: Path) -> None:
    """conf/train.yaml says of many groups what null means; Hydra itself knows no null for a group."""
    (tmp_path / "data").mkdir()
    run(
        "train.py",
        *["data=folder", "data.root=data"] * (group != "data"),
        f"{group}=null",
        "--cfg",
        "job",
        cwd=tmp_path,
    )


def test_a_corpus_is_described_with_the_split_that_is_printed(folder: Path, recordings: Path) -> None:
    words = ["describe", "data=folder", f"data.root={recordings}", "hydra.run.dir=look"]
    refused = run("ser", *words, cwd=folder, code=1)
    run("ser", *words, *typed(refused.stderr, r"split=random"), cwd=folder)


def test_a_run_without_its_checkpoint_is_begun_again_as_printed(folder: Path) -> None:
    shutil.copytree(folder / "RUN", folder / "CUT")
    (folder / "CUT" / "checkpoints" / "last.ckpt").unlink()
    refused = run("train.py", "resume=CUT", cwd=folder, code=1)
    assert "Repeat the command of that run, which its environment.json holds" in refused.stderr
    command = json.loads((folder / "CUT" / "environment.json").read_text())["command"]
    words = instead(bash(command)[2:], ["hydra.run.dir=CUT_AGAIN"])
    run("train.py", *words, cwd=folder, variables={"CHECKS_ONLY": "1"})


def test_a_sweep_is_written_elsewhere_as_printed(folder: Path, challenge: Path) -> None:
    words = ["data=challenge", f"data.root={challenge}", "-m", "seed=0", "hydra.sweep.dir=x.wav/sweep"]
    refused = run("train.py", *words, cwd=folder, code=1)
    remedy = typed(refused.stderr, r"hydra\.\w+\.dir=\w+")
    run("train.py", *instead(words, remedy), cwd=folder, variables={"CHECKS_ONLY": "1"})


def test_one_of_two_copies_of_a_corpus_is_predicted_as_printed(folder: Path, recordings: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(recordings, folder / "both" / name)
    words = ["ckpt=REC", "input=both", "corpus=ravdess", "output=both.csv"]
    refused = run("predict.py", *words, cwd=folder, code=1)
    remedy = [typed(refused.stderr, r"\w+=FOLDER")[0].replace("FOLDER", "both/one")]
    run("predict.py", *instead(words, remedy), cwd=folder)


def test_a_run_that_cannot_get_more_epochs_is_begun_again_as_printed(folder: Path, challenge: Path) -> None:
    words = ["data=challenge", f"data.root={challenge}", *TINY, "schedule=one_cycle", "trainer.max_epochs=1"]
    run("train.py", *words, "hydra.run.dir=PLANNED", cwd=folder)
    refused = run("train.py", "resume=PLANNED", "trainer.max_epochs=2", cwd=folder, code=1)
    command = json.loads((folder / "PLANNED" / "environment.json").read_text())["command"]
    changed = [*typed(refused.stderr, r"init=\S+"), "hydra.run.dir=AGAIN", "trainer.max_epochs=2"]
    run("train.py", *instead(bash(command)[2:], changed), cwd=folder)
    assert (folder / "AGAIN" / "checkpoints" / "best.ckpt").is_file()
