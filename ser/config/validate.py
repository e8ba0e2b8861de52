"""Configs, checked before anything expensive: every mistake at once, each with its remedy, and no traceback.

`check` binds every `_target_` node to the constructor it names. The classes it names are imported, which takes seconds.
"""

import difflib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ser.config.old_names import with_current_names
from ser.config.slots import resolve, trust_names
from ser.config.types import Parameter, signature
from ser.errors import ConfigError, did_you_mean, first_line, setting
from ser.files import exists
from ser.runs.handed_over import find_ways_out


def check(
    cfg: DictConfig,
    *,
    root_keys: Collection[str] | None = None,
    existing_paths: Sequence[str] = (),
    schema: type | None = None,
    is_own: bool = False,
) -> dict[str, Any]:
    """Return a config as plain containers, interpolations resolved.

    Args:
        cfg: composed, without the node `hydra`.
        root_keys: the keys that may stand at the top; None allows any.
        existing_paths: full keys of files or folders that must be there, unless they are null.
        schema: class that has the types of the settings at the top.
        is_own: whether the user wrote it, so that the packages it names may be imported.

    Raises:
        ConfigError: with all problems: unknown keys, wrong types and choices, unknown `_target_`, values that
            are not given, not finite or cannot be resolved, paths that are missing.
    """
    plain, problems = find_problems(cfg, root_keys, existing_paths, schema, is_own=is_own)
    if problems:
        raise complaint(problems)
    return plain


def complaint(problems: Sequence[str]) -> ConfigError:
    lines = list(dict.fromkeys(problems))
    head = f"{len(lines)} problem{'s' * (len(lines) > 1)} in the configuration:"
    return ConfigError("\n  ".join([head, *lines]))


def find_problems(
    cfg: DictConfig,
    root_keys: Collection[str] | None,
    existing_paths: Sequence[str],
    schema: type | None = None,
    *,
    is_own: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    problems: list[str] = []
    plain = with_current_names(_resolved(cfg, "", problems))
    if is_own:
        trust_names(plain)
    known = known_keys(plain) | set(root_keys or ())
    for key, value in plain.items():
        if root_keys is not None and key not in root_keys:
            problems.append(f"{key}={show(value)}: unknown key. {nearest_key(key, known)}")
    for path, value in _walk(plain):
        if isinstance(value, Mapping) and "_target_" in value:
            problems += _node_problems(path, value, known)
        elif root_keys is not None and (found := find_ways_out(path, value)):
            problems += found
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{path}={value}: is not finite. Give a number, or null to turn it off.")
    problems += [*_top_problems(plain, schema, known)] if schema else []
    problems += [problem for key in existing_paths for problem in _path_problems(key, plain)]
    return plain, problems


def _resolved(node: DictConfig | ListConfig, prefix: str, problems: list[str]) -> Any:
    """Resolve a node into plain containers; what cannot be is left out and reported."""
    is_list = isinstance(node, ListConfig)
    plain: dict[Any, Any] = {}
    for key in range(len(node)) if is_list else [*node]:
        path = f"{prefix}[{key}]" if is_list else f"{prefix}.{key}" if prefix else str(key)
        if OmegaConf.is_missing(node, key):
            problems.append(f"{path}=???: must be given. Add {path}=VALUE.")
            continue
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            raw = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]
            problems.append(
                f"{path}={raw}: cannot be resolved: {first_line(error)}. Mend the name or give a value."
            )
            continue
        plain[key] = _resolved(value, path, problems) if isinstance(value, DictConfig | ListConfig) else value
    return [*plain.values()] if is_list else plain


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below a plain container, with its full key."""
    items: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        items = ((f"{path}.{key}" if path else str(key), item) for key, item in value.items())
    elif isinstance(value, list):
        items = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    for full_key, item in items:
        yield full_key, item
        yield from _walk(item, full_key)


def known_keys(plain: Mapping[str, Any]) -> set[str]:
    """All full keys: those in the config and those that a constructor in it would take."""
    known = set()
    for path, value in _walk(plain):
        known.add(path)
        if isinstance(value, Mapping) and "_target_" in value:
            try:
                parameters, _ = signature(resolve(path, value["_target_"]))
                known |= {f"{path}.{name}" for name in parameters}
            except ConfigError:
                continue  # reported where the node is checked
    return known


def _node_problems(path: str, node: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    try:
        parameters, is_open = signature(resolve(path, node["_target_"]))
    except ConfigError as error:
        yield f"{path}._target_={node['_target_']}: {error}"
        return
    yield from _key_problems(path, node, parameters, known, is_open=is_open)


def _key_problems(
    path: str, node: Mapping[str, Any], parameters: Mapping[str, Parameter], known: set[str], *, is_open: bool
) -> Iterator[str]:
    for key, value in node.items():
        full_key = f"{path}.{key}"
        if key in parameters:
            if not parameters[key].accepts(value):
                yield f"{full_key}={show(value)}: {_type_problem(full_key, value, parameters[key])}"
        elif key != "_target_" and not is_open:
            takes = f"{node.get('_target_', path)} takes {', '.join(parameters) or 'nothing'}."
            yield f"{full_key}={show(value)}: unknown key. {nearest_key(full_key, known, otherwise=takes)}"


def _top_problems(plain: Mapping[str, Any], schema: type, known: set[str]) -> Iterator[str]:
    for key, parameter in signature(schema)[0].items():
        value = plain.get(key)
        if parameter.node and isinstance(value, Mapping):
            parameters, is_open = signature(parameter.node)
            yield from _key_problems(key, value, parameters, known, is_open=is_open)
        elif key in plain and not parameter.accepts(value):
            yield f"{key}={show(value)}: {_type_problem(key, value, parameter)}"


def _type_problem(key: str, value: Any, parameter: Parameter) -> str:
    if isinstance(value, str) and parameter.choices:
        return f"no such choice. {did_you_mean(value, parameter.choices)}"
    found = f"expected {parameter.expected}, found {describe(value)}."
    if isinstance(value, float) and value.is_integer() and parameter.accepts(int(value)):
        return f"{found} Write {int(value)}."
    if parameter.accepts(str(value)) and not isinstance(value, Mapping | list):
        return f"{found} To mean the text, quote it: {setting(key, show(value))}."
    return found


def describe(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return f"the text {value!r}"
        case int() | float():
            return f"the number {value}"
        case list():
            return f"a list of {len(value)}"
    return "a group of keys"


def show(value: Any) -> str:
    """A value as one would type it, cut to 60 characters."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest_key(key: str, known: Iterable[str], *, otherwise: str = "--cfg job prints every key.") -> str:
    """Suggest full keys: the same name elsewhere, else spelled alike here, else spelled alike anywhere."""
    owner, _, leaf = key.rpartition(".")
    leaves = {name: name.rpartition(".")[2] for name in sorted(known) if name != key}
    same = [name for name in leaves if leaves[name] == leaf]
    siblings = {leaves[name]: name for name in leaves if name.rpartition(".")[0] == owner}
    others = [name for name in leaves if name not in siblings.values() and not key.startswith(f"{name}.")]
    near = (
        difflib.get_close_matches(key, same, n=3, cutoff=0.0)
        or [siblings[sibling] for sibling in _closest(leaf, siblings)]
        or _closest(key, others, cutoff=0.75)
        or [name for name in leaves if not owner and leaves[name] in _closest(leaf, {*leaves.values()})][:3]
    )
    return f"Did you mean {' or '.join(repr(name) for name in near)}?" if near else otherwise


def _closest(word: str, words: Collection[str], cutoff: float = 0.6) -> list[str]:
    """The word spelled most alike, and a second one if it is nearly as close."""
    best = difflib.get_close_matches(word, words, n=1, cutoff=cutoff)
    if not best:
        return []
    ratio = difflib.SequenceMatcher(None, best[0], word).ratio()
    return difflib.get_close_matches(word, words, n=2, cutoff=max(ratio - 0.1, cutoff))


def _path_problems(key: str, plain: Mapping[str, Any]) -> Iterator[str]:
    value: Any = plain
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value in ("", []):
        yield f"{key}={show(value)}: is empty. Name a file or a folder."
        return
    for name in value if isinstance(value, list) else [value]:
        path = Path(str(name))
        if name is None or exists(path) or name == "-":  # standard input
            continue
        siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=1)
        remedy = f"Did you mean '{path.parent / near[0]}'?" if near else "Check the path."
        yield f"{setting(key, str(name))}: no such file or folder, seen from {Path.cwd()}. {remedy}"
