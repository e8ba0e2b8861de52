"""Check run folders from other people: refuse what could run code or write elsewhere."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ser.errors import ConfigError, first_line, shell_word

_MOST_TEXT = 1_000_000  # characters of a config; configs of runs have fewer than 10,000
_DEEPEST = 50  # levels of a config; configs of runs have 5
_REMEDY = "Take the config.yaml that the run wrote, or start a new run with the settings that you have read."


def check_links(folder: Path) -> None:
    """Refuse a run folder with links through which a resumed run would write elsewhere.

    Raises:
        ConfigError: A link in it points outside of it.
    """
    inside = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise ConfigError(
                f"{path}: is a link to a place outside of the run's folder, where a resumed run would write. "
                "Replace it by a copy of what it points to."
            )


def check_resolved(path: Path) -> None:
    """Refuse a config that is not from a run: with plain values only, Hydra runs no code and reads no other file.

    A run writes plain values. Hydra's own settings could name functions to run; a list of defaults and interpolations
    could name other files and variables.

    Args:
        path: config.yaml of a run, or job.yaml of a job in a sweep.

    Raises:
        ConfigError: It holds anything else than plain values.
    """
    try:
        text = path.read_text(encoding="utf-8")
        is_short = len(text) <= _MOST_TEXT
        events = _events(text) if is_short else []
        plain = is_short and not any(isinstance(event, yaml.AliasEvent) for event in events)
        content = yaml.safe_load(text) if plain else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({first_line(error)}). {_REMEDY}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: does not hold the settings that a run writes. {_REMEDY}")
    if foreign := [key for key in ("hydra", "defaults") if key in content]:
        raise ConfigError(
            f"{path}: has a node '{foreign[0]}', which no run writes and which can run code. {_REMEDY}"
        )
    if re.search(r"^\s*#\s*@", text, re.MULTILINE):
        raise ConfigError(
            f"{path}: has a header '# @', which no run writes and which can run code. {_REMEDY}"
        )
    if found := [
        event.value for event in events if isinstance(event, yaml.ScalarEvent) and "${" in event.value
    ]:
        raise ConfigError(f"{path}: holds an interpolation, {found[0]}, where a run writes values. {_REMEDY}")


def _events(text: str) -> list[yaml.Event]:
    """Parse YAML into events, up to a limited depth, as 5,000 brackets take seconds.

    Raises:
        ValueError: It is nested more deeply.
        YAMLError: It is not YAML.
    """
    events, depth = [], 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} nodes within each other")
        events.append(event)
    return events


def find_code_in_hydra(settings: Mapping[str, Any]) -> Iterator[str]:
    """Describe where Hydra's settings in a config from elsewhere would run functions other than Hydra's."""
    if settings.get("callbacks"):
        yield "hydra.callbacks: runs code that a config names. Remove the node hydra.callbacks."
    for key in ("launcher", "sweeper"):
        name = str((settings.get(key) or {}).get("_target_") or "")
        if name and not name.startswith(("hydra.", "hydra_plugins.")):
            yield f"hydra.{key}._target_={name}: is no {key} of Hydra or its plugins. Choose hydra/{key}=OPTION."
    for key in ("job_logging", "hydra_logging"):
        for name in _called_by_logging(settings[key]):
            yield f"hydra.{key}: names {name} to be called. Name a class of logging, colorlog or rich.logging."


def _called_by_logging(node: Any) -> Iterator[str]:
    """Yield what a settings tree of logging.config.dictConfig calls, but for classes of logging libraries."""
    if isinstance(node, list):
        for item in node:
            yield from _called_by_logging(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            known = ("logging.", "colorlog.", "rich.logging.")
            if key in ("()", "class", "factory") and not str(value).startswith(known):
                yield str(value)
            yield from _called_by_logging(value)


_WRITERS = ("trainer", "callbacks", "logger")
_SERVER = r"logger\.[^.]+\.tracking_uri"  # may lead out, see `find_uploads`
_LEADS_OUT = re.compile(r"^[/~]|^[A-Za-z]:|\\|(^|/)\.\.(/|$)|://")


def find_ways_out(key: str, value: Any) -> list[str]:
    """Describe where a setting would make the trainer, a callback or the logger write outside of the run's folder."""
    if re.fullmatch(_SERVER, key) or key.split(".")[0] not in _WRITERS:
        return []
    if not isinstance(value, str) or not _LEADS_OUT.search(value):
        return []
    return [f"{key}={value}: leads out of the run's folder. Leave it out, or give a name without a path."]


def find_uploads(config: Mapping[str, Any]) -> Iterator[str]:
    """Describe where a config from elsewhere would send a run to a server that the user has not named."""
    for variable, value in upload_variables(config).items():
        if os.environ.get(variable) != value:
            key = {"WANDB_MODE": "offline=false"}.get(variable, f"tracking_uri={value}")
            yield (
                f"logger: {key} in the run's folder would send its curves and settings away. If you want that, "
                f"run: export {shell_word(f'{variable}={value}')}"
            )


def upload_variables(config: Mapping[str, Any]) -> dict[str, str]:
    """Return environment variables by which a user allows the uploads in a config."""
    allowed = {}
    loggers = config.get("logger")
    for node in loggers.values() if isinstance(loggers, Mapping) else ():
        if isinstance(node, Mapping) and node.get("tracking_uri"):
            allowed["MLFLOW_TRACKING_URI"] = str(node["tracking_uri"])
        if isinstance(node, Mapping) and node.get("offline") is False:
            allowed["WANDB_MODE"] = "online"
    return allowed
