"""Describe everything that a run depends on, for environment.json, so that its results can be explained years later."""

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ser.errors import program as path_of_program
from ser.errors import setting, shell_word
from ser.files import short, write_atomic

PACKAGES = (
    "ser-lightning",
    "torch",
    "lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "numpy",
    "scikit-learn",
)
TYPED = "SER_TYPED"  # environment variable for jobs of a sweep that run as separate commands
_typed: dict[str, list[str]] = {}
_trusted: set[str] = set()  # packages of the user that this process may import
_program: list[str] = []  # words that called the command `ser`; empty in a script
_CHECKOUT = Path(__file__).parents[2]
_GIT_TIMEOUT_S = 5.0  # git takes some 10 ms; a run must not wait for a stalled network disk


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Everything that is needed to repeat a run.

    Args:
        command: Command line, quoted for a shell.
        seed: Seed of the run.
        data: Hash of the content of each file or split.
        overrides: Settings typed for the run, including those before it was resumed.
        inputs: Hash of each other file or folder that a setting names.
    """

    command: str
    seed: int
    data: Mapping[str, str]
    overrides: Sequence[str] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = field(default_factory=lambda: git_commit())
    dirty: bool | None = field(default_factory=lambda: has_local_changes())
    python: str = field(default_factory=platform.python_version)
    platform: str = field(default_factory=platform.platform)
    packages: Mapping[str, str | None] = field(
        default_factory=lambda: {name: version(name) for name in PACKAGES}
    )
    cpus: int | None = field(default_factory=os.cpu_count)
    devices: Sequence[str] = field(default_factory=lambda: _devices())
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def write(self, folder: Path) -> None:
        """Write environment.json into the folder of a run."""
        write_atomic(folder / "environment.json", json.dumps(asdict(self), indent=2) + "\n")


def hash_inputs(config: Mapping[str, Any]) -> dict[str, str]:
    """Compute the SHA-256 of each file that a setting names, or of all files below a folder, including their names.

    Folders below `data` are skipped, because the fingerprints of the splits cover what was read from them.
    """
    found = {}
    for key, value in _settings(config):
        path = Path(value).expanduser()
        try:
            if path.is_file():
                found[key] = _sha256([path])
            elif path.is_dir() and _is_read(key):
                found[key] = _sha256(sorted(file for file in path.rglob("*") if file.is_file()), below=path)
        except OSError:
            continue  # too long for a path, or not readable: not an input of this run
    return found


def named_paths(data: Mapping[str, Any]) -> list[Path]:
    """Return the folders of recordings that the settings of a corpus name."""
    named = [(key.rpartition(".")[2], value) for key, value in _settings(data)]
    return [Path(value).expanduser() for key, value in named if key in ("root", "path", "folder")]


def _is_read(key: str) -> bool:
    """Return whether a run reads all files below the folder that a setting names."""
    if key.startswith("data."):
        return False
    return key == "model.path" or key.rpartition(".")[2] in ("root", "init")


def _settings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the full key and the value of every setting that may be a path."""
    if isinstance(node, str) and node and "\0" not in node and key not in ("resume", "experiment_name"):
        yield key, node
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        if not str(name).endswith(("cache_dir", "_target_")):
            yield from _settings(value, f"{key}.{name}" if key else str(name))


def _sha256(files: Sequence[Path], below: Path | None = None) -> str:
    digest = hashlib.sha256()
    for path in files:
        if below is not None:
            digest.update(f"{path.relative_to(below).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def remember_command(command: Sequence[str], overrides: Sequence[str]) -> None:
    """Store what the user typed for this job, which differs from sys.argv in sweeps, resumed runs and child processes.

    Args:
        command: All words, such as `python train.py resume=RUN`.
        overrides: Settings among them, without those of Hydra and `resume`.
    """
    _typed.update(command=[*command], overrides=[*overrides])
    if inherited := os.environ.get(TYPED):
        typed = json.loads(inherited)
        _program[:] = typed.pop("program")
        _typed.update(typed)


def typed_variable() -> dict[str, str]:
    """Return the environment variable that passes the typed command to a child process."""
    return {TYPED: json.dumps(_typed | {"program": _program})}


def typed_command() -> list[str]:
    """Return the words of the command line as the user typed them for this job."""
    return _typed.get("command") or [*program(), *sys.argv[1:]]


def typed_folder() -> list[str]:
    """Return the words that name the folder of the user's own configs, `--config-dir DIR`; none if there is none."""
    words = [part for word in typed_command() for part in re.split("(?<=^--config-dir)=", word)]
    places = [place for place, word in enumerate(words[:-1]) if word in ("--config-dir", "-cd")]
    return ["--config-dir", words[places[-1] + 1]] if places else []


def remember_trust(packages: Iterable[str]) -> None:
    """Store packages of the user that this process may import, for the commands that it prints."""
    _trusted.update(packages)


def trust_words() -> list[str]:
    """Return the word that lets another command import these packages, quoted for a shell; none if there are none."""
    return [setting("trust", sorted(_trusted))] if _trusted else []


def typed_line() -> str:
    """Return the command line as the user typed it for this job, quoted for bash."""
    return " ".join(map(shell_word, typed_command()))


def typed_overrides(run_dir: Path) -> list[str]:
    """Return the settings typed for a run: those of its first start, if it is resumed, and of this command line."""
    words = recorded_overrides(run_dir / "environment.json")
    words += _typed.get("overrides", [])
    return [*{word.partition("=")[0].lstrip("+"): word for word in words}.values()]


def is_of_run(word: str) -> bool:
    """Return whether a word of a command line is a setting that another run can repeat."""
    key = word.partition("=")[0].lstrip("+~")
    return key != "resume" and not key.startswith(("hydra.", "hydra/", "-")) and word != key


def recorded_overrides(path: Path) -> list[str]:
    """Read the overrides of a run's environment.json; for runs of old versions, read them from the command."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if "overrides" in facts:
            return [str(word) for word in facts["overrides"]]
        return [word for word in shlex.split(facts["command"]) if is_of_run(word)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def remember_program(words: Sequence[str]) -> None:
    """Store the words that called this program if it is not a script, such as `ser train`."""
    _program[:] = words


def program() -> list[str]:
    """Return the words that called this program, without arguments: `python train.py` or `ser train`."""
    return [*_program] or ["python", sys.argv[0]]


def as_options(words: Sequence[str] | None, *names: str) -> list[str]:
    """Return the arguments of a command with settings such as `output=FOLDER`, as Hydra takes them, as options.

    Args:
        words: Arguments; None for those that were typed.
        names: Names of the options.
    """
    typed = sys.argv[1:] if words is None else words
    return [f"--{word}" if word.partition("=")[0] in names and "=" in word else word for word in typed]


def program_words(name: str | None = None) -> list[str]:
    """Return the words that call this program, or another command of ours in the same way, quoted for bash.

    Args:
        name: Name of a command, such as `predict`; None for the one that runs.
    """
    first, *others = program()
    if name is not None and _program:
        others[-1] = name
    elif name is not None:
        path = Path(sys.argv[0]).with_name(f"{name}.py")
        others = [str(short(path)) if path.is_file() else path.name]
    return [path_of_program(first), *map(shell_word, others)]


def restart() -> list[str]:
    """Return the words that start this program again as a child process, without arguments, for no shell."""
    if not _program:
        return [sys.executable, str(Path(sys.argv[0]).absolute())]
    # Like the program `ser`, and unlike `python -m`, the child does not import from the working folder.
    safe = ["-P"] if _program[0] == "ser" else []
    return [sys.executable, *safe, "-m", "ser", _program[-1]]


def git_commit(checkout: Path = _CHECKOUT) -> str | None:
    """Return the commit that is checked out; None without git or a checkout."""
    return _git(checkout, "rev-parse", "--verify", "HEAD")


def has_local_changes(checkout: Path = _CHECKOUT) -> bool | None:
    """Return whether code or configs differ from the commit; None if unknown.

    New files count, because one may be a new model. Notes and data do not count, because they change no result or
    have their own hash.
    """
    changes = _git(checkout, "status", "--porcelain", "--", "*.py", "*.yaml")
    return None if changes is None else changes != ""


def _git(checkout: Path, *words: str) -> str | None:
    """Run git and return its output; None if it fails."""
    # Only our own repository: an installed package may be inside another one. It is named explicitly, as a hook
    # that starts a run sets GIT_DIR. Without the optional locks, a commit at the same time is not disturbed.
    place = [f"--git-dir={checkout / '.git'}", f"--work-tree={checkout}", "--no-optional-locks"]
    try:
        result = subprocess.run(
            ["git", *place, *words],
            cwd=checkout,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.decode(errors="replace").strip()


def version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    """Return the names of the GPUs, if torch is already imported."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
