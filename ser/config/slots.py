"""What each node of a config may build: one table, for the check of a config and for the build.

A run's folder or a checkpoint may come from somebody else, so that a name in it must not run any function that can be
imported. A node may name only what belongs in its place: a corpus in `data`, an encoder in `model`. Nested nodes have
places of their own; where the table has none, nothing is built.
"""

import re
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from ser.config.signature import defining_name, has_method
from ser.errors import ConfigError


@dataclass(frozen=True)
class Slot:
    """What may stand in one place of a config.

    Args:
        what: Its kind in words, with an article.
        modules: Full names, or prefixes that end in a dot, of which a name must have one.
        method: What a class needs to be of that kind; None where a function is called instead.
        without: As `modules`, of what lies there and is of another kind.
    """

    what: str
    modules: tuple[str, ...]
    method: str | None = "__init__"
    without: tuple[str, ...] = ()

    def holds(self, name: str) -> bool:
        """Return whether a name lies in one of the modules."""
        return _lies_in(name, self.modules) and not _lies_in(name, self.without)

    def fits(self, target: object) -> bool:
        """Return whether an imported object is of this kind, and not merely mentioned in a module of its kind."""
        if not isinstance(target, type | FunctionType):
            return False
        home = f"{target.__module__}.{target.__qualname__}"
        is_ours = home.startswith("ser.") or self.modules[0].startswith("ser.")
        if not (self.holds(home) if is_ours else home.startswith(_package(self.modules[0]))):
            return False
        if self.method is None:
            return isinstance(target, FunctionType)
        return isinstance(target, type) and hasattr(target, self.method)


def _lies_in(name: str, places: tuple[str, ...]) -> bool:
    return any(name.startswith(place) if place.endswith(".") else name == place for place in places)


def _package(name: str) -> str:
    return f"{name.split('.')[0]}."


SLOTS: dict[str, Slot] = {
    "data": Slot("a corpus", ("ser.corpora.", "ser.synthetic."), "splits"),
    "data.split": Slot("a rule for splits", ("ser.splits.rules.",), "assign"),
    "features": Slot("an extractor of features", ("ser.features.extractors.",), "extract_frames"),
    "features.silence": Slot("a treatment of silence", ("ser.features.vad.Silence",)),
    "features.silence.detector": Slot("a detector of speech", ("ser.features.vad.SilenceDetector",)),
    "waveform_augment": Slot("an augmentation", ("ser.features.augment_waveforms.WaveformAugment",)),
    "waveform_augment.noises": Slot("a bank of noises", ("ser.audio.noise_bank.",)),
    "waveform_augment.impulses": Slot("a bank of rooms", ("ser.audio.noise_bank.",)),
    "augment": Slot("an augmentation", ("ser.features.augment_features.Augment",)),
    "frontend": Slot("a frontend", ("ser.models.frontend.Frontend",)),
    "model": Slot(
        "an encoder",
        ("ser.models.",),
        "forward",
        without=tuple(
            f"ser.models.{name}." for name in ("base", "classifier", "pooling", "frontend", "normalize")
        ),
    ),
    "pooling": Slot("a pooling", ("ser.models.pooling.",), "forward"),
    "head": Slot("a head", ("ser.models.classifier.Head",)),
    "target": Slot(
        "a target",
        ("ser.targets.",),
        "encode",
        without=("ser.targets.base.",),
    ),
    "loss": Slot("a loss", ("ser.targets.losses.",), "forward", without=("ser.targets.losses.Objective",)),
    "optimizer": Slot("an optimiser", ("torch.optim.",), "add_param_group"),
    "schedule": Slot("a schedule of the learning rate", ("ser.training.schedules.",), None),
    "trainer": Slot("the trainer", ("lightning.pytorch.Trainer",), "fit"),
    "trainer.strategy": Slot("a strategy", ("lightning.pytorch.strategies.",), "setup_environment"),
    "trainer.profiler": Slot("a profiler", ("lightning.pytorch.profilers.",), "start"),
    "callbacks.*": Slot(
        "a callback",
        (
            "lightning.pytorch.callbacks.",
            "ser.training.callbacks.",
            "ser.training.plot_callbacks.",
            "ser.training.recording_callbacks.",
            "ser.report.tensorboard.",
        ),
        "on_train_start",
    ),
    "logger": Slot("a logger", ("lightning.pytorch.loggers.", "ser.report.tensorboard."), "log_metrics"),
    "extractor": Slot("an embedder", ("ser.embeddings.",), "encode"),
}
"""Place in a config -> what may stand there; `*` is any one key. Those of a checkpoint hold `ser.` modules that compute
and touch no file."""

_WRITERS = ("trainer", "callbacks", "logger")
_LEADS_OUT = re.compile(r"^[/~]|^[A-Za-z]:|\\|(^|/)\.\.(/|$)|://")


def slot_of(key: str) -> Slot | None:
    """Return what may stand at a full key such as `callbacks.best`; None where nothing is built."""
    parts = re.sub(r"\[\d+\]", "", key).split(".")
    for pattern, slot in SLOTS.items():
        wanted = pattern.split(".")
        if len(wanted) == len(parts) and all(
            want in ("*", part) for want, part in zip(wanted, parts, strict=True)
        ):
            return slot
    return None


def check_name(key: str, name: object) -> Slot:
    """Refuse a `_target_` that does not belong at a key, without importing it.

    Raises:
        ConfigError: nothing is built there, or something else.
    """
    slot = slot_of(key)
    if slot is None:
        raise ConfigError("nothing is built here. Remove it.")
    if not isinstance(name, str) or not all(
        part.isidentifier() and not part.startswith("_") for part in name.split(".")
    ):
        raise ConfigError("is not a public name. Name a public class.")
    if not slot.holds(defining_name(name)) or (slot.method and not has_method(name, slot.method)):
        places = ", ".join(place + "*" if place.endswith(".") else place for place in slot.modules)
        raise ConfigError(f"is not {slot.what}, which belongs here. Name {slot.what} of {places}.")
    return slot


def path_problems(key: str, value: Any) -> list[str]:
    """Say where a setting would let the trainer, a callback or the logger write outside of the run's folder."""
    if key.split(".")[0] not in _WRITERS or not isinstance(value, str) or not _LEADS_OUT.search(value):
        return []
    return [f"{key}={value}: leads out of the run's folder. Leave it out, or give a name without a path."]
