"""What a user can get wrong, said so that it can be put right."""

import difflib
import re
import shlex
from collections.abc import Iterable


class SerError(Exception):
    """A mistake the user can mend. The message says where, what is wrong, and how to fix it."""


class ConfigError(SerError):
    """A setting that does not exist, has the wrong type or contradicts another."""


class DataError(SerError):
    """An input or output file that is missing, damaged or of the wrong shape."""


class CheckpointError(SerError):
    """A checkpoint that cannot be read, is not ours, or does not fit the data."""


class DivergedError(SerError):
    """A training whose loss or weights are not finite any more."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the nearest choice, else "Choose one of: ..."."""
    names = sorted(choices)
    nearest = difflib.get_close_matches(word, names, n=1)
    if nearest:
        return f"Did you mean '{nearest[0]}'?"
    return f"Choose one of: {', '.join(names)}."


def setting(key: str, value: object) -> str:
    """Return `key=value` as one word to type in bash, quoted where Hydra's grammar or the shell needs it."""
    text = str(value)
    if re.fullmatch(r"[\w./+-]+", text, re.ASCII):
        return f"{key}={text}"
    escaped = text.replace('"', r"\"")
    return shlex.quote(f'{key}="{escaped}"')
