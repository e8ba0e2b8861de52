"""The journal of a search: what Optuna knows of its trials, in a file that processes share and a kill cannot damage."""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from ser.errors import ConfigError, DataError, first_line, setting

JOURNAL = "optuna.journal"
NAME = "search"
SAMPLERS = ("tpe", "random")
PRUNERS = ("none", "median", "halving")


class _Lock:
    """Lock of the journal that ends with its process; Optuna's own stays for 30 s after a kill."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def open_study(path: Path, *, pruner: Any = None, direction: Any = None) -> Any:
    """Open the study in a journal; with a direction, begin it if there is none.

    Raises:
        DataError: The journal is damaged.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lock: Any = _Lock(path)
    _drop_half_line(path, lock)
    try:
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        if direction is None:
            return optuna.load_study(study_name=NAME, storage=storage, pruner=pruner)
        return optuna.create_study(
            study_name=NAME, storage=storage, pruner=pruner, direction=direction, load_if_exists=True
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{path}: is damaged ({first_line(error)}). Delete it: finished trials keep their results, and a new "
            "search in this folder finds those that it draws again."
        ) from error


def _drop_half_line(path: Path, lock: Any) -> None:
    """Remove what a process that was killed has begun to write; the next line would be joined to it."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def check_same_space(study: Any, space: Mapping[str, Any], path: Path) -> None:
    """Refuse to continue a search with another space, whose values could not be compared.

    Raises:
        ConfigError: The space or the fixed settings have changed.
    """
    text = json.dumps(space, sort_keys=True)
    before = study.user_attrs.get("space")
    if before is None:
        study.set_user_attr("space", text)
    elif before != text:
        then = json.loads(before)
        keys = [key for key in {**then, **space} if then.get(key) != space.get(key)]
        raise ConfigError(
            f"{setting('hydra.sweep.dir', path.parent)}: holds a search with other settings "
            f"({', '.join(sorted(keys))}). Choose another folder."
        )


def make_sampler(name: str, *, seed: int, number: int, startup: int) -> Any:
    """Make the sampler of one trial: its seed depends on the number, so that a search goes on as if never killed."""
    import numpy as np
    from optuna.samplers import RandomSampler, TPESampler

    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with quiet():
        if name == "random":
            return RandomSampler(seed=own)
        return TPESampler(seed=own, n_startup_trials=startup, constant_liar=True)


def make_pruner(name: str, startup: int, *, warmup: int = 1) -> Any:
    """Make a pruner.

    Args:
        name: `median` stops a trial that is worse than the median at the same epoch, `halving` all but the best
            third after 1, 3, 9, ... epochs, `none` no trial.
        startup: Number of trials before `median` stops any.
        warmup: Number of epochs of a trial in which `median` does not stop it.
    """
    from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner

    if name == "median":
        return MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3) if name == "halving" else NopPruner()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress Optuna's warnings about experimental arguments, which a user cannot act upon."""
    with warnings.catch_warnings(action="ignore"):
        yield
