import errno
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from ser.corpora.challenge_reader import read_challenge
from ser.data.cache import ReadResult, cached_store
from ser.data.store import Store
from ser.data.store_io import StoreWriter
from ser.errors import DataError


def write_file(path: Path, *, seed: int = 0, frames: int = 50) -> Path:
    rng = np.random.default_rng(seed)
    utterances = {
        str(number): {
            "valence": number % 2,
            "activation": number // 2 % 2,
            "features": rng.normal(size=(frames, 4)).tolist(),
        }
        for number in range(20)
    }
    path.write_text(json.dumps(utterances))
    return path


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Writing beyond `limit` bytes fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_file(tmp_path / "train.json")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "new" / "cache"


def read(path: Path, cache: Path) -> Store:
    return read_challenge(path, cache_dir=cache)


def forbid_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the JSON was read")

    monkeypatch.setattr("ser.corpora.challenge_reader.read_chunks", fail)


def test_a_second_start_reads_no_json(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(path, cache)
    forbid_parsing(monkeypatch)
    second = read(path, cache)
    assert (second.ids, second.fingerprint) == (first.ids, first.fingerprint)
    np.testing.assert_array_equal(second.audio, first.audio)


def test_a_relative_path_is_the_same_file(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(path, cache)
    forbid_parsing(monkeypatch)
    monkeypatch.chdir(path.parent)
    assert len(read(Path("train.json"), cache)) == 20


def test_a_changed_file_is_read_again_even_if_size_and_date_are_the_same(path: Path, cache: Path) -> None:
    first, before = read(path, cache), path.stat()
    path.write_text(path.read_text().replace('"valence": 0', '"valence": 1', 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert read(path, cache).fingerprint != first.fingerprint


def test_two_files_of_equal_content_share_a_store(path: Path, cache: Path) -> None:
    copy = path.with_name("copy.json")
    copy.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    assert read(copy, cache).fingerprint == read(path, cache).fingerprint
    assert len([entry for entry in cache.iterdir() if entry.is_dir()]) == 1


@pytest.mark.parametrize("name", ["index", "offsets.npy", "digests.npy", "labels.npy", "audio.f32"])
def test_a_damaged_store_is_reported_and_written_again(
    path: Path, cache: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    fingerprint = read(path, cache).fingerprint
    damaged = cache / fingerprint / name
    damaged.write_bytes(damaged.read_bytes()[:-8])
    with caplog.at_level(logging.WARNING):
        assert read(path, cache).audio.shape == (1000, 4)
    assert f"{fingerprint}: the stored features are damaged" in caplog.text
    assert "read again" in caplog.text
    caplog.clear()
    read(path, cache)
    assert not caplog.text


def test_a_deleted_store_is_written_again(path: Path, cache: Path) -> None:
    folder = cache / read(path, cache).fingerprint
    folder.rename(folder.with_name("elsewhere"))
    read(path, cache)
    assert folder.is_dir()


@pytest.mark.parametrize("damaged", ["", '{"sta', "{}", "[]", '{"fingerprint": 3}'])
def test_a_damaged_note_costs_one_reading(path: Path, cache: Path, damaged: str) -> None:
    read(path, cache)
    (note,) = cache.glob("*.json")
    note.write_text(damaged)
    read(path, cache)
    assert json.loads(note.read_text())["state"]


def write_one(writer: StoreWriter) -> ReadResult:
    writer.append(np.ones((2, 3), dtype=np.float32))
    return ReadResult(
        writer.commit(["a"], None, label_names=(), layout="object"), {"skipped": [["b", "why"]]}
    )


def forbidden(_: StoreWriter) -> ReadResult:
    raise AssertionError("the files were read")


def test_remarks_come_back_at_the_second_start(tmp_path: Path, cache: Path) -> None:
    files = [tmp_path / "train.json", tmp_path / "not there"]
    first = cached_store(files, cache, write_one, key="k")
    second = cached_store(files, cache, forbidden, key="k")
    assert second.remarks == first.remarks == {"skipped": [["b", "why"]]}
    assert second.store.fingerprint == first.store.fingerprint


def test_another_key_is_read_apart_and_leaves_the_first_as_it_is(cache: Path) -> None:
    cached_store([], cache, write_one, key="k")
    with pytest.raises(AssertionError, match="were read"):
        cached_store([], cache, forbidden, key="other")
    cached_store([], cache, forbidden, key="k")


@pytest.mark.parametrize("change", ["one more", "gone", "grown", "older"])
def test_a_change_to_any_of_many_files_is_noticed(tmp_path: Path, cache: Path, change: str) -> None:
    files = [tmp_path / f"{number}.wav" for number in range(4)]
    for file in files[:3]:
        file.write_bytes(b"audio")
    cached_store(files, cache, write_one, key="k")
    cached_store(files, cache, forbidden, key="k")
    {
        "one more": lambda: files[3].touch(),
        "gone": files[1].unlink,
        "grown": lambda: files[1].write_bytes(b"audio, more"),
        "older": lambda: os.utime(files[1], ns=(0, 0)),
    }[change]()
    with pytest.raises(AssertionError, match="were read"):
        cached_store(files, cache, forbidden, key="k")


def test_the_file_that_changes_while_others_are_read_is_named(tmp_path: Path, cache: Path) -> None:
    files = [tmp_path / name for name in ("a.wav", "b.wav")]

    def read_and_change(writer: StoreWriter) -> ReadResult:
        files[1].touch()
        return write_one(writer)

    with pytest.raises(DataError, match=r"b\.wav: was changed while it was read"):
        cached_store(files, cache, read_and_change, key="k")


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    path = write_file(tmp_path / "long.json", frames=8000)  # 2.5 MB of audio, beyond what is buffered
    with (
        file_size_limit(100_000),
        pytest.raises(DataError, match=rf"{cache}: the cache cannot be read or written") as caught,
    ):
        read(path, cache)
    assert "SER_CACHE_DIR=FOLDER" in str(caught.value)
    assert not list(cache.iterdir())


def test_a_disk_that_fills_up_on_closing_is_said_and_leaves_nothing(path: Path, cache: Path) -> None:
    with file_size_limit(1000), pytest.raises(DataError, match="the cache cannot be read or written"):
        read(path, cache)
    assert not list(cache.iterdir())


def test_a_file_in_place_of_the_cache_is_said(path: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"train\.json/cache: the cache cannot be read or written \(Not a directory\)"
    ):
        read(path, tmp_path / "train.json" / "cache")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_an_unwritable_cache_is_said(path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(
        DataError, match=r"cannot be read or written \(Permission denied\).*data\.cache_dir=FOLDER"
    ):
        read(path, tmp_path / "cache")


def test_bad_input_leaves_nothing_in_the_cache(path: Path, cache: Path) -> None:
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match="cut off"):
        read(path, cache)
    assert not list(cache.iterdir())


def test_a_file_that_changes_while_it_is_read_is_refused(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def growing(path: Path) -> Iterator[bytes]:
        yield path.read_bytes()
        path.write_bytes(path.read_bytes() + b" ")

    monkeypatch.setattr("ser.corpora.challenge_reader.read_chunks", growing)
    with pytest.raises(DataError, match=r"train\.json: was changed while it was read"):
        read(path, cache)


def test_two_processes_that_race_both_get_the_store(cache: Path, tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{seed}.json", seed=seed) for seed in range(8)]
    code = (
        "import pathlib, sys, time\n"
        "from ser.corpora.challenge_reader import read_challenge\n"
        "cache, go, *paths = map(pathlib.Path, sys.argv[1:])\n"
        "print('ready', flush=True)\n"
        "while not go.exists(): time.sleep(0.0005)\n"
        "stores = [read_challenge(path, cache_dir=cache) for path in paths]\n"
        "print([store.audio.sum().item() for store in stores])\n"
    )
    command = [sys.executable, "-c", code, cache, tmp_path / "go", *paths]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    outputs = {racer.communicate(timeout=60)[0] for racer in racers}
    assert outputs == {f"{[read(path, cache).audio.sum().item() for path in paths]}\n"}
    assert sorted(entry.suffix for entry in cache.iterdir()) == [""] * 8 + [".json"] * 8


def counting_read(reads: list[int]) -> Callable[[StoreWriter], ReadResult]:
    def read(writer: StoreWriter) -> ReadResult:
        reads.append(1)
        time.sleep(0.2)
        writer.append(np.ones((3, 2), dtype=np.float32))
        return ReadResult(writer.commit(["a"], None, label_names=(), layout="object"))

    return read


def test_two_jobs_at_once_read_the_files_once(path: Path, cache: Path) -> None:
    reads: list[int] = []
    with ThreadPoolExecutor(2) as jobs:
        found = [jobs.submit(cached_store, [path], cache, counting_read(reads), key="x") for _ in range(2)]
    assert len(reads) == 1
    assert len({job.result().store.fingerprint for job in found}) == 1
    assert not [*cache.glob("*.lock")]


def test_a_killed_reader_blocks_no_other(path: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    lock = cache / f"{sha256(b'x').hexdigest()}.lock"
    code = (
        "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    reads: list[int] = []
    with ThreadPoolExecutor(1) as jobs:
        waiting = jobs.submit(cached_store, [path], cache, counting_read(reads), key="x")
        time.sleep(0.3)
        assert reads == []
        holder.kill()
        assert len(waiting.result(timeout=30).store) == 1
    holder.communicate()


@pytest.mark.slow
def test_a_start_from_the_cache_takes_milliseconds(path: Path, cache: Path) -> None:
    read(path, cache)
    started = time.perf_counter()
    read(path, cache)
    assert time.perf_counter() - started < 0.1


def test_too_many_open_files_discard_no_store(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(path, cache)
    before = sorted(cache.rglob("*"))

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(np, "memmap", fail)
        with pytest.raises(
            DataError, match=r"cannot be opened \(Too many open files\)\. Raise the limit on open"
        ):
            read(path, cache)
    assert sorted(cache.rglob("*")) == before
