"""Launchers of Hydra for sweeps: a queue over the GPUs of this machine, and submitit's, of which no lost job is fatal.

Hydra takes plugins from a package `hydra_plugins` only, but its registry needs the name alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher

from ser.jobs.gpus import queue_of
from ser.jobs.installed import check_cluster
from ser.jobs.submitit_jobs import record_lost, result_of, submitted
from ser.runs.sweep import Mode

try:
    from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
except ModuleNotFoundError:
    JoblibLauncher = Launcher  # then `check_launcher` refuses to use it
try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
except ModuleNotFoundError:
    BaseSubmititLauncher = Launcher

SHARED = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name")
"""Parameters that submitit calls the same for every executor; others are prefixed by its name."""


class GpuLauncher(JoblibLauncher):  # type: ignore[misc]
    """Run as many jobs at once as there are GPUs, each in a process that sees one of them.

    Args:
        jobs_per_gpu: Number of jobs that share a GPU.
        joblib: Further arguments of joblib.Parallel.
    """

    def __init__(self, jobs_per_gpu: int = 1, **joblib: Any) -> None:
        super().__init__(**joblib)
        self.jobs_per_gpu = jobs_per_gpu

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, and return their objectives."""
        with queue_of(self.jobs_per_gpu) as size:
            self.joblib["n_jobs"] = min(size, len(job_overrides))
            results: Sequence[JobReturn] = super().launch(job_overrides, initial_job_idx)
            return results


class _SubmititLauncher(BaseSubmititLauncher):  # type: ignore[misc]
    """Run jobs by submitit; unlike the launcher that it derives from, wait for all jobs if one is lost."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, and return their objectives."""
        own = {name: value for name, value in self.params.items() if value is not None}
        folder = own.pop("submitit_folder")
        parameters = {
            name if name in SHARED else f"{self._EXECUTOR}_{name}": value for name, value in own.items()
        }
        count = len(job_overrides)
        numbers = range(initial_job_idx, initial_job_idx + count)
        arguments = (
            [[*words] for words in job_overrides],
            ["hydra.sweep.dir"] * count,
            numbers,
            [str(number) for number in numbers],
            [Singleton.get_state()] * count,
        )
        sweep_dir = Path(self.config.hydra.sweep.dir)
        sweep_dir.mkdir(parents=True, exist_ok=True)
        with submitted(self, arguments, cluster=self._EXECUTOR, folder=folder, parameters=parameters) as jobs:
            return [
                self._result(job, words, sweep_dir) for job, words in zip(jobs, job_overrides, strict=True)
            ]

    def _result(self, job: Any, words: Sequence[str], sweep_dir: Path) -> JobReturn:
        """Wait for a job; one that is lost is recorded as failed."""
        try:
            result: JobReturn = result_of(job)
            return result
        except Exception as error:
            plain = [word.removeprefix("++") for word in filter_overrides(words)]
            mode: Mode = "min" if self.config.get("mode") == "min" else "max"
            value = record_lost(job, error, sweep_dir, overrides=plain, mode=mode)
            return JobReturn(overrides=words, _return_value=value, status=JobStatus.COMPLETED)


class LocalLauncher(_SubmititLauncher):
    """Run all jobs at once, each in a process of this machine."""

    _EXECUTOR = "local"


class SlurmLauncher(_SubmititLauncher):
    """Let Slurm run the jobs."""

    _EXECUTOR = "slurm"

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, and return their objectives."""
        check_cluster()
        return super().launch(job_overrides, initial_job_idx)


def register() -> None:
    """Make the launchers known to Hydra, by the names in conf/hydra/launcher."""
    plugins = Plugins.instance()
    for launcher in (GpuLauncher, LocalLauncher, SlurmLauncher):
        plugins.class_name_to_class[f"hydra_plugins.ser.{launcher.__name__}"] = launcher
