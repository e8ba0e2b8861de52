"""The benchmarks in their quick form: they run, and end in a line of JSON; what they measure means nothing here."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import generate
from benchmarks.__main__ import NAMES, REPORT, RESULTS, facts, machine, report
from benchmarks.measure import Goal, Options, Ratio, Result, interleave, memory_mib, paired_ratio, run_child
from benchmarks.padding import mates_kept
from ser.corpora.challenge_reader import read_challenge
from tests.commands import warm_python
from tests.conftest import REPOSITORY

QUICK = ["ingest", "padding", "features", "lstm", "audit"]
SLOW = ["start", "train", "predict", "streaming", "growth", "alignment", "export", "serve"]


def run(module: str, *arguments: str) -> str:
    result = subprocess.run(
        [warm_python(), "-m", module, "--quick", "--threads", "1", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def last_line(output: str) -> dict[str, Any]:
    return json.loads(output.splitlines()[-1])


def check(found: dict[str, Any], name: str) -> None:
    assert found["name"] == name
    assert found["quick"] is True
    low, high = found["spread"]
    assert 0 < low <= found["ratio"] <= high
    assert found["rows"]
    assert all(len(row) == len(found["columns"]) for row in found["rows"])
    assert all(isinstance(goal["met"], bool) and np.isfinite(goal["value"]) for goal in found["goals"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_benchmark_ends_in_a_line_of_json(name: str, folder: Path) -> None:
    check(last_line(run(f"benchmarks.{name}", "--folder", str(folder))), name)


def test_page_of_results_has_goals_and_tables() -> None:
    goal = Goal("padding", 1.03, "<=", 1.05)
    result = Result(
        "padding", "padded / real", Ratio(1.03, 1.02, 1.04), ("batches", "ratio"), [("ser", "1.03")], [goal]
    )
    made = {"commit": "c0ffee", "date": "2026-11-26", "repetitions": 5}
    page = report([result.to_dict() | made | {"machine": machine(Options(quick=False))}])
    assert "| padding | 1.03 | <= 1.05 | met |" in page
    assert "| ser | 1.03 |" in page
    assert "commit c0ffee, 2026-11-26, 5 repetitions" in page
    assert f"| torch | {torch.__version__} |" in page


def test_page_names_what_each_result_was_measured_on() -> None:
    """A benchmark that is run again alone, on another machine or without a rival, hides nothing of the others."""
    one, other = {"torch": "2.10", "lhotse": "1.33"}, {"torch": "2.13"}
    assert facts([{"machine": one}, {"machine": other}]) == {"torch": "2.10; 2.13", "lhotse": "1.33"}


def test_page_in_docs_is_that_of_the_results() -> None:
    known = json.loads(RESULTS.read_text())
    assert REPORT.read_text() == report([known[name] for name in NAMES if name in known])


@pytest.mark.slow
def test_the_gpu_benchmark_runs_without_a_gpu_when_told_to() -> None:
    check(last_line(run("benchmarks.gpu", "--device", "cpu")), "gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_benchmark_says_that_it_was_skipped() -> None:
    found = last_line(run("benchmarks.gpu"))
    assert found["ratio"] is None
    assert "skipped" in found["notes"][0]


def test_lengths_have_the_statistics_of_the_course() -> None:
    lengths = generate.lengths(generate.COURSE_UTTERANCES)
    assert lengths.mean() == pytest.approx(223, rel=0.02)
    assert lengths.std() == pytest.approx(153, rel=0.05)
    assert lengths.min() >= 30
    assert lengths.max() <= 1707


def test_generated_files_are_read_as_challenge_files(tmp_path: Path) -> None:
    path = generate.challenge_file(tmp_path, 20)
    store = read_challenge(path, cache_dir=tmp_path / "cache")
    assert store.lengths.tolist() == generate.lengths(20).tolist()
    assert store.feature_dim == generate.FEATURE_DIM
    digits = path.read_text().split("[[")[1].split(",")[0].lstrip("-").replace(".", "")
    assert 15 <= len(digits) <= 17


def test_a_generated_file_is_used_again(tmp_path: Path) -> None:
    path = generate.challenge_file(tmp_path, 5)
    before = path.stat().st_mtime_ns
    assert generate.challenge_file(tmp_path, 5).stat().st_mtime_ns == before


def test_contestants_take_turns() -> None:
    order: list[str] = []
    answers = interleave({name: lambda name=name: order.append(name) for name in "ab"}, 2)
    assert order == ["a", "b", "b", "a"]
    assert [len(found) for found in answers.values()] == [2, 2]


def test_ratios_are_paired() -> None:
    ratio = paired_ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0])
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 2.0, 4.0)


def test_goals_know_whether_they_are_met() -> None:
    assert Goal("speed", 4.0, ">=", 4).met
    assert not Goal("waste", 1.1, "<=", 1.05).met


@pytest.mark.skipif(np.isnan(memory_mib("VmRSS")), reason="needs /proc")
def test_the_memory_of_a_child_is_its_own() -> None:
    ballast = bytearray(300 << 20)
    assert run_child("", "bytearray(int(arguments[0]))", "1").peak_mib < 5
    assert 60 < run_child("", "bytearray(int(arguments[0]))", str(64 << 20)).peak_mib < 80
    assert len(ballast)


def test_mates_are_counted_by_pairs() -> None:
    assert mates_kept([[0, 1, 2], [3, 4]], [[0, 1], [2, 3, 4]]) == pytest.approx(2 / 4)
    assert mates_kept([[0, 1], [2, 3]], [[1, 0], [3, 2]]) == 1


def test_samples_hold_the_longest_batches_and_stand_for_all() -> None:
    from benchmarks.train import sample

    lengths = np.arange(1, 101)
    plan = [[index, index + 1] for index in range(0, 100, 2)]
    chosen = sample(plan, lengths, 5)
    assert [99, 98] in [sorted(batch, reverse=True) for batch in chosen.batches]
    assert sum(chosen.weights) == len(plan)
    assert chosen.epoch_seconds([1.0] * len(chosen.batches)) == len(plan)


@pytest.mark.filterwarnings("ignore")  # of Lightning, about few batches
def test_overhead_of_a_step_is_measured(tmp_path: Path) -> None:
    from benchmarks.train import null_model

    ratio = null_model(Options(quick=True, repetitions=1, folder=tmp_path))
    assert np.isfinite(ratio.median)
