"""CSV files of a run: whole after a resume, and scores as in metrics.json."""

import csv
from pathlib import Path

import pytest

from ser.trackers import CSV


def rows(folder: Path, file: str = "metrics.csv") -> list[dict[str, str]]:
    with (folder / "csv" / file).open(newline="") as opened:
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(opened)]


def epoch(logger: CSV, step: int) -> None:
    """Log what an epoch of two steps does, from the step before it."""
    logger.log_metrics({"train/lr": 0.1}, step)
    logger.log_metrics({"validation/loss": step + 2.5}, step + 2)
    logger.log_metrics({"train/loss": step + 2.25}, step + 2)
    logger.save()


@pytest.fixture
def whole(tmp_path: Path) -> list[dict[str, str]]:
    """Rows of three epochs without a break."""
    logger = CSV(tmp_path / "whole")
    for step in (0, 2, 4):
        epoch(logger, step)
    return rows(tmp_path / "whole")


def test_a_resumed_run_repeats_and_loses_no_row(tmp_path: Path, whole: list[dict[str, str]]) -> None:
    killed = CSV(tmp_path)
    for step in (0, 2):
        epoch(killed, step)
    killed.log_metrics({"train/lr": 0.1}, 4)
    killed.log_metrics({"train/loss_step": 9.0}, 5)
    killed.save()  # killed within the third epoch; its checkpoint is of step 4
    epoch(CSV(tmp_path), 4)
    assert rows(tmp_path) == whole


def test_a_run_resumed_an_epoch_earlier_has_each_row_once(
    tmp_path: Path, whole: list[dict[str, str]]
) -> None:
    killed = CSV(tmp_path)
    for step in (0, 2):
        epoch(killed, step)
    resumed = CSV(tmp_path)
    for step in (2, 4):
        epoch(resumed, step)
    assert rows(tmp_path) == whole


def test_a_new_curve_after_a_resume_gets_its_column(tmp_path: Path) -> None:
    epoch(CSV(tmp_path), 0)
    resumed = CSV(tmp_path)
    resumed.log_metrics({"a": 1.0}, 3)
    resumed.save()
    assert rows(tmp_path)[-1] == {"a": "1.0", "step": "3"}
    assert len(rows(tmp_path)) == 4


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    epoch(CSV(tmp_path), 0)
    file = tmp_path / "csv" / "metrics.csv"
    file.write_bytes(file.read_bytes()[:-3])
    resumed = CSV(tmp_path)
    resumed.log_metrics({"train/lr": 0.1}, 2)
    resumed.save()
    names = [[*row] for row in rows(tmp_path)]
    assert names == [["step", "train/lr"], ["step", "validation/loss"], ["step", "train/lr"]]


def test_scores_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    logger = CSV(tmp_path)
    epoch(logger, 0)
    logger.finalize("success")
    logger.log_metrics({"validation/loss": 7.0}, 2)
    logger.log_scores({"test/uar": 1 / 3}, {}, step=2)
    assert [float(row["value"]) for row in rows(tmp_path, "scores.csv")] == [1 / 3]
    assert len(rows(tmp_path)) == 3
