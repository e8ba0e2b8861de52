"""Objects from `_target_` nodes.

A node `{_target_: ser.models.LSTMEncoder, hidden_dim: 128}` names a class or function and its arguments.
"""

import inspect
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from ser.config.slots import resolve, slot_of
from ser.errors import ConfigError, SerError


def build(spec: Mapping[str, Any], *, slot: str, **supplied: Any) -> Any:
    """Return what `_target_` names, called with the spec's other keys and with `supplied`.

    Args:
        spec: plain containers; nested mappings with `_target_`, also in lists, are built first.
        slot: full key at which the spec stands in a config: it says what may be named, see ser.config.slots.
        supplied: arguments that only the program knows, such as `in_dim`.

    Raises:
        ConfigError: the name does not belong there, is not public or not there; or it refuses the arguments.
    """
    if "_target_" not in spec:
        raise ConfigError(f"nothing to build: {dict(spec)} has no `_target_`. Name a class there.")
    name, target = spec["_target_"], find_class(spec, slot=slot)
    arguments = {
        key: _build_nested(value, f"{slot}.{key}") for key, value in spec.items() if key != "_target_"
    }
    if taken := sorted(arguments.keys() & supplied.keys()):
        raise ConfigError(
            f"{name}: {', '.join(taken)} follows from the data. Remove it from the configuration."
        )
    built = _call(target, name, arguments | supplied)
    if (kind := slot_of(slot)) and (lacking := kind.lacking(built)):
        raise ConfigError(
            f"{slot}._target_={name}: has no {', '.join(lacking)}, which {kind.what} needs. Set it in the constructor."
        )
    return built


def find_class(spec: Mapping[str, Any], *, slot: str) -> Any:
    """Return the class that a spec names, as `build` would call it.

    Raises:
        ConfigError: as `build`.
    """
    try:
        return resolve(slot, spec["_target_"])
    except ConfigError as error:
        raise ConfigError(f"{slot}._target_={spec['_target_']}: {error}") from error


def _build_nested(value: Any, slot: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(value, slot=slot)
        return {key: _build_nested(item, f"{slot}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_build_nested(item, slot) for item in value]
    return value


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
        values = ", ".join(f"{key}={reprlib.repr(value)}" for key, value in plain.items())
        raise ConfigError(
            f"{name}({values}): {type(error).__name__}: {error}. Change its settings."
        ) from error
