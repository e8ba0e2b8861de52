"""Paths on the command line: taken as they are, whatever Hydra's grammar makes of commas, brackets, `=` and `~`."""

import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Sweep
from hydra.errors import HydraException

from ser.config.settings import find_conf
from ser.errors import ConfigError, hydra_value, setting, shell_word
from ser.files import exists
from ser.runs.handed_over import check_links, check_resolved

_NEW = {"output", "dir", "cache_dir"}
_PATHS = {
    *_NEW,
    *(
        "ckpt",
        "input",
        "init",
        "resume",
        "root",
        "corpora_root",
        "path",
        "folder",
        "weights",
        "audio",
        "transcript",
        "words",
        "turns",
    ),
}
"""Last parts of the keys that are files or folders; those in _NEW need not exist."""
_NO_PATHS = {"report.audio"}
"""Full keys with such a last part that are no paths."""
_HOME = re.compile(r"(^|[\[,])~(?=[/,\]]|$)")  # at the beginning of a value, or of an item of a list
_NOT_ON_RESUME = re.compile(r"-m|--multirun|hydra\.(mode|run\.dir|sweep\.\w+)=.*")


def literal_path(word: str, *, is_sweep: bool) -> str:
    """Return an override with a path quoted for Hydra where its grammar reads something else.

    Args:
        word: Override, as bash hands it over.
        is_sweep: Whether a comma parts the values of a sweep.
    """
    key, _, value = word.partition("=")
    leaf = re.split(r"[./]", key)[-1]
    if key.lstrip("+") == "data.pattern" and value != "null" and value[:1] not in ("'", '"'):
        return f"{key}={hydra_value(value)}"  # a regular expression is never Hydra's grammar
    if leaf not in _PATHS or key.lstrip("+") in _NO_PATHS or value in ("", "null"):
        return word
    value = _expand_home(value)
    if exists(value) and not (is_sweep and "," in value):
        return f"{key}={hydra_value(value)}"
    parsed = _parse(value)
    if parsed is None and value.startswith("[") and value.endswith("]"):
        return f"{key}={hydra_value([item.strip() for item in value[1:-1].split(',')])}"
    is_name = isinstance(parsed, Sweep) and not is_sweep and leaf in _NEW
    if is_name or parsed is None or isinstance(parsed, bool | int | float):
        return f"{key}={hydra_value(value)}".replace(r"\${", "${")  # an interpolation stays one
    return f"{key}={value}"


def resume_arguments(arguments: list[str]) -> list[str]:
    """Turn `resume=RUN` into what makes Hydra start from RUN/config.yaml, in RUN; others stay as they are.

    A run's config.yaml is complete and resolved, so it can be the primary config of another call.

    Raises:
        ConfigError: There is no run in that folder, or its config or a link in it is not as a run leaves them; or
            another argument makes no sense for a run that goes on.
    """
    if "--config-path" in arguments:  # as rewritten here: further processes of a run are started with them
        return arguments
    typed = [word for word in arguments if word.lstrip("+").startswith("resume=")]
    value = _expand_home(typed[-1].partition("=")[2]) if typed else "null"
    if value in ("", "null"):
        return arguments
    parsed = None if exists(value) else _parse(value)
    name = parsed if isinstance(parsed, str) else value
    folder = Path(name).absolute()
    if not exists(folder / "config.yaml"):
        raise ConfigError(
            f"{setting('resume', name)}: holds no run (no config.yaml). Give the folder that the training printed."
        )
    check_links(folder)
    check_resolved(folder / "config.yaml")
    others = [word for word in arguments if word not in typed]
    for word in others:
        if _NOT_ON_RESUME.fullmatch(word) or _chooses_option(word):
            raise ConfigError(
                f"{shell_word(word)}: {setting('resume', name)} goes on with one run, in its folder, with the options "
                "that it was begun with. Leave it out; single values such as trainer.accelerator=gpu can be set."
            )
    place = [f"{key}={hydra_value(folder)}" for key in ("resume", "hydra.run.dir")]
    return ["--config-path", str(folder), "--config-name", "config", *others, *place]


def _chooses_option(word: str) -> bool:
    """Return whether a word chooses an option of a group of ours, such as `model=lstm`."""
    group, _, value = word.lstrip("+").partition("=")
    is_option = value != "null" and value[:1] not in ("", "{")
    return is_option and "." not in group and (find_conf(Path(__file__)) / group).is_dir()


def _expand_home(value: str) -> str:
    return _HOME.sub(lambda found: found[1] + str(Path.home()), value)


def _parse(value: str) -> object:
    """Return what Hydra reads; None where its grammar refuses the value."""
    try:
        override = OverridesParser.create().parse_override(f"key={value}")
        return override._value if override.is_sweep_override() else override.value()
    except HydraException:
        return None
