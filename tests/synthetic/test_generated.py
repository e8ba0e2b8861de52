"""What all demonstrations share: they are generated once, as a whole or not at all, and over no other files."""

import logging
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ser.errors import ConfigError, DataError
from ser.synthetic.generator import GeneratedFolder
from tests.commands import warm_python
from tests.synthetic.conftest import DEMOS, Demo

DAMAGES = [
    (name, damage)
    for name, demo in DEMOS.items()
    for damage in ("missing file", "cut file", "cut demo.json", "seed", "code", *demo.others)
]


@pytest.fixture(params=DEMOS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def demo(name: str) -> Demo:
    return DEMOS[name]


@pytest.fixture
def copied(name: str, folders: Any, tmp_path: Path) -> Path:
    """A copy of the generated folder that a test may damage."""
    return shutil.copytree(folders(name), tmp_path / "copied")


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.mark.usefixtures("mute")
def test_a_second_call_does_nothing_and_says_nothing(
    demo: Demo, copied: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    times = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    with caplog.at_level(logging.DEBUG):
        demo.generate(copied)
    assert times == {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_an_interrupted_folder_is_redone_by_one_of_two_callers_to_the_same_bytes(
    demo: Demo, copied: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(copied)
    monkeypatch.setattr(sys, "executable", warm_python())
    monkeypatch.setattr(demo.module, "PART_SIZE", demo.part_size)
    (copied / demo.kept).write_text("{")
    (copied / demo.cut).unlink()
    (copied / ".partial" / demo.kept).parent.mkdir(parents=True)
    (copied / ".partial" / demo.kept).write_text("[[1,2")
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(2) as callers:
        for call in [callers.submit(demo.generate, copied, processes=2) for _ in range(2)]:
            call.result()
    assert contents(copied) == before
    assert caplog.text.count("generating synthetic speech") == 1
    assert not (copied / ".partial").exists()


@pytest.mark.usefixtures("mute")
@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_what_is_incomplete_or_differs_is_begun_again(
    demo: Demo, copied: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (copied / demo.kept).read_bytes()
    if damage == "missing file":
        (copied / demo.removed).unlink()
    elif damage == "cut file":
        (copied / demo.cut).write_bytes((copied / demo.cut).read_bytes()[:-1])
    elif damage == "cut demo.json":
        (copied / "demo.json").write_text("{")
    elif damage == "code":
        monkeypatch.setattr(demo.module, "hash_generator_code", lambda _: "another")
    with pytest.raises(DataError, match="espeak-ng is hoarse"):
        demo.generate(copied, seed=int(damage == "seed"), **demo.others.get(damage, {}))
    assert (copied / demo.kept).read_bytes() == kept
    assert not (copied / ".partial").exists()


@pytest.mark.usefixtures("espeak")
def test_files_of_other_settings_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    for names in (["a", "b"], ["b", "c"]):
        folder = GeneratedFolder(tmp_path, names, {"names": names}, "1 GB", "Use it")
        folder.generate(lambda hidden, names=names: [(hidden / name).touch() for name in names])
    assert contents(tmp_path).keys() == {"b", "c", "demo.json"}


@pytest.mark.usefixtures("mute")
def test_a_crash_of_espeak_is_reported_and_leaves_no_file(demo: Demo, tmp_path: Path) -> None:
    message = r"utterances 0 to .* ended with code 3 \(espeak-ng is hoarse\).*pip install --force"
    with pytest.raises(DataError, match=message):
        demo.generate(tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.usefixtures("espeak")
def test_files_of_someone_else_are_never_overwritten(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / demo.kept).parent.mkdir(exist_ok=True)
    (tmp_path / demo.kept).write_text("precious")
    with pytest.raises(DataError, match=demo.foreign):
        demo.generate(tmp_path)
    assert (tmp_path / demo.kept).read_text() == "precious"


@pytest.mark.usefixtures("espeak")
def test_a_folder_that_cannot_be_made_is_named(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/data: cannot write the demonstration data.*data\.root=DIR"):
        demo.generate(tmp_path / "file" / "data")


def test_without_espeak_the_message_comes_before_anything_is_written(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ConfigError, match=r'pip install "espeakng-loader'):
        demo.generate(tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("unusable", [{"seed": -1}, {"processes": 0}])
def test_a_negative_seed_or_no_process_is_refused(
    demo: Demo, tmp_path: Path, unusable: dict[str, int]
) -> None:
    with pytest.raises(ConfigError, match=r"seed of 0 or more and at least one process"):
        demo.generate(tmp_path, **unusable)
