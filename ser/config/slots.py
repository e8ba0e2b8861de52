"""What each node of a config may build: one table, for the check of a config and for the build.

A run's folder or a checkpoint may come from somebody else, so that a name in it must not run any function that can be
imported. A node may name only what belongs in its place: an encoder in `model`, of `ser.models` or of a package that
the user trusts. Packages are trusted by name (`trust=[mypackage]`), or because the user typed their names.
"""

import importlib
import inspect
import re
import sys
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
        kind: Full name of the class to derive from, whose module is its room; a module for a function of it.
        more: Further modules that offer such classes.
    """

    what: str
    kind: str
    more: tuple[str, ...] = ()

    @property
    def rooms(self) -> tuple[str, ...]:
        """Return the modules that offer what may stand here."""
        return (self.kind.rpartition(".")[0] if self.base else self.kind, *self.more)

    @property
    def base(self) -> type | None:
        """Return the class to derive from; None for a function."""
        return _import(self.kind) if self.kind.rpartition(".")[2][:1].isupper() else None

    def offers(self, module: str) -> bool:
        """Return whether a module may be named without trust: a room, or for classes a file of ours in it."""
        files = tuple(f"{room}." for room in self.rooms if self.base and room.startswith("ser."))
        return module in self.rooms or module.startswith(files)

    def refusal(self, remedy: str) -> ConfigError:
        """Return the error of what does not belong here."""
        return ConfigError(f"is not {self.what}, which belongs here. {remedy} of {' or '.join(self.rooms)}.")

    def lacking(self, built: object) -> list[str]:
        """Return the names that an object of this kind needs and that one does not have."""
        return [name for name in inspect.get_annotations(self.base or object) if not hasattr(built, name)]


_AUDIO, _LIGHTNING = ("ser.audio",), "lightning.pytorch"
SLOTS: dict[str, Slot] = {
    "data": Slot("a corpus", "ser.corpora.Corpus", ("ser.synthetic", "ser.mix")),
    "data.readers.*": Slot("a corpus of recordings", "ser.corpora.AudioCorpus", ("ser.synthetic",)),
    "data.readers.*.split": Slot("a rule for splits", "ser.splits.Rule"),
    "data.split": Slot("a rule for splits", "ser.splits.Rule"),
    "data.words": Slot("a source of word vectors", "ser.text.WordSource"),
    "features": Slot("an extractor of features", "ser.features.Extractor", ("ser.frozen",)),
    "features.silence": Slot("a treatment of silence", "ser.features.Silence"),
    "features.silence.detector": Slot("a detector of speech", "ser.features.SilenceDetector"),
    "waveform_augment": Slot("an augmentation", "ser.features.WaveformAugment"),
    "waveform_augment.noises": Slot("a bank of noises", "ser.features.WaveformBank", _AUDIO),
    "waveform_augment.impulses": Slot("a bank of rooms", "ser.features.WaveformBank", _AUDIO),
    "augment": Slot("an augmentation", "ser.features.Augment"),
    "frontend": Slot("a frontend", "ser.models.Frontend"),
    "model": Slot("an encoder", "ser.models.Encoder", ("ser.pretrained",)),
    "pooling": Slot("a pooling", "ser.models.Pooling"),
    "head": Slot("a head", "ser.models.Head"),
    "target": Slot("a target", "ser.targets.Target"),
    "target.tasks.*.target": Slot("a target", "ser.targets.Target"),
    "target.tasks.*.loss": Slot("a loss", "ser.targets.Loss"),
    "loss": Slot("a loss", "ser.targets.Loss"),
    "optimizer": Slot("an optimiser", "torch.optim.Optimizer"),
    "schedule": Slot("a schedule of the learning rate", "ser.training"),
    "trainer": Slot("the trainer", f"{_LIGHTNING}.Trainer"),
    "trainer.strategy": Slot("a strategy", f"{_LIGHTNING}.strategies.Strategy"),
    "trainer.profiler": Slot("a profiler", f"{_LIGHTNING}.profilers.Profiler"),
    "callbacks.*": Slot("a callback", f"{_LIGHTNING}.callbacks.Callback", ("ser.training",)),
    "logger.*": Slot("a logger", f"{_LIGHTNING}.loggers.Logger", ("ser.trackers",)),
    "pretraining": Slot("a pre-training", "ser.pretraining.Recipe"),
    "extractor": Slot("an embedder", "ser.embeddings.Embedder"),
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


def own_code(config_dir: Path | None) -> list[Path]:
    """Return the folders and files of the user's code: trusted packages that are imported, and that of the configs."""
    named = [sys.modules[name] for name in trusted() if name in sys.modules]
    files = [Path(str(module.__file__)) for module in named if getattr(module, "__file__", None)]
    places = [file.parent if file.name == "__init__.py" else file for file in files]
    return [*places, *([config_dir] if config_dir else [])]


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
    places = (name for name in SLOTS if re.fullmatch(re.escape(name).replace(r"\*", "[^.]+"), key))
    return SLOTS.get(next(places, ""))


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
    if not isinstance(name, str) or not re.fullmatch(r"([^\W_]\w*\.)+[^\W_]\w*", name):
        raise ConfigError("is not the full name of a public class. Write package.module.Class.")
    name = current_name(name)
    if not slot.offers(name.rpartition(".")[0]):
        _check_trusted(slot, name)
    target: Callable[..., Any] = _import(name)
    fits = isinstance(target, FunctionType)
    if slot.base is not None:
        fits = isinstance(target, type) and issubclass(target, slot.base)
    if not fits:
        own = f"a class derived from {slot.base.__name__}" if slot.base else "a function"
        raise slot.refusal(f"Name {own}, of your own or")
    if lacking := sorted(getattr(target, "__abstractmethods__", ())):
        takes = {method: inspect.signature(getattr(target, method)).parameters for method in lacking}
        methods = ", ".join(f"{method}({', '.join(names)})" for method, names in takes.items())
        what = f"has no {', '.join(lacking)}, which {slot.what} needs"
        raise ConfigError(f"{what}. Write in {name.rpartition('.')[2]}: {methods}.")
    return target


def _check_trusted(slot: Slot, name: str) -> None:
    package = name.partition(".")[0]
    if package in _NOT_OWN:
        raise slot.refusal(f"Name {slot.what}")
    if not _trusted & {name[: place.start()] for place in re.finditer(r"\.", name)}:
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
    sys.path.extend(folder for folder in _folders if folder not in sys.path)
    try:
        module = importlib.import_module(owner)
    except Exception as error:  # also of the user's own module
        what = f"module '{owner}' cannot be imported ({named_line(error)})"
        if isinstance(error, ModuleNotFoundError) and owner.startswith("ser."):
            room = ".".join(owner.split(".")[:2])
            offered = [f"{room}.{known}" for known in importlib.import_module(room).__all__]
            raise ConfigError(f"{what}. {did_you_mean(name, offered)}") from error
        raise ConfigError(f"{what}. Correct the name or that file, or install what it needs.") from error
    target = getattr(module, leaf, None)
    if not isinstance(target, type | FunctionType):
        public = getattr(module, "__all__", vars(module))
        names = [known for known in public if isinstance(getattr(module, known, None), type | FunctionType)]
        raise ConfigError(f"no class or function '{leaf}' in {owner}. {did_you_mean(leaf, names)}")
    return target
