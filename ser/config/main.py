"""The scripts as commands: plain answers to mistakes, then Hydra runs the job or sweep."""

import functools
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from ser.config import slots
from ser.config.command_line import App, Command, plain_settings, read_command, started_hydra
from ser.config.settings import SCHEMAS, find_conf
from ser.config.slots import trusted
from ser.config.validate import complaint
from ser.errors import ConfigError
from ser.jobs import launchers
from ser.jobs.alone import SweepProcess, end_workers, is_job_of_sweep
from ser.runs import environment, process, ranks, sweep, sweep_tables
from ser.runs.changes import fingerprint

_LAUNCHERS = (
    "hydra._internal.core_plugins.basic_launcher",
    "hydra_plugins.hydra_joblib_launcher._core",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher",
    "hydra_plugins.hydra_ray_launcher._core",
)
"""Loggers that print the overrides of each job."""

Script = Callable[[Any], float | None]
"""A function of the settings of its command."""

Summarize = Callable[[Path, Sequence[str]], int]
"""A function of the folder of a sweep and the words of its program; returns the number of jobs that have failed."""


def main(
    config_name: str,
    *,
    existing_paths: Sequence[str] = (),
    rewrite: Callable[[list[str], App], list[str]] | None = None,
    prepare: Callable[[], None] | None = None,
    help: str | None = None,
    summarize: Summarize = sweep_tables.summarize,
) -> Callable[[Script], Callable[[], None]]:
    """Turn a function of the settings into a command; the folder `conf` lies beside its file or further up.

    A user's mistake ends as a message on stderr with exit code 1. A traceback is printed where
    HYDRA_FULL_ERROR=1 or an option of the group `debug` asks for it. With `-m`, each job records its status,
    a failed job stops no other, and a table ends the sweep; the exit code is 1 if any job failed.

    Args:
        config_name: Primary config, without `.yaml`.
        existing_paths: Keys of files or folders that must be there, unless they are null.
        rewrite: Makes the arguments that Hydra gets of those that were typed, and of the script.
        prepare: Registers further plugins of Hydra.
        help: What --help prints before the groups; None where it stands in the config.
        summarize: Prints and writes the tables that end a sweep.
    """

    def decorate(script: Script) -> Callable[[], None]:
        conf = find_conf(Path(inspect.getfile(script)))

        @functools.wraps(script)
        def command() -> None:
            process.open_standard_streams()
            try:
                typed = sys.argv[1:]
                launchers.register()
                if prepare:
                    prepare()
                app = App(conf, config_name, existing_paths, SCHEMAS[config_name], help)
                arguments = rewrite(typed, app) if rewrite else typed
                code = _run(script, read_command(arguments, app), typed, summarize)
            except KeyboardInterrupt:
                code = process.interrupted()
            except BrokenPipeError:  # as of `| head`
                code = process.piped_to_nobody()
            except Exception as error:
                if process.wants_traceback():
                    raise
                print(process.describe_error(error), file=sys.stderr)
                code = 1
            if code:
                sys.exit(code)

        return command

    return decorate


def _run(script: Script, command: Command, typed: Sequence[str], summarize: Summarize) -> int:
    """Let Hydra run the script, end a sweep with its table, and return the exit code."""
    app = command.app
    argv, sys.argv = sys.argv, [sys.argv[0], *command.flags, *command.overrides]  # also of further processes
    main_process = SweepProcess()

    @functools.wraps(script)
    def job(cfg: DictConfig) -> float | None:
        is_sweep = HydraConfig.get().mode is RunMode.MULTIRUN

        def run(resume: Path | None = None) -> float | None:
            config, problems = app.inspect(cfg)
            if problems:  # of a sweep whose other jobs have none
                raise complaint(problems)
            if resume and "resume" in config:
                config["resume"] = str(resume)
            if is_sweep and (not main_process.is_this or ranks.is_shared(config.get("trainer"))):
                folder, log = job_folder()
                return main_process.run_alone(config, folder, trusted=trusted(), log=log)
            with ranks.silence_followers(config.get("trainer")):
                return script(app.schema.of(config))

        if is_sweep:
            main_process.take_place()
            return _run_job_of_sweep(run, cfg, command)
        overrides = [word for word in typed if environment.is_of_run(word)]
        environment.remember_command([*environment.program(), *typed], overrides)
        return _run_job(run, cfg)

    try:
        code = process.exit_code_of(lambda: _call_hydra(job, command))
    finally:
        sys.argv = argv
        end_workers()
    if command.sweep_dir is not None and command.sweep_dir.is_dir():
        failed = summarize(command.sweep_dir, command.program)
        code = code or min(failed, 1)
    return code


def _call_hydra(job: Callable[[DictConfig], Any], command: Command) -> None:
    """Let Hydra run a job or a sweep, or show what its flags ask for."""
    app, is_sweep = command.app, command.sweep_dir is not None
    if not command.runs:
        _copy_configs_once()
        with plain_settings(app):
            hydra.main(config_path=str(app.conf), config_name=app.config_name, version_base="1.3")(job)()
        return
    for launcher in _LAUNCHERS:
        logging.getLogger(launcher).addFilter(_hide_prefixes)
    with started_hydra(app) as started:
        start = started.multirun if is_sweep else started.run
        mode = "MULTIRUN" if is_sweep else "RUN"
        try:
            start(app.config_name, job, [*command.overrides, f"hydra.mode={mode}"])
        except BrokenPipeError:
            raise
        except OSError as error:  # of the folder that Hydra makes; a job reports its own
            place, reason = error.filename or "The run folder", (error.strerror or str(error)).lower()
            remedy = f"Choose another folder with hydra.{'sweep' if is_sweep else 'run'}.dir=FOLDER."
            raise ConfigError(f"{place}: cannot be written: {reason}. {remedy}") from error


def _copy_configs_once() -> None:
    """Let --help copy Hydra's configuration once, not for each of 168 groups: it takes 0.4 s instead of 1."""
    kind: Any = ConfigLoaderImpl
    copy = getattr(kind, "_parse_overrides_and_create_caching_repo", None)
    if copy is None:  # another version of Hydra than 1.3
        return
    once = functools.cache(lambda loader, name, words: copy(loader, name, [*words]))
    kind._parse_overrides_and_create_caching_repo = lambda loader, name, words: once(loader, name, (*words,))


def _hide_prefixes(record: logging.LogRecord) -> bool:
    """Let a record through, without the `++` that we, not the user, put before a key."""
    record.msg = str(record.msg).replace(" ++", " ")
    return True


def _run_job(run: Callable[[], float | None], cfg: DictConfig) -> float | None:
    """Run the only job; an error ends it with a message, or with a traceback where one is asked for.

    A job of a sweep that runs as a command of its own records how it ends.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    is_recorded = is_job_of_sweep() and not ranks.is_follower(cfg.get("trainer"))
    try:
        value = sweep.finite_objective(run())
        if is_recorded and sweep.read_status(folder).get("status") == "running":
            sweep.record_status(folder, "completed", value=value)
        return value
    except BrokenPipeError:
        sys.exit(process.piped_to_nobody())
    except Exception as error:
        if is_recorded:
            sweep.record_status(
                folder, "failed", error=sweep.message_of(error), reason=sweep.reason_of(error)
            )
        is_debugged = process.wants_traceback() or HydraConfig.get().runtime.choices.get("debug")
        if is_debugged or not process.is_users_mistake(error):
            traceback.print_exc()
        else:
            print(ranks.add_rank(process.describe_error(error)), file=sys.stderr)
        sys.exit(1)


def job_folder() -> tuple[Path, Path]:
    """Return the folder of the current job, and its log."""
    settings: Any = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    return folder, folder / f"{settings.job.name}.log"


def _run_job_of_sweep(
    run: Callable[[Path | None], float | None], cfg: DictConfig, command: Command
) -> float | None:
    """Run one job of a sweep in the folder that its settings name, from where it was killed there."""
    hydra_settings: Any = HydraConfig.get()
    overrides = [str(word).removeprefix("++") for word in hydra_settings.overrides.task]
    environment.remember_command([*command.program, *overrides], overrides)
    sweep_dir, given = Path(hydra_settings.sweep.dir).absolute(), Path(hydra_settings.runtime.output_dir)
    plain: Any = _plain_settings(cfg)
    settings = sweep.hash_settings(plain)
    folder = sweep.find_folder(given, sweep_dir, settings)
    if folder != given:
        with read_write(hydra_settings):
            hydra_settings.runtime.output_dir = str(folder)
    rule = plain.get("sweep") or {}
    job = sweep.Job(
        folder=folder,
        sweep_dir=sweep_dir,
        log=folder / f"{hydra_settings.job.name}.log",
        overrides=overrides,
        settings=settings,
        mode="min" if cfg.get("mode") == "min" else "max",
        number=int(sweep.current_trial().get("number", hydra_settings.job.num)),
        fingerprint=lambda: fingerprint(plain, slots.own_code(command.app.config_dir)),
        skip_done=rule.get("skip_done") is not False,
        reruns_changed=rule.get("changed") == "rerun",
    )
    return sweep.run_job(run, job)


def _plain_settings(cfg: DictConfig) -> Any:
    """Return a job's config as plain containers, resolved if it can be."""
    try:
        return OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException:  # of a job that will fail
        return OmegaConf.to_container(cfg, resolve=False)


def _hash_of_settings(*, _root_: DictConfig) -> str:
    """Return the name of a job's folder, for hydra.sweep.subdir."""
    keys = [str(key) for key in _root_ if key != "hydra"]
    return sweep.hash_settings(_plain_settings(OmegaConf.masked_copy(_root_, keys)))


OmegaConf.register_new_resolver("hash_of_settings", _hash_of_settings, replace=True)
