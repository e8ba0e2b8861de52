"""Features in shards: what a change costs, kills, several processes."""

import errno
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.batch import Padded
from ser.data import cache as cache_module
from ser.data import feature_store
from ser.data.feature_store import read_features
from ser.data.manifest import Manifest, Utterance
from ser.data.store import Store
from ser.data.store_io import new_store
from ser.errors import DataError
from ser.shards import cuts
from tests.conftest import REPOSITORY
from tests.data.test_feature_store import RATE, FrameEnergies, expected, noise

COUNT = 60


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "UTTERANCES", 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of 1600 samples and more."""
    (tmp_path / "audio").mkdir()
    for number in range(COUNT):
        write(tmp_path / "audio" / f"{number:03}.wav", number)
    return tmp_path / "audio"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the recordings that are read."""
    names: list[str] = []
    read_audio = feature_store.read_audio

    def noted(path: Path, *given: object, **named: object) -> np.ndarray:
        names.append(path.name)
        return read_audio(path, *given, **named)

    monkeypatch.setattr(feature_store, "read_audio", noted)
    return names


def write(path: Path, number: int) -> None:
    soundfile.write(path, noise(number)[: 1600 + 160 * (number % 7)], RATE, subtype="FLOAT")


def manifest_of(folder: Path) -> Manifest:
    return Manifest(tuple(Utterance(path.stem, path) for path in sorted(folder.glob("*.wav"))), "corpus")


def read(folder: Path, **given: str) -> Store:
    manifest = manifest_of(folder)
    cache = folder.with_name("cache")
    return read_features(manifest, FrameEnergies(), cache_dir=cache, settings="e", **given).store


def notes(cache: Path) -> set[str]:
    return {path.name for path in cache.glob("*.json")}


def digest_of(cache: Path) -> str:
    """Digest of the names and bytes of all files of a cache; a killed process leaves a lock that nobody holds."""
    digest = hashlib.sha256()
    for path in sorted(path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"):
        digest.update(str(path.relative_to(cache)).encode() + path.read_bytes())
    return digest.hexdigest()


def assert_as_read_alone(store: Store) -> None:
    for index, name in enumerate(store.ids):
        (features,) = store.select(np.array([index])).chunks(1000)
        waveform = noise(int(str(name)))[: 1600 + 160 * (int(str(name)) % 7)]
        np.testing.assert_allclose(features, expected(waveform), atol=1e-6)


def test_a_corpus_is_read_as_one_store_of_several_shards(folder: Path) -> None:
    store = read(folder)
    assert len(notes(folder.with_name("cache"))) >= 2
    assert store.ids == [f"{number:03}" for number in range(COUNT)]
    assert_as_read_alone(store)


def test_a_store_of_shards_has_the_fingerprint_of_one_store(folder: Path, tmp_path: Path) -> None:
    store = read(folder)
    with new_store(tmp_path / "whole") as writer:
        for index in range(COUNT):
            writer.append(next(store.select(np.array([index])).chunks(1000)))
        whole = writer.commit(store.ids, None, label_names=(), layout="object")
    assert store.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(store.audio, whole.audio)
    np.testing.assert_array_equal(store.offsets, whole.offsets)
    spans = np.array([59, 3, 20]), np.array([2, 0, 1]), np.array([5, 8, 4])
    np.testing.assert_array_equal(store.gather(*spans), whole.gather(*spans))


def test_an_added_recording_is_the_only_one_that_is_read(folder: Path, opened: list[str]) -> None:
    read(folder)
    before = notes(folder.with_name("cache"))
    opened.clear()
    write(folder / "0300.wav", 300)
    store = read(folder)
    assert opened == ["0300.wav"]
    assert len(store) == COUNT + 1
    assert_as_read_alone(store)
    assert notes(folder.with_name("cache")) > before


def test_a_changed_recording_is_the_only_one_that_is_read(folder: Path, opened: list[str]) -> None:
    before = read(folder).fingerprint
    opened.clear()
    soundfile.write(folder / "030.wav", np.ones(3200, dtype=np.float32) / 4, RATE, subtype="FLOAT")
    store = read(folder)
    assert opened == ["030.wav"]
    assert store.fingerprint != before
    (features,) = store.select(np.array([30])).chunks(1000)
    np.testing.assert_allclose(features, np.tile([0.25, 0.0625], (20, 1)), atol=1e-6)


def test_after_a_removed_recording_none_is_read(folder: Path, opened: list[str]) -> None:
    read(folder)
    opened.clear()
    (folder / "030.wav").unlink()
    store = read(folder)
    assert (opened, len(store)) == ([], COUNT - 1)
    assert_as_read_alone(store)


def test_a_part_in_another_order_is_copied(folder: Path, opened: list[str]) -> None:
    read(folder)
    opened.clear()
    some = manifest_of(folder).select([50, 3, 17, 16])
    renamed = Manifest(tuple(replace(each, labels={"x": "y"}) for each in some), "part")
    store = read_features(renamed, FrameEnergies(), cache_dir=folder.with_name("cache"), settings="e").store
    assert (opened, store.ids) == ([], ["050", "003", "017", "016"])
    assert_as_read_alone(store)


def test_unusable_recordings_are_opened_once_and_listed_together(
    folder: Path, opened: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    for number in (2, 31, 58):
        (folder / f"{number:03}.wav").write_bytes(b"RIFF")
    assert len(read(folder, on_error="skip")) == COUNT - 3
    opened.clear()
    caplog.clear()
    write(folder / "0300.wav", 300)
    assert len(read(folder, on_error="skip")) == COUNT - 2
    assert opened == ["0300.wav"]
    (message,) = caplog.messages
    assert "3 of 61 recordings are skipped" in message
    assert all(f"{number:03}.wav" in message for number in (2, 31, 58))


def test_a_damaged_shard_alone_is_read_again(folder: Path, opened: list[str]) -> None:
    fingerprint = read(folder).fingerprint
    opened.clear()
    damaged, *_ = folder.with_name("cache").glob("*/audio.f32")
    damaged.write_bytes(b"")
    assert read(folder).fingerprint == fingerprint
    assert 0 < len(opened) < COUNT


def test_a_file_that_changes_while_it_is_read_ends_the_reading(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_audio = feature_store.read_audio

    def changing(path: Path, *given: object, **named: object) -> np.ndarray:
        waveform = read_audio(path, *given, **named)
        if path.name == "059.wav":
            write(path, 3)
        return waveform

    monkeypatch.setattr(feature_store, "read_audio", changing)
    with pytest.raises(DataError, match=r"059\.wav: was changed while it was read"):
        read(folder)


def test_a_shard_that_another_process_fills_is_left_to_it(folder: Path) -> None:
    read(folder)
    note, *_ = sorted(folder.with_name("cache").glob("*.json"))
    digests = json.loads(note.read_text())["digests"]
    note.unlink()
    shards = cache_module.ShardCache(note.parent, note.name.partition("-")[0])
    with cache_module.locked(note.with_suffix(".lock")):
        assert shards._find_or_write(0, digests, unreadable, wait=False) is None
    assert shards._find_or_write(0, digests, unreadable, wait=False) == (None, ["gone"] * len(digests))


def unreadable(_: int, places: Sequence[int]) -> Iterator[cache_module.Row]:
    yield from (cache_module.Row(None, None, "gone") for _ in places)


class Slow(FrameEnergies):
    """The same features, computed slowly."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause

    def forward(self, waveforms: Padded) -> Padded:
        time.sleep(self.pause)
        return super().forward(waveforms)


def read_slowly(folder: Path, cache: str, pause: float = 0) -> str:
    cache_dir = folder.with_name(cache)
    return read_features(
        manifest_of(folder), Slow(pause), cache_dir=cache_dir, settings="e"
    ).store.fingerprint


WORKER = """
import sys
from pathlib import Path
from ser.shards import cuts
from tests.data.test_shards import read_slowly
cuts.UTTERANCES = 8
print("ready", flush=True)
print(read_slowly(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
"""


def start(folder: Path, cache: str, *, pause: float) -> "subprocess.Popen[str]":
    """Start another process that reads the corpus."""
    command = [sys.executable, "-c", WORKER, str(folder), cache, str(pause)]
    worker = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def await_note(cache: Path) -> None:
    """Wait until another process has filled the first shard."""
    until = time.monotonic() + 60
    while not notes(cache):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_killed_build_goes_on_to_the_same_bytes(folder: Path, opened: list[str]) -> None:
    killed = folder.with_name("killed")
    worker = start(folder, "killed", pause=0.2)
    await_note(killed)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    done = notes(killed)
    fingerprint = read_slowly(folder, "killed")
    assert 0 < len(opened) < COUNT
    assert done < notes(killed)
    assert read_slowly(folder, "whole") == fingerprint
    assert digest_of(killed) == digest_of(folder.with_name("whole"))


def test_two_processes_fill_shards_side_by_side(folder: Path, opened: list[str]) -> None:
    worker = start(folder, "shared", pause=0.2)
    await_note(folder.with_name("shared"))
    fingerprint = read_slowly(folder, "shared")
    assert worker.communicate(timeout=60)[0] == f"{fingerprint}\n"
    assert 0 < len(opened) < COUNT
    assert read_slowly(folder, "alone") == fingerprint
    assert digest_of(folder.with_name("shared")) == digest_of(folder.with_name("alone"))


def test_errors_of_the_disk_are_reported_together_and_tried_again(
    folder: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {"007.wav", "031.wav", "059.wav"}
    (folder / "012.wav").write_bytes(b"not audio")
    open_file = Path.open

    def fail(path: Path, *given: object, **named: object) -> object:
        if path.name in bad:
            raise OSError(errno.EIO, "Input/output error")
        return open_file(path, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", fail)
        with pytest.raises(DataError, match="4 of 60 recordings cannot be used") as caught:
            read(folder)
    assert all(name in str(caught.value) for name in bad)
    opened.clear()
    store = read(folder, on_error="skip")
    assert (set(opened), len(store)) == (bad, COUNT - 1)
    assert_as_read_alone(store)
