"""Models of random weights behind the server, in this process and on a port."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("soundfile")

import soundfile
import uvicorn
from starlette.testclient import TestClient

import ser
from ser.server import run
from ser.server.answers import ServedModel
from ser.server.app import make_app
from ser.server.limits import Limits
from tests.inference import test_curves
from tests.inference.test_api import QUADRANT, write_run
from tests.inference.test_stream import FRAMES, RATE, speech_like

TASKS = {
    "_target_": "ser.targets.MultiTask",
    "tasks": {
        "mood": {
            "target": {"_target_": "ser.targets.Classes", "class_names": ["joy", "anger"], "field": "mood"}
        },
        "affect": {
            "target": {"_target_": "ser.targets.Regression", "fields": ["arousal", "valence"]},
        },
    },
}
KINDS: dict[str, Callable[[Path], Path]] = {
    "windows": lambda folder: write_run(
        folder,
        target=QUADRANT,
        model={"_target_": "ser.models.LSTMEncoder", "hidden_dim": 8},
    ),
    "frames": lambda folder: write_run(
        folder, target=FRAMES, pooling={"_target_": "ser.models.pooling.EveryStep"}
    ),
    "curves": lambda folder: test_curves.write_run(folder, words=False),
    "tasks": lambda folder: write_run(
        folder, target=TASKS, model={"_target_": "ser.models.LSTMEncoder", "hidden_dim": 8}
    ),
}
WINDOW_S, HOP_S = 0.5, 0.25


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run's folder of each kind of model."""
    folder = tmp_path_factory.mktemp("served")
    return {kind: write(folder / kind) for kind, write in KINDS.items()}


@pytest.fixture(scope="session")
def models(runs: dict[str, Path]) -> dict[str, ServedModel]:
    return {
        kind: ServedModel(ser.load(path), Limits(), window_s=WINDOW_S, hop_s=HOP_S)
        for kind, path in runs.items()
    }


def with_limits(model: ServedModel, **limits: Any) -> ServedModel:
    """The same model with other limits."""
    return ServedModel(model.predictor, Limits(**limits), window_s=WINDOW_S, hop_s=HOP_S)


@contextlib.contextmanager
def client_of(model: ServedModel) -> Iterator[TestClient]:
    """A client in this process."""
    with TestClient(make_app(model, model.limits), base_url="http://127.0.0.1") as client:
        yield client


@contextlib.contextmanager
def served(model: ServedModel) -> Iterator[tuple[str, Any]]:
    """A server on a free port: its host and port, and where its work is counted."""
    app = make_app(model, model.limits)
    options = run.options_of(model.limits) | {"timeout_graceful_shutdown": 1}
    with run.open_socket("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", app.state.work
        finally:
            server.should_exit = True
            thread.join()


def waveform_of(seconds: float, seed: int = 1) -> np.ndarray:
    """Bursts of noise at the models' rate."""
    return speech_like(seconds, seed).numpy()


def to_wav(waveform: np.ndarray, sample_rate: int = RATE, subtype: str = "FLOAT") -> bytes:
    content = BytesIO()
    soundfile.write(content, waveform, sample_rate, format="WAV", subtype=subtype)
    return content.getvalue()
