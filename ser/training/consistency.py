"""Settings that a signature allows and no training can have: missing, out of range, or not going together."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ser.config.instantiate import build, find_class
from ser.config.settings import Batching, Spec, Train, option_of
from ser.config.slots import resolve
from ser.config.types import signature
from ser.config.validate import complaint
from ser.errors import ConfigError, did_you_mean, setting
from ser.features import Extractor
from ser.models import Encoder, Pooling
from ser.runs.environment import program_words
from ser.runs.ranks import is_shared
from ser.runs.sweep import current_trial
from ser.splits.speaker_normalize import uses_speaker_normalization
from ser.targets import Target

_LARGEST_SEED = 2**32 - 1  # of NumPy
_NEEDED = (
    *("seed", "data", "batching", "features", "frontend", "target", "model", "pooling", "head", "augment"),
    *("loss", "optimizer", "trainer", "callbacks", "monitor", "mode"),
)


_POSITIVE = ("val_check_interval", "gradient_clip_val")


def check_needed(settings: Train) -> None:
    """Refuse a config without a node that every training reads, or with something else in its place.

    Raises:
        ConfigError: with the first of them.
    """
    if missing := [key for key in _NEEDED if getattr(settings, key) is None]:
        raise ConfigError(
            f"{missing[0]}: is deleted or null, but no training goes without. Leave out '~{missing[0]}' and "
            f"'{missing[0]}=null'; {' '.join(program_words())} --help lists the options."
        )
    for key in ("trainer", "callbacks", "batching"):
        if not isinstance(found := getattr(settings, key), Mapping | Batching):
            raise ConfigError(f"{key}: expected settings, found {found!r}. Give it its keys and values.")


def check_training(settings: Train) -> None:
    """Refuse a training that would not begin, not end, or leave nothing to choose the best epoch by.

    Raises:
        ConfigError: with the first reason.
    """
    check_needed(settings)
    if not settings.callbacks.get("best") and settings.pretraining is None:
        raise ConfigError(
            "callbacks.best: is deleted or null, but it saves the epoch that is scored. Leave it on; "
            "its monitor and mode can be set."
        )
    trainer = settings.trainer
    if settings.ensemble is not None and is_shared(trainer):
        raise ConfigError(
            "ensemble: its members are trained one after the other in one process. "
            "Set trainer.devices=1 trainer.num_nodes=1 trainer.strategy=auto."
        )
    if not 0 <= settings.seed <= _LARGEST_SEED:
        raise ConfigError(f"seed={settings.seed}: expected 0 to {_LARGEST_SEED}. Choose another.")
    if trainer.get("fast_dev_run"):
        raise ConfigError(
            "trainer.fast_dev_run: Lightning would save no checkpoint, and there is no best one. "
            "Use debug=fast instead."
        )
    for key in ("limit_train_batches", "limit_val_batches", "accumulate_grad_batches", *_POSITIVE):
        if trainer.get(key, 1) is not None and trainer.get(key, 1) <= 0:
            raise ConfigError(
                f"trainer.{key}={trainer[key]}: expected more than 0. Leave it out, or set 1 or more."
            )
    _check_trainer(settings)
    _check_epochs(trainer, has_schedule=bool(settings.schedule))
    best = settings.callbacks["best"] or {}
    ours = () if settings.has_validation else ("save_on_train_epoch_end",)  # of `without_validation`
    _check_best({key: value for key, value in best.items() if key not in ours})
    _check_balance(settings)
    for monitor in monitors(settings):
        monitor.check_mode()
        _check_moment(monitor, trainer)


NO_VALIDATION = (
    "There is no validation split, as data.validation=none: its utterances are in train, no score chooses an epoch, "
    "nothing stops the training early, and the last epoch is kept."
)


def without_validation(settings: Train) -> Train:
    """Return the settings of a training; without a validation split, all that needs one is off.

    Raises:
        ConfigError: Something that was asked for needs scores of validation.
    """
    if settings.has_validation or settings.pretraining is not None:
        return settings
    check_needed(settings)
    _refuse_choices(settings)
    off = [node.removeprefix("callbacks.") for node in _need_validation(settings) if "callbacks." in node]
    last = {"monitor": None, "mode": "min", "save_on_train_epoch_end": True}
    callbacks = {**settings.callbacks, **dict.fromkeys(off)}
    if settings.callbacks.get("best"):
        callbacks["best"] = {**(settings.callbacks["best"] or {}), **last}
    return Train.of({**settings.config, "monitor": "train/loss", "mode": "min", "callbacks": callbacks})


def _refuse_choices(settings: Train) -> None:
    """Refuse what chooses by scores of validation, where there is none."""
    nodes = [*_need_validation(settings)]
    refused = {
        "a search": (bool(current_trial()), "Leave out the search"),
        f"ensemble={settings.ensemble}": (settings.ensemble is not None, "Set ensemble=null"),
        "schedule=plateau": (
            "schedule" in nodes,
            "Use schedule=one_cycle, or add +schedule.monitor=train/loss",
        ),
    }
    for what, (is_set, remedy) in refused.items():
        if is_set:
            raise ConfigError(
                f"data.validation=none: {what} needs scores of a validation split. {remedy}, or leave out "
                "data.validation=none."
            )


def _need_validation(settings: Train) -> Iterator[str]:
    """Yield the nodes that monitor a value of validation or use its utterances, such as callbacks.early_stopping."""
    watching = [each.node for each in monitors(settings) if each.name.startswith("validation/")]
    using = [
        f"callbacks.{name}"
        for name, node in settings.callbacks.items()
        if node and getattr(resolve(f"callbacks.{name}", node["_target_"]), "needs_validation", False)
    ]
    yield from dict.fromkeys(node for node in [*watching, *using] if node not in ("", "callbacks.best"))


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


def monitors(settings: Train) -> Iterator[Monitor]:
    """Find every setting that names a logged value: at the root, of the schedule, of each callback."""
    yield Monitor("", settings.monitor, settings.mode)
    nodes = {"schedule": settings.schedule}
    nodes |= {f"callbacks.{name}": node for name, node in settings.callbacks.items()}
    for path, node in nodes.items():
        if not node:
            continue
        takes = signature(resolve(path, node["_target_"]))[0] if "_target_" in node else {}
        name, mode = (
            node.get(leaf, takes[leaf].default if leaf in takes else None) for leaf in ("monitor", "mode")
        )
        if isinstance(name, str):
            yield Monitor(path, name, mode)


def _check_moment(monitor: Monitor, trainer: Spec) -> None:
    """Refuse a value of training where validation is not at the end of every epoch: it would be an older one."""
    between, within = trainer.get("check_val_every_n_epoch", 1), trainer.get("val_check_interval")
    if monitor.name.startswith("train/") and (between != 1 or within not in (None, 1.0)):
        raise ConfigError(
            f"{monitor.key('monitor')}={monitor.name}: is known at the end of an epoch, but validation is not once in "
            f"every epoch. Leave out trainer.check_val_every_n_epoch and trainer.val_check_interval, or set "
            f"{monitor.key('monitor')}=validation/loss."
        )


_BEST = {"filename": "best", "enable_version_counter": False}


def _check_best(best: Spec) -> None:
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


def _check_balance(settings: Train) -> None:
    """Refuse to draw classes equally often and then to weigh them as if they were not."""
    balance = settings.batching.balance
    if balance != "none" and settings.loss.get("class_weights") == "balanced":
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


def check_complete(settings: Train) -> None:
    """Refuse a setting that was deleted and is read all the same.

    Raises:
        ConfigError: with the first of them.
    """
    for key in _READ:
        owner, _, leaf = key.rpartition(".")
        node: Any = settings.config
        for part in owner.split(".") if owner else ():
            node = (node or {}).get(part)
        if isinstance(node, Mapping) and leaf not in node:
            raise ConfigError(
                f"~{key}: is deleted, but every training reads it. Leave it out; --cfg job prints its value."
            )


_SHARDED = ("fsdp", "deepspeed", "model_parallel")


def _check_trainer(settings: Train) -> None:
    """Refuse limits below 0, nothing to train, and averages of weights of which no process has all."""
    trainer = settings.trainer
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
    if strategy.startswith(_SHARDED) and settings.callbacks.get("averaged_weights"):
        raise ConfigError(
            f"trainer.strategy={strategy}: no process has all weights, so they cannot be averaged. "
            "Set callbacks.averaged_weights=null, or trainer.strategy=ddp."
        )
    waits = settings.model.get("unfreeze_epoch")
    if waits and is_shared(trainer) and "find_unused" not in strategy:
        raise ConfigError(
            f"model.unfreeze_epoch={waits}: several processes wait for gradients, which frozen weights do not have. "
            "Set trainer.strategy=ddp_find_unused_parameters_true, or model.unfreeze_epoch=0."
        )


def _check_epochs(trainer: Spec, *, has_schedule: bool) -> None:
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


def check_augment(settings: Train) -> None:
    """Refuse pieces of `augment` that need mel bands, or their energies, where features are something else.

    Raises:
        ConfigError: with the first of them.
    """
    extractor: Extractor = build(settings.features, slot="features")
    are_bands = extractor.band_frequencies() is not None
    are_energies = extractor.are_log_energies and not uses_speaker_normalization(settings.frontend)
    target: type[Target] = find_class(settings.target, slot="target")
    needs = {
        "time_stretch": (not extractor.is_waveform, "spectra, whose pitch it leaves as it is"),
        "frequency_warp": (are_bands, "mel bands"),
        "frequency_masks": (are_bands, "mel bands"),
        "gain_db": (are_energies, "natural logarithms of energies"),
        "mixup": (are_energies, "natural logarithms of energies"),
    }
    for piece, (has_them, what) in needs.items():
        if settings.augment.get(piece) and not has_them:
            is_alone = piece == "mixup" or target.resolution == "frame"
            instead = "" if is_alone else ", and change recordings with waveform_augment instead"
            raise ConfigError(
                f"augment.{piece}={settings.augment[piece]}: needs {what}, and {type(extractor).__name__} gives none "
                f"with these settings. Set augment.{piece}=0{instead}."
            )


def check_encoder_input(settings: Train) -> None:
    """Refuse features that the encoder cannot use, such as other than unchanged waveforms for a pre-trained one.

    Raises:
        ConfigError: with the settings to change; or the encoder cannot be read.
        CheckpointError: if its folder cannot be read.
    """
    encoder: type[Encoder] = find_class(settings.model, slot="model")
    extractor: Extractor = build(settings.features, slot="features")
    encoder.complete(settings.model, extractor)
    rate = encoder.waveform_rate(settings.model)
    if rate is None:
        return
    wanted = {
        "features=raw_waveform": extractor.is_waveform,
        f"features.sample_rate={rate}": extractor.sample_rate == rate,
        "features.normalize=none": not extractor.is_waveform or settings.features.get("normalize") == "none",
        "frontend.normalize=none": settings.frontend.get("normalize") == "none",
        "frontend.delta_scale=0": not settings.frontend.get("delta_scale"),
    }
    if lacking := [remedy for remedy, holds in wanted.items() if not holds]:
        raise ConfigError(
            f"model={option_of('model', find_class(settings.model, slot='model'))}: this encoder was trained on "
            f"unchanged waveforms of {rate} Hz. Set {' '.join(lacking)}."
        )


def check_frames(settings: Train) -> None:
    """Refuse settings that do not go together where every frame is answered.

    Raises:
        ConfigError: with the first of them.
    """
    pooling: type[Pooling] = find_class(settings.pooling, slot="pooling")
    target: type[Target] = find_class(settings.target, slot="target")
    answers_frames = target.resolution == "frame"
    if pooling.resolution != target.resolution:
        raise ConfigError(
            f"pooling={option_of('pooling', pooling)}, target={option_of('target', target)}: one answers frames, the "
            f"other utterances. Set pooling={'none' if answers_frames else 'mean'}."
        )
    if target.labelled_at == "frame":
        _check_over_time(settings, option_of("target", target))
    if settings.batching.carry_state:
        _check_carried(settings, answers_frames=answers_frames)
    if not answers_frames:
        if settings.callbacks.get("recordings"):
            raise ConfigError(
                "callbacks.recordings: scores recordings of which every frame is answered, but this target answers "
                "utterances. Set callbacks.recordings=null."
            )
        mode = (settings.features.get("silence") or {}).get("mode")
        if mode in ("mask", "class"):
            raise ConfigError(
                f"silence={mode}: is about the frames of an answer, but this target answers utterances. "
                "Set features.silence.mode=remove or features.silence.mode=mute, or use target=frame_classes with "
                "pooling=none."
            )
        return
    _refuse_whole_utterance_pieces(settings, option_of("target", target))


def _check_over_time(settings: Train, target: str) -> None:
    """Refuse what needs one speaker or one class for a recording, where labels and words are over time."""
    if uses_speaker_normalization(settings.frontend):
        raise ConfigError(
            f"frontend.normalize={settings.frontend['normalize']}: would normalise audio, but the steps of this target "
            "hold words, too. Set frontend.normalize=global."
        )
    if settings.callbacks.get("recordings"):
        raise ConfigError(
            f"callbacks.recordings: scores the class of each recording, but target={target} predicts values over time. "
            "Set callbacks.recordings=null."
        )


def _refuse_whole_utterance_pieces(settings: Train, target: str) -> None:
    """Refuse augmentation and callbacks that work on whole utterances, where frames are answered."""
    refused = {
        "augment.mixup": settings.augment.get("mixup"),
        "augment.time_stretch": settings.augment.get("time_stretch"),
        "waveform_augment": settings.waveform_augment,
        "callbacks.output_space": settings.callbacks.get("output_space"),
    }
    for key, value in refused.items():
        if value:
            off = "0" if key.startswith("augment.") else "null"
            raise ConfigError(
                f"{key}: works on whole utterances, but target={target} answers frames. Set {key}={off}."
            )


def _check_carried(settings: Train, *, answers_frames: bool) -> None:
    """Refuse what cannot go on with a state: whole utterances, deltas, stretches, statistics over padded batches."""
    remedies = {
        "target=frame_classes with pooling=none": answers_frames,
        "frontend.delta_scale=0": not settings.frontend["delta_scale"],
        "batching.crop_frames=null": settings.batching.crop_frames is None,
        "head.normalize=none": settings.head.get("normalize") == "none",
    }
    for remedy, holds in remedies.items():
        if not holds:
            raise ConfigError(
                "batching.carry_state=true: a state goes from frame to frame and from sequence to sequence, none of "
                f"them left out, joined or seen together. Use {remedy}, or batching.carry_state=false."
            )


def check_monitor(monitor: str, logged: Iterable[str], *, key: str = "monitor") -> None:
    """Refuse a metric that is not among the logged ones.

    Raises:
        ConfigError: with the nearest name.
    """
    names = set(logged)
    if monitor not in names:
        raise complaint([f"{key}={monitor}: no such metric is logged. {did_you_mean(monitor, names)}"])
