"""The progress bar: it fits a terminal and counts as the report does."""

from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from ser.training.trainer import Progress


def bar(epoch: int, last: int | None) -> str:
    progress = Progress()
    progress._trainer = SimpleNamespace(max_epochs=last, sanity_checking=False)
    return progress._get_train_description(epoch)


@pytest.mark.parametrize(("epoch", "last", "shown"), [(0, 2, "Epoch 1/2"), (44, 45, "Epoch 45/45")])
def test_epochs_count_from_one(epoch: int, last: int, shown: str) -> None:
    assert bar(epoch, last).rstrip() == shown


@pytest.mark.parametrize("last", [None, -1])
def test_without_a_last_epoch_none_is_named(last: int | None) -> None:
    assert bar(0, last).rstrip() == "Epoch 1"


def test_a_long_training_and_its_metric_fit_80_columns() -> None:
    console = Console(width=80, force_terminal=True, color_system=None)
    bars = Bars(*Progress().configure_columns(None), "validation/accuracy: 0.543", console=console)
    bars.add_task(bar(99, 100), total=1000, completed=999)
    with console.capture() as printed:
        console.print(bars.get_renderable())
    (line,) = printed.get().strip("\n").split("\n")
    assert "Epoch 100/100" in line
    assert "999/1000" in line
    assert line.rstrip().endswith("validation/accuracy: 0.543")
