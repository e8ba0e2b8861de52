"""Score frozen embeddings on the corpora of the SERAB benchmark.

ser serab corpora=[ravdess,emodb4] corpora_root=DIR extractor=byol_s extractor.weights=FILE
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ser.config.main import main
from ser.config.settings import Serab
from ser.config.validate import check, show
from ser.errors import ConfigError, did_you_mean, install_command


@main("serab", existing_paths=("corpora_root",))
def serab(settings: Serab) -> float:
    """Run the benchmark; a sweep is ranked by the mean accuracy over corpora on the split `select`."""
    config, job = settings.config, HydraConfig.get()
    check_names(config)
    corpora = [config["corpora"]] if isinstance(config["corpora"], str) else config["corpora"]
    specs = {name: corpus_spec(name, config) for name in dict.fromkeys(corpora)}
    try:
        from ser.serab import (
            benchmark,
        )  # torch and scikit-learn take 4 s: not before the config is known to be right
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in ("sklearn", "joblib", "threadpoolctl"):
            raise
        raise ConfigError(
            f"The benchmark's classifiers cannot be imported ({error}). Run: {install_command('serab')}"
        ) from error
    return benchmark.run(
        config,
        specs,
        folder=Path(job.runtime.output_dir),
        extractor=job.runtime.choices["extractor"],
        split=_split(),
    )


def check_names(config: Mapping[str, Any]) -> None:
    """Check that names are text, because YAML reads `null` and `2024` as other types.

    Raises:
        ConfigError: something is not.
    """
    for key, example in {"corpora": "ravdess", "classifiers": "svc"}.items():
        names = [config[key]] if isinstance(config[key], str) else config[key]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{key}={show(config[key])}: expected a list of names, such as [{example}].")
    for key, of in {"folders": "folder", "settings": "settings", "published": "settings"}.items():
        if not isinstance(config[key], Mapping):
            raise ConfigError(
                f"{key}={show(config[key])}: expected corpus -> {of}. Leave it out to have ours."
            )
    for name, folder in config["folders"].items():
        if not isinstance(folder, str | None):
            raise ConfigError(
                f"folders.{name}={show(folder)}: expected the name of a folder. "
                f"Quote it: 'folders.{name}=\"{show(folder)}\"'."
            )


def corpus_spec(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config node of a corpus: its option of `data=`, its folder, the benchmark's split and settings.

    Raises:
        ConfigError: there is no such option, it is about something else, or it leaves something open.
    """
    options = GlobalHydra.instance().config_loader().get_group_options("data")
    if name not in options:
        raise ConfigError(f"corpora=[{name}]: there is no such corpus. {did_you_mean(name, options)}")
    cfg = compose("train", overrides=[f"data={name}"])
    if "split" not in cfg.data:
        raise ConfigError(f"corpora=[{name}]: data={name} is no corpus of recordings. Name one of speech.")
    if OmegaConf.is_missing(cfg.data, "root"):
        cfg.data.root = str(Path(config["corpora_root"]) / (config["folders"].get(name) or name))
    spec: dict[str, Any] = check(OmegaConf.masked_copy(cfg, ["data"]))["data"]
    rule = config["data"]["split"]
    label = config["data"]["label"] or spec.get("label")
    spec |= {"cache_dir": config["cache_dir"], "label": label, "split": {**rule, "label": label}}
    for own in (config["settings"], config["published"] if _split() == "serab" else {}):
        changes = own.get(name) or {}
        if rule["_target_"].endswith(".Serab"):
            spec["split"] |= changes.get("split", {})
        spec |= {key: value for key, value in changes.items() if key != "split"}
    return spec


def _split() -> str:
    """Return the name of the option of `split=`."""
    return str(HydraConfig.get().runtime.choices["split"])
