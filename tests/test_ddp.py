"""Trainings in several processes, as train.py, Slurm and torchrun start them."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ser import checkpoint
from tests.commands import REPOSITORY, TINY, environment

DDP = ("trainer=ddp", "trainer.accelerator=cpu")

OTHER_NODE = """
import runpy, sys
forbidden, script, *arguments = sys.argv[1:]
def refuse(event, args):
    if event in ("open", "os.mkdir") and str(args[0]).startswith(forbidden):
        raise RuntimeError(f"{event} of {args[0]}: this node has no such disk")
sys.addaudithook(refuse)
sys.argv = [script, *arguments]
sys.path.insert(0, script.rpartition("/")[0])
runpy.run_path(script, run_name="__main__")
"""
"""Runs a script that can open nothing in a folder."""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def start(command: list[str], cwd: Path, **variables: str) -> subprocess.Popen[str]:
    cwd.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env=environment(cwd / "cache") | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(child: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    try:
        out, err = child.communicate(timeout=300)
    finally:
        child.kill()
    assert child.returncode == code, f"{out}\n{err}"
    return out, err


def test_two_slurm_nodes_share_one_run_without_a_shared_disk(challenge: Path, tmp_path: Path) -> None:
    nodes = (tmp_path / "node0", tmp_path / "node1")
    slurm = {
        "SLURM_JOB_ID": "71",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
        "SLURM_LOCALID": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }
    overrides = ("data=challenge", f"data.root={challenge}", *TINY, *DDP)
    overrides += ("trainer.devices=1", "trainer.num_nodes=2", "trainer.max_epochs=5")
    overrides += ("optimizer.lr=0.03", "callbacks.averaged_weights=null")
    script = str(REPOSITORY / "train.py")
    first = start([script, *overrides], nodes[0], SLURM_PROCID="0", SLURM_NODEID="0", **slurm)
    time.sleep(1.1)  # now the default folder has another name
    second = start(
        ["-c", OTHER_NODE, str(nodes[0]), script, *overrides],
        nodes[1],
        SLURM_PROCID="1",
        SLURM_NODEID="1",
        **slurm,
    )
    assert ended(second) == ("", "")
    printed, complaints = ended(first)
    assert complaints == ""
    (run,) = (nodes[0] / "logs" / "challenge").iterdir()
    assert "majority floor" in printed
    assert {path.name for path in nodes[1].iterdir()} <= {"cache"}
    best = checkpoint.read(run / "checkpoints" / "best.ckpt")
    curve = checkpoint.read(run / "checkpoints" / "last.ckpt")["ser_progress"]["curves"]["validation/loss"]
    assert best["epoch"] + 1 < 5, "the last epoch is the best: rank 1 need not be given its weights"
    assert json.loads((run / "metrics.json").read_text())["validation/loss"] == pytest.approx(
        curve[best["epoch"] + 1], rel=1e-5
    )
