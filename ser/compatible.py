"""Settings that a signature allows and no training can have: missing, out of range, or not going together."""

from collections.abc import Mapping
from typing import Any

from ser.errors import ConfigError

Config = Mapping[str, Any]

_LARGEST_SEED = 2**32 - 1  # of NumPy
_NEEDED = (
    *("seed", "data", "batching", "features", "frontend", "target", "model", "pooling", "head", "augment"),
    *("loss", "optimizer", "trainer", "callbacks", "logger", "monitor", "mode"),
)


def check_training(config: Config) -> None:
    """Refuse a training that would not begin, not end, or leave nothing to choose the best epoch by.

    Raises:
        ConfigError: with the first reason.
    """
    if missing := [key for key in _NEEDED if config.get(key) is None]:
        raise ConfigError(
            f"{missing[0]}: is deleted or null, but no training goes without. Leave out '~{missing[0]}' and "
            f"'{missing[0]}=null'; python train.py --help lists the options."
        )
    if not config["callbacks"].get("best"):
        raise ConfigError(
            "callbacks.best: is deleted or null, but it saves the epoch that is scored. Leave it on; "
            "its monitor and mode can be set."
        )
    trainer = config["trainer"]
    if not 0 <= config["seed"] <= _LARGEST_SEED:
        raise ConfigError(f"seed={config['seed']}: expected 0 to {_LARGEST_SEED}. Choose another.")
    if trainer.get("fast_dev_run"):
        raise ConfigError(
            "trainer.fast_dev_run: Lightning would save no checkpoint, and there is no best one. Use debug=fast."
        )
    for key in ("limit_train_batches", "limit_val_batches", "accumulate_grad_batches"):
        if trainer.get(key, 1) is not None and trainer.get(key, 1) <= 0:
            raise ConfigError(
                f"trainer.{key}={trainer[key]}: expected more than 0. Leave it out, or set 1 or more."
            )
    _check_epochs(trainer, has_schedule=bool(config.get("schedule")))
    is_loss = config["monitor"].endswith("loss")
    if (config["mode"] == "min") != is_loss:
        raise ConfigError(
            f"monitor={config['monitor']}, mode={config['mode']}: the worst epoch would be chosen. "
            f"Set mode={'min' if is_loss else 'max'}."
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
    """Whether the target has an answer for every frame, and not one for an utterance."""
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
