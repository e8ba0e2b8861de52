"""Trained models in Python: the numbers of predict.py, whatever the recordings are given as."""

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ser
from ser.checkpoints import checkpoint
from ser.errors import CheckpointError, ConfigError, DataError, SerError
from tests.commands import run
from tests.conftest import REPOSITORY
from tests.inference import test_curves
from tests.inference.test_stream import FRAMES, MODELS, RATE, UTTERANCES, spec_of_features, speech_like

soundfile = pytest.importorskip("soundfile")

QUADRANT = {"_target_": "ser.targets.Quadrant"}


def write_run(folder: Path, *, seed: int = 0, **parts: Any) -> Path:
    """A run's folder with a checkpoint of random weights, of a causal LSTM that predicts utterances."""
    torch.manual_seed(seed)
    config = {
        "features": spec_of_features(None),
        "frontend": {"_target_": "ser.models.Frontend"},
        "model": MODELS["lstm"],
        "pooling": {"_target_": "ser.models.MeanPooling"},
        "head": {"_target_": "ser.models.Head"},
        "target": UTTERANCES,
        **parts,
    }
    description = checkpoint.describe(config, feature_dim=10)
    model, _ = checkpoint.assemble(description)
    model.frontend.fit([torch.randn(50, 10) * 8 - 3])
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"ser": description, "state_dict": weights}, folder / "checkpoints" / "best.ckpt")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("api") / "RUN")


@pytest.fixture(scope="module")
def waveforms(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, np.ndarray]:
    """Files at the model's rate, and the samples in them."""
    folder = tmp_path_factory.mktemp("waveforms")
    found = {}
    for number, seconds in enumerate((1.0, 0.4, 2.0)):
        samples = speech_like(seconds, seed=number).numpy()
        soundfile.write(folder / f"{number}.wav", samples, RATE, subtype="FLOAT")
        found[folder / f"{number}.wav"] = samples
    return found


def probabilities(predictions: list[ser.Prediction]) -> np.ndarray:
    return np.array([[*prediction.probabilities.values()] for prediction in predictions])


def table(ckpt: str, inputs: Path, cwd: Path) -> list[dict[str, str]]:
    run("predict.py", f"ckpt={ckpt}", f"input={inputs}", "output=table.csv", cwd=cwd)
    with (cwd / "table.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


def test_importing_the_package_imports_no_library() -> None:
    code = "import ser, sys; print({'torch', 'numpy', 'hydra'} & {*sys.modules}, 'load' in dir(ser))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set() True"
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = ser.lod  # type: ignore[attr-defined]


def test_files_get_the_answers_of_predict(
    trained: Path, waveforms: dict[Path, np.ndarray], tmp_path: Path
) -> None:
    rows = table(str(trained), next(iter(waveforms)).parent, tmp_path)
    model = ser.load(trained)
    found = model.predict([*waveforms])
    assert [prediction.label for prediction in found] == [row["label"] for row in rows]
    written = [[float(row[f"p_{name}"]) for name in model.labels] for row in rows]
    np.testing.assert_allclose(probabilities(found), written, atol=1e-5)
    assert model.labels == ("en", "hi", "cmn")
    assert model.sample_rate == RATE


def test_an_ensemble_averages_as_predict_does(
    trained: Path, waveforms: dict[Path, np.ndarray], tmp_path: Path
) -> None:
    other = write_run(tmp_path / "other", seed=1)
    (first, *_) = waveforms
    (row,) = table(f"[{trained},{other}]", first, tmp_path)
    found = ser.load([trained, other]).predict(first)
    assert {f"p_{name}": value for name, value in found.probabilities.items()} == pytest.approx(
        {name: float(value) for name, value in row.items() if name.startswith("p_")}, abs=1e-5
    )
    alone = [ser.load(path).predict(first) for path in (trained, other)]
    np.testing.assert_allclose(probabilities([found])[0], probabilities(alone).mean(0), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_one_recording_of_a_corpus_has_no_statistics(
    count: int, waveforms: dict[Path, np.ndarray], tmp_path: Path
) -> None:
    head = {"_target_": "ser.models.Head", "normalize": "corpus"}
    model = ser.load(write_run(tmp_path / "RUN", head=head))
    files = [*waveforms][:count]
    if count == 1:
        with pytest.raises(DataError, match=r"head\.normalize=corpus: one recording .* Give all recordings"):
            model.predict(files[0])
    else:
        first, second = probabilities(model.predict(files))
        assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("kind", ["numpy", "float64", "torch"])
def test_samples_get_the_answer_of_their_file(
    kind: str, trained: Path, waveforms: dict[Path, np.ndarray]
) -> None:
    make: Any = {"numpy": np.asarray, "float64": np.float64, "torch": torch.from_numpy}[kind]
    model = ser.load(trained)
    found = model.predict([make(samples) for samples in waveforms.values()], sample_rate=RATE)
    np.testing.assert_allclose(probabilities(found), probabilities(model.predict([*waveforms])), atol=1e-6)


def test_samples_at_another_rate_get_the_answer_of_their_file(trained: Path, tmp_path: Path) -> None:
    samples = np.sin(0.1 * np.arange(44_100)).astype(np.float32) * np.linspace(
        0.1, 0.9, 44_100, dtype=np.float32
    )
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    model = ser.load(trained)
    found = [model.predict(samples, 44_100), model.predict(tmp_path / "a.wav")]
    np.testing.assert_allclose(*probabilities(found), atol=1e-6)


def test_one_recording_gets_one_answer_and_a_list_a_list(
    trained: Path, waveforms: dict[Path, np.ndarray]
) -> None:
    model = ser.load(trained / "checkpoints" / "best.ckpt")
    (first, *_) = waveforms
    assert isinstance(model.predict(first), ser.Prediction)
    assert model.predict([first]) == [model.predict(str(first))]
    assert model.predict([]) == []
    assert sum(model.predict(first).probabilities.values()) == pytest.approx(1)


def test_features_get_the_answer_of_their_waveform(trained: Path, waveforms: dict[Path, np.ndarray]) -> None:
    model = ser.load(trained)
    padded = [torch.from_numpy(samples)[:, None] for samples in waveforms.values()]
    extractor = model._extractor_of(model.models[0])
    frames = [extractor(ser.batch.Padded.collate([one])).values[0].numpy() for one in padded]
    np.testing.assert_allclose(
        probabilities(model.predict(frames)), probabilities(model.predict([*waveforms])), atol=1e-6
    )


def test_labels_of_several_fields_are_values(waveforms: dict[Path, np.ndarray], tmp_path: Path) -> None:
    model = ser.load(write_run(tmp_path / "run", target=QUADRANT))
    (first, *_) = waveforms
    found = model.predict(first)
    assert set(found.values) == {"valence", "activation"}
    assert found.label == model.labels[2 * found.values["valence"] + found.values["activation"]]


def test_values_have_no_label_and_are_those_of_predict(
    waveforms: dict[Path, np.ndarray], tmp_path: Path
) -> None:
    target = {
        "_target_": "ser.targets.Regression",
        "fields": ["arousal", "valence"],
        "mean": [3, 2],
        "std": [2, 1],
    }
    run_folder = write_run(tmp_path / "RUN", target=target)
    model = ser.load(run_folder)
    rows = table(str(run_folder), next(iter(waveforms)).parent, tmp_path)
    for prediction, row in zip(model.predict([*waveforms]), rows, strict=True):
        assert prediction.label is None
        assert prediction.probabilities == {}
        assert prediction.values == pytest.approx(
            {name: float(row[name]) for name in ("arousal", "valence")}, abs=1e-4
        )
    assert model.labels == ("arousal", "valence")


def test_several_tasks_are_named_by_task(waveforms: dict[Path, np.ndarray], tmp_path: Path) -> None:
    values = {"_target_": "ser.targets.Regression", "fields": ["arousal"], "mean": [0.0], "std": [1.0]}
    tasks = {"spoken": {"target": UTTERANCES}, "values": {"target": values}}
    model = ser.load(
        write_run(tmp_path / "RUN", target={"_target_": "ser.targets.MultiTask", "tasks": tasks})
    )
    found = model.predict(next(iter(waveforms)))
    assert found.label is None
    assert set(found.values) == {"spoken", "arousal"}
    assert found.probabilities.keys() == {"spoken_en", "spoken_hi", "spoken_cmn"}
    assert max(found.probabilities, key=found.probabilities.__getitem__) == f"spoken_{found.values['spoken']}"


def test_silence_has_no_label_where_a_model_answers_frames(tmp_path: Path) -> None:
    frames = {"features": spec_of_features("mask"), "target": {**FRAMES, "silence": "mask"}}
    model = ser.load(write_run(tmp_path / "run", **frames, pooling={"_target_": "ser.models.EveryStep"}))
    silent, spoken = model.predict([np.zeros(RATE, np.float32), speech_like(1.0).numpy()], RATE)
    assert silent.label is None
    assert spoken.label in model.labels
    with pytest.raises(ConfigError, match=r"answers every frame.* Train with pooling=mean"):
        model.embed(np.zeros(RATE, np.float32), RATE)


def test_embeddings_are_what_the_head_answers(trained: Path, waveforms: dict[Path, np.ndarray]) -> None:
    model = ser.load(trained)
    embeddings = model.embed([*waveforms])
    assert embeddings.shape == (3, 8)
    assert embeddings.dtype == np.float32
    with torch.inference_mode():
        logits = model.models[0].model.head(torch.from_numpy(embeddings))
    np.testing.assert_allclose(logits.softmax(-1), probabilities(model.predict([*waveforms])), atol=1e-5)
    (first, *_) = waveforms
    np.testing.assert_allclose(model.embed(first), embeddings[:1], atol=1e-6)
    assert model.embed([]).shape == (0, 8)


def test_a_stream_ends_with_the_answer_to_the_recording(trained: Path) -> None:
    model = ser.load(trained)
    samples = speech_like(1.0).numpy()
    stream = model.stream()
    decisions = [decision for piece in np.array_split(samples, 7) for decision in stream.push(piece)]
    decisions += stream.finish()
    np.testing.assert_allclose(
        decisions[-1].so_far, [*model.predict(samples, RATE).probabilities.values()], atol=1e-5
    )


TONE = np.zeros(RATE, np.float32) + 0.1


@pytest.mark.parametrize(
    ("recording", "rate", "message"),
    [
        (TONE, None, r"the waveform: its sample rate is not given\. Add sample_rate=HZ"),
        (TONE, 16, r"the waveform: has sample_rate=16, expected a whole number of 1000 to 1000000 Hz"),
        (TONE, 8000.5, r"sample_rate=8000\.5, expected a whole number"),
        (TONE, "8 kHz", r"sample_rate='8 kHz', expected a whole number"),
        (TONE, float("nan"), r"sample_rate=nan, expected a whole number"),
        (
            np.stack([TONE, TONE]),
            RATE,
            r"the waveform: has the shape \[2, 8000\], expected the samples of one",
        ),
        (np.stack([TONE, TONE], 1), None, r"has the shape \[8000, 2\], expected 10 values in each frame"),
        ((TONE * 32767).astype(np.int16), RATE, r"values of type int16, expected floats .* Divide by 32768"),
        (
            TONE * 32768,
            RATE,
            r"has samples up to 3277, expected -1\.\.1\. Divide samples of 16 bits by 32768",
        ),
        (TONE > 0, RATE, r"values of type bool, expected floats"),
        (TONE[:0], RATE, r"the waveform: is empty"),
        (TONE[:5], RATE, r"the waveform: 0\.6 ms \(5 samples at 8000 Hz\) are too short"),
        ([TONE, np.where(TONE > 0, np.nan, TONE)], RATE, r"item 1: has values that are NaN or infinite"),
        ([0.1, 0.2], RATE, r"item 0: is of type float, expected the path of a file, or an array"),
        (None, RATE, r"the recording: is of type NoneType"),
        ("nowhere.wav", None, r"nowhere\.wav: no such file"),
        (".", None, r"is a folder, expected an audio file"),
    ],
)
def test_a_recording_that_cannot_be_used_is_named(
    recording: Any, rate: Any, message: str, trained: Path
) -> None:
    model = ser.load(trained)
    for method in (model.predict, model.embed):
        with pytest.raises(DataError, match=message):
            method(recording, rate)


def test_what_cannot_be_loaded_is_named(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoints/best"):
        ser.load(tmp_path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        ser.load(tmp_path / "best.ckpt")
    with pytest.raises(SerError, match="an empty list of checkpoints"):
        ser.load([])
    with pytest.raises(ConfigError, match="device=abacus: not available here"):
        ser.load(trained, device="abacus")
    with pytest.raises(ConfigError, match=r"2 models have embeddings of their own.* Load one of them"):
        ser.load([trained, trained]).embed(TONE, RATE)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md", "docs/streaming.md"])
def test_the_code_of_a_page_runs(
    page: str,
    trained: Path,
    waveforms: dict[Path, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)
    assert blocks
    (tmp_path / "RUN").symlink_to(trained)
    (tmp_path / "speech.wav").symlink_to(next(iter(waveforms)))
    (tmp_path / "x.wav").symlink_to([*waveforms][-1])  # 2 s
    test_curves.write_run(tmp_path / "CONVERSATIONS")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"microphone": np.array_split(speech_like(1.0).numpy(), 5)}
    for block in blocks:
        exec(block, namespace)
