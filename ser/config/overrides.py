"""Settings of a command line: parsed, applied to the composed config, and inspected."""

import copy
import difflib
import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ser.config.settings import Settings
from ser.config.slots import trust
from ser.config.types import signature
from ser.config.validate import describe, find_problems, known_keys, nearest_key, show
from ser.errors import ConfigError, first_line, hydra_value, setting
from ser.runs.handed_over import find_code_in_hydra

_CHECKED_COMBINATIONS = 32  # of a sweep, in advance; composing one takes up to 0.1 s


@dataclass(frozen=True)
class App:
    """What a script is made of.

    Args:
        conf: folder of the configs.
        config_name: the primary config, without `.yaml`.
        existing_paths: full keys of files or folders that must be there.
        schema: class of the settings.
        help: what --help prints before the groups; None where it stands in the config.
        config_dir: folder of the user's own configs and code.
        is_own: whether the user wrote the config, so that the packages it names may be imported; a run's folder may
            come from somebody else.
        trusts: whether the user wrote its setting `trust`.
    """

    conf: Path
    config_name: str
    existing_paths: Sequence[str]
    schema: type[Settings] = Settings
    help: str | None = None
    config_dir: Path | None = None
    is_own: bool = True
    trusts: bool = True

    def root_keys(self) -> set[str]:
        """The keys that may stand at the top: those of the primary config, and the groups."""
        folders = [self.conf, *([self.config_dir] if self.config_dir else [])]
        groups = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
        typed = signature(self.schema)[0].keys()  # type: ignore[arg-type]
        return groups | {*typed} | self._keys_of(self.config_name)

    def trust(self, cfg: DictConfig) -> None:
        """Let the packages that the user trusts be imported, also from the folders of the user."""
        select = functools.partial(
            OmegaConf.select, throw_on_resolution_failure=False, throw_on_missing=False
        )
        packages = select(cfg, "trust") if self.trusts else None
        names = (
            [packages] if isinstance(packages, str) else packages if isinstance(packages, ListConfig) else []
        )
        trust(map(str, names), *([str(self.config_dir)] if self.config_dir else []))

    def inspect(self, cfg: DictConfig) -> list[str]:
        """The problems of a composed config."""
        self.trust(cfg)
        problems = find_problems(cfg, self.root_keys(), self.existing_paths, self.schema, is_own=self.is_own)[
            1
        ]
        deleted = self._keys_of(self.config_name) - {str(key) for key in cfg} - {"hydra"}
        return [*problems, *(f"{key}: is deleted. Leave out '~{key}'." for key in sorted(deleted))]

    def _keys_of(self, name: str) -> set[str]:
        """The keys of a config file and of the files that its defaults list names without a group."""
        content = OmegaConf.load(self.conf / f"{name}.yaml")
        assert isinstance(content, DictConfig)
        defaults = content.pop("defaults", [])
        files = [entry for entry in defaults if isinstance(entry, str) and entry != "_self_"]
        return {str(key) for key in content}.union(*map(self._keys_of, files))


@dataclass(frozen=True)
class Setting:
    """One override with one value.

    Args:
        raw: as typed; of a sweep, with one of its values.
        override: parsed.
        is_plain: it changes a key, rather than a group or Hydra's own settings.
        interval: from which a sweeper draws its value, such as interval(1e-4,1e-2); empty where it is given.
    """

    raw: str
    override: Override
    is_plain: bool
    interval: str = ""


@dataclass(frozen=True)
class Trial:
    """What one combination of settings comes to.

    Args:
        refused: settings that cannot be applied.
        faults: problems of the config they make.
        bare: keys that no YAML spells out, though a constructor takes them; Hydra wants `++` before them.
        run_dir: where a single run would write.
        sweep_dir: where a sweep would write.
        trainer: settings of the trainer, for scripts that train.
    """

    refused: list[str]
    faults: list[str] = field(default_factory=list)
    bare: frozenset[str] = frozenset()
    run_dir: Path = Path()
    sweep_dir: Path = Path()
    trainer: Any = None

    @property
    def problems(self) -> list[str]:
        """Why it cannot run."""
        return [*self.refused, *self.faults]

    def to_show(self) -> "Trial":
        """The same where nothing runs: faults are what one may want to look at, except unknown keys."""
        return replace(self, faults=[line for line in self.faults if line.partition("=")[0] in self.bare])


def read_settings(overrides: Sequence[str], *, may_sweep: bool) -> tuple[list[list[Setting]], list[str]]:
    """Return the values of each override, several in a sweep, and what is wrong with the others."""
    loader: ConfigLoader = GlobalHydra.instance().config_loader()
    groups = set(loader.list_groups(""))
    settings, problems = [], []
    for raw in overrides:
        try:
            override = _parse(raw)
            override.config_loader = loader  # glob() asks it for the options of a group
            is_group = "/" in override.key_or_group or override.key_or_group in groups
            options = loader.get_group_options(override.key_or_group) if is_group else None
            settings.append([*_variants(raw, override, options, may_sweep=may_sweep)])
        except ConfigError as error:
            problems.append(str(error))
    return settings, problems


def _variants(
    raw: str, override: Override, options: Sequence[str] | None, *, may_sweep: bool
) -> Iterator[Setting]:
    """The values of an override: one, or those of a sweep.

    Args:
        raw: as typed.
        override: parsed.
        options: of the group that it names; None where it names none.
        may_sweep: whether there was `-m`.

    Raises:
        ConfigError: it names an option that a group does not have, or sweeps without `-m`.
    """
    key = override.get_key_element()
    is_plain = options is None and not (key.startswith(("+", "~", "hydra.")) or override.package)
    is_sweep = override.is_sweep_override()
    if is_sweep and not may_sweep:
        values = override.get_value_string()
        is_list = options is None and "(" not in values  # range(1,3) in brackets would be a text
        listed = f"; a list is written {key}=[{values}]" if is_list else ""
        raise ConfigError(f"{raw}: several values make a sweep. Add -m for one run each{listed}.")
    for value in _sweep_values(override) if is_sweep else [raw.partition("=")[2]]:
        if options is not None and not override.is_delete():
            _check_options(key, value, options)
        text = f"{key}={value}" if is_sweep else raw
        interval = override.value() if is_sweep else None
        drawn = f"interval({interval.start},{interval.end})" if isinstance(interval, IntervalSweep) else ""
        yield Setting(text, _parse(text) if is_sweep else override, is_plain, drawn)


def _sweep_values(override: Override) -> Iterator[str]:
    interval = override.value()
    if isinstance(interval, IntervalSweep):  # a sweeper draws from it; its start stands for all
        return iter([str(interval.start)])
    return itertools.islice(override.sweep_string_iterator(), _CHECKED_COMBINATIONS)


def _parse(raw: str) -> Override:
    """Parse an override.

    Raises:
        ConfigError: it is not in Hydra's grammar; says how to quote it where that helps.
    """
    parser = OverridesParser.create()
    key, equals, value = raw.partition("=")
    if not key:
        raise ConfigError(f"{raw}: has no key before the '='. Write KEY={value}.")
    try:
        return parser.parse_override(raw)
    except HydraException as error:
        if not equals:
            raise ConfigError(f"{raw}: has no '='. Write {raw}=VALUE.") from error
        is_list = value.startswith("[") and value.endswith("]")
        items = [item.strip() for item in value[1:-1].split(",")] if is_list else value
        try:
            parser.parse_override(f"{key}={hydra_value(items)}")
        except HydraException:
            raise ConfigError(f"{raw}: cannot be read: {first_line(error)}. Write KEY=VALUE.") from error
        what = "a value with '='" if "=" in value else "a value with such characters"
        raise ConfigError(f"{raw}: {what} must be quoted. Write {setting(key, items)}.") from error


def _check_options(key: str, value: str, options: Sequence[str]) -> None:
    for option in value.strip("[]\"'").split(","):
        if option.strip() not in (*options, "null", ""):
            near = difflib.get_close_matches(option, options, n=1)
            nearest = f"Did you mean '{near[0]}'? " if near else ""
            raise ConfigError(
                f"{key}={option}: no such option. {nearest}Options: {', '.join(options) or 'none'}."
            )


def try_combinations(app: App, settings: Sequence[Sequence[Setting]]) -> list[Trial]:
    """Compose and inspect the first combinations of a sweep, or the only one of a single run."""
    composed = functools.cache(functools.partial(_compose, app.config_name))
    trials = []
    for combination in itertools.islice(itertools.product(*settings), _CHECKED_COMBINATIONS):
        cfg, refused = composed(tuple(setting.raw for setting in combination if not setting.is_plain))
        if cfg is None:
            trials.append(Trial(refused))
        else:
            plain = [setting for setting in combination if setting.is_plain]
            trial = _try(app, copy.deepcopy(cfg), plain)
            trials.append(replace(trial, refused=[*refused, *trial.refused]))
    return trials


def _compose(config_name: str, overrides: tuple[str, ...]) -> tuple[DictConfig | None, list[str]]:
    """Compose a config from the overrides that Hydra takes, and say why it refuses the others."""
    cfg, reason = _compose_all(config_name, overrides)
    if not reason:
        return cfg, []
    if broken := _compose_all(config_name, ())[1]:
        return None, [f"{config_name}.yaml: {broken}"]
    alone = {raw: _compose_all(config_name, (raw,))[1] for raw in overrides}
    refused = [f"{raw}: {reason}" for raw, reason in alone.items() if reason]
    if not refused:
        return None, [f"{' '.join(overrides)}: {reason}"]
    return _compose_all(config_name, tuple(raw for raw in overrides if not alone[raw]))[0], refused


def _compose_all(config_name: str, overrides: tuple[str, ...]) -> tuple[DictConfig | None, str]:
    try:
        return compose(config_name, [*overrides], return_hydra_config=True), ""
    except Exception as error:  # Hydra's, OmegaConf's or YAML's
        return None, " ".join(str(error).split()) or first_line(error)


def _try(app: App, cfg: DictConfig, settings: Sequence[Setting]) -> Trial:
    """Apply settings to a composed config and inspect it."""
    known = known_keys(_raw(_without_hydra(cfg))) | app.root_keys()
    bare = frozenset(s.override.key_or_group for s in settings if _is_bare(cfg, s.override.key_or_group))
    refused = [problem for setting in settings for problem in _apply(setting, cfg, known)]
    if "BasicSweeper" in str(OmegaConf.select(cfg, "hydra.sweeper._target_")):
        refused += [
            f"{setting.override.key_or_group}={setting.interval}: Hydra's basic sweeper draws no numbers from an "
            f"interval. List values, such as {setting.override.key_or_group}={setting.interval[9:-1]}."
            for setting in settings
            if setting.interval
        ]
    run_dir, sweep_dir = (_folder(cfg, f"hydra.{kind}.dir") for kind in ("run", "sweep"))
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        cfg.hydra.runtime.output_dir, cfg.hydra.job.num, cfg.hydra.job.id = str(run_dir), 0, "0"
    HydraConfig.instance().set_config(cfg)  # the resolver ${hydra:...} reads it
    try:
        faults = [*app.inspect(_without_hydra(cfg)), *find_code_in_hydra(_raw(cfg.hydra))]
    finally:
        HydraConfig.instance().cfg = None
    return Trial(refused, faults, bare, run_dir, sweep_dir, _raw(cfg).get("trainer"))


def _without_hydra(cfg: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def _raw(cfg: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _folder(cfg: DictConfig, key: str) -> Path:
    name = OmegaConf.select(cfg, key, throw_on_resolution_failure=False, throw_on_missing=False)
    return Path(str(name or "."))


def _owner(cfg: DictConfig, key: str) -> Any:
    """The node that holds a key."""
    owner = key.rpartition(".")[0]
    if not owner:
        return cfg
    return OmegaConf.select(cfg, owner, throw_on_resolution_failure=False, throw_on_missing=False)


def _is_bare(cfg: DictConfig, key: str) -> bool:
    owner = _owner(cfg, key)
    return isinstance(owner, DictConfig) and "_target_" in owner and key.rpartition(".")[2] not in [*owner]


def _apply(setting: Setting, cfg: DictConfig, known: set[str]) -> Iterator[str]:
    """Apply a setting; yield what is wrong with it where no `_target_` but the YAML is the schema."""
    key, value = setting.override.key_or_group, setting.override.value()
    owner, leaf = _owner(cfg, key), key.rpartition(".")[2]
    has_schema = isinstance(owner, ListConfig) or (isinstance(owner, DictConfig) and "_target_" in owner)
    if not has_schema and not (isinstance(owner, DictConfig) and leaf in [*owner]):
        yield f"{setting.raw}: unknown key. {nearest_key(key, known)}"
        return
    if not has_schema and not _same_kind(present := _raw(owner)[leaf], value):
        kind = type(present).__name__
        yield f"{setting.raw}: expected {kind}, such as {show(present)}, found {describe(value)}."
        return
    try:
        OmegaConf.update(cfg, key, value, merge=True, force_add=True)
    except OmegaConfBaseException as error:
        yield f"{setting.raw}: {first_line(error)}. See --cfg job."


def _same_kind(present: Any, value: Any) -> bool:
    """Whether a value may replace one in a YAML: null any, any null, and any scalar a text."""
    match present:
        case bool():
            return isinstance(value, bool | None)
        case int():
            return isinstance(value, int | None) and not isinstance(value, bool)
        case float():
            return isinstance(value, int | float | None) and not isinstance(value, bool)
        case list() | dict():
            return isinstance(value, type(present) | None)
        case str():
            return present.startswith(("${", "???")) or not isinstance(value, list | dict)
    return True
