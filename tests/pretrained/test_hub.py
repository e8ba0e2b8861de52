"""Names on the Hugging Face hub: refused without permission, downloaded with it, and no hang without a network."""

import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ser.errors import CheckpointError
from ser.hugging_face import hub
from ser.pretrained import PretrainedEncoder

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
NAME = "somebody/whisper-nano"


@pytest.fixture(autouse=True)
def no_downloads_before() -> None:
    hub.download.cache_clear()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_name_on_the_hub_needs_permission() -> None:
    expected = (
        "model.path=somebody/whisper-nano: no such folder. Give one that holds the model, or add "
        "model.allow_download=true to download the model of that name from the Hugging Face hub."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(expected)}$"):
        PretrainedEncoder.waveform_rate({"path": NAME})
    with pytest.raises(CheckpointError, match=f"^{re.escape(expected)}$"):
        PretrainedEncoder(1, path=NAME)


def test_allowed_name_is_downloaded_without_pickles(
    folder: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return folder("whisper")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    info = SimpleNamespace(model_info=lambda _, **__: SimpleNamespace(sha="abc"))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: info)
    settings = {"path": NAME, "allow_download": True}
    assert PretrainedEncoder.waveform_rate(settings) == 16_000
    assert PretrainedEncoder(1, **settings).out_dim == 16
    assert (asked["name"], asked["revision"]) == (NAME, "abc")
    assert all(pattern.endswith((".json", ".safetensors")) for pattern in asked["allow_patterns"])


def test_hub_that_does_not_answer_is_reported_soon(
    silent_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", silent_server)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "_TIMEOUT_S", 0.3)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    started = time.monotonic()
    with pytest.raises(
        CheckpointError, match=r"cannot be downloaded \(.*\)\. Where there is a network, run `hf"
    ):
        PretrainedEncoder(1, path=NAME, allow_download=True)
    assert time.monotonic() - started < 10


def test_earlier_download_serves_without_a_network(
    folder: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "models--somebody--whisper-nano"
    shutil.copytree(folder("whisper"), place / "snapshots" / ("0" * 40))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def unreachable() -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "HfApi", unreachable)
    assert PretrainedEncoder(1, path=NAME, allow_download=True).out_dim == 16
