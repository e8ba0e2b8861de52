"""The scripts as commands: plain answers to mistakes, then Hydra runs the job or sweep."""

import errno
import functools
import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ser import ranks, sweep
from ser.command_line import Command, read_command
from ser.config import check
from ser.errors import SerError
from ser.overrides import App

Script = Callable[[dict[str, Any]], float | None]

_OUTPUT_ERRORS = {errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS}


def main(config_name: str, *, existing_paths: Sequence[str] = ()) -> Callable[[Script], Callable[[], None]]:
    """Turn a function of a checked config into a command; the folder `conf` lies beside its file or further up.

    A user's mistake ends as a message on stderr with exit code 1. A traceback is printed where
    HYDRA_FULL_ERROR=1 or an option of the group `debug` asks for it. With `-m`, each job records its status,
    a failed job stops no other, and a table ends the sweep; the exit code is 1 if any job failed.

    Args:
        config_name: the primary config, without `.yaml`.
        existing_paths: full keys of files or folders that must be there, unless they are null.
    """

    def decorate(script: Script) -> Callable[[], None]:
        folders = Path(inspect.getfile(script)).resolve().parents
        conf = next(folder / "conf" for folder in folders if (folder / "conf").is_dir())

        @functools.wraps(script)
        def command() -> None:
            try:
                code = _run(script, read_command(sys.argv[1:], App(conf, config_name, existing_paths)))
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


def _run(script: Script, command: Command) -> int:
    """Let Hydra run the script, end a sweep with its table, and return the exit code."""
    app = command.app

    @functools.wraps(script)
    def job(cfg: DictConfig) -> float | None:
        def run() -> float | None:
            config = check(cfg, root_keys=app.root_keys(), existing_paths=app.existing_paths)
            with ranks.quiet(config.get("trainer")):
                return script(config)

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
        print(ranks.signed(str(error)), file=sys.stderr)
        sys.exit(1)


def _wants_traceback() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def _is_users(error: Exception) -> bool:
    """Whether the user, not the program, made the mistake."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")  # there if it can have been raised
    is_misuse = lightning is not None and isinstance(error, lightning.MisconfigurationException)
    is_output = isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS
    return isinstance(error, SerError) or is_misuse or is_output
