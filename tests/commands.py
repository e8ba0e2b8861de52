"""Run the scripts as a user would."""

import atexit
import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import remedies
from tests.conftest import REPOSITORY

TINY = (
    "model.channels=[8,8]",
    "model.time_strides=[2,2]",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "batching.max_utterances=8",
    "trainer.enable_progress_bar=false",
)
"""Overrides that make a training of the CNN take a second or two."""


def documented(page: str, language: str) -> str:
    """The first block of code in a language on a page of docs/; it has fewer than 20 lines."""
    code = (REPOSITORY / "docs" / page).read_text().split(f"```{language}\n")[1].split("```")[0]
    assert code.count("\n") < 20
    return code


NO_VARIABLES: Mapping[str, str] = {}


def environment(cache: Path) -> dict[str, str]:
    """Variables of a child: one thread, as tests run side by side, and a cache of its own."""
    return os.environ | {"OMP_NUM_THREADS": "1", "SER_CACHE_DIR": str(cache), "COLUMNS": "200"}


def run(
    script: str,
    *arguments: str,
    cwd: Path,
    code: int = 0,
    fresh: bool = False,
    plots: bool = False,
    variables: Mapping[str, str] = NO_VARIABLES,
) -> subprocess.CompletedProcess[str]:
    """Run a script, or a module, in a folder and check its exit code.

    Args:
        script: below the repository, such as train.py; `ser` for the command, whose first argument is a name.
        arguments: as words, no shell reads them.
        cwd: the working folder.
        code: expected exit code.
        fresh: start Python anew rather than fork a process that has imported everything.
        plots: draw plots; else each is a blank file, which saves half of a short training's time.
        variables: further ones of the environment; KILL_AT="rank epoch batch" ends a run by SIGKILL, see tests.warm.
    """
    is_file = script.endswith(".py")
    command = [*([str(REPOSITORY / script)] if is_file else ["-m", script]), *arguments]
    result = subprocess.run(
        [sys.executable if fresh else warm_python(), *command],
        cwd=cwd,
        env=environment(cwd / "cache")
        | {"PYTHONPATH": str(REPOSITORY)}
        | ({} if plots else {"BLANK_PLOTS": "1"})
        | variables,
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
    )
    assert result.returncode == code, f"{result.stdout}\n{result.stderr}"
    remedies.record_output(command, result.stdout, result.stderr)
    shows_examples = "--help" in arguments
    if code in (0, 1) and not (fresh or variables or shows_examples):
        _assert_printed_commands_begin(result.stdout, cwd)
    if code == 1 and not fresh and not variables:
        _assert_remedies_lead_on(script, arguments, result.stderr, cwd)
    return result


_followed: set[str] = set()
_MOST_STEPS = 4


def _is_first(advice: str) -> bool:
    """Return whether no worker of this session has followed an advice before; it counts as followed then."""
    if advice in _followed:
        return False
    _followed.add(advice)
    if "PYTEST_XDIST_TESTRUNUID" not in os.environ:
        return True
    shared = Path(tempfile.gettempdir()) / f"ser-followed-{os.environ['PYTEST_XDIST_TESTRUNUID']}"
    shared.mkdir(exist_ok=True)
    atexit.register(shutil.rmtree, shared, ignore_errors=True)
    try:
        (shared / hashlib.sha256(advice.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return False
    except FileNotFoundError:  # the other worker has just ended, and removed the folder
        return True
    return True


def _assert_remedies_lead_on(script: str, arguments: Sequence[str], message: str, cwd: Path) -> None:
    """Type what a refused command tells to type, one after the other, up to where it would compute or write.

    No remedy may be refused with the message that printed it, or with the one before.
    """
    words = [script, *arguments][script == "ser" :]
    config = remedies.config_of(words[0])
    if config is None:
        return
    if not _is_first(_without_names(f"{words[0]} {message}")):
        return
    for tried in remedies.put_back(words[1:], message, config):
        seen = [message]
        for _ in range(_MOST_STEPS):
            found = _refusal([words[0], *tried], is_script=script != "ser", cwd=cwd)
            if found is None:
                break
            assert found not in seen, f"{shlex.join(tried)}: leads to the same message: {found}"
            seen.append(found)
            further = remedies.put_back(tried, found, config)
            if not further:
                break
            tried = further[0]


def _assert_printed_commands_begin(printed: str, cwd: Path) -> None:
    """Type the commands that a command printed, up to where they would compute or write."""
    for words in remedies.printed_commands(printed):
        kind = " ".join(sorted({word.partition("=")[0] for word in words}))
        if _is_first(kind):
            found = _refusal(words, is_script=words[0].endswith(".py"), cwd=cwd)
            assert found is None, f"{shlex.join(words)}: was printed, and is refused: {found}"


def _without_names(message: str) -> str:
    """A message without what differs between files, folders and numbers."""
    return re.sub(r"\S*[/\d'\"\\]\S*", "", message)


def _refusal(words: Sequence[str], *, is_script: bool, cwd: Path) -> str | None:
    """Return the message with which a command is refused; None if it gets to where it would compute or write."""
    with tempfile.TemporaryDirectory() as folder:
        given = any(word.startswith("resume=") or word == "-m" for word in words)
        place = [] if given or "train" not in words[0] else [f"hydra.run.dir={folder}"]
        command = [str(REPOSITORY / Path(words[0]).name)] if is_script else ["-m", "ser", words[0]]
        result = subprocess.run(
            [warm_python(), *command, *words[1:], *place],
            cwd=cwd,
            env=environment(cwd / "cache") | {"PYTHONPATH": str(REPOSITORY), "CHECKS_ONLY": "1"},
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
        )
    assert "Traceback" not in result.stderr, result.stderr
    return result.stderr if result.returncode else None


_LONGEST_S = 300
_INTERPRETER = sys.executable  # which a test may replace


@functools.cache
def warm_python() -> str:
    """Return a program that is used as an interpreter is, and forks one that has imported everything.

    The process that it forks ends when the tests do, as its standard input is closed then.
    """
    folder = Path(tempfile.mkdtemp(prefix="warm"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address, program = folder / "socket", folder / "python"
    words = [_INTERPRETER, "-IS", str(REPOSITORY / "tests" / "python.py"), str(address)]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    server = subprocess.Popen(
        [_INTERPRETER, "-m", "tests.warm", str(address), str(program)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _servers.append(server)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    return str(program)


_servers: list[subprocess.Popen[str]] = []
