"""A command line, understood before Hydra sees it: its mistakes all at once, its settings, its folders."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.global_hydra import GlobalHydra

from ser.config.overrides import App, Trial, read_settings, try_combinations
from ser.config.path_settings import literal_paths
from ser.config.validate import complaint
from ser.errors import ConfigError, did_you_mean, hydra_value
from ser.files import read_text
from ser.runs import environment, ranks
from ser.runs.handed_over import check_resolved
from ser.yaml_bombs import refuse_yaml_bomb, refuse_yaml_bombs


@dataclass(frozen=True)
class Command:
    """A command line that Hydra will accept.

    Args:
        app: what it runs.
        arguments: for Hydra.
        program: how it was called, without overrides and `-m`.
        sweep_dir: folder of all jobs of a sweep; None for a single run.
        bare: keys that no YAML spells out, before which Hydra wants `++`.
    """

    app: App
    arguments: list[str]
    program: list[str]
    sweep_dir: Path | None = None
    bare: frozenset[str] = frozenset()

    def is_bare(self, word: str) -> bool:
        """Whether we, not the user, put `++` before an override."""
        return word.partition("=")[0].removeprefix("++") in self.bare


def read_command(argv: list[str], app: App) -> Command:
    """Find the mistakes in a command line before Hydra does.

    Raises:
        ConfigError: with all of them.
    """
    args, overrides, flags, strangers = _split(argv)
    is_ours = not (args.hydra_help or args.shell_completion or args.experimental_rerun)
    program = [*environment.program(), *(flag for flag in flags if flag not in ("-m", "--multirun"))]
    if not is_ours or argv == ["--help"]:
        return Command(app, [*argv, *_help(app, args)], program)
    app = _with_flags(app, args)
    app = replace(app, trusts=app.is_own or any(word.lstrip("+").startswith("trust=") for word in overrides))
    unknown = [f"{flag}: no such flag. Settings are written KEY=VALUE, without dashes." for flag in strangers]
    is_sweep = args.multirun or "hydra.mode=MULTIRUN" in overrides
    runs = not (args.cfg or args.help or args.info)
    overrides = [_without_null(word, app) for word in literal_paths(overrides, is_sweep=is_sweep)]
    with initialize_config_dir(
        str(app.conf), version_base="1.3", job_name=Path(environment.program()[-1]).stem
    ):
        if app.config_dir:
            _search_also(app)
        settings, unread = read_settings(overrides, may_sweep=is_sweep)
        trials = try_combinations(app, settings)
    trials = trials if runs else [trial.to_show() for trial in trials]
    runnable = next((trial for trial in trials if not trial.problems), trials[0])
    folder = runnable.sweep_dir if is_sweep else runnable.run_dir
    is_follower = runs and ranks.is_follower(runnable.trainer)
    problems = [*unknown, *unread, *_common_problems(trials)]
    if runs and not is_follower:
        problems += _folder_problems(folder, "hydra.sweep.dir" if is_sweep else "hydra.run.dir")
    if runs and (unsuited := ranks.check_launch(runnable.trainer, is_sweep=is_sweep)):
        problems.append(unsuited)
    if problems and is_follower:
        sys.exit(1)  # the first process finds the same, and prints it
    if problems:
        raise complaint(problems)
    bare = frozenset(key for trial in trials for key in trial.bare)
    arguments = [f"++{raw}" if raw.partition("=")[0] in bare else raw for raw in overrides]
    if is_follower:
        arguments += ["hydra.run.dir=.", "hydra/job_logging=none"]  # the first process has the run folder
    if not (runs and is_sweep):
        return Command(app, [*arguments, *flags, *_help(app, args)], program)
    pinned = f"hydra.sweep.dir={hydra_value(str(folder))}"
    return Command(app, [*arguments, pinned, *flags], program, folder, bare)


def _help(app: App, args: argparse.Namespace) -> list[str]:
    """Settings that make --help print the script's own text, and the command as the user types it."""
    if not args.help:
        return []
    if app.help is None:
        return [f"hydra.help.app_name={hydra_value(' '.join(environment.program()))}"]
    text = f"{app.help.strip()}\n\nGroups and their options:\n\n$APP_CONFIG_GROUPS"
    return [f"hydra.help.template={hydra_value(text)}"]


def _with_flags(app: App, args: argparse.Namespace) -> App:
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
    if args.config_path and not _has_defaults(conf / f"{name}.yaml"):
        check_resolved(conf / f"{name}.yaml")  # a run's, or a job's: see ser.runs.run_folder
    elif name != app.config_name or conf != app.conf:  # ours are no bombs
        refuse_yaml_bomb(conf / f"{name}.yaml", read_text(conf / f"{name}.yaml"))
    config_dir = Path(args.config_dir).resolve() if args.config_dir else None
    if config_dir and not config_dir.is_dir():
        raise ConfigError(
            f"--config-dir {args.config_dir}: no such folder. Give the folder of your own configs."
        )
    if config_dir:
        refuse_yaml_bombs(config_dir)
    return replace(app, conf=conf, config_name=name, config_dir=config_dir, is_own=not args.config_path)


def _search_also(app: App) -> None:
    """Let Hydra find the options of the user's own folder, too."""
    search_path = create_config_search_path(str(app.conf))
    search_path.prepend("command-line", f"file://{app.config_dir}", anchor="schema")
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2("app", search_path)


def _has_defaults(path: Path) -> bool:
    """Whether a config is composed of others, as those that people write are."""
    return any(line.startswith("defaults:") for line in path.read_text(errors="replace").splitlines())


def _without_null(word: str, app: App) -> str:
    """Write `~GROUP` for `GROUP=null`, which Hydra refuses for a group."""
    group = word.removesuffix("=null")
    return f"~{group}" if group != word and group.isidentifier() and (app.conf / group).is_dir() else word


def _common_problems(trials: Sequence[Trial]) -> list[str]:
    """The problems of a single run, or of a sweep no job of which would run; others are announced."""
    failing = [trial for trial in trials if trial.problems]
    if len(failing) == len(trials):
        return trials[0].problems
    if failing:
        lines = dict.fromkeys(problem for trial in failing for problem in trial.problems)
        head = f"{len(failing)} of the first {len(trials)} combinations will fail, the others run:"
        print("\n  ".join([head, *lines]), file=sys.stderr)
    return []


def _folder_problems(folder: Path, key: str) -> Iterator[str]:
    """Why nothing can be written into a folder that may not exist yet."""
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        what = "is not a folder" if not nearest.is_dir() else "is not writable"
        yield f"{folder}: cannot be written: {nearest} {what}. Choose another with {key}=FOLDER."


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
