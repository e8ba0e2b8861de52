"""Configs, checked before anything expensive: every mistake at once, each with its remedy, and no traceback.

`check` compares every node with what it is built from: the class that `_target_` names, which is imported, or a
dataclass of `ser.config.settings`.
"""

import difflib
import functools
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from ser.config.corpora import TYPED_AS, follow_settings
from ser.config.old_names import with_current_names
from ser.config.slots import resolve, slot_of, trust_names
from ser.config.types import Parameter, signature
from ser.errors import ConfigError, counted, did_you_mean, first_line, setting
from ser.files import exists
from ser.runs.handed_over import find_uploads, find_ways_out

_KINDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", list: "a list"}
"""Type of a plain value -> the word in messages; others are null and settings."""


def check(cfg: DictConfig, **options: Any) -> dict[str, Any]:
    """Return a config as plain containers, interpolations resolved.

    Args:
        cfg: Composed, without the node `hydra`.
        options: See `find_problems`.

    Raises:
        ConfigError: With all problems: unknown keys, wrong types and choices, unknown `_target_`, values that
            are not given, not finite or cannot be resolved, paths that are missing.
    """
    plain, problems = find_problems(cfg, **options)
    if problems:
        raise complaint(problems)
    return plain


def complaint(problems: Sequence[str]) -> ConfigError:
    """Return the error that names all problems, each once."""
    lines = list(dict.fromkeys(problems))
    head = f"{counted(len(lines), 'problem')} in the configuration:"
    return ConfigError("\n  ".join([head, *lines]))


def find_problems(
    cfg: DictConfig,
    *,
    root_keys: Collection[str] | None = None,
    existing_paths: Sequence[str] = (),
    schema: type | None = None,
    is_own: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Return a config as plain containers, and its problems.

    Args:
        cfg: Composed, without the node `hydra`; what cannot be resolved is replaced in it.
        root_keys: Keys that may stand at the top besides those of the schema; None allows any.
        existing_paths: Keys at the top of files or folders that must be there, unless they are null.
        schema: Class that has the types of the settings at the top.
        is_own: Whether the user wrote it, so that the packages it names may be imported.
    """
    follow_settings(cfg)
    content, unresolved = _resolve(cfg)
    plain = with_current_names(content)
    if is_own:
        trust_names(plain)
    nodes = [*find_nodes("", plain, schema)]
    nodes[0].takes.update({key: Parameter(Any, None) for key in root_keys or () if key not in nodes[0].takes})
    nodes[0].is_open = root_keys is None
    known = {node.key(name) for node in nodes for name in (*node.content, *node.takes)}
    problems = [problem for node in nodes for problem in node.problems(known, unresolved)]
    problems = [problem.replace(*TYPED_AS) for problem in problems]
    problems += [] if is_own else find_uploads(plain)
    return plain, problems + [problem for key in existing_paths for problem in _path_problems(key, plain)]


def _resolve(cfg: DictConfig) -> tuple[Any, dict[str, str]]:
    """Return plain containers, and why some keys cannot be resolved; these are `???` in the containers."""
    unresolved: dict[str, str] = {}
    while True:
        try:
            return OmegaConf.to_container(cfg, resolve=True), unresolved
        except OmegaConfBaseException as error:
            key = str(error.full_key)
            if not isinstance(error, InterpolationToMissingValueError):
                unresolved[key] = f"{key}: cannot be resolved: {first_line(error)}. Give a value."
            OmegaConf.update(cfg, key, "???")


@dataclass
class Node:
    """A mapping in a config, with what it may hold.

    Args:
        path: Its full key; empty for the root.
        content: Its keys and values.
        takes: Parameters of what is built from it.
        is_open: Whether it may hold other keys, too.
        fault: Why what it names cannot be built.
    """

    path: str
    content: Mapping[str, Any]
    takes: dict[str, Parameter]
    is_open: bool
    fault: str = ""

    def key(self, name: str) -> str:
        """Return the full key of a name in this node."""
        return f"{self.path}.{name}" if self.path else str(name)

    def problems(self, known: Collection[str], unresolved: Mapping[str, str]) -> Iterator[str]:
        """Find what is wrong with its keys and values."""
        if self.fault:
            yield self.fault
        for name, value in self.content.items():
            key = self.key(name)
            parameter = self.takes.get(name)
            if value == "???":
                yield unresolved.get(key, f"{key}=???: must be given. Add {key}=VALUE.")
            elif parameter and not parameter.accepts(value):
                yield f"{key}={show(value)}: {_type_problem(key, value, parameter)}"
            elif not (parameter or name == "_target_" or self.is_open):
                target = self.content.get("_target_")
                takes = f"{target} takes {', '.join(self.takes) or 'nothing'}."
                remedy = nearest_key(key, known) or (takes if target else "--cfg job prints every key.")
                if target and name in known and isinstance(value, Mapping):  # of a group's option
                    remedy = f"{target} takes no {name}. Leave out {name}=OPTION."
                yield f"{key}={show(value)}: unknown key. {remedy}"
            elif slot_of(key) and _names_no_class(value, parameter):
                remedy = nearest_key(key, known) if self.path else f"Choose {key}=OPTION."
                yield f"{key}={show(value)}: names no class in `_target_`. {remedy or 'Name one, or write null.'}"
            else:
                yield from find_ways_out(key, value)


def _names_no_class(value: Any, parameter: Parameter | None) -> bool:
    """Return whether a value in a slot builds nothing, and is not meant to: a constructor may take a text instead."""
    if isinstance(value, Mapping):
        return bool(value) and "_target_" not in value and not (parameter and parameter.node)
    return value is not None and parameter is None


def find_nodes(path: str, content: Mapping[str, Any], schema: type | None) -> Iterator[Node]:
    """Yield a node and those below it."""
    node = Node(path, content, {}, is_open=True)
    try:
        target = resolve(path, content["_target_"]) if "_target_" in content else schema
        if target:
            takes, node.is_open = signature(target)
            node.takes = dict(takes)
    except ConfigError as error:
        node.fault = f"{path}._target_={content['_target_']}: {error}"
    yield node
    for name, value in content.items():
        below = [(node.key(name), value)]
        if isinstance(value, list):
            below = [(f"{node.key(name)}[{index}]", item) for index, item in enumerate(value)]
        for key, item in below:
            if isinstance(item, Mapping):
                yield from find_nodes(key, item, node.takes[name].node if name in node.takes else None)


def _type_problem(key: str, value: Any, parameter: Parameter) -> str:
    if isinstance(value, str) and parameter.choices:
        return f"no such choice. {did_you_mean(value, parameter.choices)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "is not finite. Give a number."
    kind = "null" if value is None else _KINDS.get(type(value), "settings")
    found = f"expected {parameter.expected}, found {kind}."
    if isinstance(value, float) and value.is_integer() and parameter.accepts(int(value)):
        return f"{found} Write {int(value)}."
    if parameter.accepts(str(value)) and not isinstance(value, Mapping | list):
        return f"{found} To mean the text, quote it: {setting(key, show(value))}."
    return found


def show(value: Any) -> str:
    """Return a value as one would type it, cut to 60 characters."""
    text = str(value) if isinstance(value, str | float) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest_key(key: str, known: Iterable[str]) -> str:
    """Suggest the full keys whose last part is spelled most alike, those beside the key first."""
    owner, _, leaf = key.rpartition(".")
    leaves = {name: name.rpartition(".")[2] for name in sorted(known) if name != key}
    beside = {leaves[name]: name for name in leaves if name.rpartition(".")[0] == owner}
    close = functools.partial(difflib.get_close_matches, leaf, beside)
    near = [beside[name] for name in close(n=2, cutoff=0.79) or close(n=1, cutoff=0.7)]
    if not near:
        best = difflib.get_close_matches(leaf, {*leaves.values()}, n=1, cutoff=0.8)
        near = difflib.get_close_matches(key, [name for name in leaves if leaves[name] in best], cutoff=0.0)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _path_problems(key: str, plain: Mapping[str, Any]) -> Iterator[str]:
    value = plain.get(key)
    if value in ("", []):
        yield f"{key}={show(value)}: is empty. Name a file or a folder."
        return
    for name in value if isinstance(value, list) else [value]:
        path = Path(str(name))
        if name in (None, "-", "???") or exists(path):  # - is standard input
            continue
        siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=1)
        remedy = f"Did you mean '{path.parent / near[0]}'?" if near else "Check the path."
        yield f"{setting(key, str(name))}: no such file or folder, seen from {Path.cwd()}. {remedy}"
