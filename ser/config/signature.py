"""What a class or function takes, read from its source without importing it.

A mistake in a config should be answered at once, and importing torch alone takes 1.4 s.
"""

import ast
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ser.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Args:
        annotation: its type as an expression, None where it has none.
        default: its default as an expression, None where it has none.
        module: where the names in the annotation are looked up.
    """

    annotation: ast.expr | None
    default: ast.expr | None
    module: "_Module"

    def accepts(self, value: object) -> bool:
        """Whether a plain value fits the annotation; types that YAML cannot spell accept anything."""
        if self.annotation is None or _is_target(value):
            return True
        if value is None and isinstance(self.default, ast.Constant) and self.default.value is None:
            return True
        return _fits(value, self.annotation, self.module)

    @property
    def choices(self) -> list[str]:
        """The strings among which the annotation makes one choose; empty where it does not."""
        literals = [value for member in self._members() for value in _literal_values(member)]
        return [value for value in literals if isinstance(value, str)]

    @property
    def expected(self) -> str:
        """The accepted types and choices in words, with the default."""
        words: list[str] = []
        for member in self._members():
            if _kind(member) == "Literal":
                words += map(repr, _literal_values(member))
            elif _kind(member) in _SCALARS or _kind(member) in _CONTAINERS:
                words.append("null" if _kind(member) == "None" else ast.unparse(member))
        text = " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
        default = "None" if self.default is None else ast.unparse(self.default)
        return text if default == "None" else f"{text} (default {default})"

    def _members(self) -> list[ast.expr]:
        return [member for member, _ in _members(self.annotation, self.module)] if self.annotation else []


@dataclass(frozen=True)
class Signature:
    """What a class or function takes by name.

    Args:
        parameters: name -> parameter, in order.
        is_open: it takes `**kwargs` or cannot be read, so that any further name may be right.
    """

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    is_open: bool = False


@cache
def signature(name: str) -> Signature:
    """Read what a class or function takes, without importing it.

    Args:
        name: dotted, such as `torch.optim.AdamW`; a re-export is followed to its definition.

    Raises:
        ConfigError: there is no such module, class or function.
    """
    owner, _, leaf = name.rpartition(".")
    if not owner:
        raise ConfigError(f"'{name}' has no module. Write the full name, package.module.{name or 'Class'}.")
    module = _module(owner)
    if module is None:
        raise ConfigError(f"no module '{owner}'. {_nearest_module(owner)}")
    match _lookup(module, leaf):
        case ast.ClassDef() as definition, home:
            return _class_signature(definition, home) or Signature()
        case ast.FunctionDef() as definition, home:
            return _function_signature(definition, home, skip=0)
    public = [known for known, node in module.definitions.items() if isinstance(node, ast.ClassDef)]
    names = {known for known in (*public, *module.imports) if not known.startswith("_")}
    raise ConfigError(f"no class or function '{leaf}' in {owner}. {did_you_mean(leaf, names)}")


def _nearest_module(name: str) -> str:
    """Suggest the nearest module on the longest part of the name that exists."""
    owner, _, leaf = name.rpartition(".")
    folders = _folders(owner) if owner else []
    if owner and not folders:
        return _nearest_module(owner)
    siblings = {path.stem for folder in folders for path in folder.iterdir() if _is_module(path)}
    return did_you_mean(leaf, siblings) if siblings else f"Is the package '{leaf}' installed?"


def _is_module(path: Path) -> bool:
    return not path.name.startswith((".", "_")) and (path.suffix == ".py" or (path / "__init__.py").is_file())


@dataclass(frozen=True)
class _Module:
    """The top level of a source file.

    Args:
        definitions: name -> class, function, or the expression assigned to it.
        imports: name -> dotted name it was imported from.
        stars: modules from which everything is imported.
    """

    definitions: dict[str, ast.AST] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)


@cache
def _module(name: str) -> _Module | None:
    """Parse a module; None where there is no such source file."""
    source = _source(name)
    if source is None:
        return None
    package = name if source.name == "__init__.py" else name.rpartition(".")[0]
    module = _Module()
    for statement in _statements(ast.parse(source.read_bytes()).body):
        _enter(statement, module, package)
    return module


def _source(name: str) -> Path | None:
    owner, _, leaf = name.rpartition(".")
    if owner:
        places = [folder / leaf / "__init__.py" for folder in _folders(owner)]
        places += [folder / f"{leaf}.py" for folder in _folders(owner)]
        return next((place for place in places if place.is_file()), None)
    spec = importlib.util.find_spec(leaf) if leaf.isidentifier() else None  # imports nothing: it has no dot
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _folders(name: str) -> list[Path]:
    """The folders of a package; none for a module that is not a package."""
    owner, _, leaf = name.rpartition(".")
    if owner:
        return [folder / leaf for folder in _folders(owner) if (folder / leaf).is_dir()]
    spec = importlib.util.find_spec(leaf) if leaf.isidentifier() else None
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body and of the `if`, `try` and `with` blocks in it."""
    for statement in body:
        yield statement
        for block in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for inner in getattr(statement, block, []):
                    yield from _statements(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _enter(statement: ast.stmt, module: _Module, package: str) -> None:
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            module.definitions[name] = statement
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            module.definitions[name] = value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            module.definitions[name] = value
        case ast.Import(names=aliases):
            module.imports.update({alias.asname: alias.name for alias in aliases if alias.asname})
        case ast.ImportFrom(module=origin, names=aliases, level=level):
            parents = package.split(".")[: len(package.split(".")) - level + 1] if level else []
            origin = ".".join([*parents, *([origin] if origin else [])])
            for alias in aliases:
                if alias.name == "*":
                    module.stars.append(origin)
                else:
                    module.imports[alias.asname or alias.name] = f"{origin}.{alias.name}"


def _lookup(module: _Module, name: str) -> tuple[ast.AST, _Module] | None:
    """Find a name's definition and the module that holds it, through re-exports and aliases."""
    node = module.definitions.get(name)
    if isinstance(node, ast.Name) and node.id != name:
        return _lookup(module, node.id)
    if node is not None:
        return node, module
    origins = (
        [module.imports[name]] if name in module.imports else [f"{star}.{name}" for star in module.stars]
    )
    for origin in origins:
        owner, _, leaf = origin.rpartition(".")
        source = _module(owner)
        if source is not None and source is not module and (found := _lookup(source, leaf)):
            return found
    return None


def defining_name(name: str) -> str:
    """Return the full name under which a class or function is defined that a room's `__init__.py` offers."""
    owner, _, leaf = name.rpartition(".")
    module = _module(owner) if owner.startswith("ser.") else None
    return name if module is None else module.imports.get(leaf, name)


def has_method(name: str, method: str) -> bool:
    """Return whether a class has a method, own or inherited, as far as its source tells without importing it.

    Args:
        name: dotted, as in `signature`.
        method: its name.

    Returns:
        True also where a base class cannot be read.

    Raises:
        ConfigError: there is no such module, class or function.
    """
    signature(name)
    owner, _, leaf = name.rpartition(".")
    module = _module(owner)
    found = _lookup(module, leaf) if module is not None else None
    return found is not None and _has_method(found[0], found[1], method)


def _has_method(definition: ast.AST, module: _Module, method: str) -> bool:
    if not isinstance(definition, ast.ClassDef):
        return False
    if any(isinstance(node, ast.FunctionDef) and node.name == method for node in definition.body):
        return True
    for base in definition.bases:
        found = _lookup(module, base.id) if isinstance(base, ast.Name) else None
        is_known = _kind(base) in {"ABC", "Generic", "Module", "Protocol", "object"}
        if (found is None and not is_known) or (found and _has_method(*found, method)):
            return True
    return method == "__init__"


def _function_signature(function: ast.FunctionDef, module: _Module, *, skip: int) -> Signature:
    """Read a `def`, without its first `skip` parameters (`self`)."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    pairs = [*zip(positional, defaults, strict=True)][skip:]
    pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
    parameters = {
        argument.arg: Parameter(argument.annotation, default, module) for argument, default in pairs
    }
    return Signature(parameters, is_open=given.kwarg is not None)


_TAKE_NOTHING = {
    "ABC",
    "Callback",
    "Generic",
    "LightningDataModule",
    "LightningModule",
    "Module",
    "Protocol",
    "object",
}
"""Base classes whose constructors take no argument of use."""


def _class_signature(definition: ast.ClassDef, module: _Module) -> Signature | None:
    """Read the constructor, own or inherited; None where there is none."""
    inits = [
        node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    bases = [_base_signature(base, module) for base in definition.bases]
    inherited = next((base for base in bases if base is not None), None)
    if inits:  # the last: those before are overloads
        own = _function_signature(inits[-1], module, skip=1)
        given = _handed_on(inits[-1])
        return own if given is None or inherited is None else _merged(own, inherited, given)
    if not any(_kind(getattr(node, "func", node)) == "dataclass" for node in definition.decorator_list):
        return inherited
    fields = dict(inherited.parameters) if inherited else {}
    fields |= dict(_dataclass_fields(definition, module))
    return Signature(fields, is_open=inherited is not None and inherited.is_open)


def _handed_on(init: ast.FunctionDef) -> set[str] | None:
    """What a constructor names itself where it hands its `**kwargs` on to that of its base; None where it does not."""
    for node in ast.walk(init):
        match node:
            case ast.Call(func=ast.Attribute(attr="__init__"), keywords=keywords) if init.args.kwarg:
                stars = [ast.unparse(keyword.value) for keyword in keywords if keyword.arg is None]
                if init.args.kwarg.arg in stars:
                    return {keyword.arg for keyword in keywords if keyword.arg}
    return None


def _merged(own: Signature, inherited: Signature, given: set[str]) -> Signature:
    rest = {name: parameter for name, parameter in inherited.parameters.items() if name not in given}
    return Signature({**rest, **own.parameters}, is_open=inherited.is_open)


def _base_signature(base: ast.expr, module: _Module) -> Signature | None:
    if _kind(base) in _TAKE_NOTHING:
        return None
    found = _lookup(module, base.id) if isinstance(base, ast.Name) else None
    if found is None or not isinstance(found[0], ast.ClassDef):
        return Signature(is_open=True)
    return _class_signature(found[0], found[1])


def _dataclass_fields(definition: ast.ClassDef, module: _Module) -> Iterator[tuple[str, Parameter]]:
    for node in definition.body:
        match node:
            case ast.AnnAssign(annotation=annotation) if _kind(annotation) in {"ClassVar", "KW_ONLY"}:
                continue
            case ast.AnnAssign(value=ast.Call(func=func, keywords=options)) if _kind(func) == "field":
                given = {option.arg: option.value for option in options}
                if ast.unparse(given.get("init", ast.Constant(True))) == "False":
                    continue
                default = given.get("default", given.get("default_factory"))
            case ast.AnnAssign(value=value):
                default = value
            case _:
                continue
        yield ast.unparse(node.target), Parameter(node.annotation, default, module)


# ---- Which plain values an annotation accepts. ----

_SCALARS: dict[str, Callable[[Any], bool]] = {
    "None": lambda value: value is None,
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "Path": lambda value: isinstance(value, str),
    "PathLike": lambda value: isinstance(value, str),
}
_LISTS = {"Collection", "Iterable", "List", "Sequence", "Set", "frozenset", "list", "set"}
_TUPLES = {"Tuple", "tuple"}
_DICTS = {"Dict", "Mapping", "MutableMapping", "dict"}
_CONTAINERS = _LISTS | _TUPLES | _DICTS


def _is_target(value: object) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _kind(node: ast.AST) -> str:
    """The last name of an expression: `typing.Optional[int]` -> `Optional`."""
    match node:
        case ast.Subscript(value=value):
            return _kind(value)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Constant(value=None):
            return "None"
    return ""


def _arguments(node: ast.expr) -> list[ast.expr]:
    """What stands between the brackets of `tuple[int, float]`."""
    if not isinstance(node, ast.Subscript):
        return []
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]


def _literal_values(node: ast.expr) -> list[Any]:
    """The choices of `Literal[...]`; none of any other annotation."""
    return [ast.literal_eval(choice) for choice in _arguments(node)] if _kind(node) == "Literal" else []


def _members(annotation: ast.expr, module: _Module) -> Iterator[tuple[ast.expr, _Module]]:
    """The members of a union, aliases and nested unions taken apart; else the annotation itself."""
    kind = _kind(annotation)
    match annotation:
        case ast.Constant(value=str(text)):
            yield from _members(ast.parse(text, mode="eval").body, module)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield from _members(left, module)
            yield from _members(right, module)
        case ast.Subscript() if kind in {"Union", "Optional", "Annotated", "Final"}:
            members = _arguments(annotation)
            for member in members if kind == "Union" else members[:1]:
                yield from _members(member, module)
            if kind == "Optional":
                yield ast.Constant(None), module
        case ast.Name(id=name) if kind not in _SCALARS and kind not in _CONTAINERS:
            found = _lookup(module, name)
            if found and isinstance(found[0], ast.Subscript | ast.BinOp):
                yield from _members(found[0], found[1])
            else:
                yield annotation, module
        case _:
            yield annotation, module


def _fits(value: object, annotation: ast.expr, module: _Module) -> bool:
    """Whether a value fits one member. A number never is a Tensor: `float | Tensor` accepts numbers alone."""
    members = [*_members(annotation, module)]
    answers = [_fits_member(value, member, home) for member, home in members]
    if True in answers:
        return True
    takes_scalars = {_kind(member) for member, _ in members} & {*_SCALARS, "Literal"} - {"None"}
    is_scalar = not isinstance(value, Mapping | list)
    return None in answers and not (is_scalar and takes_scalars)


def _fits_member(value: object, member: ast.expr, module: _Module) -> bool | None:
    """True or False, or None where the type is not one that YAML can spell."""
    kind, arguments = _kind(member), _arguments(member)
    if kind in _SCALARS:
        return _SCALARS[kind](value)
    if kind == "Literal":
        return any(type(choice) is type(value) and choice == value for choice in _literal_values(member))
    if kind in _TUPLES and arguments and ast.unparse(arguments[-1]) != "...":
        return (
            isinstance(value, list)
            and len(value) == len(arguments)
            and all(_fits(item, each, module) for item, each in zip(value, arguments, strict=True))
        )
    if kind in _LISTS | _TUPLES:
        return isinstance(value, list) and all(
            _is_target(item) or _fits(item, each, module) for item in value for each in arguments[:1]
        )
    if kind in _DICTS:
        return isinstance(value, Mapping) and all(
            _is_target(item) or _fits(item, each, module) for item in value.values() for each in arguments[1:]
        )
    return None
