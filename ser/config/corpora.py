"""Corpora by name: the reader that an option of `data=` describes, with a folder and settings of one's own.

A config names several of them with `${corpus_readers:}`, which stands for their specs.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from ser.config.settings import find_conf, names_of
from ser.errors import ConfigError, did_you_mean

TYPED_AS = ("data.readers.", "data.settings.")
"""Settings of the readers of a mix, and those that a user types for them."""

SHARED = ("cache_dir", "split", "validation", "on_error", "fields", "needs_labels")
"""Settings of a reader that are those of the whole mix."""


def corpus_options() -> list[str]:
    """Return the options of `data=`, of ours and of the user's own folder."""
    return sorted({path.stem for folder in _folders() for path in (folder / "data").glob("*.yaml")})


def corpus_spec(name: str, *, folder: str | None = None) -> dict[str, Any]:
    """Return the node `data` of an option of `data=`, without interpolations resolved.

    Args:
        name: Name of the option, such as ravdess.
        folder: Folder of the corpus; None leaves it open.

    Raises:
        ConfigError: There is no such option.
    """
    if name not in corpus_options():
        raise ConfigError(f"there is no corpus '{name}'. {did_you_mean(name, corpus_options())}")
    spec: Any = OmegaConf.to_container(_read_option("data", name))
    if folder is not None:
        spec["path" if spec.get("path") == "???" else "root"] = folder
    return dict(spec)


def _read_option(group: str, name: str) -> Any:
    """Merge the nodes `data` of an option and of the options of its own group that it starts from."""
    file = next(
        path for folder in _folders() if (path := folder / group / f"{name}.yaml").is_file()
    )  # the user's own folder stands first
    content: Any = OmegaConf.load(file)
    merged: Any = OmegaConf.create({})
    for entry in content.get("defaults") or ():
        if isinstance(entry, str) and entry != "_self_":
            merged = OmegaConf.merge(merged, _read_option(group, entry))
    return OmegaConf.merge(merged, content.get("data") or {})


def _folders() -> Iterator[Path]:
    """Yield the folders of configs: those in Hydra's search path, then ours."""
    if GlobalHydra.instance().is_initialized():
        for place in GlobalHydra.instance().config_loader().get_search_path().get_path():
            if str(place.path).startswith("file://"):
                yield Path(str(place.path).removeprefix("file://"))
    yield find_conf(Path(__file__))


def corpus_readers(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of each corpus of a mix by its name; names of no corpus of recordings are left out.

    Args:
        data: Settings of the mix: `corpora`, `corpora_root`, `folders`, `settings` and what all corpora share.
    """
    found = {}
    for name in map(str, names_of(data.get("corpora") or [])):
        own = dict((data.get("settings") or {}).get(name) or {})
        option = str(own.pop("data", name))
        if option not in corpus_options():
            continue
        place = (data.get("folders") or {}).get(name) or name
        spec = corpus_spec(option, folder=str(Path(data.get("corpora_root") or ".") / str(place)))
        if "label_map" not in spec:  # no recordings of single utterances
            continue
        protocol = own.pop("protocol", None)
        found[name] = spec | own | {key: data[key] for key in SHARED if key in data}
        rule = found[name].get("split")
        if isinstance(rule, Mapping) and "corpus" in rule:  # a published protocol belongs to its corpus
            of_corpus = {"corpus": rule["corpus"] or spec.get("corpus")}
            found[name]["split"] = {**rule, **of_corpus, "protocol": protocol or rule.get("protocol")}
    return found


def _readers(*, _parent_: DictConfig) -> dict[str, Any]:
    """Resolve `${corpus_readers:}` beside the settings of a mix."""
    keys = ("corpora", "corpora_root", "folders", "settings", *SHARED)
    known = [key for key in keys if key in _parent_ and not OmegaConf.is_missing(_parent_, key)]
    plain: Any = {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key in known
        for value in [_parent_[key]]
    }
    return corpus_readers(plain)


OmegaConf.register_new_resolver("corpus_readers", _readers, replace=True)


def follow_settings(cfg: DictConfig) -> None:
    """Let the readers of a mix follow from its settings, also in a run folder, where they stand as they were."""
    if OmegaConf.select(cfg, "data.readers") is not None:
        cfg.data.readers = "${corpus_readers:}"
