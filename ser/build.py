"""Objects from `_target_` nodes.

A node `{_target_: ser.models.lstm.LSTMEncoder, hidden_dim: 128}` names a class or function and its arguments.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

from ser.errors import ConfigError, SerError
from ser.signature import signature

PURE = (
    *("ser.features.", "ser.frame_targets.", "ser.losses.", "ser.models."),
    *("ser.schedules.", "ser.targets."),
)
"""Where specs of unknown origin, a checkpoint's, may point to: modules that compute and touch no file."""


def build(spec: Mapping[str, Any], *, allowed: Sequence[str] = PURE, **supplied: Any) -> Any:
    """Return what `_target_` names, called with the spec's other keys and with `supplied`.

    Args:
        spec: plain containers; nested mappings with `_target_`, also in lists, are built first.
        allowed: prefixes, each ending in a dot, of which a name must have one.
        supplied: arguments that only the program knows, such as `in_dim`.

    Raises:
        ConfigError: the name is not allowed, not public or not there; or it refuses the arguments.
    """
    if "_target_" not in spec:
        raise ConfigError(f"nothing to build: {dict(spec)} has no `_target_`. Name a class there.")
    name = spec["_target_"]
    arguments = {key: _build_nested(value, allowed) for key, value in spec.items() if key != "_target_"}
    if taken := sorted(arguments.keys() & supplied.keys()):
        raise ConfigError(
            f"{name}: {', '.join(taken)} follows from the data. Remove it from the configuration."
        )
    return _call(_load(name, allowed), name, arguments | supplied)


def _build_nested(value: Any, allowed: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(value, allowed=allowed)
        return {key: _build_nested(item, allowed) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_build_nested(item, allowed) for item in value]
    return value


def _load(name: object, allowed: Sequence[str]) -> Callable[..., Any]:
    """Import a public class or function that is defined, not merely mentioned, below an allowed prefix."""
    if not isinstance(name, str) or not name.startswith(tuple(allowed)):
        places = ", ".join(prefix + "*" for prefix in allowed)
        raise ConfigError(f"_target_={name}: may not be built here. Name something of {places}.")
    parts = name.split(".")
    if any(part.startswith("_") or not part.isidentifier() for part in parts):
        raise ConfigError(f"_target_={name}: is not a public name. Name a public class.")
    owner, leaf = ".".join(parts[:-1]), parts[-1]
    try:
        target = getattr(importlib.import_module(owner), leaf)
    except (ModuleNotFoundError, AttributeError):
        signature(name)  # answers a name that does not exist with the nearest one
        raise
    home = f"{getattr(target, '__module__', '')}."
    if not isinstance(target, type | FunctionType) or not home.startswith(tuple(allowed)):
        raise ConfigError(
            f"_target_={name}: is neither a class nor a function of {owner}. Name one of its own."
        )
    return target


def _call(target: Callable[..., Any], name: str, arguments: Mapping[str, Any]) -> Any:
    try:
        inspect.signature(target).bind(**arguments)
        return target(**arguments)
    except SerError:
        raise
    except (
        Exception
    ) as error:  # constructors refuse plain values in many ways: torch by RuntimeError, some by assert
        plain = {
            key: value for key, value in arguments.items() if isinstance(value, str | int | float | list)
        }
        values = ", ".join(f"{key}={value!r}" for key, value in plain.items())
        raise ConfigError(
            f"{name}({values}): {type(error).__name__}: {error}. Change its settings."
        ) from error
