"""Sweeps on real clusters of one machine: bash tests/jobs/one_node_slurm.sh; pytest -m cluster tests/jobs."""

import csv
import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.jobs.test_launchers import statuses, sweep

pytestmark = pytest.mark.cluster
CLUSTERS = {
    "slurm": (shutil.which("sbatch") is not None, "hydra.launcher.cpus_per_task=1"),
    "ray": (importlib.util.find_spec("ray") is not None, "+hydra.launcher.ray.init.num_cpus=2"),
}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep" / "sweep.csv").open() as file:
        return [*csv.DictReader(file)]


@pytest.mark.parametrize("launcher", CLUSTERS)
def test_a_cluster_gives_the_table_of_a_local_sweep(launcher: str, tmp_path: Path) -> None:
    is_there, setting = CLUSTERS[launcher]
    if not is_there:
        pytest.skip(f"{launcher} is not installed")
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    sweep(tmp_path / "here", "seed=1,13,2,3", code=1)
    sweep(tmp_path / "there", f"hydra/launcher={launcher}", setting, "seed=1,13,2,3", code=1)
    assert table(tmp_path / "there") == table(tmp_path / "here")
    assert len(table(tmp_path / "here")) == 4
    assert {job["status"] for job in statuses(tmp_path / "there").values()} == {"completed", "failed"}
    assert len({path.read_text() for path in tmp_path.glob("there/sweep/*/facts")}) == 3
