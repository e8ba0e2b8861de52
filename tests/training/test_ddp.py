"""Trainings in several processes, as train.py, Slurm and torchrun start them, and in other ways than the default."""

import json
import shlex
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ser.checkpoints import checkpoint
from tests import remedies
from tests.commands import REPOSITORY, TINY, environment, run, warm_python
from tests.training.test_plot_callbacks import fitted, pieces

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
        [warm_python(), *command],
        cwd=cwd,
        env=environment(cwd / "cache") | {"BLANK_PLOTS": "1"} | variables,
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
    assert isinstance(child.args, list)
    remedies.record_output([str(word) for word in child.args[1:]], out, err)
    return out, err


@pytest.mark.parametrize("program", ["srun", "torchrun"])
def test_two_nodes_share_one_run_without_a_shared_disk(program: str, challenge: Path, tmp_path: Path) -> None:
    nodes = (tmp_path / "node0", tmp_path / "node1")
    overrides = ("data=challenge", f"data.root={challenge}", *TINY, *DDP)
    overrides += ("trainer.devices=1", "trainer.num_nodes=2", "trainer.max_epochs=5")
    overrides += ("optimizer.lr=0.03", "callbacks.averaged_weights=null")
    script = str(REPOSITORY / "train.py")
    other = tmp_path / "other_node.py"
    other.write_text(OTHER_NODE)
    port = free_port()
    first = start([*starter(program, 0, port), script, *overrides], nodes[0], **variables(program, 0, port))
    time.sleep(1.1)  # now the default folder has another name
    command = [*starter(program, 1, port), str(other), str(nodes[0]), script, *overrides]
    second = start(command, nodes[1], **variables(program, 1, port))
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


def starter(program: str, node: int, port: str) -> list[str]:
    if program == "srun":
        return []
    nodes = ("--nnodes=2", f"--node-rank={node}", "--nproc-per-node=1")
    return ["-m", "torch.distributed.run", *nodes, "--master-addr=127.0.0.1", f"--master-port={port}"]


def variables(program: str, node: int, port: str) -> dict[str, str]:
    if program == "torchrun":
        return {}
    slurm = {"SLURM_JOB_ID": "71", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2"}
    this = {"SLURM_LOCALID": "0", "SLURM_PROCID": str(node), "SLURM_NODEID": str(node)}
    return slurm | this | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def test_a_killed_process_ends_the_run_with_a_sentence_and_resume_completes_it(
    challenge: Path, tmp_path: Path
) -> None:
    overrides = ("data=challenge", f"data.root={challenge}", *TINY, *DDP, "trainer.max_epochs=2")
    overrides += ("callbacks.last.every_n_steps=1", "augment.mixup=0.3", "model.dropout=0.1")
    script = str(REPOSITORY / "train.py")
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}")
    printed, _ = ended(start([*torchrun, script, *overrides], tmp_path / "whole"))
    (whole,) = (tmp_path / "whole" / "logs" / "challenge").iterdir()
    assert printed.count("Predict a file") == 1

    killed = start([script, *overrides], tmp_path / "killed", KILL_AT="1 1 2")
    _, told = ended(killed, code=1)
    (sentence,) = told.splitlines()
    assert "was ended by SIGKILL" in sentence
    _, *remedy = shlex.split(sentence.partition("go on with ")[2])
    ended(start([str(REPOSITORY / remedy[0]), *remedy[1:]], tmp_path / "resumed"))
    (killed,) = (tmp_path / "killed" / "logs" / "challenge").iterdir()
    curves = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["ser_progress"]["curves"]
        for folder in (whole, killed)
    ]
    for name in {*curves[0]} - {"train/speed_frames_per_second"}:
        assert curves[1][name] == pytest.approx(curves[0][name], rel=1e-4), name


def test_a_training_in_mixed_precision_learns_and_saves_float32(challenge: Path, tmp_path: Path) -> None:
    overrides = ("trainer.precision=bf16-mixed", "hydra.run.dir=run")
    run("train.py", "data=challenge", f"data.root={challenge}", *TINY, *overrides, cwd=tmp_path)
    best = checkpoint.load(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert {weight.dtype for weight in best.model.parameters()} == {torch.float32}
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["validation/accuracy"] > 0.5


def learn(challenge: Path, folder: Path, *overrides: str) -> dict[str, dict[int, float]]:
    """The curves of a small training without anything random."""
    still = ("augment=none", "model.dropout=0", "head.dropout=0", "trainer.max_epochs=2")
    return fitted(folder, pieces(challenge, folder, *TINY, *still, *overrides)).curves


COMPILERS = ["eager", pytest.param("inductor", marks=pytest.mark.slow)]
"""The first captures graphs alone; the second takes a minute or more."""


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # torch.compile's own imports
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_compiled_training_has_the_losses_of_eager_code(
    compiler: str, challenge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager = learn(challenge, tmp_path / "eager")
    compiled, plain = [], nn.Module.compile

    def note(self: nn.Module, **settings: Any) -> None:
        compiled.append(self)
        plain(self, backend=compiler, **settings)

    monkeypatch.setattr(nn.Module, "compile", note)
    found = learn(challenge, tmp_path / "compiled", "compile=true")
    assert len(compiled) == 1
    for name in ("train/loss", "validation/loss"):
        assert found[name] == pytest.approx(eager[name], rel=1e-3)
