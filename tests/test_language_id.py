"""Language identification from waveforms, from the outside."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from ser.corpora.arrays import CLASS_NAMES, inputs_name
from tests.commands import run

soundfile = pytest.importorskip("soundfile")

RATE = 8_000
SHORT = ("model.channels=[8,8,16,16]", "trainer.enable_progress_bar=false", "trainer.accelerator=cpu")


def train(experiment: str, arrays: Path, cwd: Path, *settings: str, plots: bool = False) -> Path:
    """The folder of a run that takes a few seconds."""
    data = ("data=language_id_arrays", f"data.root={arrays}", "hydra.run.dir=run")
    run("train.py", f"experiment={experiment}", *data, *SHORT, *settings, cwd=cwd, plots=plots)
    return cwd / "run"


@pytest.fixture(scope="module")
def trained(arrays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on all six languages."""
    cwd = tmp_path_factory.mktemp("trained")
    size = ("trainer.max_epochs=15", "batching.max_utterances=16")
    return train("language_id", arrays, cwd, *size, plots=True)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_six_languages_are_told_apart(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["test/accuracy"] > 0.8 > metrics["test/majority_floor"]
    assert json.loads((trained / "splits.json").read_text())["target"]["class_names"] == [*CLASS_NAMES]


def test_a_run_leaves_its_curves_pictures_and_a_word_on_bias(trained: Path) -> None:
    for name in ("waveforms", "loss_curve", "confusion", "pca", "architecture"):
        assert (trained / f"{name}.png").stat().st_size > 5_000
    curve = read(trained / "loss_curve.csv")
    steps = [int(row["step"]) for row in curve]
    assert len(steps) > 5
    assert {after - before for before, after in itertools.pairwise(steps)} == {10}
    assert all(float(row["train"]) > 0 and float(row["validation"]) > 0 for row in curve)
    rows = read(trained / "pca.csv")
    assert len(rows) == 36
    assert {row["label"] for row in rows} == {*CLASS_NAMES}
    assert "WaveformCNNEncoder" in (trained / "model.txt").read_text()
    report = (trained / "report.md").read_text()
    assert "What these scores do not show" in report
    assert "| class | recall | precision | F1 | support |" in report


def test_one_logit_tells_two_languages_apart(arrays: Path, tmp_path: Path) -> None:
    folder = train(
        "language_id_binary", arrays, tmp_path, "trainer.max_epochs=15", "batching.max_utterances=8"
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test/accuracy"] > 0.9
    splits = json.loads((folder / "splits.json").read_text())
    assert [split["utterances"] for split in splits["splits"]] == [36, 4, 12]
    assert [split["minutes"] for split in splits["splits"]] == [1.2, 0.13, 0.4]
    files = {"input": arrays / inputs_name("test"), "ckpt": folder / "checkpoints" / "best.ckpt"}
    run("predict.py", *(f"{name}={path}" for name, path in files.items()), "output=p.csv", cwd=tmp_path)
    rows = read(tmp_path / "p.csv")
    assert [*rows[0]] == ["id", "label", "p_en", "p_es"]
    assert {row["label"] for row in rows[6:12]} == {"en"}
    assert {row["label"] for row in rows[12:18]} == {"es"}


def test_an_array_a_folder_and_each_clip_alone_get_the_same_answers(
    arrays: Path, trained: Path, tmp_path: Path
) -> None:
    ckpt = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    waveforms = np.load(arrays / inputs_name("test"))[::5]
    np.save(tmp_path / "clips.npy", waveforms)
    (tmp_path / "clips").mkdir()
    for number, waveform in enumerate(waveforms):
        soundfile.write(
            tmp_path / "clips" / f"{number}.wav", waveform.astype(np.float32), RATE, subtype="FLOAT"
        )
    run("predict.py", ckpt, "input=clips.npy", "output=array.csv", cwd=tmp_path)
    run("predict.py", ckpt, "input=clips", "output=folder.csv", cwd=tmp_path)
    run("predict.py", ckpt, "input=clips/3.wav", "output=alone.csv", cwd=tmp_path)
    array, folder = (
        {row["id"]: row for row in read(tmp_path / f"{name}.csv")} for name in ("array", "folder")
    )
    assert [*array["0"]][:2] == ["id", "label"]
    for name in CLASS_NAMES:
        for number in array:
            assert float(array[number][f"p_{name}"]) == pytest.approx(
                float(folder[number][f"p_{name}"]), abs=1e-5
            )
        (alone,) = read(tmp_path / "alone.csv")
        assert float(alone[f"p_{name}"]) == pytest.approx(float(array["3"][f"p_{name}"]), abs=1e-5)


def test_any_length_rate_and_number_of_channels_is_answered(trained: Path, tmp_path: Path) -> None:
    ckpt = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    (tmp_path / "in").mkdir()
    tone = 0.2 * np.sin(2 * np.pi * 320 * np.arange(14 * 16_000) / 16_000)  # as English has it
    for seconds in (0.2, 1, 5, 13.7):
        stereo = np.stack([tone, tone], axis=1)[: int(seconds * 16_000)]
        soundfile.write(tmp_path / "in" / f"{seconds}.wav", stereo, 16_000)
    done = run("predict.py", ckpt, "input=in", "output=p.csv", cwd=tmp_path)
    assert "resampled to 8000 Hz: 4, mixed down to mono: 4" in done.stderr + done.stdout
    assert "it is repeated" in done.stderr + done.stdout
    assert {row["label"] for row in read(tmp_path / "p.csv")} == {"en"}


def test_an_array_that_holds_no_waveforms_is_named(trained: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 4), np.float32))
    ckpt = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    failed = run("predict.py", ckpt, "input=x.npy", cwd=tmp_path, code=1)
    assert "x.npy" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_features_at_another_rate_than_the_arrays_are_refused(arrays: Path, tmp_path: Path) -> None:
    data = ("data=language_id_arrays", f"data.root={arrays}", "features.sample_rate=16000")
    failed = run("train.py", "experiment=language_id", *data, cwd=tmp_path, code=1)
    assert "features.sample_rate" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_log_mels_of_arrays_are_made_in_every_step(arrays: Path, tmp_path: Path) -> None:
    settings = ("features=log_mel", "model=cnn_small", "model.channels=[4,4,8,8]", "trainer.max_epochs=2")
    folder = train("language_id", arrays, tmp_path, *settings)
    assert "validation/accuracy" in json.loads((folder / "metrics.json").read_text())
