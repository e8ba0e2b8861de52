"""Predictions with fitted temperatures and weights, and answers that are withheld."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ser
from ser.calibration.members import Member, write_members
from ser.calibration.run import read_temperature
from ser.calibration.temperature import apply_temperature
from ser.errors import CheckpointError, ConfigError
from tests.commands import TINY, run


@pytest.fixture(scope="module")
def trained(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    cwd = tmp_path_factory.mktemp("trained")
    split = ("data.split.validation=0.34", "hydra.run.dir=run")
    run("train.py", "data=ravdess", f"data.root={recordings}", *TINY, *split, cwd=cwd)
    return cwd / "run"


@pytest.fixture(scope="module")
def both(trained: Path) -> Path:
    """An ensemble of this run and of a copy with other weights in its head."""
    other = trained.with_name("other")
    shutil.copytree(trained, other)
    content = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    name = next(
        name for name in content["state_dict"] if name.startswith("model.head") and name.endswith("weight")
    )
    content["state_dict"][name] = 30 * content["state_dict"][name].flip(0)
    torch.save(content, other / "checkpoints" / "best.ckpt")
    folder = trained.with_name("both")
    folder.mkdir()
    write_members(folder, [Member(trained, 0.25), Member(other, 0.75)])
    (folder / "calibration.json").write_text('{"temperature": 2.0}')
    return folder


@pytest.fixture(scope="module")
def of_mfccs(trained: Path, recordings: Path) -> Path:
    """The folder of a run on other features at another sample rate."""
    split = ("data.split.validation=0.34", "hydra.run.dir=mfcc", "features=mfcc", "features.sample_rate=8000")
    run("train.py", "data=ravdess", f"data.root={recordings}", *TINY, *split, cwd=trained.parent)
    return trained.with_name("mfcc")


@pytest.fixture(scope="module")
def probabilities(recordings: Path) -> Any:
    """A function that returns the probabilities [N, C] of recordings, by a run or an ensemble."""
    items = sorted(recordings.rglob("*.wav"))[::8]

    def predict(path: Path | list[Path], *, calibrate: bool = False) -> np.ndarray:
        found = ser.load(path, calibrate=calibrate).predict(items)
        return np.array([[*each.probabilities.values()] for each in found])

    return predict


def test_calibrated_predictions_are_those_of_the_temperature(trained: Path, probabilities: Any) -> None:
    temperature = read_temperature(trained, "leave out calibrate=true")
    expected = apply_temperature(probabilities(trained), temperature)
    assert abs(temperature - 1) > 0.01
    np.testing.assert_allclose(probabilities(trained, calibrate=True), expected, atol=1e-5)
    best = trained / "checkpoints" / "best.ckpt"
    np.testing.assert_allclose(probabilities(best, calibrate=True), expected, atol=1e-5)


def test_an_ensemble_of_runs_averages_by_its_weights(trained: Path, both: Path, probabilities: Any) -> None:
    first, second = probabilities(trained), probabilities(trained.with_name("other"))
    assert np.abs(first - second).max() > 0.01
    expected = 0.25 * first + 0.75 * second
    np.testing.assert_allclose(probabilities(both), expected, atol=1e-5)
    np.testing.assert_allclose(
        probabilities(both, calibrate=True), apply_temperature(expected, 2.0), atol=1e-5
    )


def test_a_stream_refuses_fitted_weights(both: Path, recordings: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fitted weights and temperatures are those of whole recordings"):
        ser.load(both).stream()
    file = next(recordings.rglob("*.wav"))
    result = run("predict.py", f"ckpt={both}", f"input={file}", "stream=true", cwd=tmp_path, code=1)
    assert "a stream has none. Give the runs themselves" in result.stderr


def test_a_list_is_averaged_equally(trained: Path, both: Path, probabilities: Any) -> None:
    expected = (probabilities(trained) + probabilities(both)) / 2
    np.testing.assert_allclose(probabilities([trained, both]), expected, atol=1e-5)


def test_models_of_different_features_are_averaged(
    trained: Path, of_mfccs: Path, probabilities: Any, recordings: Path, tmp_path: Path
) -> None:
    first, second = probabilities(trained), probabilities(of_mfccs)
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(probabilities([trained, of_mfccs]), (first + second) / 2, atol=1e-5)
    write_members(tmp_path, [Member(trained, 0.25), Member(of_mfccs, 0.75)])
    np.testing.assert_allclose(probabilities(tmp_path), 0.25 * first + 0.75 * second, atol=1e-5)
    files = ",".join(map(str, sorted(recordings.rglob("*.wav"))[::8]))
    run("predict.py", f"ckpt=[{trained},{of_mfccs}]", f"input=[{files}]", "output=p.csv", cwd=tmp_path)
    np.testing.assert_allclose(read_largest(tmp_path / "p.csv")[1], ((first + second) / 2).max(-1), atol=1e-4)


def test_arrays_for_models_of_different_features_need_a_rate(trained: Path, of_mfccs: Path) -> None:
    models, frames = ser.load([trained, of_mfccs]), np.zeros((50, 26), dtype=np.float32)
    with pytest.raises(ConfigError, match="read different features, so arrays must be waveforms"):
        models.predict(frames)
    with pytest.raises(ConfigError, match="Give models of one kind of features here"):
        models.stream()


def test_calibration_of_the_last_checkpoint_is_refused(trained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"belongs to its checkpoints/best\.ckpt"):
        ser.load(trained / "checkpoints" / "last.ckpt", calibrate=True)


def test_recordings_below_the_probability_have_no_label(
    trained: Path, recordings: Path, tmp_path: Path
) -> None:
    predict = ("predict.py", f"ckpt={trained}", f"input={recordings}", "overwrite=true", "output=p.csv")
    run(*predict, cwd=tmp_path)
    largest = read_largest(tmp_path / "p.csv")[1]
    limit = round(float(np.median(largest)), 3)
    result = run(*predict, f"min_probability={limit}", cwd=tmp_path)
    labels, largest = read_largest(tmp_path / "p.csv")
    assert [bool(label) for label in labels] == [value >= limit for value in largest]
    unsure = sum(value < limit for value in largest)
    assert 0 < unsure < len(largest)
    assert f"{unsure} of {len(largest)} utterances have no label" in result.stdout
    assert f"{len(largest) - unsure} of {len(largest)} utterances are scored" in result.stdout


def read_largest(path: Path) -> tuple[list[str], list[float]]:
    """Labels and largest probabilities of a table."""
    with path.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    largest = [max(float(value) for name, value in row.items() if name.startswith("p_")) for row in rows]
    return [row["label"] for row in rows], largest


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("min_probability=60", "min_probability=60: expected a probability"),
        ("min_probability=-1", "min_probability=-1: expected more than 0"),
        ("stream=true calibrate=true", "the temperature is that of whole recordings"),
        ("stream=true min_probability=0.5", "min_probability=0.5: is for recordings"),
    ],
)
def test_settings_of_abstention_that_do_not_fit_are_refused(
    trained: Path, recordings: Path, tmp_path: Path, setting: str, words: str
) -> None:
    file = next(recordings.rglob("*.wav"))
    result = run("predict.py", f"ckpt={trained}", f"input={file}", *setting.split(), cwd=tmp_path, code=1)
    assert words in result.stderr
