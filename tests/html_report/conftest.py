"""A run whose page is tested: predictions, recordings and a report, with names that would be HTML."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser.data.manifest import Utterance
from ser.data.store import Store
from ser.data.summary import summarize
from ser.html_report.embeddings import Plane, project
from ser.html_report.material import Material
from ser.report.facts import RunReport
from ser.runs.predictions_file import write_predictions
from ser.runs.run_folder import RunFolder
from ser.splits.leaks import Leak
from ser.targets.metrics import Confusion
from ser.targets.value_metrics import Scatter
from tests.html_report.evaluations import write_evaluated

EVIL = "<script>alert(1)</script>"
CLASSES = ("anger", EVIL, "joy & <b>", "neutral")
SPEAKERS = ("ann", "bob", "<img src=x onerror=alert(2)>", "dan", "eve", "fay")


@dataclass(frozen=True)
class Case:
    """Arguments of `write_run_page`."""

    run: RunFolder
    report: RunReport
    material: Material
    plane: Plane | None


def make_store(ids: list[str], steps: list[int], dim: int) -> Store:
    offsets = np.cumsum([0, *steps])
    audio = np.random.default_rng(0).normal(size=(offsets[-1], dim)).astype(np.float32)
    return Store(ids, audio, offsets, None, (), "mapping", "0" * 64)  # type: ignore[arg-type]


def make_report(
    run: RunFolder, results: dict[str, Any], metrics: dict[str, float], **others: Any
) -> RunReport:
    lengths = {split: np.array([30, 80, 200, 1707]) for split in ("train", "validation", "test")}
    names = CLASSES if others.pop("has_classes", True) else ()
    classes = np.array([1, 1, 3, 0]) if names else None
    return RunReport(
        **{
            "title": f"cnn on {EVIL}",
            "command": "python train.py data=challenge",
            "seed": 7,
            "duration_s": 252.4,
            "num_parameters": 412_345,
            "epochs": 4,
            "best_epoch": 2,
            "monitor": "validation/accuracy",
            "mode": "max",
            "checkpoint": run.best,
            "metrics": metrics,
            "results": results,
            "splits": [summarize(name, lengths[name], classes, names) for name in lengths],
            "lengths": lengths,
            "curves": {
                "train/loss": {1: 1.4, 2: 1.0, 3: 0.7, 4: 0.5},
                "validation/loss": {1: 1.5, 2: 1.2, 3: 1.1, 4: 1.3},
                "train/lr": {1: 1e-4, 2: 3e-3, 3: 1e-3, 4: 1e-5},
                **others.pop("curves", {}),
            },
            "stamps": [f"generated speech: {EVIL}"],
            "leaks": [Leak("speaker", ("train", "test"), 2, 10, 60, (EVIL, "bob"))],
            **others,
        }
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """The folder of a run."""
    facts = {
        "skipped": [{"id": EVIL, "reason": "no such file"}],
        "left_out": ["a", "b"],
        "remarks": [f"LEAK: train and test share {EVIL}"],
    }
    (tmp_path / "splits.json").write_text(json.dumps(facts))
    environment = {
        "command": f"python train.py '{EVIL}'",
        "commit": "abc123",
        "packages": {"torch": "2.13.0"},
    }
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    (tmp_path / "config.yaml").write_text(f"seed: 7\nexperiment_name: {EVIL}\n")
    return RunFolder(tmp_path)


@pytest.fixture
def of_classes(run: RunFolder) -> Case:
    """A run of four classes whose test split has 60 recordings of six speakers."""
    soundfile = pytest.importorskip("soundfile")
    generator = np.random.default_rng(0)
    ids = [f"{place}{EVIL if place == 0 else ''}" for place in range(60)]
    labels, speakers = generator.integers(0, 4, 60), [SPEAKERS[place % 6] for place in range(60)]
    probabilities = generator.dirichlet(np.ones(4), 60)
    probabilities[::2, :] = 0.05 / 3
    probabilities[np.arange(0, 60, 2), labels[::2]] = 0.95
    probabilities[0] = [0.97, 0.01, 0.01, 0.01]
    labels[0] = 1  # the most confident mistake
    rows = [
        {
            "id": name,
            "speaker": speaker,
            "label": CLASSES[label],
            "prediction": CLASSES[int(shares.argmax())],
            **{f"p_{each}": float(share) for each, share in zip(CLASSES, shares, strict=True)},
        }
        for name, speaker, label, shares in zip(ids, speakers, labels, probabilities, strict=True)
    ]
    write_predictions(run.path, "test", rows)
    (run.path / "calibration.json").write_text('{"temperature": 1.7}')
    wave = run.path / "tone.wav"
    soundfile.write(wave, 0.3 * np.sin(np.arange(160_000) * 0.2), 16_000)
    confusion = np.zeros((4, 4), dtype=int)
    np.add.at(confusion, (labels, probabilities.argmax(1)), 1)
    right = float(confusion.trace() / 60)
    metrics = {"test/accuracy": right, "test/majority_floor": 0.3, "test/uar": 0.6, "test/loss": 0.9}
    curves = {
        "train/accuracy": {1: 0.3, 2: 0.5, 3: 0.7, 4: 0.9},
        "validation/accuracy": {1: 0.3, 2: 0.4, 3: 0.45, 4: 0.41},
    }
    report = make_report(
        run,
        {"test": [Confusion(confusion, CLASSES)]},
        metrics,
        curves=curves,
        calibration=["With temperature 1.70."],
    )
    recordings = {name: Utterance(name, wave) for name in ids}
    material = Material(store=make_store(ids, [*range(20, 80)], 26), step_s=0.01, recordings=recordings)
    plane = project(ids, torch.from_numpy(generator.normal(size=(60, 8))), total=60)
    return Case(run, report, material, plane)


@pytest.fixture
def of_values(run: RunFolder) -> Case:
    """A run of arousal and valence whose test split has features alone, with a label that is missing."""
    generator = np.random.default_rng(0)
    truth = generator.uniform(-1, 1, (40, 2))
    predicted = truth + generator.normal(0, 0.3, truth.shape)
    truth[3, 1] = np.nan
    ids = [f"u{place}" for place in range(40)]
    rows = [
        {
            "id": name,
            "speaker": SPEAKERS[place % 3],
            "label_arousal": float(truth[place, 0]),
            "label_valence": None if np.isnan(truth[place, 1]) else float(truth[place, 1]),
            "prediction_arousal": float(predicted[place, 0]),
            "prediction_valence": float(predicted[place, 1]),
        }
        for place, name in enumerate(ids)
    ]
    write_predictions(run.path, "test", rows)
    fields = ("arousal", "valence")
    metrics = {
        "test/ccc": 0.8,
        "test/ccc_arousal": 0.81,
        "test/ccc_valence": 0.79,
        "test/loss": 0.2,
        "test/mae": 0.2,
    }
    report = make_report(
        run,
        {"test": [Scatter(truth, predicted, fields)]},
        metrics,
        has_classes=False,
        monitor="validation/ccc",
    )
    plane = project(ids, torch.from_numpy(generator.normal(size=(40, 8))), total=400)
    return Case(run, report, Material(store=make_store(ids, [30] * 40, 26), step_s=0.01), plane)


@pytest.fixture
def over_time(run: RunFolder) -> Case:
    """A run of arousal over time whose test split has five conversations of 50 steps."""
    generator = np.random.default_rng(0)
    ids = [f"talk{place}" for place in range(5)]
    truth = np.sin(np.arange(250) / 9)
    predicted = truth + generator.normal(0, 0.2, 250) * np.repeat([1, 2, 3, 4, 5], 50)
    rows = [
        {
            "id": ids[place // 50],
            "speaker": SPEAKERS[place // 50],
            "step": place % 50,
            "label_arousal": float(truth[place]),
            "prediction_arousal": float(predicted[place]),
        }
        for place in range(250)
    ]
    write_predictions(run.path, "test", rows)
    metrics = {"test/ccc": 0.8, "test/ccc_arousal": 0.8, "test/loss": 0.2}
    report = make_report(
        run,
        {"test": [Scatter(truth[:, None], predicted[:, None], ("arousal",))]},
        metrics,
        has_classes=False,
        unit="frame",
        labelled_at="frame",
        monitor="validation/ccc",
    )
    return Case(run, report, Material(store=make_store(ids, [50] * 5, 40), step_s=0.1), None)


@pytest.fixture
def of_frames(of_classes: Case) -> Case:
    """The run of classes, as one that answers each frame, and is scored by frames and by whole utterances."""
    (result,) = of_classes.report.results["test"]
    frames = replace(result, counts=100 * result.counts + 7)  # type: ignore[type-var, attr-defined]
    whole = {f"test/file_{name}": of_classes.report.metrics[f"test/{name}"] for name in ("accuracy", "uar")}
    metrics = {**of_classes.report.metrics, "test/accuracy": 0.421, "test/uar": 0.4, **whole}
    report = replace(of_classes.report, results={"test": [frames]}, metrics=metrics, unit="frame")
    return replace(of_classes, report=report)


TASKS = {
    "emotion": ("anger", "joy"),
    "emotion_fine": ("hot anger", "irritation", "joy"),
    "mood": ("arousal", "valence"),
    "taste": ("liking",),
}
"""Classes, or fields of values, of each task."""


@pytest.fixture
def of_tasks(run: RunFolder) -> Case:
    """A run of four tasks, two of which begin alike, with 40 recordings of 10 s by four speakers."""
    soundfile = pytest.importorskip("soundfile")
    generator = np.random.default_rng(0)
    ids = [f"u{place}" for place in range(40)]
    rows: list[dict[str, Any]] = [{"id": name, "speaker": SPEAKERS[int(name[1:]) % 4]} for name in ids]
    answers: list[dict[str, Any]] = [{} for _ in ids]
    results: list[Any] = []
    metrics = {"test/loss": 1.0}
    for task, names in TASKS.items():
        if task.startswith("emotion"):
            labels = generator.integers(0, len(names), 40)
            shares = generator.dirichlet(np.ones(len(names)), 40)
            counts = np.zeros((len(names), len(names)), dtype=int)
            np.add.at(counts, (labels, shares.argmax(1)), 1)
            for row, own, label, share in zip(rows, answers, labels, shares, strict=True):
                row[f"label_{task}"] = names[label]
                own[f"prediction_{task}"] = names[int(share.argmax())]
                own |= {f"p_{task}_{name}": float(each) for name, each in zip(names, share, strict=True)}
            results.append(Confusion(counts, names, name=task))
            metrics[f"test/{task}/accuracy"] = float(counts.trace() / 40)
            continue
        truth = generator.uniform(-1, 1, (40, len(names)))
        predicted = truth + generator.normal(0, 0.3, truth.shape)
        predicted[5] += 3  # the largest error of each field
        for place, name in enumerate(names):
            for row, own, label, value in zip(
                rows, answers, truth[:, place], predicted[:, place], strict=True
            ):
                row[f"label_{name}"], own[f"prediction_{name}"] = float(label), float(value)
            metrics[f"test/{task}/ccc_{name}"] = 0.7
        results.append(Scatter(truth, predicted, names, name=task))
        metrics[f"test/{task}/ccc"] = 0.7
    write_predictions(run.path, "test", [row | own for row, own in zip(rows, answers, strict=True)])
    wave = run.path / "noise.wav"
    soundfile.write(wave, 0.1 * generator.normal(size=160_000), 16_000)
    recordings = {name: Utterance(name, wave) for name in ids}
    report = make_report(run, {"test": results}, metrics, has_classes=False, monitor="validation/loss")
    plane = project(ids, torch.from_numpy(generator.normal(size=(40, 8))), total=40)
    material = Material(store=make_store(ids, [1000] * 40, 26), step_s=0.01, recordings=recordings)
    return Case(run, report, material, plane)


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """The page of an evaluation of seven classes, with a recording of 1 s."""
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(np.arange(16_000) * 0.2), 16_000)
    recordings = {place: Utterance(place, tmp_path / "tone.wav") for place in range(70)}
    return write_evaluated(tmp_path, recordings, 1.7)


CASES: tuple[str, ...] = ("of_classes", "of_values", "over_time", "of_frames", "of_tasks")


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """Any of the runs, by the parameter."""
    found: Case = request.getfixturevalue(request.param)
    return found


Write = Callable[[Case], Path]
