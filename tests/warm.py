"""A process that has imported what the scripts import, and runs each command in a fork of itself.

Importing torch, lightning and what depends on them takes 3 s of a command's 4; the suite types some 200 commands.
A fork shares no state with the next one: folder, environment, arguments and streams are its own.
"""

import atexit
import json
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def main() -> None:
    """Read a request a line, fork, and answer with the exit code."""
    _import_all()
    print("ready", flush=True)
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            _run(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _import_all() -> None:
    import torch.utils.tensorboard  # noqa: F401

    import ser.config.main
    import ser.inference.console
    import ser.inference.predict
    import ser.inference.stream
    import ser.training.ensemble
    import ser.training.plot_callbacks
    import ser.training.recording_callbacks
    import ser.training.setup  # noqa: F401


def _run(
    script: str,
    arguments: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    outputs: Sequence[str],
    timeout: int,
) -> None:
    """Become the process that a shell would start."""
    signal.alarm(timeout)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for stream, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    code: Any = 0
    try:
        if Path(script).name == "ser":
            runpy.run_module("ser", run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)  # torch would join threads that are the parent's


if __name__ == "__main__":
    main()
