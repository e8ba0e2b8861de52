"""Comparison of run folders: rows, what is refused, what is written."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from ser.comparison.compare import Comparison, compare, letter
from ser.comparison.importance import Jobs, collect_jobs, explain_variance
from ser.comparison.plots import plot_jobs
from ser.comparison.rows import group_runs, name_rows
from ser.comparison.runs import find_runs
from ser.comparison.tables import format_duration
from ser.comparison.wording import describe_notes, describe_pair, format_p
from ser.errors import ConfigError, DataError
from ser.runs.predictions_file import read_predictions
from ser.runs.sweep import record_status
from ser.scripts import compare as script
from tests.comparison.folders import write_run

CNN, LSTM = {"model": "cnn"}, {"model": "lstm"}


def read_csv(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(path.read_text().splitlines())]


def compared(*folders: Path, metric: str = "accuracy", split: str = "test") -> Comparison:
    return compare(group_runs(find_runs(folders, split).runs), split=split, metric=metric)


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Two runs of which the first is better by far."""
    return [
        write_run(tmp_path / "cnn", accuracy=0.8, settings=CNN, draw=1),
        write_run(tmp_path / "lstm", accuracy=0.5, settings=LSTM, draw=2),
    ]


def test_a_real_difference_is_found_and_said(pair: list[Path]) -> None:
    result = compared(*reversed(pair))
    assert [entry.name for entry in result.entries] == ["model=cnn", "model=lstm"]
    assert (result.items, result.clusters, result.floor) == (240, 12, 0.25)
    sentence = describe_pair(result.pairs[0], result)
    assert sentence.startswith("A (model=cnn) beats B (model=lstm) by ")
    numbers = r"\d+\.\d points of accuracy \(95% \d+\.\d to \d+\.\d\), p (=|<) \.00\d, 12 speakers\."
    assert re.search(f" by {numbers}$", sentence)


def test_accuracy_equals_that_of_the_file(pair: list[Path]) -> None:
    read = read_predictions(pair[0] / "predictions_test.csv")
    (entry,) = compared(pair[0]).entries
    assert entry.values["accuracy"] == pytest.approx((read.labels == read.predicted).mean())
    assert entry.intervals["accuracy"].low < entry.values["accuracy"] < entry.intervals["accuracy"].high


def test_equal_runs_show_no_difference(tmp_path: Path) -> None:
    write_run(tmp_path / "a", settings=CNN, draw=1)
    write_run(tmp_path / "b", settings=LSTM, draw=1)
    result = compared(tmp_path)
    assert result.pairs[0].p == result.pairs[0].mcnemar == 1.0
    assert describe_pair(result.pairs[0], result).startswith(
        "No difference shown between A (model=cnn) and B"
    )


def test_seeds_are_one_row_with_their_mean(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / str(seed), seed=seed, accuracy=0.4 + 0.1 * seed, draw=seed) for seed in range(3)
    ]
    (entry,) = compared(*runs).entries
    alone = [compared(run).entries[0].values["accuracy"] for run in runs]
    assert (entry.row.seeds, entry.row.folds) == (3, 1)
    assert entry.values["accuracy"] == pytest.approx(np.mean(alone))
    assert entry.values["accuracy"] < max(alone)
    assert entry.row.spread == pytest.approx(np.std(alone, ddof=1))


def test_folds_are_pooled_over_their_items(tmp_path: Path) -> None:
    for fold, speakers in enumerate(["ab", "cdefg"]):
        write_run(tmp_path / str(fold), fold=fold, speakers=[*speakers], draw=fold)
    result = compared(tmp_path)
    assert (result.items, result.clusters) == (140, 7)
    assert (result.entries[0].row.seeds, result.entries[0].row.folds) == (1, 2)
    parts = [read_predictions(tmp_path / str(fold) / "predictions_test.csv") for fold in (0, 1)]
    right = np.concatenate([part.labels == part.predicted for part in parts])
    assert result.entries[0].values["accuracy"] == pytest.approx(right.mean())
    assert result.entries[0].row.spread is None


def test_other_items_are_refused_with_their_names(tmp_path: Path) -> None:
    write_run(tmp_path / "a", settings=CNN, speakers=["x", "y", "z"], items=4)
    write_run(tmp_path / "b", settings=LSTM, speakers=["x", "y", "w"], items=4)
    with pytest.raises(ConfigError) as raised:
        compared(tmp_path)
    assert "4 items are only in this one ('w-00', 'w-01', 'w-02', ...)" in str(raised.value)
    assert "4 items are only in the other ('z-00', 'z-01', 'z-02', ...)" in str(raised.value)


def test_a_missing_fold_is_refused(tmp_path: Path) -> None:
    for name, settings, folds in (("a", CNN, 2), ("b", LSTM, 1)):
        for fold in range(folds):
            write_run(
                tmp_path / name / str(fold), fold=fold, settings=settings, speakers=[f"{fold}x", f"{fold}y"]
            )
    with pytest.raises(
        ConfigError, match=r"b/0 \(1 run\): scored other items than .*a/0 \(2 runs\): 40 items"
    ):
        compared(tmp_path)


def test_other_labels_of_an_item_are_refused(pair: list[Path]) -> None:
    path = pair[1] / "predictions_test.csv"
    path.write_text(path.read_text().replace("a-00,a,anger,", "a-00,a,calm,"))
    with pytest.raises(DataError, match=r"lstm: 1 item has another label in .*cnn \('a-00'\)"):
        compared(*pair)


def test_other_classes_are_refused(pair: list[Path]) -> None:
    path = pair[1] / "predictions_test.csv"
    path.write_text(path.read_text().replace("calm", "neutral"))
    with pytest.raises(
        ConfigError, match=r"lstm: has other classes than .*cnn: only one of them has calm, neutral"
    ):
        compared(*pair)


def test_classes_in_another_order_are_the_same(pair: list[Path]) -> None:
    path = pair[1] / "predictions_test.csv"
    before = compared(*pair)
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(f"{','.join([*row[:4], *reversed(row[4:])])}\n" for row in rows))
    assert compared(*pair).pairs[0].p == before.pairs[0].p


def test_another_speaker_of_an_item_is_refused(pair: list[Path]) -> None:
    path = pair[1] / "predictions_test.csv"
    path.write_text(path.read_text().replace("a-00,a,", "a-00,b,"))
    with pytest.raises(DataError, match=r"lstm: 1 item has another speaker"):
        compared(*pair)


def test_one_speaker_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", speakers=["x"])
    with pytest.raises(
        DataError, match=r"a: one speaker was scored \(x\), which says nothing about other speakers"
    ):
        compared(tmp_path / "a")


def test_few_speakers_cannot_show_a_difference(tmp_path: Path) -> None:
    write_run(tmp_path / "a", accuracy=1.0, settings=CNN, speakers=[*"vwxyz"])
    write_run(tmp_path / "b", accuracy=0.2, settings=LSTM, speakers=[*"vwxyz"])
    result = compared(tmp_path)
    assert not result.pairs[0].is_shown
    notes = " ".join(describe_notes(result, {}))
    assert "With 5 speakers and 1 pair, no difference can be shown: p = .062 is the smallest" in notes
    assert "A: no interval, as all predictions are correct or none is." in notes


def test_unknown_speakers_are_utterances_and_said(tmp_path: Path) -> None:
    write_run(tmp_path / "a", settings=CNN, speakers=[None] * 5, draw=1)
    write_run(tmp_path / "b", settings=LSTM, speakers=[None] * 5, draw=2)
    result = compared(tmp_path)
    assert (result.clusters, result.clustered_by) == (100, "utterances")
    assert any("Speakers are unknown" in note for note in describe_notes(result, {}))
    pair = result.pairs[0]
    assert pair.p == pytest.approx(pair.mcnemar, abs=0.015)  # the same test, from draws


def test_steps_of_an_utterance_are_items_of_it(tmp_path: Path) -> None:
    write_run(tmp_path / "a", speakers=[None] * 4)
    path = tmp_path / "a" / "predictions_test.csv"
    path.write_text(re.sub(r"^(\d+)-\d+,", r"\1,", path.read_text(), flags=re.M))
    result = compared(tmp_path / "a")
    assert (result.items, result.clusters) == (80, 4)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no status.json, so it is no folder of a run or of a sweep"):
        compared(tmp_path)


def test_a_run_without_predictions_is_refused(pair: list[Path]) -> None:
    (pair[0] / "predictions_test.csv").unlink()
    with pytest.raises(DataError, match=r"has no predictions_test.csv: .* repeat the command of that run"):
        compared(*pair)


def test_a_run_without_test_names_the_split_it_has(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", split="validation")
    with pytest.raises(DataError, match=r"has no predictions for test.*with --split validation"):
        compared(folder)
    assert any(
        "chosen on validation" in note for note in describe_notes(compared(folder, split="validation"), {})
    )


def test_a_damaged_file_of_predictions_is_refused(pair: list[Path]) -> None:
    path = pair[0] / "predictions_test.csv"
    path.write_text(path.read_text().replace("0.7", "much", 1))
    with pytest.raises(DataError, match=r"predictions_test.csv: is damaged"):
        compared(*pair)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", "[", r"config.yaml: cannot be read"),
        ("config.yaml", "1", r"config.yaml: holds no settings"),
        ("facts.json", "{", r"facts.json: is damaged"),
    ],
)
def test_a_damaged_file_of_a_run_is_refused(pair: list[Path], name: str, content: str, message: str) -> None:
    (pair[0] / name).write_text(content)
    with pytest.raises(DataError, match=message):
        compared(*pair)


def test_an_unknown_score_names_the_known_ones(pair: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"--metric uarr: no such score. Did you mean 'uar'"):
        compared(*pair, metric="uarr")


def test_a_copy_of_a_run_is_refused(pair: list[Path]) -> None:
    copy = shutil.copytree(pair[0], pair[0].with_name("copy"))
    with pytest.raises(DataError, match=r"copy: has the settings, the seed and the fold of .*cnn. Leave one"):
        compared(pair[0], copy)
    assert len(compared(pair[0], pair[0]).entries) == 1


def test_failed_jobs_are_left_out_and_named(pair: list[Path]) -> None:
    record_status(pair[0].with_name("bad"), "failed", error="out of memory")
    found = find_runs([pair[0].parent], "test")
    assert [*found.left_out.values()] == ["failed"]
    notes = [*describe_notes(compared(pair[0].parent), found.left_out)]
    assert notes[-1].startswith("Left out: 1 run without a result: ")
    assert notes[-1].endswith("bad (failed).")
    with pytest.raises(DataError, match=r"no run has finished \(failed\)"):
        find_runs([pair[0].with_name("bad")], "test")


def test_a_default_is_named_by_its_value(tmp_path: Path) -> None:
    write_run(tmp_path / "a", settings={"optimizer.lr": 0.001})
    folder = write_run(tmp_path / "b", settings={"optimizer.lr": 0.003})
    (folder / "environment.json").write_text(json.dumps({"overrides": []}))
    rows = group_runs(find_runs([tmp_path], "test").runs)
    assert name_rows(rows) == ["optimizer.lr=0.001", "optimizer.lr=0.003"]


def test_equal_words_of_unequal_settings_have_folders(tmp_path: Path) -> None:
    for name, size in (("a", 8), ("b", 16)):
        folder = write_run(tmp_path / name, settings=CNN)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, "size": size}))
    names = name_rows(group_runs(find_runs([tmp_path], "test").runs))
    assert [Path(name).name for name in names] == ["a", "b"]


def test_the_time_of_a_resumed_run_is_unknown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", settings={"resume": "logs/run"})
    assert compared(folder).entries[0].row.duration_s is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.0004, "p < .001"), (0.0316, "p = .032"), (1.0, "p = 1.000"), (0.25, "p = .250")]
)
def test_p_values_have_three_digits(value: float, text: str) -> None:
    assert format_p(value, name="p") == text


def test_letters_go_on_after_z() -> None:
    assert [letter(place) for place in (0, 25, 26, 52, 702)] == ["A", "Z", "AA", "BA", "AAA"]


def test_durations_have_a_unit() -> None:
    assert [format_duration(s) for s in (None, 12.3, 600.0, 9000.0)] == ["", "12 s", "10 min", "2.5 h"]


def test_a_setting_that_decides_explains_the_variance() -> None:
    settings = {"lr": [1e-3, 1e-3, 1e-4, 1e-4], "seed": [0, 1, 0, 1]}
    shares = explain_variance(Jobs(settings, np.array([0.7, 0.71, 0.5, 0.51]), "validation/accuracy"))
    assert [*shares] == ["lr", "seed"]
    assert shares["lr"] > 0.99
    assert shares["seed"] == 0.0


def test_numbers_without_meaning_explain_little() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=60)
    settings = {"noise": random.normal(size=60).tolist(), "slope": (values + 0.1).tolist()}
    shares = explain_variance(Jobs(settings, values, "loss", is_min=True))
    assert shares["noise"] < 0.15
    assert shares["slope"] > 0.7


def test_too_few_jobs_have_no_importance(pair: list[Path]) -> None:
    assert collect_jobs(find_runs([pair[0].parent], "test").runs) is None


def test_the_best_job_is_dark_also_for_a_loss() -> None:
    settings = {"lr": [1, 2, 3, 4]}
    for is_min in (False, True):
        jobs = Jobs(settings, np.array([0.1, 0.2, 0.3, 0.4]), "loss", is_min=is_min)
        lines = plot_jobs(jobs).axes[0].lines[:4]
        brightness = [sum(line.get_color()[:3]) for line in lines]  # drawn from the worst to the best
        assert brightness == sorted(brightness, reverse=True)
        assert lines[-1].get_ydata()[0] == (0.0 if is_min else 1.0)


def test_the_command_writes_tables_pages_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place, (model, seed) in enumerate([("cnn", 0), ("cnn", 1), ("lstm", 0), ("lstm", 1)]):
        settings = {"model": model, "note": "a<b|c"}
        write_run(tmp_path / "sweep" / str(place), accuracy=0.6, seed=seed, settings=settings, draw=place)
    assert script.compare(["sweep", "--output", "out"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("comparison.md", "comparison.html", "comparison.csv", "pairs.csv"),
        *("intervals.png", "jobs.png", "importance.png"),
    }
    printed = capsys.readouterr().out
    sentence = next(line for line in printed.splitlines() if "(model=" in line)
    assert f"- {sentence}\n" in (tmp_path / "out" / "comparison.md").read_text()
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert sentence in page
    assert page.count("data:image/png;base64,") == 3
    rows = read_csv(tmp_path / "out" / "comparison.csv")
    assert [row["letter"] for row in rows] == ["A", "B"]
    assert all(row["seeds"] == "2" and row["parameters"] == "1234" for row in rows)
    pairs = read_csv(tmp_path / "out" / "pairs.csv")
    assert (len(pairs), pairs[0]["speakers"]) == (1, "12")
    assert script.compare(["sweep/0", "output=out"]) == 0
    assert not (tmp_path / "out" / "jobs.png").exists()
    assert "| row |" in (tmp_path / "out" / "comparison.md").read_text()


def test_the_command_prints_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.compare([str(tmp_path / "gone")]) == 1
    assert "gone: holds no status.json" in capsys.readouterr().err
    write_run(tmp_path / "a")
    (tmp_path / "file").touch()
    assert script.compare([str(tmp_path / "a"), "--output", str(tmp_path / "file")]) == 1
    assert "Choose another with --output" in capsys.readouterr().err
