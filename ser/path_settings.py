"""Paths on the command line: taken as they are, whatever Hydra's grammar makes of commas, brackets, `=` and `~`."""

import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Sweep
from hydra.errors import HydraException

from ser.errors import ConfigError, hydra_value, setting
from ser.files import exists
from ser.handed_over import check_links, check_resolved

_PATH_KEYS = {
    *("ckpt", "input", "output", "init", "resume", "root", "corpora_root", "path", "dir", "cache_dir"),
    *("folder", "weights"),
}
"""Last parts of the keys that are files or folders."""
_NEW = {"output", "dir", "cache_dir"}  # need not exist
_HOME = re.compile(r"(^|[\[,])~(?=[/,\]]|$)")  # at the beginning of a value, or of an item of a list


def literal_paths(words: list[str], *, is_sweep: bool) -> list[str]:
    """Return the overrides of a command line with paths quoted for Hydra where its grammar reads something else.

    Args:
        words: overrides, as bash hands them over.
        is_sweep: whether a comma parts the values of a sweep.
    """
    return [_literal_path(word, is_sweep=is_sweep) for word in words]


def resume_arguments(arguments: list[str]) -> list[str]:
    """Turn `resume=RUN` into what makes Hydra start from RUN/config.yaml, in RUN; others stay as they are.

    A run's config.yaml is complete and resolved, so it can be the primary config of another call.

    Raises:
        ConfigError: there is no run in that folder, or its config or a link in it is not as a run leaves them.
    """
    typed = [argument.partition("=")[2] for argument in arguments if argument.startswith("resume=")]
    if not typed or typed[-1] in ("", "null"):
        return arguments
    name = _read_path(typed[-1])
    folder = Path(name).absolute()
    if not exists(folder / "config.yaml"):
        raise ConfigError(
            f"{setting('resume', name)}: holds no run (no config.yaml). Give the folder that train.py printed."
        )
    check_links(folder)
    check_resolved(folder / "config.yaml")
    others = [argument for argument in arguments if not argument.startswith("resume=")]
    place = [
        f"++resume={hydra_value(folder)}",
        f"hydra.run.dir={hydra_value(folder)}",
        "hydra.output_subdir=null",
    ]
    return ["--config-path", str(folder), "--config-name", "config", *others, *place]


def _literal_path(word: str, *, is_sweep: bool) -> str:
    key, equals, value = word.partition("=")
    if not equals or not value:
        return word
    leaf = re.split(r"[./]", key)[-1]
    value = _HOME.sub(lambda found: found[1] + str(Path.home()), value)
    if leaf in _PATH_KEYS and value != "null":
        parsed = _parse(f"{key}={value}")
        if exists(value) or (parsed is None and not value.startswith(("[", "'", '"'))):
            return word if is_sweep and "," in value and parsed is not None else f"{key}={_quoted(value)}"
        if parsed is None and value.startswith("[") and value.endswith("]"):
            return f"{key}={hydra_value([item.strip() for item in value[1:-1].split(',')])}"
        if isinstance(parsed, bool | int | float):
            return f"{key}={_quoted(value)}"
        if leaf in _NEW and isinstance(parsed, Sweep) and not is_sweep:
            return f"{key}={_quoted(value)}"
        if isinstance(parsed, str) and parsed.startswith("~"):
            return f"{key}={hydra_value(_HOME.sub(str(Path.home()), parsed))}"
    return f"{key}={value}"


def _quoted(value: str) -> str:
    """A text for Hydra; an interpolation in it stays one, unless there is a file of that name."""
    quoted = hydra_value(value)
    return quoted if exists(value) else quoted.replace(r"\${", "${")


def _read_path(value: str) -> str:
    """The path that a value means: what there is under that name, else what Hydra reads, else the value itself."""
    value = _HOME.sub(lambda found: found[1] + str(Path.home()), value)
    parsed = None if exists(value) else _parse(f"resume={value}")
    return parsed if isinstance(parsed, str) else value


def _parse(word: str) -> object:
    """What Hydra reads; None where its grammar refuses the word."""
    try:
        override = OverridesParser.create().parse_override(word)
        return override._value if override.is_sweep_override() else override.value()
    except HydraException:
        return None
