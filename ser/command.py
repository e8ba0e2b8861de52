"""The command line of the scripts: plain answers to mistakes, then Hydra runs the job or sweep."""

import argparse
import copy
import difflib
import errno
import functools
import inspect
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ser import sweep
from ser.config import check, complaint, describe, find_problems, first_line, known_keys, nearest_key, show
from ser.errors import ConfigError, SerError, did_you_mean

Script = Callable[[dict[str, Any]], float | None]


_CHECKED_COMBINATIONS = 32  # of a sweep, in advance; composing one takes up to 0.1 s
_OUTPUT_ERRORS = {errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS}


def main(config_name: str, *, existing_paths: Sequence[str] = ()) -> Callable[[Script], Callable[[], None]]:
    """Turn a function of a checked config into a command; the folder `conf` lies beside its file.

    A user's mistake ends as a message on stderr with exit code 1. A traceback is printed where
    HYDRA_FULL_ERROR=1 or an option of the group `debug` asks for it. With `-m`, each job records its status,
    a failed job stops no other, and a table ends the sweep; the exit code is 1 if any job failed.

    Args:
        config_name: the primary config, without `.yaml`.
        existing_paths: full keys of files or folders that must be there, unless they are null.
    """

    def decorate(script: Script) -> Callable[[], None]:
        conf = Path(inspect.getfile(script)).resolve().parent / "conf"

        @functools.wraps(script)
        def command() -> None:
            try:
                code = _run(script, _read_command(sys.argv[1:], _App(conf, config_name, existing_paths)))
            except KeyboardInterrupt:
                code = _interrupted()
            except Exception as error:
                if _wants_traceback():
                    raise
                print(error, file=sys.stderr)
                code = 1
            if code:
                sys.exit(code)

        return command

    return decorate


@dataclass(frozen=True)
class _App:
    """What a script is made of.

    Args:
        conf: folder of the configs.
        config_name: the primary config, without `.yaml`.
        existing_paths: full keys of files or folders that must be there.
    """

    conf: Path
    config_name: str
    existing_paths: Sequence[str]

    def root_keys(self) -> set[str]:
        """The keys that may stand at the top: those of the primary config, and the groups."""
        return {path.name for path in self.conf.iterdir() if path.is_dir()} | self._keys_of(self.config_name)

    def inspect(self, cfg: DictConfig) -> list[str]:
        """The problems of a composed config."""
        return find_problems(cfg, self.root_keys(), self.existing_paths)[1]

    def _keys_of(self, name: str) -> set[str]:
        """The keys of a config file and of the files that its defaults list names without a group."""
        content = OmegaConf.load(self.conf / f"{name}.yaml")
        assert isinstance(content, DictConfig)
        defaults = content.pop("defaults", [])
        files = [entry for entry in defaults if isinstance(entry, str) and entry != "_self_"]
        return {str(key) for key in content}.union(*map(self._keys_of, files))


@dataclass(frozen=True)
class _Command:
    """A command line that Hydra will accept.

    Args:
        app: what it runs.
        arguments: for Hydra.
        program: how it was called, without overrides and `-m`.
        sweep_dir: folder of all jobs of a sweep; None for a single run.
    """

    app: _App
    arguments: list[str]
    program: list[str]
    sweep_dir: Path | None = None


@dataclass(frozen=True)
class _Setting:
    """One override with one value.

    Args:
        raw: as typed; of a sweep, with one of its values.
        override: parsed.
        is_plain: it changes a key, rather than a group or Hydra's own settings.
    """

    raw: str
    override: Override
    is_plain: bool


@dataclass(frozen=True)
class _Trial:
    """What one combination of settings comes to.

    Args:
        refused: settings that cannot be applied.
        faults: problems of the config they make.
        bare: keys that no YAML spells out, though a constructor takes them; Hydra wants `++` before them.
        run_dir: where a single run would write.
        sweep_dir: where a sweep would write.
    """

    refused: list[str]
    faults: list[str] = field(default_factory=list)
    bare: frozenset[str] = frozenset()
    run_dir: Path = Path()
    sweep_dir: Path = Path()

    @property
    def problems(self) -> list[str]:
        """Why it cannot run."""
        return [*self.refused, *self.faults]

    def to_show(self) -> "_Trial":
        """The same where nothing runs: faults are what one may want to look at, except unknown keys."""
        return replace(self, faults=[line for line in self.faults if line.partition("=")[0] in self.bare])


def _run(script: Script, command: _Command) -> int:
    """Let Hydra run the script, end a sweep with its table, and return the exit code."""
    app = command.app

    @functools.wraps(script)
    def job(cfg: DictConfig) -> float | None:
        def run() -> float | None:
            return script(check(cfg, root_keys=app.root_keys(), existing_paths=app.existing_paths))

        return _run_job(run, cfg)

    start = hydra.main(config_path=str(app.conf), config_name=app.config_name, version_base="1.3")(job)
    logging.getLogger("hydra._internal.core_plugins.basic_launcher").addFilter(_hide_prefixes)
    typed, sys.argv = sys.argv, [sys.argv[0], *command.arguments]
    try:
        code = _exit_code(start)
    finally:
        sys.argv = typed
    if command.sweep_dir is not None and command.sweep_dir.is_dir():
        failed = sweep.summarize(command.sweep_dir, command.program)
        code = code or min(failed, 1)
    return code


def _hide_prefixes(record: logging.LogRecord) -> bool:
    """Let a record through, without the `++` that we, not the user, put before a key."""
    record.msg = str(record.msg).replace(" ++", " ")
    return True


def _exit_code(start: Callable[[], None]) -> int:
    try:
        start()
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into sys.exit(1)
            return _interrupted()
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


def _interrupted() -> int:
    print("Interrupted.", file=sys.stderr)
    return 130


def _run_job(run: Callable[[], float | None], cfg: DictConfig) -> float | None:
    settings = HydraConfig.get()
    run_dir = Path(settings.runtime.output_dir)
    if settings.mode is RunMode.MULTIRUN:
        return sweep.attempt(
            run,
            run_dir,
            sweep_dir=Path(settings.sweep.dir),
            log=run_dir / f"{settings.job.name}.log",
            overrides=[override.lstrip("+") for override in settings.overrides.task],
            mode="min" if cfg.get("mode") == "min" else "max",
        )
    try:
        return sweep.finite(run())
    except Exception as error:
        if _wants_traceback() or settings.runtime.choices.get("debug") or not _is_users(error):
            raise
        print(error, file=sys.stderr)
        sys.exit(1)


def _wants_traceback() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def _is_users(error: Exception) -> bool:
    """Whether the user, not the program, made the mistake."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")  # there if it can have been raised
    is_misuse = lightning is not None and isinstance(error, lightning.MisconfigurationException)
    is_output = isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS
    return isinstance(error, SerError) or is_misuse or is_output


def _read_command(argv: list[str], app: _App) -> _Command:
    """Find the mistakes in a command line before Hydra does.

    Raises:
        ConfigError: with all of them.
    """
    args, overrides, flags, strangers = _split(argv)
    is_ours = not (args.hydra_help or args.shell_completion or args.experimental_rerun or args.config_dir)
    program = ["python", sys.argv[0], *(flag for flag in flags if flag not in ("-m", "--multirun"))]
    if not is_ours or argv == ["--help"]:
        return _Command(app, argv, program)  # nothing to check, or a search path that only Hydra knows
    app = _with_flags(app, args)
    unknown = [f"{flag}: no such flag. Settings are written KEY=VALUE, without dashes." for flag in strangers]
    is_sweep = args.multirun or "hydra.mode=MULTIRUN" in overrides
    runs = not (args.cfg or args.help or args.info)
    with initialize_config_dir(str(app.conf), version_base="1.3", job_name=Path(sys.argv[0]).stem):
        settings, unread = _read_settings(overrides, may_sweep=is_sweep)
        trials = _try_combinations(app, settings)
    trials = trials if runs else [trial.to_show() for trial in trials]
    runnable = next((trial for trial in trials if not trial.problems), trials[0])
    folder = runnable.sweep_dir if is_sweep else runnable.run_dir
    problems = [*unknown, *unread, *_common_problems(trials), *(_folder_problems(folder) if runs else ())]
    if problems:
        raise complaint(problems)
    bare = {key for trial in trials for key in trial.bare}
    arguments = [f"++{raw}" if raw.partition("=")[0] in bare else raw for raw in overrides]
    if not (runs and is_sweep):
        return _Command(app, [*arguments, *flags], program)
    pinned = "hydra.sweep.dir=" + QuotedString(str(folder), Quote.double).with_quotes()
    return _Command(app, [*arguments, pinned, *flags], program, folder)


def _with_flags(app: _App, args: argparse.Namespace) -> _App:
    """The app with the folder and the primary config that the flags name.

    Raises:
        ConfigError: there is no such config.
    """
    name = (args.config_name or app.config_name).removesuffix(".yaml")
    conf = app.conf.parent / (args.config_path or app.conf)
    if not (conf / f"{name}.yaml").is_file():
        names = [path.stem for path in conf.glob("*.yaml")]
        remedy = did_you_mean(name, names) if names else "Name a folder of configs."
        raise ConfigError(f"{conf}: there is no config '{name}'. {remedy}")
    return replace(app, conf=conf, config_name=name)


def _common_problems(trials: Sequence[_Trial]) -> list[str]:
    """The problems of a single run, or of a sweep no job of which would run; others are announced."""
    failing = [trial for trial in trials if trial.problems]
    if len(failing) == len(trials):
        return trials[0].problems
    if failing:
        lines = dict.fromkeys(problem for trial in failing for problem in trial.problems)
        head = f"{len(failing)} of the first {len(trials)} combinations will fail, the others run:"
        print("\n  ".join([head, *lines]), file=sys.stderr)
    return []


def _folder_problems(folder: Path) -> Iterator[str]:
    """Why nothing can be written into a folder that may not exist yet."""
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        what = "is not a folder" if not nearest.is_dir() else "is not writable"
        yield f"{folder}: cannot be written: {nearest} {what}. Choose another with hydra.run.dir=FOLDER."


def _split(argv: list[str]) -> tuple[argparse.Namespace, list[str], list[str], list[str]]:
    """Return Hydra's flags parsed, the overrides, the flags as typed, and flags that Hydra does not know.

    Overrides may stand on both sides of a flag, which argparse alone refuses.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        args, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}. --hydra-help explains the flags.") from error
    strangers = [token for token in rest if token.startswith("-")]
    overrides = [*args.overrides, *(token for token in rest if not token.startswith("-"))]
    flags = [token for token in argv if token not in (*overrides, *strangers)]
    return args, overrides, flags, strangers


def _read_settings(overrides: Sequence[str], *, may_sweep: bool) -> tuple[list[list[_Setting]], list[str]]:
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
) -> Iterator[_Setting]:
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
        listed = f"; a list is written {key}=[{override.get_value_string()}]" if options is None else ""
        raise ConfigError(f"{raw}: several values make a sweep. Add -m for one run each{listed}.")
    for value in _sweep_values(override) if is_sweep else [raw.partition("=")[2]]:
        if options is not None and not override.is_delete():
            _check_options(key, value, options)
        text = f"{key}={value}" if is_sweep else raw
        yield _Setting(text, _parse(text) if is_sweep else override, is_plain)


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
        quoted = f"{key}={QuotedString(value, Quote.double).with_quotes()}"
        try:
            parser.parse_override(quoted)
        except HydraException:
            raise ConfigError(f"{raw}: cannot be read: {first_line(error)}. Write KEY=VALUE.") from error
        what = "a value with '='" if "=" in value else "a value with such characters"
        raise ConfigError(f"{raw}: {what} must be quoted. Write '{quoted}'.") from error


def _check_options(key: str, value: str, options: Sequence[str]) -> None:
    for option in value.strip("[]\"'").split(","):
        if option.strip() not in (*options, "null", ""):
            near = difflib.get_close_matches(option, options, n=1)
            nearest = f"Did you mean '{near[0]}'? " if near else ""
            raise ConfigError(
                f"{key}={option}: no such option. {nearest}Options: {', '.join(options) or 'none'}."
            )


def _try_combinations(app: _App, settings: Sequence[Sequence[_Setting]]) -> list[_Trial]:
    """Compose and inspect the first combinations of a sweep, or the only one of a single run."""
    composed = functools.cache(functools.partial(_compose, app.config_name))
    trials = []
    for combination in itertools.islice(itertools.product(*settings), _CHECKED_COMBINATIONS):
        cfg, refused = composed(tuple(setting.raw for setting in combination if not setting.is_plain))
        if cfg is None:
            trials.append(_Trial(refused))
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


def _try(app: _App, cfg: DictConfig, settings: Sequence[_Setting]) -> _Trial:
    """Apply settings to a composed config and inspect it."""
    known = known_keys(_raw(_without_hydra(cfg))) | app.root_keys()
    bare = frozenset(s.override.key_or_group for s in settings if _is_bare(cfg, s.override.key_or_group))
    refused = [problem for setting in settings for problem in _apply(setting, cfg, known)]
    run_dir, sweep_dir = (_folder(cfg, f"hydra.{kind}.dir") for kind in ("run", "sweep"))
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        cfg.hydra.runtime.output_dir, cfg.hydra.job.num, cfg.hydra.job.id = str(run_dir), 0, "0"
    HydraConfig.instance().set_config(cfg)  # the resolver ${hydra:...} reads it
    try:
        faults = app.inspect(_without_hydra(cfg))
    finally:
        HydraConfig.instance().cfg = None
    return _Trial(refused, faults, bare, run_dir, sweep_dir)


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


def _apply(setting: _Setting, cfg: DictConfig, known: set[str]) -> Iterator[str]:
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
