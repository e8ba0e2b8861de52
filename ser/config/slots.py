"""What each node of a config may build: one table, for the check of a config and for the build.

A run's folder or a checkpoint may come from somebody else, so that a name in it must not run any function that can be
imported. A node may name only what belongs in its place: an encoder in `model`, of `ser.models` or of a package that
the user trusts. Packages are trusted by name (`trust=[mypackage]`), or because the user typed their names.
"""

import importlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from ser.config.old_names import current_name
from ser.errors import ConfigError, did_you_mean, named_line, setting
from ser.runs.environment import remember_trust


@dataclass(frozen=True)
class Slot:
    """What may stand in one place of a config.

    Args:
        what: Its kind in words, with an article.
        rooms: Modules that offer such classes.
        kind: Full name of the class to derive from, or of the protocol to follow; empty for a function.
    """

    what: str
    rooms: tuple[str, ...]
    kind: str = ""

    def offers(self, module: str) -> bool:
        """Return whether a module may be named without trust: a room, or for classes a file of ours in it."""
        files = [f"{room}." for room in self.rooms if self.kind and room.startswith("ser.")]
        return module in self.rooms or module.startswith(tuple(files))

    def check(self, target: object, name: str) -> None:
        """Refuse what is not of this kind.

        Raises:
            ConfigError: with what it lacks.
        """
        if not self.kind:
            is_fit = isinstance(target, FunctionType)
            self._refuse_unless(is_fit, name, "Name a function")
            return
        kind = _import(self.kind)
        if not isinstance(target, type):
            self._refuse_unless(False, name, "Name a class")
        elif getattr(kind, "_is_protocol", False):
            methods = [member for member in members(kind) if callable(getattr(kind, member, None))]
            lacking = [method for method in methods if not callable(getattr(target, method, None))]
            self._refuse_unless(not lacking, name, f"It has no {', '.join(lacking)}; name a class")
        else:
            self._refuse_unless(
                issubclass(target, kind), name, f"Name {kind.__name__} or a class derived from it,"
            )

    def lacking(self, built: object) -> list[str]:
        """Return the names that an object of this kind needs and that one does not have."""
        kind = _import(self.kind) if self.kind else object
        needed = members(kind) if getattr(kind, "_is_protocol", False) else inspect.get_annotations(kind)
        return [name for name in needed if not hasattr(built, name)]

    def _refuse_unless(self, is_fit: bool, name: str, remedy: str) -> None:
        if not is_fit:
            places = " or ".join(self.rooms)
            raise ConfigError(
                f"is not {self.what}, which belongs here. {remedy} of {places}, or one of your own."
            )


SLOTS: dict[str, Slot] = {
    "data": Slot("a corpus", ("ser.corpora", "ser.synthetic"), "ser.corpora.Corpus"),
    "data.split": Slot("a rule for splits", ("ser.splits",), "ser.splits.Rule"),
    "features": Slot("an extractor of features", ("ser.features",), "ser.features.Extractor"),
    "features.silence": Slot("a treatment of silence", ("ser.features",), "ser.features.Silence"),
    "features.silence.detector": Slot(
        "a detector of speech", ("ser.features",), "ser.features.SilenceDetector"
    ),
    "waveform_augment": Slot("an augmentation", ("ser.features",), "ser.features.WaveformAugment"),
    "waveform_augment.noises": Slot("a bank of noises", ("ser.audio",), "ser.features.WaveformBank"),
    "waveform_augment.impulses": Slot("a bank of rooms", ("ser.audio",), "ser.features.WaveformBank"),
    "augment": Slot("an augmentation", ("ser.features",), "ser.features.Augment"),
    "frontend": Slot("a frontend", ("ser.models",), "ser.models.Frontend"),
    "model": Slot("an encoder", ("ser.models",), "ser.models.Encoder"),
    "pooling": Slot("a pooling", ("ser.models",), "ser.models.Pooling"),
    "head": Slot("a head", ("ser.models",), "ser.models.Head"),
    "target": Slot("a target", ("ser.targets",), "ser.targets.Target"),
    "target.tasks.*.target": Slot("a target", ("ser.targets",), "ser.targets.Target"),
    "target.tasks.*.loss": Slot("a loss", ("ser.targets",), "ser.targets.Loss"),
    "loss": Slot("a loss", ("ser.targets",), "ser.targets.Loss"),
    "optimizer": Slot("an optimiser", ("torch.optim",), "torch.optim.Optimizer"),
    "schedule": Slot("a schedule of the learning rate", ("ser.training",)),
    "trainer": Slot("the trainer", ("lightning.pytorch",), "lightning.pytorch.Trainer"),
    "trainer.strategy": Slot(
        "a strategy", ("lightning.pytorch.strategies",), "lightning.pytorch.strategies.Strategy"
    ),
    "trainer.profiler": Slot(
        "a profiler", ("lightning.pytorch.profilers",), "lightning.pytorch.profilers.Profiler"
    ),
    "callbacks.*": Slot(
        "a callback", ("ser.training", "lightning.pytorch.callbacks"), "lightning.pytorch.Callback"
    ),
    "logger": Slot(
        "a logger", ("ser.training", "lightning.pytorch.loggers"), "lightning.pytorch.loggers.Logger"
    ),
    "extractor": Slot("an embedder", ("ser.embeddings",), "ser.embeddings.Embedder"),
}
"""Place in a config -> what may stand there; `*` is any one key."""

_NOT_OWN = ("ser", "torch", "lightning")
"""Packages of which each slot has its own list of modules."""
_trusted: set[str] = set()
_folders: dict[str, None] = {}


def trust(packages: Iterable[str], *folders: str) -> None:
    """Let packages of the user be imported, for the rest of this process, also from the working folder.

    Args:
        packages: Full names; what lies below them is trusted, too.
        folders: Further folders in which they may lie.
    """
    packages = [*packages]
    _trusted.update(packages)
    remember_trust(packages)
    _folders.update(dict.fromkeys((str(Path.cwd()), *folders)))


def trusted() -> list[str]:
    """Return the packages that are trusted, for another process that goes on with this one's work."""
    return sorted(_trusted)


def trust_names(config: Any) -> None:
    """Trust the packages that a config names, because the user has typed it."""
    if isinstance(config, Mapping):
        name = str(config.get("_target_", ""))
        if "." in name and name.partition(".")[0] not in _NOT_OWN:
            trust([name.partition(".")[0]])
    for value in config.values() if isinstance(config, Mapping) else config:
        if isinstance(value, Mapping | list):
            trust_names(value)


def slot_of(key: str) -> Slot | None:
    """Return what may stand at a full key such as `callbacks.best`; None where nothing is built."""
    key = re.sub(r"\[\d+\]", "", key)
    patterns = (name for name in SLOTS if "*" in name)
    places = (name for name in patterns if re.fullmatch(re.escape(name).replace(r"\*", "[^.]+"), key))
    return SLOTS.get(key) or SLOTS.get(next(places, ""))


def resolve(key: str, name: object) -> Callable[..., Any]:
    """Import the class or function that a node names, if it belongs there.

    Args:
        key: Full key of the node.
        name: Its `_target_`.

    Raises:
        ConfigError: Nothing is built there, or something else; or the name does not exist, or is not trusted.
    """
    slot = slot_of(key)
    if slot is None:
        raise ConfigError("nothing is built here. Remove it.")
    if not isinstance(name, str) or not all(
        part.isidentifier() and not part.startswith("_") for part in name.split(".")
    ):
        raise ConfigError("is not a public name. Name a public class.")
    name = current_name(name)
    if "." in name and not slot.offers(name.rpartition(".")[0]):
        _check_trusted(slot, name)
    target: Callable[..., Any] = _import(name)
    slot.check(target, name)
    if lacking := sorted(getattr(target, "__abstractmethods__", ())):
        arguments = {member: inspect.signature(getattr(target, member)).parameters for member in lacking}
        wanted = ", ".join(f"{member}({', '.join(names)})" for member, names in arguments.items())
        raise ConfigError(
            f"has no {', '.join(lacking)}, which {slot.what} needs. Write in {name.rpartition('.')[2]}: {wanted}."
        )
    return target


def _check_trusted(slot: Slot, name: str) -> None:
    package = name.partition(".")[0]
    if package in _NOT_OWN:
        places = " or ".join(slot.rooms)
        raise ConfigError(f"is not {slot.what}, which belongs here. Name {slot.what} of {places}.")
    parents = [name[: place.start()] for place in re.finditer(r"\.", name)]
    if not _trusted & {*parents}:
        raise ConfigError(
            f"is code of '{package}', not of ser, and a checkpoint or the folder of a run may come from somebody "
            f"else. If you trust it, add {setting('trust', [package])}."
        )


@cache
def _import(name: str) -> Any:
    """Import a public class or function.

    Raises:
        ConfigError: there is none of that name, or its module fails.
    """
    owner, _, leaf = name.rpartition(".")
    if not owner:
        raise ConfigError(f"'{name}' has no module. Write the full name, package.module.{name or 'Class'}.")
    sys.path.extend(folder for folder in _folders if folder not in sys.path)
    try:
        module = importlib.import_module(owner)
    except ModuleNotFoundError as error:
        if not f"{owner}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"module '{owner}' needs '{error.name}', which is not installed. Install it."
            ) from error
        if owner.startswith("ser."):
            room = ".".join(owner.split(".")[:2])
            offered = [f"{room}.{known}" for known in importlib.import_module(room).__all__]
            raise ConfigError(f"no module '{error.name}'. {did_you_mean(name, offered)}") from error
        package = str(error.name).rpartition(".")[2]
        raise ConfigError(f"no module '{error.name}'. Is the package '{package}' installed?") from error
    except Exception as error:  # of the user's own module
        raise ConfigError(
            f"module '{owner}' cannot be imported ({named_line(error)}). Correct that file."
        ) from error
    target = getattr(module, leaf, None)
    if not isinstance(target, type | FunctionType):
        names = getattr(module, "__all__", None) or [
            known
            for known, value in vars(module).items()
            if isinstance(value, type) and not known.startswith("_")
        ]
        raise ConfigError(f"no class or function '{leaf}' in {owner}. {did_you_mean(leaf, names)}")
    return target


def members(protocol: type) -> list[str]:
    """Return the names of all that a protocol asks for."""
    owners = [owner for owner in protocol.__mro__ if owner not in (object, typing.Protocol, typing.Generic)]
    names = [name for owner in owners for name in (*inspect.get_annotations(owner), *vars(owner))]
    return [*dict.fromkeys(name for name in names if not name.startswith("_"))]
