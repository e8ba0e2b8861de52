"""Start or join the other processes of a run, and end all of them if one has ended."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed

from ser.errors import ConfigError, SerError, setting
from ser.runs import ranks
from ser.runs.environment import program_words, restart, trust_words
from ser.runs.run_folder import RunFolder

_LONGEST_WAIT = timedelta(days=7)  # for the other processes, while the first of a node extracts features
_GRACE_S = 10.0  # time in which a process detects by itself that another has ended
_PARENT = "SER_PARENT_PROCESS"


@contextlib.contextmanager
def joined(trainer: Any, settings: Any) -> Iterator[ranks.Ranks]:
    """Start the other processes of a run, or join them; if one is lost, raise an error.

    Args:
        trainer: Lightning's trainer, before any fit.
        settings: Its settings.

    Raises:
        ConfigError: Its devices are not those for which the processes were started.
        SerError: A process of the run has ended before the others.
    """
    strategy = trainer.strategy
    if not isinstance(strategy.launcher, _SubprocessScriptLauncher):
        if trainer.world_size == 1:
            _check_alone(settings)
        yield ranks.Ranks()
        return
    watch = _Watch()
    strategy._launcher = _Launcher(strategy.launcher, watch)
    try:
        with watch.explained():
            ranks.set_current_ranks(_meet(strategy))
            yield ranks.current_ranks()
    except BaseException:
        watch.end_children()
        raise
    watch.wait()


def _check_alone(settings: Any) -> None:
    """Make the only process of a run the first one, whatever rank a scheduler gave it.

    Raises:
        ConfigError: It was started as one of several.
    """
    launch = ranks.read_launch()
    if launch.size == 1 and launch.is_first:
        return
    if ranks.is_shared(settings):
        raise ConfigError(
            f"trainer.devices={settings.get('devices')}: selects one device, but this is one of "
            f"{launch.size} processes. Set trainer=ddp and trainer.devices=PROCESSES_PER_NODE."
        )
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    print(
        f"{launch.program or 'LOCAL_RANK'}: {launch.size} processes were started, and trainer.devices=1: each trains "
        "alone. For one training in all of them, add trainer=ddp and trainer.devices=PROCESSES_PER_NODE.",
        file=sys.stderr,
    )


def _meet(strategy: Any) -> ranks.Ranks:
    try:
        strategy.launcher.launch(strategy.setup_environment)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"trainer.devices={strategy.num_processes}, trainer.num_nodes={strategy.num_nodes}: {reason} "
            "Set them to the processes of a node, and to the number of nodes."
        ) from error
    group = distributed.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    return ranks.Ranks(strategy.global_rank, strategy.world_size, strategy.local_rank, group)


class _Launcher(_SubprocessScriptLauncher):
    """Start the other processes of this node with the same command, and watch them.

    Lightning's own launcher quotes the run folder in a way that fails for some names, and kills this process without
    a message when another one ends.
    """

    def __init__(self, original: Any, watch: "_Watch") -> None:
        super().__init__(original.cluster_environment, original.num_processes, original.num_nodes)
        self.watch = watch

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other processes, unless they were started already, and call a function of Lightning's."""
        self.cluster_environment.validate_settings(self.num_processes, self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._start()
        _set_num_threads_if_needed(self.num_processes)
        return function(*args, **kwargs)

    def _start(self) -> None:
        environment = self.cluster_environment
        os.environ |= {
            "MASTER_ADDR": environment.main_address,
            "MASTER_PORT": str(environment.main_port),
            "NODE_RANK": str(environment.node_rank()),
            "LOCAL_RANK": "0",
            "WORLD_SIZE": str(self.num_processes * self.num_nodes),
        }
        for rank in range(1, self.num_processes):
            own = {"LOCAL_RANK": str(rank), _PARENT: str(os.getpid())}
            self.procs.append(subprocess.Popen([*restart(), *sys.argv[1:]], env=os.environ | own))
        self.watch.start(self.procs)


class _Watch:
    """Watch the processes of a run, so that none waits for one that has ended."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen[bytes]] = []
        parent = os.environ.get(_PARENT)
        if parent is not None:
            self._run(lambda: self._follow(int(parent)))

    def start(self, children: list[subprocess.Popen[bytes]]) -> None:
        """Start to watch child processes."""
        self.children = children
        self._run(self._attend)

    def end_children(self) -> None:
        """Kill running children, as they would wait for this process; SIGTERM does not reach a waiting one."""
        for child in self.children:
            if child.poll() is None:
                child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    def wait(self) -> None:
        """Wait for the children to end."""
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=_GRACE_S)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the error of a lost connection into a message.

        Raises:
            SerError: A process of the run has ended.
        """
        try:
            yield
        except RuntimeError as error:
            if not _is_of_connection(error):
                raise
            for _ in range(30):  # the end of a killed child is known a moment later
                if self._ended():
                    break
                time.sleep(0.1)
            raise SerError(self._sentence()) from error

    def _run(self, task: Callable[[], None]) -> None:
        threading.Thread(target=task, daemon=True).start()

    def _follow(self, parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(_GRACE_S)
        os._exit(1)

    def _attend(self) -> None:
        while any(child.poll() is None for child in self.children) and not self._ended():
            time.sleep(1)
        if not self._ended():
            return
        time.sleep(_GRACE_S)
        print(self._sentence(), file=sys.stderr, flush=True)  # the main thread waits in a collective
        self.end_children()
        os._exit(1)

    def _ended(self) -> tuple[int, int] | None:
        """Return the rank within the node and the exit code of a child that has failed."""
        codes = ((number, child.poll()) for number, child in enumerate(self.children, start=1))
        return next(((number, code) for number, code in codes if code), None)

    def _sentence(self) -> str:
        who = "Another process of this run"
        how = "has ended or cannot be reached"
        if ended := self._ended():
            number, code = ended
            who = f"Process {number} of this run (pid {self.children[number - 1].pid})"
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        folder = ranks.current_ranks().folder
        has_checkpoint = folder is not None and RunFolder(folder).last.is_file()
        resumed = f"go on with {' '.join([*program_words(), setting('resume', folder), *trust_words()])}"
        then = resumed if has_checkpoint else "start the run again"
        return (
            f"{who} {how}, and the others cannot train without it. Look for its own message above, or for lack of "
            f"memory in the system's log; then {then}"
        )


def _is_of_connection(error: RuntimeError) -> bool:
    own = getattr(distributed, "DistError", ())
    return isinstance(error, own) or any(name in str(error) for name in ("gloo", "NCCL"))
