"""A process that has imported what the scripts import, and runs each command in a fork of itself.

Importing torch, lightning and what depends on them takes 3 s of a command's 4; the suite types some 250 commands.
A fork shares no state with the next one: folder, environment, arguments and streams are its own. `tests/python.py`
stands for the interpreter: it has the fork made, and lives, prints and ends as the fork does.
"""

import atexit
import gc
import importlib.util
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PRELOADED = {
    "ser.scripts.serab": ("ser.serab.benchmark", "ser.serab.classifiers", "sklearn.svm", "sklearn.ensemble")
}
"""What some commands of ser import besides, which is imported before the first of them is run."""
_LONGEST_S = 300


def main(address: str, python: str) -> None:
    """Answer the clients of a socket until standard input is closed.

    Args:
        address: of the socket.
        python: program that a fork takes for its interpreter: its own children are forks, too.
    """
    _import_all()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    for place in (sys.stdin, listener, woken):
        selector.register(place, selectors.EVENT_READ)
    clients: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                for child in clients:
                    os.kill(child, signal.SIGKILL)
                return
            if key.fileobj is listener:
                client, _ = listener.accept()
                request, streams = _receive(client)
                _import_for(request["arguments"])
                if (child := os.fork()) == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    selector.close()
                    for place in (listener, client, *clients.values()):
                        place.close()
                    _become(python, streams, **request)
                for stream in streams:
                    os.close(stream)
                clients[child] = client
                client.sendall(child.to_bytes(8))
                selector.register(client, selectors.EVENT_READ, child)
            elif key.fileobj == woken:
                os.read(woken, 1024)
                _answer_ended(clients, selector)
            elif key.data in clients:  # the client was killed
                selector.unregister(key.fileobj)
                os.kill(key.data, signal.SIGKILL)


def _answer_ended(clients: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    """Send the exit code of every fork that has ended to its client."""
    while clients:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        client = clients.pop(child)
        if client in selector.get_map():
            selector.unregister(client)
            client.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, signed=True))
        client.close()


def _receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return a client's request and its standard streams."""
    size, streams, _, _ = socket.recv_fds(client, 8, 3)
    content = b""
    while len(content) < int.from_bytes(size):
        content += client.recv(int.from_bytes(size) - len(content))
    return json.loads(content), streams


def _import_all() -> None:
    """Import what commands import, draw a plot and check a config, which fills the caches of the forks."""
    import antlr4  # noqa: F401
    import PIL.Image
    import rich._emoji_codes  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401
    from hydra import compose, initialize_config_dir
    from torch.utils import serialization  # noqa: F401

    import ser.config.main
    import ser.inference.console
    import ser.inference.conversation_files
    import ser.inference.curves
    import ser.inference.predict
    import ser.inference.stream
    import ser.training.ensemble
    import ser.training.plot_callbacks
    import ser.training.recording_callbacks
    import ser.training.setup  # noqa: F401
    from ser.config.validate import check
    from ser.report import figures, plots

    PIL.Image.preinit()
    for name in ("soundfile", "soxr"):
        if importlib.util.find_spec(name):
            importlib.import_module(name)
    figures.to_image(plots.confusion_matrix(np.eye(2), ["a", "b"], "title"))
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        check(compose("train"))  # 0.3 s of pydantic
    _freeze()


def _import_for(arguments: Sequence[str]) -> None:
    names = PRELOADED.get(arguments[2], ()) if arguments[:2] == ["-m", "ser"] else ()
    missing = [
        name for name in names if name not in sys.modules and importlib.util.find_spec(name.split(".")[0])
    ]
    for name in missing:
        importlib.import_module(name)
    if missing:
        _freeze()


def _freeze() -> None:
    """Keep the garbage collector of the forks from going through, and copying, all that was imported."""
    gc.collect()
    gc.freeze()


def _become(
    python: str,
    streams: Sequence[int],
    *,
    arguments: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    client: int,
) -> None:
    """Become the process that a shell would start."""
    signal.alarm(_LONGEST_S)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.executable = python
    os.getppid = lambda: _parent_of(client)
    if "KILL_AT" in env:
        _kill_at(*map(int, env["KILL_AT"].split()))
    if "BLANK_PLOTS" in env:
        from ser.report import figures
        from tests import blank_plots

        figures.to_image, figures.save = blank_plots.to_image, blank_plots.save
    if "CHECKS_ONLY" in env:
        _end_after_checks(arguments)
    sys.path[1:1] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    code: Any = 0
    try:
        _run(arguments)
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


def _run(arguments: Sequence[str]) -> None:
    """Run what an interpreter with these arguments runs."""
    first, *rest = arguments
    if first == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(first).parent)
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def _kill_at(rank: int, epoch: int, batch: int) -> None:
    """Let a process of a run kill itself once the checkpoint of its run holds so many batches of an epoch."""
    import torch

    from ser.training.callbacks import LastCheckpoint

    save = LastCheckpoint._save

    def save_and_end(self: LastCheckpoint, trainer: Any) -> None:
        save(self, trainer)
        last = Path(trainer.default_root_dir, "checkpoints", "last.ckpt")
        if trainer.global_rank == rank and trainer.current_epoch == epoch:
            loop = torch.load(last, weights_only=True)["loops"]["fit_loop"]
            if loop["epoch_loop.batch_progress"]["current"]["processed"] == batch:
                os.kill(os.getpid(), signal.SIGKILL)

    LastCheckpoint._save = save_and_end  # type: ignore[method-assign]


def _end_after_checks(arguments: Sequence[str]) -> None:
    """Let a command end where it would compute or write: a training or a prediction with the data read."""
    import torch

    import ser.config.main
    import ser.inference.console
    import ser.inference.predict
    import ser.training.setup
    from ser.inference.conversation_files import ConversationFiles

    def end(*_: object, **__: object) -> None:
        sys.exit(0)

    torch.nn.Module.compile = lambda *_, **__: None  # it would import for 4 s
    modules: dict[str, tuple[tuple[Any, str], ...]] = {
        "train": ((ser.training.setup, "record"),),
        "predict": (
            (ser.inference.predict, "class_scores"),
            (ser.inference.console, "follow"),
            (ConversationFiles, "read"),
        ),
    }
    name = Path(arguments[2 if arguments[0] == "-m" else 0]).stem
    if name == "serve":
        import ser.server.run

        modules["serve"] = ((ser.server.run, "serve"),)
    places = modules.get(name, ()) if "-m" not in arguments[1:] else ()
    for module, function in places or ((ser.config.main, "_run"),):
        setattr(module, function, end)


def _parent_of(process: int) -> int:
    """Return the parent of a client, which a fork takes for its own."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 1


if __name__ == "__main__":
    main(*sys.argv[1:])
