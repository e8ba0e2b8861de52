from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.runs.sweep import record_status
from ser.scripts.extract import COUNTS, summarize
from tests.commands import run


def test_features_are_computed_once_and_counted(tmp_path: Path) -> None:
    for number in range(16):
        folder = tmp_path / "corpus" / ("anger" if number % 2 else "joy")
        folder.mkdir(parents=True, exist_ok=True)
        waveform = np.random.default_rng(number).uniform(-0.3, 0.3, 8_000)
        soundfile.write(folder / f"{number}.wav", waveform, 16_000)
    words = ("data=folder", "data.root=corpus", "split=random", "target=classes", "data.cache_dir=features")
    first = run("ser", "extract", *words, cwd=tmp_path).stdout
    notes = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").glob("*.json")}
    assert len(notes) == 1
    counts = [int(line.split()[1]) for line in first.splitlines() if " utterances, " in line]
    assert (len(counts), sum(counts)) == (3, 16)
    assert "Features are in features" in first
    (kept,) = tmp_path.rglob(COUNTS)
    assert kept.read_text() in first
    assert run("ser", "extract", *words, cwd=tmp_path).stdout == first
    assert {path: path.stat().st_mtime_ns for path in notes} == notes


def test_a_sweep_ends_with_its_jobs_and_no_ranking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, status in enumerate(("completed", "failed")):
        (tmp_path / str(number)).mkdir()
        record_status(tmp_path / str(number), status, overrides=[f"seed={number}"])
        (tmp_path / str(number) / COUNTS).write_text("train: 8 utterances, 80 frames of 40 values\n")
    assert summarize(tmp_path, ["ser", "extract"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("train: 8 utterances, 80 frames of 40 values") == 1
    assert any("seed=0" in line and "completed" in line for line in lines)
    assert any("seed=1" in line and "failed" in line for line in lines)
    assert next(line for line in lines if "overrides" in line).split()[1::2] == [
        "overrides",
        "folder",
        "status",
    ]
