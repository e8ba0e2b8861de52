"""Run a job of a sweep as a command of its own, so that its end, whatever it is, ends nothing else.

Lightning starts the processes of a training by repeating the command line, which in a sweep would repeat the whole
sweep. A launcher's worker that trained by itself could be killed for lack of memory, and would take the other jobs of
its pool along. A fresh process also gives a GPU's memory back.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from ser.errors import hydra_value
from ser.files import write_atomic
from ser.jobs.gpus import hold_gpu
from ser.runs import environment, process
from ser.runs.handed_over import upload_variables
from ser.runs.sweep import JobError, read_status

_PARENT = "SER_JOB_PARENT"  # environment variable of a job: the process that waits for it
_NO_SLURM = {"SLURM_JOB_NAME": "bash"}  # the job starts its processes itself, also in an allocation


@dataclass(frozen=True)
class SweepProcess:
    """The process that started a sweep; a launcher sends it to its workers, which take its place.

    Args:
        argv: Its arguments, with absolute paths where they name the program.
        program: Words that called the program.
        restart: Words that start the program again, without arguments.
    """

    argv: Sequence[str] = field(default_factory=lambda: [*sys.argv])
    program: Sequence[str] = field(default_factory=environment.program)
    restart: Sequence[str] = field(default_factory=environment.restart)
    folder: str = field(default_factory=os.getcwd)
    host: str = field(default_factory=socket.gethostname)
    number: int = field(default_factory=os.getpid)

    @property
    def is_this(self) -> bool:
        """Return whether no launcher has sent the job to another process."""
        return (self.host, self.number) == (socket.gethostname(), os.getpid())

    def take_place(self) -> None:
        """Let this process, if it is a worker, find and print what the sweep's own process would."""
        if self.is_this:
            return
        process.open_standard_streams()
        sys.argv = [*self.argv]
        if self.program[0] != "python":
            environment.remember_program(self.program)
        os.chdir(self.folder)
        if os.getppid() == self.number:
            process.end_with(self.number)

    def run_alone(
        self, config: Mapping[str, Any], folder: Path, *, trusted: Sequence[str], log: Path
    ) -> float | None:
        """Run one job as a command of its own, from its resolved config, and return its objective.

        Args:
            config: Settings of the job, as plain containers.
            folder: Folder of the job.
            trusted: Packages that the job may import.
            log: File for its output if it runs beside others; else it prints.

        Raises:
            JobError: It failed or was killed.
        """
        write_atomic(folder / "job.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        place = ["--config-path", str(folder.absolute()), "--config-name", "job", *environment.typed_folder()]
        words = [f"hydra.run.dir={hydra_value(folder.absolute())}", "hydra.output_subdir=null"]
        words.append(f"++trust={hydra_value([*trusted])}")
        with self._output(log) as output, hold_gpu() as gpu:
            variables = os.environ | _NO_SLURM | gpu | environment.typed_variable()
            variables |= upload_variables(config)  # the user typed them
            variables[_PARENT] = str(os.getpid())
            command = [*self.restart, *place, *words]
            code = subprocess.run(
                command, env=variables, stdout=output, stderr=output, check=False
            ).returncode
        status = read_status(folder)
        if code:
            raise _failure(code, status, log)
        value: float | None = status.get("value")
        return value

    def _output(self, log: Path) -> contextlib.AbstractContextManager[IO[bytes] | None]:
        return contextlib.nullcontext() if self.is_this else log.open("ab")


def _failure(code: int, status: Mapping[str, Any], log: Path) -> JobError:
    """Return why a job ended: its own message, the signal that killed it, or the last line of its output."""
    if status.get("error"):
        return JobError(status["error"], status.get("reason") or "error")
    if code < 0:
        name = signal.Signals(-code).name
        lack = " Perhaps memory ran out: see the system's log, and run fewer jobs at once." * (
            name == "SIGKILL"
        )
        return JobError(f"killed by {name}.{lack}", "killed")
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return JobError(
        f"ended with exit code {code}: {lines[-1] if lines else 'its messages are above'}", "error"
    )


def is_job_of_sweep() -> bool:
    """Return whether this process is such a command; from then on, it ends with the process that waits for it."""
    parent = os.environ.pop(_PARENT, None)  # further processes of this job have another parent
    if parent is not None:
        process.end_with(int(parent))
    return parent is not None


def end_workers() -> None:
    """End the workers that joblib keeps for the next call, which hold standard output open."""
    loky = sys.modules.get("joblib.externals.loky")
    if loky is not None:
        loky.get_reusable_executor().shutdown(wait=True)
