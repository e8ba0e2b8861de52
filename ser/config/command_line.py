"""A command line, understood before Hydra sees it: its mistakes all at once, its settings, its folders."""

import argparse
import difflib
import itertools
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hydra import compose, version
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write

from ser.config.paths import literal_path
from ser.config.search import check_search, space_beside
from ser.config.settings import Settings
from ser.config.slots import trust
from ser.config.validate import complaint, find_problems
from ser.errors import ConfigError, did_you_mean, hydra_value, setting
from ser.files import read_text
from ser.jobs.installed import check_launcher, find_missing_trackers
from ser.runs import environment, ranks
from ser.runs.handed_over import check_resolved, find_code_in_hydra
from ser.yaml_bombs import refuse_yaml_bomb, refuse_yaml_bombs

_CHECKED = 32  # combinations of a sweep, in advance; composing one takes 0.1 s
_REPLACED = {"extractor=transformers": "extractor=pretrained extractor.path=FOLDER"}
"""Option that is gone -> what to write instead."""


@dataclass(frozen=True)
class App:
    """What a script is made of: see `ser.config.main.main`.

    Args:
        config_dir: Folder of the user's own configs and code.
        is_own: Whether the user wrote the config, so that the packages it names may be imported; a run's folder may
            come from somebody else.
        trusts: Whether the user wrote its setting `trust`.
    """

    conf: Path
    config_name: str
    existing_paths: Sequence[str] = ()
    schema: type[Settings] = Settings
    help: str | None = None
    config_dir: Path | None = None
    is_own: bool = True
    trusts: bool = True

    def inspect(self, cfg: DictConfig) -> tuple[dict[str, Any], list[str]]:
        """Return a composed config as plain containers, and its problems; what it may import is trusted."""
        folders = [self.conf, *([self.config_dir] if self.config_dir else [])]
        named = cfg.get("trust") if self.trusts else []
        trust(map(str, named if isinstance(named, ListConfig) else [named]), *map(str, folders[1:]))
        keys = {str(key) for key in OmegaConf.load(self.conf / f"{self.config_name}.yaml")}
        keys |= {path.parent.name for folder in folders for path in folder.glob("*/*.yaml")}
        paths = self.existing_paths
        return find_problems(
            cfg, root_keys=keys, existing_paths=paths, schema=self.schema, is_own=self.is_own
        )


@dataclass(frozen=True)
class Command:
    """A command line without mistakes; it runs jobs, or shows something, and has a folder if it is a sweep."""

    app: App
    program: list[str]
    flags: list[str]
    overrides: list[str]
    runs: bool = True
    sweep_dir: Path | None = None


def read_command(argv: list[str], app: App) -> Command:
    """Find the mistakes in a command line before Hydra does.

    Raises:
        ConfigError: With all of them.
    """
    args, flags, problems = _split(argv)
    program = [*environment.program(), *(flag for flag in flags if flag not in ("-m", "--multirun"))]
    if args.help or args.info or args.hydra_help or args.shell_completion or args.experimental_rerun:
        return Command(app, program, flags, [*args.overrides, *[_help(app)] * args.help], runs=False)
    app = _with_flags(app, args)
    is_sweep = args.multirun or "hydra.mode=MULTIRUN" in args.overrides
    words, trials, unread = _try_all(app, args.overrides, is_sweep=is_sweep)
    problems += [*unread, *_common_problems(trials)]
    trial = next((trial for trial in trials if not trial.problems), trials[0])
    if space := space_beside(trial.sweeper, args.overrides):
        words, trials, unread = _try_all(app, [*args.overrides, *space], is_sweep=is_sweep or bool(args.cfg))
        problems += [*unread, *_common_problems(trials)]
        trial = next((trial for trial in trials if not trial.problems), trials[0])
    if not args.cfg:
        problems += check_search(trial.sweeper, args.overrides, is_sweep=is_sweep)
        problems += find_missing_trackers(key for each in trials for key in each.config.get("logger") or ())
    if args.cfg:
        problems = [line for line in problems if "=???: must be given" not in line]
    elif unsuited := ranks.check_launch(trial.trainer, is_sweep=is_sweep):
        problems.append(unsuited)
    is_follower = not args.cfg and ranks.is_follower(trial.trainer)
    if problems and is_follower:
        sys.exit(1)  # the first process finds the same, and prints it
    if problems:
        raise complaint(problems)
    if is_follower:
        words += ["hydra.run.dir=.", "hydra/job_logging=none"]  # the first process has the run folder
    if not is_sweep:
        return Command(app, program, flags, words, runs=not args.cfg)
    words.append(f"hydra.sweep.dir={hydra_value(trial.sweep_dir)}")  # its name may hold the time
    return Command(app, program, flags, words, sweep_dir=trial.sweep_dir)


def _split(argv: list[str]) -> tuple[argparse.Namespace, list[str], list[str]]:
    """Return the arguments as Hydra parses them, the flags as typed, and what is wrong with others.

    Overrides may stand on both sides of a flag.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        args, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}. --hydra-help explains the flags.") from error
    if args.multirun and (args.cfg or args.info):
        raise ConfigError("-m: only one of --multirun, --cfg and --info can be given. Leave out -m.")
    strangers = [word for word in rest if word.startswith("-")]
    args.overrides += [word for word in rest if word not in strangers]
    unknown = [f"{flag}: no such flag. Settings are written KEY=VALUE, without dashes." for flag in strangers]
    return args, [word for word in argv if word not in (*args.overrides, *strangers)], unknown


def _help(app: App) -> str:
    """Return the setting that makes --help print the script's own text, or the command as the user types it."""
    if app.help is None:
        return f"hydra.help.app_name={hydra_value(' '.join(environment.program()))}"
    text = f"{app.help.strip()}\n\nGroups and their options:\n\n$APP_CONFIG_GROUPS"
    return f"hydra.help.template={hydra_value(text)}"


def _with_flags(app: App, args: argparse.Namespace) -> App:
    """Return the app with the folders and the primary config that the flags name.

    Raises:
        SerError: One of them is not there, or is no config that may be read.
    """
    name = (args.config_name or app.config_name).removesuffix(".yaml")
    conf = app.conf.parent / (args.config_path or app.conf)
    config_dir = Path(args.config_dir).resolve() if args.config_dir else None
    if config_dir and not config_dir.is_dir():
        raise ConfigError(f"--config-dir {config_dir}: there is no such folder. Check the path.")
    if not (conf / f"{name}.yaml").is_file():
        names = [path.stem for path in conf.glob("*.yaml")]
        remedy = did_you_mean(name, names) if names else "Check the path."
        raise ConfigError(f"{conf / name}.yaml: there is no such config. {remedy}")
    text = read_text(conf / f"{name}.yaml")
    if args.config_path and not re.search("^defaults:", text, re.MULTILINE):
        check_resolved(conf / f"{name}.yaml")  # a run's, or a job's: see ser.runs.run_folder
    refuse_yaml_bomb(conf / f"{name}.yaml", text)
    if config_dir:
        refuse_yaml_bombs(config_dir)
    is_own = not args.config_path
    trusts = is_own or any(word.lstrip("+").startswith("trust=") for word in args.overrides)
    app = replace(app, conf=conf, config_name=name, config_dir=config_dir, is_own=is_own, trusts=trusts)
    return replace(app, existing_paths=()) if args.cfg else app


@contextmanager
def plain_settings(app: App) -> Iterator[None]:
    """Let Hydra read a text in the settings of this script as one, although a group of other scripts has its name.

    `words` of `ser predict` is a file, and Hydra would look for an option of the group conf/words.
    """
    plain = {each.name for each in fields(app.schema) if each.type in (str, str | None)}
    before = ConfigRepository.group_exists, ConfigRepository.get_group_options
    exists, options = before

    def group_exists(self: ConfigRepository, config_path: str) -> bool:
        return config_path not in plain and exists(self, config_path)

    def get_group_options(self: ConfigRepository, group_name: str, *rest: Any, **others: Any) -> list[str]:
        return [] if group_name in plain else options(self, group_name, *rest, **others)

    kind: Any = ConfigRepository
    kind.group_exists, kind.get_group_options = group_exists, get_group_options
    try:
        yield
    finally:
        kind.group_exists, kind.get_group_options = before


@contextmanager
def started_hydra(app: App) -> Iterator[Hydra]:
    """Start Hydra, which finds the options of the user's own folder, too."""
    version.setbase("1.3")
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")
    search_path = create_config_search_path(str(app.conf))
    if app.config_dir:
        search_path.prepend("command-line", f"file://{app.config_dir}", anchor="schema")
    GlobalHydra.instance().clear()
    try:
        with plain_settings(app):
            yield Hydra.create_main_hydra2(Path(environment.program()[-1]).stem, search_path)
    finally:
        GlobalHydra.instance().clear()


class Trial(NamedTuple):
    """Why a combination of overrides cannot run, its settings and sweeper, and where a sweep would write."""

    problems: list[str]
    config: Mapping[str, Any] = MappingProxyType({})
    sweep_dir: Path = Path()
    sweeper: Mapping[str, Any] = MappingProxyType({})

    @property
    def trainer(self) -> Any:
        """Return the settings of the trainer."""
        return self.config.get("trainer")


def try_sweep(argv: list[str], app: App) -> list[Trial]:
    """Compose the first combinations of the settings of a command line, which may be a sweep."""
    args, _, _ = _split(argv)
    _, trials, unread = _try_all(_with_flags(app, args), args.overrides, is_sweep=True)
    return [Trial([*unread, *trial.problems], trial.config) for trial in trials]


def _try_all(
    app: App, overrides: Sequence[str], *, is_sweep: bool
) -> tuple[list[str], list[Trial], list[str]]:
    """Return the overrides as Hydra takes them, what each combination comes to, and why others cannot be read."""
    words: list[str] = []
    variants: list[list[str]] = []
    problems: list[str] = []
    with started_hydra(app) as hydra:
        for raw in overrides:
            try:
                word = literal_path(raw, is_sweep=is_sweep)
                word, values = _read_override(word, hydra.config_loader, is_sweep=is_sweep)
                words, variants = [*words, word], [*variants, values]
            except ConfigError as error:
                problems.append(str(error))
        combinations = itertools.islice(itertools.product(*variants), _CHECKED)
        return words, [_try(app, combination) for combination in combinations], problems


def _read_override(raw: str, loader: ConfigLoader, *, is_sweep: bool) -> tuple[str, list[str]]:
    """Return an override as Hydra takes it, and one for each of its values.

    A setting gets `++`, as a constructor may take what no YAML spells out; the check finds what none takes.

    Raises:
        ConfigError: It cannot be read, names an option that a group does not have, or sweeps without `-m`.
    """
    override = _parse(raw)
    override.config_loader = loader  # glob() asks it for the options of a group
    key, value = override.key_or_group, raw.partition("=")[2]
    options = loader.get_group_options(key)
    values = [value]
    if override.is_sweep_override():
        values = _values_of_sweep(raw, override, is_sweep=is_sweep)
    elif options and value == "null":
        return f"~{key}", [f"~{key}"]  # Hydra knows no null for a group
    elif override.is_delete():
        if not options and "." not in key:
            raise ConfigError(f"{raw}: a setting at the top cannot be deleted. Leave it out.")
        return raw, [raw]
    chosen = {option.strip("[] \"'") for each in values for option in each.split(",")} if options else set()
    if key == "hydra/launcher":
        for option in chosen:
            check_launcher(option)
    for option in chosen - {*options, ""}:
        if instead := _REPLACED.get(f"{key}={option}"):
            raise ConfigError(f"{key}={option}: is replaced. Use {instead}.")
        near = "".join(f"Did you mean '{name}'? " for name in difflib.get_close_matches(option, options, n=1))
        raise ConfigError(f"{key}={option}: no such option. {near}Options: {', '.join(options)}.")
    if not (options or override.is_hydra_override()):
        raw = f"++{raw.lstrip('+')}"
    return raw, [f"{raw.partition('=')[0]}={each}" for each in values]


def _values_of_sweep(raw: str, override: Override, *, is_sweep: bool) -> list[str]:
    values = override.value()
    if not is_sweep:
        raise ConfigError(
            f"{raw}: several values make a sweep. Add -m for one run each, or put a list in brackets."
        )
    if isinstance(values, IntervalSweep):  # a sweeper draws from it; its start stands for all
        return [str(values.start)]
    return [*itertools.islice(override.sweep_string_iterator(), _CHECKED)]


def _parse(raw: str) -> Override:
    """Parse an override.

    Raises:
        ConfigError: It is not in Hydra's grammar.
    """
    key, equals, value = raw.partition("=")
    if not re.fullmatch(r"[+~]*[\w./@-]+", key) or not (equals or key.startswith("~")):
        raise ConfigError(f"{raw}: is no setting. Write KEY=VALUE.")
    try:
        return OverridesParser.create().parse_override(raw)
    except HydraException as error:
        is_list = value.startswith("[") and value.endswith("]")
        quoted = setting(key, [item.strip() for item in value[1:-1].split(",")] if is_list else value)
        raise ConfigError(f"{raw}: Hydra's grammar takes it apart. Write {quoted}.") from error


def _try(app: App, overrides: Sequence[str]) -> Trial:
    """Compose a config and inspect it."""
    try:
        cfg = compose(app.config_name, [*overrides], return_hydra_config=True)
    except Exception as error:  # Hydra's, OmegaConf's or YAML's
        return Trial([re.sub(" To append to .*", "", " ".join(str(error).split()))])
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        cfg.hydra.runtime.output_dir, cfg.hydra.job.num, cfg.hydra.job.id = ".", 0, "0"
    HydraConfig.instance().set_config(cfg)  # the resolver ${hydra:...} reads it
    try:
        plain, problems = app.inspect(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    finally:
        HydraConfig.instance().cfg = None
    problems += find_code_in_hydra(OmegaConf.to_container(cfg.hydra))  # type: ignore[arg-type]
    sweeper: Any = OmegaConf.to_container(cfg.hydra.sweeper)
    return Trial(problems, plain, Path(cfg.hydra.sweep.dir), sweeper)


def _common_problems(trials: Sequence[Trial]) -> list[str]:
    """Return the problems of a run, or of a sweep no job of which would run; others are announced."""
    failing = [trial for trial in trials if trial.problems]
    if len(failing) == len(trials):
        return trials[0].problems
    if failing:
        lines = dict.fromkeys(problem for trial in failing for problem in trial.problems)
        head = f"{len(failing)} of the first {len(trials)} combinations will fail, the others run:"
        print("\n  ".join([head, *lines]), file=sys.stderr)
    return []
