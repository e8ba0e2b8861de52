"""Paths on the command line: taken as they are, whatever Hydra's grammar makes of commas, brackets, `=` and `~`."""

import re
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Sweep
from hydra.errors import HydraException

from ser.config.settings import find_conf
from ser.errors import ConfigError, hydra_value, setting, shell_word
from ser.files import exists
from ser.runs.handed_over import check_links, check_resolved

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
        ConfigError: there is no run in that folder, or its config or a link in it is not as a run leaves them; or
            another argument makes no sense for a run that goes on.
    """
    if "--config-path" in arguments:  # as rewritten here: further processes of a run are started with them
        return arguments
    words = {argument: argument.partition("=") for argument in arguments}
    typed = [value for key, _, value in words.values() if key.lstrip("+") == "resume"]
    if not typed or typed[-1] in ("", "null"):
        return arguments
    name = _read_path(typed[-1])
    folder = Path(name).absolute()
    if not exists(folder / "config.yaml"):
        raise ConfigError(
            f"{setting('resume', name)}: holds no run (no config.yaml). Give the folder that the training printed."
        )
    check_links(folder)
    check_resolved(folder / "config.yaml")
    others = [argument for argument, (key, _, _) in words.items() if key.lstrip("+") != "resume"]
    for argument in others:
        _check_goes_on(setting("resume", name), argument)
    place = [
        f"++resume={hydra_value(folder)}",
        f"hydra.run.dir={hydra_value(folder)}",
        "hydra.output_subdir=null",
    ]
    others = [f"++{word}" if word.startswith("trust=") else word for word in others]  # version 0.1 had none
    return ["--config-path", str(folder), "--config-name", "config", *others, *place]


def _check_goes_on(resume: str, argument: str) -> None:
    """Refuse what chooses something that a run has chosen when it began: its folder, options of groups, a sweep.

    Raises:
        ConfigError: with what to type instead.
    """
    key, _, value = argument.partition("=")
    name = key.lstrip("+~")
    if argument in ("-m", "--multirun") or name == "hydra.mode" or name.startswith("hydra.sweep."):
        raise ConfigError(
            f"{argument}: {resume} goes on with one run. Leave it out; to go on with a sweep, repeat its command with "
            "the same hydra.sweep.dir."
        )
    if name == "hydra.run.dir":
        raise ConfigError(
            f"{shell_word(argument)}: {resume} goes on in the folder of that run. Leave it out, or copy the folder and "
            "resume the copy."
        )
    if (
        "." not in name
        and value[:1] not in ("", "{")
        and value != "null"
        and (find_conf(Path(__file__)) / name).is_dir()
    ):
        one = " such as trainer.accelerator=gpu" if name == "trainer" else " written KEY.NAME=VALUE"
        raise ConfigError(
            f"{shell_word(argument)}: {resume} goes on with the options that the run was begun with. Leave it out, or "
            f"set single values,{one}."
        )


def _joined(names: list[Any]) -> list[Any]:
    """Join two neighbours of a list of which neither exists, if a file has both for a name, with a comma between."""
    joined: list[Any] = []
    for name in names:
        if (
            joined
            and not exists(str(joined[-1]))
            and not exists(str(name))
            and exists(f"{joined[-1]},{name}")
        ):
            joined[-1] = f"{joined[-1]},{name}"
        else:
            joined.append(name)
    return joined


def _literal_path(word: str, *, is_sweep: bool) -> str:
    key, equals, value = word.partition("=")
    if not equals or not value:
        return word
    leaf = re.split(r"[./]", key)[-1]
    if key.lstrip("+") == "data.pattern" and value != "null" and not value.startswith(("'", '"')):
        return f"{key}={hydra_value(value)}"  # a regular expression is never Hydra's grammar
    value = _HOME.sub(lambda found: found[1] + str(Path.home()), value)
    if leaf in _PATH_KEYS and value != "null":
        parsed = _parse(f"{key}={value}")
        if exists(value) or (parsed is None and not value.startswith(("[", "'", '"'))):
            return word if is_sweep and "," in value and parsed is not None else f"{key}={_quoted(value)}"
        if parsed is None and value.startswith("[") and value.endswith("]"):
            return f"{key}={hydra_value([item.strip() for item in value[1:-1].split(',')])}"
        if isinstance(parsed, list) and (joined := _joined(parsed)) != parsed:
            return f"{key}={hydra_value(joined)}"
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
