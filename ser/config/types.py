"""What a class or function takes, and whether a plain value fits: pydantic judges by the annotation."""

import inspect
import json
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from ser.config.settings import Spec

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Parameter:
    """A parameter of a constructor or function: the type that a setting must have.

    Args:
        hint: Its annotation, evaluated; `Any` where it has none.
        default: Its default; `inspect.Parameter.empty` where it has none.
    """

    def __init__(self, hint: Any, default: Any) -> None:
        self.default = default
        self.node: type | None = hint if isinstance(hint, type) and is_dataclass(hint) else None
        """The class of a node's settings; None for all else."""
        self.members = [member for member in _members(hint) if _adapter(member)] or [Any]
        self._adapter = _adapter(Union[tuple(self.members)])  # noqa: UP007

    def accepts(self, value: Any) -> bool:
        """Return whether a plain value fits; a node that builds an object always does."""
        if holds_target(value) or (value is None and self.default is None):
            return True
        if self.node:
            return isinstance(value, Mapping)
        assert self._adapter is not None
        try:
            self._adapter.validate_json(json.dumps(value))
        except ValueError:  # of pydantic
            return False
        return True

    @property
    def choices(self) -> list[str]:
        """The texts to choose from; none where the type is another."""
        literals = [member for member in self.members if get_origin(member) is Literal]
        return [value for literal in literals for value in get_args(literal) if isinstance(value, str)]

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
    """Return the parameters of a class or function by name, and whether it takes any other name as well.

    A constructor that takes `**rest` is taken to hand it to the next one of its bases.
    """
    owners = target.__mro__ if isinstance(target, type) else ()
    constructors = [vars(owner)["__init__"] for owner in owners[:-1] if "__init__" in vars(owner)]
    found: dict[str, Parameter] = {}
    is_open = False
    for function in constructors if owners else [target]:
        kinds = inspect.signature(function, eval_str=True).parameters.values()
        named = [each for each in kinds if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        if owners and len(named) == 1:  # takes but `self`, as torch.nn.Module does
            break
        for each in named[bool(owners) :]:
            hint = Any if each.annotation is each.empty else each.annotation
            found.setdefault(each.name, Parameter(hint, each.default))
        is_open = any(each.kind is each.VAR_KEYWORD for each in kinds)
        if not is_open:
            break
    return found, is_open


def _members(hint: Any) -> list[Any]:
    """Return the members of a union, nested ones taken apart."""
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [member for part in get_args(hint) for member in _members(part)]
    return [hint]


@cache
def _adapter(hint: Any) -> "TypeAdapter[Any] | None":
    """Return pydantic's check of a type; None for one that YAML cannot spell."""
    from pydantic import ConfigDict, TypeAdapter  # 0.2 s, which --help does not wait for
    from pydantic.errors import PydanticUserError
    from pydantic_core import SchemaError

    strict = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=None if is_dataclass(hint) else strict)
        adapter.json_schema()
    except (PydanticUserError, SchemaError, TypeError):
        return None
    return adapter


def _words(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [*map(repr, get_args(hint))]
    if hint == Spec or is_dataclass(hint):
        return ["settings"]
    return ["null" if hint in (None, type(None)) else re.sub(r"(\w+\.)+", "", inspect.formatannotation(hint))]
