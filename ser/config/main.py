"""The scripts as commands: plain answers to mistakes, then Hydra runs the job or sweep."""

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from ser.config.command_line import Command, read_command
from ser.config.overrides import App
from ser.config.settings import SCHEMAS, find_conf
from ser.config.validate import check
from ser.runs import environment, ranks, sweep, sweep_tables
from ser.runs.process import (
    describe_error,
    exit_code_of,
    interrupted,
    is_users_mistake,
    open_standard_streams,
    piped_to_nobody,
    wants_traceback,
)

Script = Callable[[Any], float | None]
"""A function of the settings of its command."""


def main(
    config_name: str,
    *,
    existing_paths: Sequence[str] = (),
    rewrite: Callable[[list[str]], list[str]] | None = None,
    help: str | None = None,
) -> Callable[[Script], Callable[[], None]]:
    """Turn a function of the settings into a command; the folder `conf` lies beside its file or further up.

    A user's mistake ends as a message on stderr with exit code 1. A traceback is printed where
    HYDRA_FULL_ERROR=1 or an option of the group `debug` asks for it. With `-m`, each job records its status,
    a failed job stops no other, and a table ends the sweep; the exit code is 1 if any job failed.

    Args:
        config_name: the primary config, without `.yaml`.
        existing_paths: full keys of files or folders that must be there, unless they are null.
        rewrite: makes the arguments that Hydra gets of those that were typed.
        help: what --help prints before the groups; None where it stands in the config.
    """

    def decorate(script: Script) -> Callable[[], None]:
        conf = find_conf(Path(inspect.getfile(script)))

        @functools.wraps(script)
        def command() -> None:
            open_standard_streams()
            try:
                typed = sys.argv[1:]
                app = App(conf, config_name, existing_paths, SCHEMAS[config_name], help)
                arguments = rewrite(typed) if rewrite else typed
                code = _run(script, read_command(arguments, app), typed)
            except KeyboardInterrupt:
                code = interrupted()
            except BrokenPipeError:  # as of `| head`
                code = piped_to_nobody()
            except Exception as error:
                if wants_traceback():
                    raise
                print(describe_error(error), file=sys.stderr)
                code = 1
            if code:
                sys.exit(code)

        return command

    return decorate


def _run(script: Script, command: Command, typed: Sequence[str]) -> int:
    """Let Hydra run the script, end a sweep with its table, and return the exit code.

    Args:
        script: of its settings.
        command: what Hydra gets.
        typed: arguments as the user typed them.
    """
    app = command.app

    @functools.wraps(script)
    def job(cfg: DictConfig) -> float | None:
        def run(resume: Path | None = None) -> float | None:
            app.trust(cfg)
            config = check(
                cfg,
                root_keys=app.root_keys(),
                existing_paths=app.existing_paths,
                schema=app.schema,
                is_own=app.is_own,
            )
            with ranks.silence_followers(config.get("trainer")):
                if resume and "resume" in config:
                    config["resume"] = str(resume)
                return script(app.schema.of(config))

        if HydraConfig.get().mode is RunMode.MULTIRUN:
            return _run_job_of_sweep(run, cfg, command)
        overrides = [word for word in typed if environment.is_of_run(word)]
        environment.remember_command([*environment.program(), *typed], overrides)
        return _run_job(run)

    start = hydra.main(config_path=str(app.conf), config_name=app.config_name, version_base="1.3")(job)
    logging.getLogger("hydra._internal.core_plugins.basic_launcher").addFilter(_hide_prefixes)
    argv, sys.argv = sys.argv, [sys.argv[0], *command.arguments]
    try:
        code = exit_code_of(start)
    finally:
        sys.argv = argv
    if command.sweep_dir is not None and command.sweep_dir.is_dir():
        failed = sweep_tables.summarize(command.sweep_dir, command.program)
        code = code or min(failed, 1)
    return code


def _hide_prefixes(record: logging.LogRecord) -> bool:
    """Let a record through, without the `++` that we, not the user, put before a key."""
    record.msg = str(record.msg).replace(" ++", " ")
    return True


def _run_job(run: Callable[[], float | None]) -> float | None:
    try:
        return sweep.finite_objective(run())
    except BrokenPipeError:
        sys.exit(piped_to_nobody())
    except Exception as error:
        if wants_traceback() or HydraConfig.get().runtime.choices.get("debug") or not is_users_mistake(error):
            raise
        print(ranks.add_rank(describe_error(error)), file=sys.stderr)
        sys.exit(1)


def _run_job_of_sweep(
    run: Callable[[Path | None], float | None], cfg: DictConfig, command: Command
) -> float | None:
    """Run one job of a sweep in the folder where it has been before, if it has, from where it was killed."""
    hydra_settings: Any = HydraConfig.get()
    words = [str(word) for word in hydra_settings.overrides.task]
    overrides = [word.removeprefix("++") if command.is_bare(word) else word for word in words]
    environment.remember_command([*command.program, *overrides], overrides)
    sweep_dir, given = Path(hydra_settings.sweep.dir).absolute(), Path(hydra_settings.runtime.output_dir)
    settings = sweep.hash_settings(OmegaConf.to_container(cfg, resolve=False))
    run_dir = sweep.find_folder(given, sweep_dir, overrides=overrides, settings=settings)
    if run_dir != given:
        with read_write(hydra_settings):
            hydra_settings.runtime.output_dir = str(run_dir)
        sweep.remove_unused(given)
    return sweep.run_job(
        run,
        run_dir,
        sweep_dir=sweep_dir,
        log=run_dir / f"{hydra_settings.job.name}.log",
        overrides=overrides,
        settings=settings,
        mode="min" if cfg.get("mode") == "min" else "max",
    )
