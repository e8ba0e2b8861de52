"""Processes of one run: the rank of this process, and communication between processes.

Only global rank 0, the first process, writes, locks and prints; it sends to the others what they need, because they
may run on a node that does not share its disk. With a single process, the functions do nothing special.
"""

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ser.errors import SerError

T = TypeVar("T")


@dataclass(frozen=True)
class Launch:
    """How this process was started, according to environment variables.

    Args:
        program: Program that started all processes; empty if train.py starts them itself.
        size: Number of processes; 1 if it is not yet known.
        is_first: Whether its global rank is 0.
    """

    program: str
    size: int
    is_first: bool


def read_launch(variables: Mapping[str, str] = os.environ) -> Launch:
    """Detect which program started this process, in the order in which Lightning chooses its cluster environment."""
    if "TORCHELASTIC_RUN_ID" in variables:
        names = ("torchrun", "RANK", "WORLD_SIZE")
    elif "SLURM_NTASKS" in variables and variables.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        names = ("srun", "SLURM_PROCID", "SLURM_NTASKS")
    elif "JSM_NAMESPACE_RANK" in variables:
        names = ("jsrun", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE")
    else:
        node = variables.get("NODE_RANK", variables.get("GROUP_RANK", "0"))
        is_first = int(node) == 0 and int(variables.get("LOCAL_RANK", "0")) == 0
        return Launch("", int(variables.get("WORLD_SIZE", "1")), is_first)
    program, rank, size = names
    return Launch(program, int(variables.get(size, "1")), int(variables.get(rank, "0")) == 0)


def is_shared(trainer: Any) -> bool:
    """Return whether a training with these trainer settings has, or may have, several processes."""
    if not isinstance(trainer, Mapping):
        return False
    one = (None, 1, "1")
    devices = trainer.get("devices")
    has_one = devices in one or (isinstance(devices, list) and len(devices) == 1)
    return not (has_one and trainer.get("num_nodes") in one and trainer.get("strategy") in (None, "auto"))


def is_follower(trainer: Any) -> bool:
    """Return whether this process is not the first process of its run."""
    return is_shared(trainer) and not read_launch().is_first


def check_launch(trainer: Any, *, is_sweep: bool) -> str | None:
    """Return why the settings do not fit the program that started the processes; None if they do."""
    launch = read_launch()
    if launch.program == "torchrun" and launch.size > 1 and not is_shared(trainer):
        return (
            f"trainer.devices=1: torchrun started {launch.size} processes, each of which would train alone. "
            "Add trainer=ddp, trainer.devices=PROCESSES_PER_NODE and, for several nodes, trainer.num_nodes=NODES."
        )
    if is_sweep and is_shared(trainer) and (launch.size > 1 or trainer.get("num_nodes") not in (None, 1)):
        return (
            "-m: a sweep cannot share processes that were started before it. Start it as one process with "
            "trainer=ddp trainer.devices=N, which starts N for each job, or start one job at a time without -m."
        )
    return None


def check_alike(trainer: Any, *checks: Callable[[], None]) -> None:
    """Run checks that have the same result on every process; only the first process raises their errors."""
    try:
        for check in checks:
            check()
    except SerError:
        if is_follower(trainer):
            sys.exit(1)
        raise


@contextlib.contextmanager
def silence_followers(trainer: Any) -> Iterator[None]:
    """Suppress output unless this process is the first of its run; errors are still raised."""
    if not is_follower(trainer):
        yield
        return
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        yield


class Ranks:
    """Processes that train together.

    Args:
        rank: Global rank of this process, from 0.
        size: Number of processes.
        local_rank: Rank of this process on its node, from 0.
        group: Process group for objects in host memory; None for a single process.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, group: Any = None) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self.group = group
        self.folder: Path | None = None
        """Folder of the run, after `share_folder`."""
        self._raised: Exception | None = None

    @property
    def is_first(self) -> bool:
        """Return whether this process is the first one, which writes."""
        return self.rank == 0

    def gather(self, mine: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [mine]
        from torch import distributed

        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, mine, group=self.group)
        return [*parts]

    def share(self, value: T) -> T:
        """Return the value of the first process."""
        if self.size == 1:
            return value
        from torch import distributed

        box: list[Any] = [value if self.is_first else None]
        distributed.broadcast_object_list(box, src=0, group=self.group)
        shared: T = box[0]
        return shared

    def share_folder(self, path: str | Path) -> Path:
        """Return the run folder of the first process, as the name of this process's folder may contain another time."""
        self.folder = Path(self.share(str(path)))
        return self.folder

    def run_on_all(self, step: Callable[[], T]) -> T:
        """Run a step on every process; if one fails, all processes end, and the first raises each reason once.

        Raises:
            SerError: Another process failed. Other errors of the step are raised, too.
        """
        if self.size == 1:
            return step()
        failure = None
        try:
            result = step()
        except Exception as error:
            if error is self._raised:  # raised by a step within this one: the others have ended
                raise
            failure = error
        reasons = self.gather(None if failure is None else _describe(failure))
        if not any(reasons):
            return result
        if not self.is_first:
            sys.exit(1)
        lines = dict.fromkeys(reason for reason in reasons if reason)
        others = SerError("\n".join(f"rank {reasons.index(line)}: {line}" for line in lines))
        self._raised = failure or others
        raise self._raised

    def run_first(self, step: Callable[[], T]) -> T:
        """Run a step on the first process only, and return its result on all processes."""
        result: Any = self.run_on_all(lambda: step() if self.is_first else None)
        shared: T = self.share(result)
        return shared

    def run_in_turn(self, step: Callable[[], T]) -> T:
        """Run a step on the first process of each node, which fills the caches, and then on the others."""
        is_early = self.local_rank == 0
        early: Any = self.run_on_all(lambda: step() if is_early else None)
        late: Any = self.run_on_all(lambda: None if is_early else step())
        mine: T = early if is_early else late
        return mine


_current = Ranks()


def add_rank(message: str) -> str:
    """Add the rank of this process to a message, unless it is the first process."""
    return message if _current.is_first else f"rank {_current.rank}: {message}"


def current_ranks() -> Ranks:
    """Return the processes of this process's run."""
    return _current


def set_current_ranks(processes: Ranks) -> None:
    """Set the processes of this process's run."""
    global _current
    _current = processes


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, SerError) else "".join(traceback.format_exception(error))
