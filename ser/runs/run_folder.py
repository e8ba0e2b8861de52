"""Folder of a run: it holds one run at a time, and results are never overwritten."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ser.errors import REPEAT_RUN, ConfigError, DataError, setting
from ser.runs.environment import trust_words

FOLDER_SETTINGS = "hydra.run.dir, in a sweep with hydra.sweep.dir"
"""Part of a message: the settings that name the folder of a run."""


FACTS_FILE = "facts.json"
"""What a finished run cost: parameters, duration_s, epochs, best_epoch."""


class RunFolder:
    """Paths of the files of a run.

    Args:
        path: The folder, such as logs/challenge/2026-01-31_12-00-00.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.best = path / "checkpoints" / "best.ckpt"
        self.last = path / "checkpoints" / "last.ckpt"

    def member(self, number: int) -> "RunFolder":
        """Return the folder of one member of an ensemble, from 0."""
        return RunFolder(self.path / f"member_{number}")

    @property
    def is_member(self) -> bool:
        """Return whether it is the folder of one member of an ensemble."""
        return self.path.name.startswith("member_") and (self.path.parent / "config.yaml").is_file()

    @property
    def has_results(self) -> bool:
        """Return whether the folder contains results of a run: a checkpoint or scores."""
        found = [*self.path.glob("checkpoints/*.ckpt"), *self.path.glob("member_*/checkpoints/*.ckpt")]
        return bool(found) or (self.path / "metrics.json").is_file()

    def has_checkpoint(self) -> bool:
        """Return whether a run or an ensemble can be resumed here."""
        return self.last.is_file() or self.member(0).last.is_file()

    def is_held(self) -> bool:
        """Return whether a process holds the folder now."""
        if not (self.path / ".lock").is_file():
            return False
        try:
            with self._lock():
                return False
        except Timeout:
            return True

    def _lock(self) -> FileLock:
        return FileLock(self.path / ".lock", timeout=0)

    @contextmanager
    def hold(self, *, resuming: bool) -> Iterator[None]:
        """Hold the folder for this run; the lock ends with the process, however it ends.

        A run that was killed before it saved anything starts from the beginning, whether it is resumed or repeated.

        Raises:
            ConfigError: Another run uses or has used the folder and this one does not resume it, or there is nothing
                to resume.
            DataError: The folder cannot be created or written.
        """
        if resuming and self.has_results and not self.has_checkpoint():
            raise ConfigError(
                f"{setting('resume', self.path)}: there is no {self.last.relative_to(self.path)} to resume from. "
                f"{REPEAT_RUN.capitalize()}."
            )
        if resuming and self.is_member:
            raise ConfigError(
                f"{setting('resume', self.path)}: is a member of an ensemble. "
                f"Resume that: {' '.join([setting('resume', self.path.parent), *trust_words()])}"
            )
        if self.has_results and not resuming:
            raise ConfigError(
                f"{setting('hydra.run.dir', self.path)}: holds a run already. Choose another folder, "
                f"or resume the run with {' '.join([setting('resume', self.path), *trust_words()])}"
            )
        lock = self._lock()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise ConfigError(
                f"{self.path}: another run is writing there now. Wait for it, stop it, "
                f"or choose another folder with {FOLDER_SETTINGS}."
            ) from None
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot write the run's results there ({error.strerror}). "
                f"Choose another folder with {FOLDER_SETTINGS}."
            ) from error
        try:
            yield
        finally:
            lock.release()
