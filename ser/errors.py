"""Errors that a user can cause, with a message that says how to fix them."""

import difflib
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path


class SerError(Exception):
    """A mistake that the user can fix. The message says where it is, what is wrong, and how to fix it."""


class ConfigError(SerError):
    """A setting that does not exist, has the wrong type or contradicts another."""


class MissingPackageError(ConfigError):
    """A package of an extra that is not installed."""


class DataError(SerError):
    """An input or output file that is missing, damaged or of the wrong shape."""


class FileAccessError(DataError):
    """A file that is there but cannot be read now, for its permissions or the disk; its content may be right."""


class CheckpointError(SerError):
    """A checkpoint that cannot be read, is not ours, or does not fit the data."""


class DivergedError(SerError):
    """A training whose loss or weights are no longer finite."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the nearest choice, else "Choose one of: ..."."""
    names = sorted(choices)
    nearest = difflib.get_close_matches(word, names, n=1)
    if nearest:
        return f"Did you mean '{nearest[0]}'?"
    return f"Choose one of: {', '.join(names)}."


def counted(number: int, noun: str) -> str:
    """Return "1 recording" or "2 recordings" for the noun "recording"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error, or of its cause if it has no text, without a full stop."""
    lines = str(error).strip().splitlines() or str(error.__cause__ or type(error).__name__).splitlines()
    return lines[0].rstrip(".")


def named_line(error: BaseException) -> str:
    """Return the type and the first line of a library's error, because its text alone may be unclear."""
    return f"{type(error).__name__}: {first_line(error)}"


def setting(key: str, value: object) -> str:
    """Return `key=value` as one word for bash, which Hydra reads as the same value.

    Text stays text, even if it looks like a number, a list or an interpolation; None, bool, int, float, lists and
    dicts keep their type.
    """
    return shell_word(f"{key}={hydra_value(value)}")


REPEAT_RUN = "repeat the command of that run, which its environment.json holds, in another hydra.run.dir"
"""Part of a message: how to begin a run again. Without its command, a run would begin with the default settings."""


def advise_init(path: object) -> str:
    """Return a sentence on how to train on from the network of a run or checkpoint, where that run cannot be resumed.

    `init=` alone would begin a run with the default model, into which the network does not fit.
    """
    return f"{REPEAT_RUN.capitalize()}, with {setting('init', path)} to begin with its network."


def shell_word(text: str) -> str:
    """Quote a text as one word of bash on one line, if it needs quotes.

    Unprintable characters, such as a line break or the bytes of a broken file name, are written as `\\xHH`.
    """
    if text.isprintable():
        return shlex.quote(text)
    escaped = "".join(_ansi_c(character) for character in text)
    return f"$'{escaped}'"


def hydra_value(value: object) -> str:
    """Format a value in the grammar of Hydra's overrides, not yet quoted for a shell."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case Mapping():
            pairs = ",".join(f"{key}:{hydra_value(item)}" for key, item in value.items())
            return f"{{{pairs}}}"
        case list() | tuple():
            return f"[{','.join(map(hydra_value, value))}]"
    return _hydra_text(str(value))


def _hydra_text(text: str) -> str:
    if re.fullmatch(r"[\w./+-]+", text, re.ASCII) and not _looks_typed(text):
        return text
    # OmegaConf reads `${` as an interpolation unless a backslash precedes it, and halves other backslashes before it.
    escaped = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
    # Hydra halves backslashes before a quote, including the closing one.
    escaped = re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + found[2].replace('"', r"\""), escaped)
    return f'"{escaped}"'


def _looks_typed(text: str) -> bool:
    """Return whether Hydra reads a plain word as a number, a bool or null."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false", "null")
    return True


def _ansi_c(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


EXTRAS = {
    "audio": ("soundfile>=0.13", "soxr>=0.5"),
    "demo": ("espeakng-loader>=0.2.4",),
    "serab": ("scikit-learn>=1.8",),
    "text": ("scipy>=1.13",),
    "opensmile": ("opensmile>=2.5",),
    "transformers": ("transformers>=4.50",),
    "parquet": ("pandas>=2.2", "pyarrow>=15"),
    "align": ("pocketsphinx>=5.1", "espeakng-loader>=0.2.4"),
    "search": ("optuna>=4,<6",),
    "mlflow": ("mlflow>=3",),
    "wandb": ("wandb>=0.20",),
    "serve": ("starlette>=1", "uvicorn>=0.50", "websockets>=15", "python-multipart>=0.0.20"),
    "onnx": ("onnx>=1.18", "onnxruntime>=1.22", "onnxscript>=0.5"),
    "joblib": ("hydra-joblib-launcher>=1.2",),
    "submitit": ("hydra-submitit-launcher>=1.2", "submitit>=1.5"),
    "ray": ("hydra-ray-launcher>=1.2",),
}
"""Packages of each extra, as in pyproject.toml, which is not installed with the package."""


def install_command(extra: str, *options: str) -> str:
    """Return the command that installs the packages of an extra for this interpreter, from any folder."""
    packages = [f'"{package}"' for package in EXTRAS[extra]]
    return " ".join([program("python"), "-m", "pip", "install", *options, *packages])


def program(name: str) -> str:
    """Return `name` if the shell finds the program of this environment under it, else its path, quoted.

    In a virtual environment that is not activated, a bare `python` would be another one.
    """
    ours = Path(sys.executable).with_name(name)
    if not ours.exists() or shutil.which(name) == str(ours):
        return name
    here = Path.cwd()
    return shell_word(str(ours.relative_to(here) if ours.is_relative_to(here) else ours))
