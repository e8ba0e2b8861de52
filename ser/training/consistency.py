"""Settings that a signature allows and no training can have: missing, out of range, or not going together."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ser.config.slots import resolve
from ser.config.types import signature
from ser.config.validate import complaint
from ser.errors import ConfigError, did_you_mean, setting
from ser.runs.environment import program_words
from ser.runs.ranks import is_shared

Config = Mapping[str, Any]

_LARGEST_SEED = 2**32 - 1  # of NumPy
_NEEDED = (
    *("seed", "data", "batching", "features", "frontend", "target", "model", "pooling", "head", "augment"),
    *("loss", "optimizer", "trainer", "callbacks", "monitor", "mode"),
)


_POSITIVE = ("val_check_interval", "gradient_clip_val")


def check_training(config: Config) -> None:
    """Refuse a training that would not begin, not end, or leave nothing to choose the best epoch by.

    Raises:
        ConfigError: with the first reason.
    """
    if missing := [key for key in _NEEDED if config.get(key) is None]:
        raise ConfigError(
            f"{missing[0]}: is deleted or null, but no training goes without. Leave out '~{missing[0]}' and "
            f"'{missing[0]}=null'; {' '.join(program_words())} --help lists the options."
        )
    if wrong := [key for key in ("trainer", "callbacks", "batching") if not isinstance(config[key], Mapping)]:
        raise ConfigError(
            f"{wrong[0]}: expected settings, found {config[wrong[0]]!r}. Give it its keys and values."
        )
    if not config["callbacks"].get("best"):
        raise ConfigError(
            "callbacks.best: is deleted or null, but it saves the epoch that is scored. Leave it on; "
            "its monitor and mode can be set."
        )
    trainer = config["trainer"]
    if config.get("ensemble") is not None and is_shared(trainer):
        raise ConfigError(
            "ensemble: its members are trained one after the other in one process. "
            "Set trainer.devices=1, and leave out trainer.strategy and trainer.num_nodes."
        )
    if not 0 <= config["seed"] <= _LARGEST_SEED:
        raise ConfigError(f"seed={config['seed']}: expected 0 to {_LARGEST_SEED}. Choose another.")
    if trainer.get("fast_dev_run"):
        raise ConfigError(
            "trainer.fast_dev_run: Lightning would save no checkpoint, and there is no best one. Use debug=fast."
        )
    for key in ("limit_train_batches", "limit_val_batches", "accumulate_grad_batches", *_POSITIVE):
        if trainer.get(key, 1) is not None and trainer.get(key, 1) <= 0:
            raise ConfigError(
                f"trainer.{key}={trainer[key]}: expected more than 0. Leave it out, or set 1 or more."
            )
    _check_trainer(config)
    _check_epochs(trainer, has_schedule=bool(config.get("schedule")))
    _check_best(config["callbacks"]["best"])
    _check_balance(config)
    for monitor in monitors(config):
        monitor.check_mode()
        _check_moment(monitor, trainer)


@dataclass(frozen=True)
class Monitor:
    """A setting that names a logged value.

    Args:
        node: that holds `monitor` and `mode`, such as `callbacks.best`; empty for the root.
        name: of the value.
        mode: whether larger (max) or smaller (min) is better; None where the node has no such choice.
    """

    node: str
    name: str
    mode: str | None

    def key(self, leaf: str) -> str:
        """The full key of `monitor` or `mode`."""
        return f"{self.node}.{leaf}" if self.node else leaf

    def check_mode(self) -> None:
        """Refuse to look for the largest loss, or for the smallest score.

        Raises:
            ConfigError: with the mode to set.
        """
        right = "min" if self.name.endswith("loss") else "max"
        if self.mode not in (None, right):
            raise ConfigError(
                f"{self.key('monitor')}={self.name}, {self.key('mode')}={self.mode}: the worst epoch would be chosen. "
                f"Set {self.key('mode')}={right}."
            )


def monitors(config: Config) -> Iterator[Monitor]:
    """Find every setting that names a logged value: at the root, of the schedule, of each callback."""
    yield Monitor("", config["monitor"], config["mode"])
    nodes = {"schedule": config.get("schedule")}
    nodes |= {f"callbacks.{name}": node for name, node in config["callbacks"].items()}
    for path, node in nodes.items():
        if not node:
            continue
        takes = signature(resolve(path, node["_target_"]))[0] if "_target_" in node else {}
        name, mode = (
            node.get(leaf, takes[leaf].default if leaf in takes else None) for leaf in ("monitor", "mode")
        )
        if isinstance(name, str):
            yield Monitor(path, name, mode)


def _check_moment(monitor: Monitor, trainer: Config) -> None:
    """Refuse a value of training where validation is not at the end of every epoch: it would be an older one."""
    between, within = trainer.get("check_val_every_n_epoch", 1), trainer.get("val_check_interval")
    if monitor.name.startswith("train/") and (between != 1 or within not in (None, 1.0)):
        raise ConfigError(
            f"{monitor.key('monitor')}={monitor.name}: is known at the end of an epoch, but validation is not once in "
            f"every epoch. Leave out trainer.check_val_every_n_epoch and trainer.val_check_interval, or set "
            f"{monitor.key('monitor')}=validation/loss."
        )


_BEST = {"filename": "best", "enable_version_counter": False}


def _check_best(best: Config) -> None:
    """Refuse settings under which checkpoints/best.ckpt would be absent, or not the best epoch."""
    changed = {key: value for key, value in best.items() if value != _BEST.get(key, value)}
    changed |= {
        key: best[key] for key in best if key not in (*_BEST, "_target_", "monitor", "mode", "verbose")
    }
    for key, value in changed.items():
        raise ConfigError(
            f"{setting(f'callbacks.best.{key}', value)}: best.ckpt would be absent, or not the best epoch. "
            f"Leave it out; only callbacks.best.monitor and callbacks.best.mode can be set."
        )


def _check_balance(config: Config) -> None:
    """Refuse to draw classes equally often and then to weigh them as if they were not."""
    balance = config["batching"].get("balance", "none")
    if balance != "none" and config["loss"].get("class_weights") == "balanced":
        raise ConfigError(
            f"batching.balance={balance}, loss.class_weights=balanced: both correct for unequally frequent classes, so "
            "rare ones would count too much. Set loss.class_weights=none or batching.balance=none."
        )


_READ = (
    *("trainer.accelerator", "trainer.devices", "trainer.max_epochs", "callbacks.best.monitor"),
    *("batching.crop_frames", "batching.cut_frames", "batching.overfit", "batching.carry_state"),
    *("frontend.delta_scale", "features.sample_rate", "loss._target_", "optimizer._target_"),
)
"""Keys below the top that are read by name: null may turn them off, but they cannot be deleted."""


def check_complete(config: Config) -> None:
    """Refuse a setting that was deleted and is read all the same.

    Raises:
        ConfigError: with the first of them.
    """
    for key in _READ:
        owner, _, leaf = key.rpartition(".")
        node: Any = config
        for part in owner.split(".") if owner else ():
            node = (node or {}).get(part)
        if isinstance(node, Mapping) and node and leaf not in node:
            raise ConfigError(
                f"~{key}: is deleted, but every training reads it. Leave it out; --cfg job prints its value."
            )


_SHARDED = ("fsdp", "deepspeed", "model_parallel")


def _check_trainer(config: Config) -> None:
    """Refuse limits below 0, nothing to train, and averages of weights of which no process has all."""
    trainer = config["trainer"]
    if (trainer.get("log_every_n_steps") or 0) < 0:
        raise ConfigError(
            f"trainer.log_every_n_steps={trainer['log_every_n_steps']}: expected 0, for never, or more. Write 50 or so."
        )
    if trainer.get("max_steps", -1) == 0:
        raise ConfigError("trainer.max_steps=0: nothing is trained. Leave it out, or set 1 or more.")
    if trainer.get("enable_checkpointing") is False or trainer.get("barebones"):
        raise ConfigError(
            "trainer.enable_checkpointing=false, trainer.barebones=true: nothing would be saved, and there is no best "
            "epoch. Leave them out."
        )
    strategy = str(trainer.get("strategy", "auto"))
    if strategy.startswith(_SHARDED) and config["callbacks"].get("averaged_weights"):
        raise ConfigError(
            f"trainer.strategy={strategy}: no process has all weights, so they cannot be averaged. "
            "Set callbacks.averaged_weights=null, or trainer.strategy=ddp."
        )


def _check_epochs(trainer: Config, *, has_schedule: bool) -> None:
    epochs, between = trainer.get("max_epochs"), trainer.get("check_val_every_n_epoch", 1)
    is_endless = epochs == -1 and trainer.get("max_steps", -1) == -1
    if epochs is not None and epochs < 1 and (epochs != -1 or (is_endless and has_schedule)):
        why = (
            "no schedule of the learning rate fits an endless training"
            if epochs == -1
            else "nothing is trained"
        )
        raise ConfigError(f"trainer.max_epochs={epochs}: {why}. Set 1 or more.")
    if between is not None and not 1 <= between <= (epochs if epochs and epochs > 0 else between):
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={between}: with trainer.max_epochs={epochs}, nothing would be validated. "
            "Set 1, or a few epochs."
        )


def check_augment(config: Config) -> None:
    """Refuse pieces of `augment` that need mel bands, or their energies, where features are something else.

    Raises:
        ConfigError: with the first of them.
    """
    features = config["features"]
    kind = _class_of(features)
    is_scaled = config["frontend"].get("normalize") == "speaker"
    is_log_energy = (features.get("log", "natural"), features.get("power", 2)) == ("natural", 2)
    are_energies = kind == "LogMel" and is_log_energy and not is_scaled
    needs = {
        "time_stretch": (kind != "Waveform", "spectra, whose pitch it leaves as it is"),
        "frequency_warp": (kind == "LogMel", "mel bands"),
        "frequency_masks": (kind == "LogMel", "mel bands"),
        "gain_db": (are_energies, "natural logarithms of energies"),
        "mixup": (are_energies, "natural logarithms of energies"),
    }
    for piece, (has_them, what) in needs.items():
        if config["augment"].get(piece) and not has_them:
            instead = "" if piece == "mixup" else ", and change recordings with waveform_augment instead"
            raise ConfigError(
                f"augment.{piece}={config['augment'][piece]}: needs {what}, and {kind} gives none with these settings. "
                f"Set augment.{piece}=0{instead}."
            )


def answers_frames(config: Config) -> bool:
    """Return whether the target predicts every frame, not the utterance."""
    return _class_of(config["target"]) == "FrameClasses"


def check_frames(config: Config) -> None:
    """Refuse settings that do not go together where every frame is answered.

    Raises:
        ConfigError: with the first of them.
    """
    pooling, target = _class_of(config["pooling"]), _class_of(config["target"])
    if (pooling == "EveryStep") != answers_frames(config):
        raise ConfigError(
            f"pooling={pooling}, target={target}: one answers frames, the "
            "other utterances. Use pooling=none with target=frame_classes, and another pooling with other targets."
        )
    if config["batching"]["carry_state"]:
        _check_carried(config)
    if not answers_frames(config):
        if config["callbacks"].get("recordings"):
            raise ConfigError(
                "callbacks.recordings: scores recordings of which every frame is answered, but this target answers "
                "utterances. Set callbacks.recordings=null."
            )
        mode = (config["features"].get("silence") or {}).get("mode")
        if mode in ("mask", "class"):
            raise ConfigError(
                f"silence={mode}: is about the frames of an answer, but this target answers utterances. "
                "Use silence=remove or silence=mute, or target=frame_classes with pooling=none."
            )
        return
    refused = {
        "augment.mixup": config["augment"].get("mixup"),
        "augment.time_stretch": config["augment"].get("time_stretch"),
        "waveform_augment": config.get("waveform_augment"),
        "callbacks.output_space": config["callbacks"].get("output_space"),
    }
    for key, value in refused.items():
        if value:
            off = "0" if key.startswith("augment.") else "null"
            raise ConfigError(
                f"{key}: works on whole utterances, but target=frame_classes answers frames. Set {key}={off}."
            )


def _check_carried(config: Config) -> None:
    """Refuse what cannot go on with a state: whole utterances, deltas, stretches, statistics over padded batches."""
    remedies = {
        "target=frame_classes with pooling=none": answers_frames(config),
        "frontend.delta_scale=0": not config["frontend"]["delta_scale"],
        "batching.crop_frames=null": config["batching"]["crop_frames"] is None,
        "head.normalize=none": config["head"].get("normalize") == "none",
    }
    for remedy, holds in remedies.items():
        if not holds:
            raise ConfigError(
                "batching.carry_state=true: a state goes from frame to frame and from sequence to sequence, none of "
                f"them left out, joined or seen together. Use {remedy}, or batching.carry_state=false."
            )


def _class_of(node: Config) -> str:
    """Name of the class that a node builds."""
    return str(node["_target_"]).rpartition(".")[2]


def check_monitor(monitor: str, logged: Iterable[str], *, key: str = "monitor") -> None:
    """Refuse a metric that is not among the logged ones.

    Raises:
        ConfigError: with the nearest name.
    """
    names = set(logged)
    if monitor not in names:
        raise complaint([f"{key}={monitor}: no such metric is logged. {did_you_mean(monitor, names)}"])
