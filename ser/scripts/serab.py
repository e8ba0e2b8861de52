"""Score frozen embeddings on the corpora of the SERAB benchmark.

ser serab corpora=[ravdess,emodb4] corpora_root=DIR extractor=byol_s extractor.weights=FILE
"""

from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ser.config.instantiate import find_class
from ser.config.main import main
from ser.config.settings import Serab, names_of
from ser.config.types import signature
from ser.config.validate import check
from ser.errors import ConfigError, did_you_mean, install_command


@main("serab", existing_paths=("corpora_root",))
def serab(settings: Serab) -> float:
    """Run the benchmark; a sweep is ranked by the mean accuracy over corpora on the split `select`."""
    job = HydraConfig.get()
    specs = {name: corpus_spec(name, settings) for name in dict.fromkeys(names_of(settings.corpora))}
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
        settings,
        specs,
        folder=Path(job.runtime.output_dir),
        extractor=job.runtime.choices["extractor"],
        split=_split(),
    )


def corpus_spec(name: str, settings: Serab) -> dict[str, Any]:
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
        cfg.data.root = str(Path(settings.corpora_root) / (settings.folders.get(name) or name))
    spec: dict[str, Any] = check(OmegaConf.masked_copy(cfg, ["data"]))["data"]
    rule, label = settings.data.split, settings.data.label or spec.get("label")
    spec |= {"cache_dir": settings.cache_dir, "label": label, "split": {**rule, "label": label}}
    takes = signature(find_class(rule, slot="data.split"))[0].keys()
    for own in (settings.settings, settings.published if _split() == "serab" else {}):
        changes = own.get(name) or {}
        if changes.get("split", {}).keys() <= takes:
            spec["split"] |= changes.get("split", {})
        spec |= {key: value for key, value in changes.items() if key != "split"}
    return spec


def _split() -> str:
    """Return the name of the option of `split=`."""
    return str(HydraConfig.get().runtime.choices["split"])
