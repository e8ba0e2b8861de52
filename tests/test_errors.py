"""Printed settings and commands: what is typed in bash as printed gives back the same value."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ser import errors
from ser.errors import counted, hydra_value, install_command, setting, shell_word
from tests.conftest import REPOSITORY

AWKWARD = [
    "",
    " ",
    "a,b",
    "it's",
    'say "x"',
    "~/run",
    "lr=1e-3",
    "run (1)",
    "[a,b]",
    "{a:b}",
    "$HOME",
    "${oc.env:HOME}",
    r"\${x}",
    "C:\\runs\\",
    '\\"',
    "a\\\\",
    "!!",
    "two\nlines",
    "tab\tcr\r",
    "1e-3",
    "007",
    "1_000",
    "-1",
    ".5",
    "inf",
    "NaN",
    "null",
    "True",
    "-",
    "été 語",
    "zero\u200bwidth",
    "#1",
    "a;b&c|d>e`f`",
    "*?",
    "broken\udcff",
]
PIECES = [
    "\\",
    '"',
    "'",
    "$",
    "${",
    "${a}",
    "}",
    "{",
    "[",
    "]",
    ",",
    "=",
    ":",
    "~",
    "!",
    " ",
    "\n",
    "\t",
    "é",
]
TEXTS = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(codec="utf-8", exclude_characters="\0"))
).map("".join)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS


def words_of_bash(words: list[str]) -> list[str]:
    """What bash hands over to a program for these words."""
    script = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    line = f"{shell_word(sys.executable)} -c {shell_word(script)} {' '.join(words)}"
    done = subprocess.run(
        [shutil.which("bash") or "/bin/bash", "-c", line], stdout=subprocess.PIPE, check=True
    )
    return [word.decode("utf-8", "surrogateescape") for word in done.stdout.split(b"\0")]


def value_of(word: str) -> Any:
    """What OmegaConf holds once Hydra has read a word."""
    override = OverridesParser.create().parse_override(word)
    return OmegaConf.create({"key": override.value()})["key"]


@given(st.lists(TEXTS.filter(lambda text: text != "???"), min_size=20, max_size=20))
def test_setting_survives_bash_and_hydra(texts: list[str]) -> None:
    words = words_of_bash([setting("key", text) for text in texts])
    assert [value_of(word) for word in words] == texts


def test_setting_of_awkward_texts_is_one_line_and_survives() -> None:
    printed = [setting("key", text) for text in AWKWARD]
    assert all(word.isprintable() for word in printed)
    assert [value_of(word) for word in words_of_bash(printed)] == AWKWARD


@pytest.mark.parametrize("text", AWKWARD)
def test_composed_config_holds_the_text_of_a_setting(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("key: null\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert compose("config", [f"key={hydra_value(text)}"]).key == text


@given(st.lists(VALUES.filter(lambda value: value != "???")))
def test_setting_of_a_list_keeps_types(values: list[Any]) -> None:
    found = value_of(f"key={hydra_value(values)}")
    assert json.dumps([*found]) == json.dumps(values)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("logs/run/best.ckpt", "key=logs/run/best.ckpt"),
        (3, "key=3"),
        (None, "key=null"),
        (True, "key=true"),
        (1e-5, "key=1e-05"),
        ([8, "a b"], "'key=[8,\"a b\"]'"),
        ({"a": [1]}, "'key={a:[1]}'"),
        ("a b", "'key=\"a b\"'"),
    ],
)
def test_setting_quotes_only_what_needs_quotes(value: object, word: str) -> None:
    assert setting("key", value) == word


def test_extras_are_those_of_pyproject() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name: [*packages] for name, packages in errors.EXTRAS.items()} == {
        name: packages for name, packages in extras.items() if name not in ("bench", "dev", "docs")
    }


def test_install_command_names_packages_and_this_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # below the working folder, a path is printed relative to it
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert install_command("audio") == 'python -m pip install "soundfile>=0.13" "soxr>=0.5"'
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    command = words_of_bash([install_command("audio")])
    assert command == [str(Path(sys.executable)), "-m", "pip", "install", "soundfile>=0.13", "soxr>=0.5"]


def test_no_message_names_a_package_of_another_project() -> None:
    files = [*REPOSITORY.glob("*.md"), REPOSITORY / "Makefile"]
    files += [
        path
        for folder in ("ser", "conf", "docs", "benchmarks")
        for path in (REPOSITORY / folder).rglob("*.*")
    ]
    assert [
        str(path) for path in files if path.suffix in (".py", ".md", ".yaml") and "ser[" in path.read_text()
    ] == []


def test_one_of_a_noun_is_singular() -> None:
    assert [counted(number, "recording") for number in (0, 1, 2)] == [
        "0 recordings",
        "1 recording",
        "2 recordings",
    ]
