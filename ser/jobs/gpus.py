"""A queue over the GPUs of one machine: a job holds one of them while it runs."""

import contextlib
import getpass
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from ser.errors import ConfigError

QUEUE = "SER_GPU_QUEUE"
"""Environment variable of the workers of `hydra/launcher=gpus`: places such as `GPU/0`, separated by commas."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_LOOK_S = 0.5  # between two looks for a free GPU


def visible_gpus() -> list[str]:
    """Return the GPUs that jobs may use: those that CUDA_VISIBLE_DEVICES names, else all of this machine."""
    named = os.environ.get(_VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


@contextlib.contextmanager
def queue_of(jobs_per_gpu: int) -> Iterator[int]:
    """Let the workers that start meanwhile choose from the GPUs of this machine; yield the size of the queue.

    Raises:
        ConfigError: There is none.
    """
    places = [f"{name}/{number}" for number in range(jobs_per_gpu) for name in visible_gpus()]
    if not places:
        raise ConfigError(
            "hydra/launcher=gpus: no GPU is visible on this machine. Take the launcher joblib, which uses its cores."
        )
    os.environ[QUEUE] = ",".join(places)
    try:
        yield len(places)
    finally:
        del os.environ[QUEUE]


@contextlib.contextmanager
def hold_gpu() -> Iterator[dict[str, str]]:
    """Wait for a free GPU, and yield the environment variable that shows a job only this one; without a queue, none.

    The lock is the user's on this machine, so that two sweeps share the GPUs, and ends with the process.
    """
    places = [place for place in os.environ.get(QUEUE, "").split(",") if place]
    if not places:
        yield {}
        return
    lock, name = _acquire(places)
    try:
        yield {_VISIBLE: name}
    finally:
        lock.release()


def _acquire(places: Sequence[str]) -> tuple[FileLock, str]:
    folder = Path(tempfile.gettempdir()) / f"ser-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    while True:
        for place in places:
            lock = FileLock(folder / f"{place.replace('/', '_')}.lock")
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                return lock, place.partition("/")[0]
        time.sleep(_LOOK_S)
