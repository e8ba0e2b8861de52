"""Which process of a run this is, and what several of them agree on."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ser.config.settings import Train
from ser.errors import CheckpointError, ConfigError, DataError, SerError
from ser.runs import ranks
from ser.targets.losses import CrossEntropy, Objective
from ser.targets.quadrants import Quadrant
from ser.training.consistency import check_training
from ser.training.task import Task
from tests.training.test_setup import settings_of

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"}
SLURM = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "7"}


@pytest.mark.parametrize(
    ("variables", "is_first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"GROUP_RANK": "1"}, False),
        (TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0"}, True),
        (TORCHRUN | {"RANK": "1", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
        (SLURM | {"SLURM_PROCID": "0"}, True),
        (SLURM | {"SLURM_PROCID": "1", "SLURM_LOCALID": "0"}, False),
        (SLURM | {"SLURM_PROCID": "1", "SLURM_JOB_NAME": "bash"}, True),
        ({"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "2"}, False),
    ],
)
def test_the_first_process_is_that_of_global_rank_0(variables: dict[str, str], is_first: bool) -> None:
    assert ranks.read_launch(variables).is_first is is_first


@pytest.mark.parametrize(
    ("trainer", "is_shared"),
    [
        (None, False),
        ({"devices": 1}, False),
        ({"devices": [3], "strategy": "auto"}, False),
        ({"devices": 2}, True),
        ({"devices": "auto"}, True),
        ({"devices": [0, 1]}, True),
        ({"devices": 1, "num_nodes": 2}, True),
        ({"devices": 1, "strategy": "ddp"}, True),
    ],
)
def test_a_run_is_shared_by_devices_nodes_or_strategy(trainer: Any, is_shared: bool) -> None:
    assert ranks.is_shared(trainer) is is_shared


def test_one_task_of_slurm_with_one_device_is_a_run_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SLURM | {"SLURM_PROCID": "1"}).items():
        monkeypatch.setenv(name, value)
    assert not ranks.is_follower({"devices": 1})
    assert ranks.is_follower({"devices": 1, "num_nodes": 2})


def test_processes_that_do_not_suit_the_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = {"devices": 2, "strategy": "ddp"}
    assert ranks.check_launch(shared, is_sweep=True) is None
    for name, value in (TORCHRUN | {"RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    assert ranks.check_launch(shared, is_sweep=False) is None
    assert "torchrun started 2 processes" in str(ranks.check_launch({"devices": 1}, is_sweep=False))
    assert "without -m" in str(ranks.check_launch(shared, is_sweep=True))


@pytest.mark.parametrize("trainer", [{"devices": 2}, {"devices": 1, "num_nodes": 2}])
def test_an_ensemble_in_several_processes_is_refused(trainer: dict[str, Any]) -> None:
    settings = {f"trainer__{key}": value for key, value in trainer.items()}
    with pytest.raises(ConfigError, match=r"ensemble: .*one process. Set trainer\.devices=1"):
        check_training(Train.of(settings_of(ensemble=3, **settings)))


class Pair(ranks.Ranks):
    """One of two processes, of which the other answers as it is told to.

    Args:
        rank: of this one.
        other: what the other has, of what this one has.
    """

    def __init__(self, rank: int, other: Callable[[Any], Any]) -> None:
        super().__init__(rank, 2, rank)
        self.other = other

    def gather(self, mine: Any) -> list[Any]:
        parts = [mine, self.other(mine)]
        return parts[:: 1 - 2 * self.rank]


@pytest.fixture
def entered() -> Iterator[Callable[[ranks.Ranks], None]]:
    before = ranks.current_ranks()
    yield ranks.set_current_ranks
    ranks.set_current_ranks(before)


def fail(error: Exception) -> Any:
    raise error


def test_a_failure_of_another_process_is_raised_by_the_first_and_ends_the_others() -> None:
    pair = Pair(0, lambda _: "FILE: no such file")
    with pytest.raises(SerError, match=r"^rank 1: FILE: no such file$"):
        pair.run_on_all(lambda: 3)
    with pytest.raises(SystemExit):
        Pair(1, lambda _: None).run_on_all(lambda: fail(DataError("FILE: no such file")))
    with pytest.raises(SystemExit):
        Pair(1, lambda _: "FILE: no such file").run_on_all(lambda: 3)


def test_the_first_process_raises_its_own_failure_once() -> None:
    asked = []
    pair = Pair(0, lambda mine: asked.append(mine) or mine)
    with pytest.raises(DataError, match=r"^FILE$"):
        pair.run_on_all(lambda: pair.run_on_all(lambda: fail(DataError("FILE"))))
    assert asked == ["FILE"], "the outer step waits for processes that have ended"


def make_task(world: int, total: float) -> Task:
    target = Quadrant()
    objective = Objective(target, CrossEntropy(), {"quadrant": torch.ones(4)})
    model: Any = torch.nn.Linear(1, 1)
    augment: Any = None
    task = Task(
        model, target, objective=objective, augment=augment, optimizer={}, schedule=None, description={}
    )
    strategy = SimpleNamespace(reduce=lambda *_, **__: torch.tensor(total))
    trainer: Any = SimpleNamespace(world_size=world, strategy=strategy, device_ids=None)
    task._trainer = trainer
    return task


def test_ranks_with_unequal_batches_average_to_the_mean_of_all_utterances() -> None:
    parts = [torch.tensor([1.0, 2.0, 6.0]), torch.tensor([5.0])]
    divisors = [make_task(2, 4.0)._losses_per_rank(len(part)) for part in parts]
    averaged = sum(part.sum() / divisor for part, divisor in zip(parts, divisors, strict=True)) / 2
    assert averaged == pytest.approx(torch.cat(parts).mean().item())
    assert make_task(1, 0.0)._losses_per_rank(3) == 3


def test_each_process_resumes_from_its_own_tally_and_states(entered: Callable[..., None]) -> None:
    others = {"tally": torch.full((6,), 7.0), "carried": torch.ones(2)}
    task = make_task(1, 0.0)
    task.carried = torch.zeros(2)
    checkpoint: dict[str, Any] = {}
    entered(Pair(0, lambda _: others))
    task.on_save_checkpoint(checkpoint)
    resumed = []
    for rank in (0, 1):
        task = make_task(1, 0.0)
        entered(Pair(rank, lambda _: None))
        task.on_load_checkpoint(checkpoint)
        resumed.append((task.totals["train"].state().sum().item(), task.carried.sum().item()))
    assert resumed == [(0.0, 0.0), (42.0, 2.0)]
    entered(ranks.Ranks())
    with pytest.raises(CheckpointError, match=r"of 2 processes, this run has 1\. Resume with the same"):
        task.on_load_checkpoint(checkpoint)
