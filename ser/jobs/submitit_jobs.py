"""Jobs of submitit, on this machine or by Slurm: submit them, wait for all of them, record those that were lost."""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ser.errors import SerError, first_line
from ser.runs.sweep import Mode, failed_objective, read_statuses, record_status

_LOOK_S = 2.0  # between two looks whether a job has ended
_GRACE_S = 10.0  # time in which a result reaches this machine over a shared disk


@contextlib.contextmanager
def submitted(
    function: Any,
    arguments: Sequence[Sequence[Any]],
    *,
    cluster: str,
    folder: str,
    parameters: Mapping[str, Any],
) -> Iterator[list[Any]]:
    """Submit one job for each set of arguments; if the block that waits for them is interrupted, cancel them.

    Args:
        function: What a job calls.
        arguments: Values of each argument, one for each job.
        cluster: submitit's executor: `local` or `slurm`.
        folder: Folder for what the jobs print.
        parameters: Of the executor.

    Raises:
        SerError: The cluster refuses the jobs.
    """
    import submitit

    try:
        first = {name: parameters[name] for name in parameters if name.endswith("max_num_timeout")}
        executor = submitit.AutoExecutor(cluster=cluster, folder=folder, **first)
        executor.update_parameters(**{name: parameters[name] for name in parameters if name not in first})
        jobs = executor.map_array(function, *arguments)
    except (submitit.core.utils.FailedJobError, NameError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SerError(
            f"hydra.launcher: the jobs are refused: {reason}. Correct its settings, or start the same command later, "
            "with the folder of this sweep as hydra.sweep.dir."
        ) from error
    try:
        yield jobs
    except BaseException:
        for job in jobs:
            job.cancel()
        raise


def result_of(job: Any) -> Any:
    """Wait for a job and return what its function returned.

    Many clusters keep no accounts, without which submitit waits for a cancelled job for ever: squeue knows its end.

    Raises:
        Exception: submitit's, or LookupError, if it was lost.
    """
    while not job.done():
        if job.state == "UNKNOWN" and (end := _end_in_queue(job)):
            time.sleep(_GRACE_S)
            if not job.paths.result_pickle.exists():
                raise LookupError(end)
        time.sleep(_LOOK_S)
    return job.results()[0]


def _end_in_queue(job: Any) -> str | None:
    """Return how Slurm ended a job; None if it has not ended."""
    command = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job.job_id}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:
        return None  # the scheduler does not answer now
    state = done.stdout.strip() or "no longer in the queue"
    waits = (
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "COMPLETING",
        "STAGE_OUT",
        "SUSPENDED",
        "STOPPED",
        "RESIZING",
    )
    return None if state in waits or state.startswith("REQUEUE") else state


def record_lost(
    job: Any, error: Exception, sweep_dir: Path, *, overrides: Sequence[str], mode: Mode
) -> float:
    """Record that a job was lost, with the cluster's reason, and return its objective for the sweeper.

    Args:
        job: submitit's job.
        error: What waiting for it raised.
        sweep_dir: Folder of all jobs.
        overrides: Settings given to this job.
        mode: Whether larger or smaller objectives are better.
    """
    statuses = read_statuses(sweep_dir)
    found = [folder for folder, status in statuses.items() if status.get("overrides") == [*overrides]]
    folder = found[0] if found else sweep_dir / f"lost_{job.job_id}"
    end = first_line(error) if isinstance(error, LookupError) else job.state
    lines = (job.stderr() or "").strip().splitlines() or [first_line(error)]
    reason = f"job {job.job_id} of the launcher was lost ({end}): {lines[-1]}"
    record_status(folder, "failed", overrides=overrides, error=reason, reason="killed", mode=mode)
    print(f"Failed: {' '.join(overrides)}\n{reason}\nIts output is in {job.paths.stderr}.")
    return failed_objective(sweep_dir, mode)
