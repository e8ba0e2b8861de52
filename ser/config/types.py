"""What a class or function takes, and whether a plain value fits."""

import inspect
import json
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from ser.config.settings import Spec

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_TOLD = (bool, int, float, str, list, dict, tuple, set)
"""Types that YAML can spell, as messages name them."""


class Parameter:
    """A parameter of a constructor or function: the type that a setting must have.

    Args:
        hint: Its annotation, evaluated; `Any` where it has none.
        default: Its default; `inspect.Parameter.empty` where it has none.
    """

    def __init__(self, hint: Any, default: Any) -> None:
        self.default = default
        self.members = [*_members(hint)]
        self.node: type | None = hint if isinstance(hint, type) and is_dataclass(hint) else None
        """The class of a node's settings; None for all else."""
        self._adapters = [adapter for member in self.members if (adapter := _adapter(member))]
        self._is_open = len(self._adapters) < len(self.members)

    def accepts(self, value: Any) -> bool:
        """Return whether a plain value fits; a node that builds an object always does."""
        if holds_target(value) or (value is None and self.default is None):
            return True
        if self.node:
            return isinstance(value, Mapping)
        if self._is_open and (not self._adapters or isinstance(value, Mapping | list)):
            return True
        return any(_fits(adapter, value) for adapter in self._adapters)

    @property
    def choices(self) -> list[str]:
        """The texts to choose from; none where the type is another."""
        values = [
            value for member in self.members if get_origin(member) is Literal for value in get_args(member)
        ]
        return [value for value in values if isinstance(value, str)]

    @property
    def expected(self) -> str:
        """The types and choices in words, with the default."""
        words = [word for member in self.members for word in _words(member)]
        text = " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
        is_told = self.default not in (None, inspect.Parameter.empty)
        return f"{text} (default {self.default!r})" if is_told else text


def holds_target(value: Any) -> bool:
    """Return whether a node, or one in a list or mapping, builds an object."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(holds_target, value.values()))
    return isinstance(value, list) and any(map(holds_target, value))


@cache
def signature(target: Callable[..., Any]) -> tuple[dict[str, Parameter], bool]:
    """Return the parameters of a class or function by name, and whether it takes any other name as well."""
    parameters, is_open = {}, False
    for each in _own_and_inherited(target):
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            is_open = True
        elif each.kind is not inspect.Parameter.VAR_POSITIONAL:
            hint = Any if each.annotation is inspect.Parameter.empty else each.annotation
            parameters[each.name] = Parameter(hint, each.default)
    return parameters, is_open


def _own_and_inherited(target: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters; those of its base stand for the `**rest` that a class takes."""
    own = [*inspect.signature(target, eval_str=True).parameters.values()]
    if (
        own
        and all(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in own)
        and isinstance(target, type)
    ):
        return own if "__init__" in vars(target) else []  # torch.nn.Module takes anything, and refuses it
    if not (own and own[-1].kind is inspect.Parameter.VAR_KEYWORD and isinstance(target, type)):
        return own
    inherited = _own_and_inherited(target.__mro__[1])
    if all(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in inherited):
        return own  # its base takes nothing, so the rest goes elsewhere
    names = {each.name for each in own}
    return [*own[:-1], *(each for each in inherited if each.name not in names)]


def _members(hint: Any) -> Iterator[Any]:
    """Yield the members of a union, nested ones taken apart."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _members(member)
    else:
        yield hint


@cache
def _adapter(hint: Any) -> "TypeAdapter[Any] | None":
    """Return pydantic's check of a type; None for one that YAML cannot spell."""
    from pydantic import ConfigDict, TypeAdapter  # 0.2 s, which --help does not wait for
    from pydantic.errors import PydanticUserError
    from pydantic_core import SchemaError

    strict = ConfigDict(strict=True, arbitrary_types_allowed=True)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=strict)
        adapter.json_schema()
    except (PydanticUserError, SchemaError, TypeError):
        return None
    return adapter


def _fits(adapter: "TypeAdapter[Any]", value: Any) -> bool:
    try:
        adapter.validate_json(json.dumps(value))
    except ValueError:  # of pydantic
        return False
    return True


def _words(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [*map(repr, get_args(hint))]
    if hint == Spec or is_dataclass(hint):
        return ["settings"]
    if hint in (None, type(None)):
        return ["null"]
    kind = get_origin(hint) or hint
    if kind in _TOLD or _adapter(hint):
        return [re.sub(r"(\w+\.)+", "", inspect.formatannotation(hint))]
    return []
