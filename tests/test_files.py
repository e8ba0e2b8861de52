import errno
import os
import resource
from pathlib import Path

import pytest

from ser import files
from ser.errors import DataError
from ser.files import allow_open_files, hold, temporary_folder, write_atomic


@pytest.mark.parametrize(
    ("content", "stored"), [("süß", "süß".encode()), (b"\x00\xff", b"\x00\xff"), ("", b"")]
)
def test_content_comes_back_byte_for_byte(tmp_path: Path, content: str | bytes, stored: bytes) -> None:
    write_atomic(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == stored


def test_text_without_an_utf8_form_is_escaped(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", "\udc80")
    assert (tmp_path / "file").read_text() == r"\udc80"


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_atomic(tmp_path / "atomic", "")
    (tmp_path / "plain").touch()
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("n" * 255), "content")
    assert (tmp_path / ("n" * 255)).read_text() == "content"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "link", "content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "content"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, r"no space left on device.*Free some space"),
        (errno.EDQUOT, r"quota.*delete something"),
        (errno.EACCES, r"permission denied.*you may write to"),
        (errno.EIO, r"Check the disk"),
    ],
)
def test_a_failed_write_is_explained_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DataError, match=rf"{path}: cannot be written .*{words}"):
        write_atomic(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", "content")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere/file: .*no such file.*Make the folder first"):
        write_atomic(tmp_path / "nowhere" / "file", "")


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/below: .*is a file, not a folder"):
        write_atomic(tmp_path / "file" / "below", "")


def test_a_name_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be written.*Give a shorter name"):
        write_atomic(tmp_path / ("n" * 300), "")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=r"permission denied.*you may write to"):
        write_atomic(tmp_path / "file", "")


@pytest.mark.parametrize("name", ["folder", "pipe"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=rf"{name}: is not a regular file.*Give the path of a file"):
        write_atomic(tmp_path / name, "")


def leftover(folder: Path, digit: str = "0") -> Path:
    return folder / f".{digit * 32}.tmp"


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    leftover(tmp_path).write_bytes(b"half")
    leftover(tmp_path, "1").mkdir()
    (tmp_path / ".other.tmp").touch()
    write_atomic(tmp_path / "file", "x")
    assert {path.name for path in tmp_path.iterdir()} == {"file", ".other.tmp"}


def test_files_that_are_being_written_are_not_leftovers(tmp_path: Path) -> None:
    with leftover(tmp_path).open("wb") as file, temporary_folder(tmp_path / "x") as folder:
        assert hold(file.fileno())
        files._searched.clear()
        write_atomic(tmp_path / "file", "x")
        write_atomic(tmp_path / "x" / "file", "x")
        assert leftover(tmp_path).exists()
        assert folder.is_dir()
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["file"]


def test_a_file_taken_for_a_leftover_is_not_held(tmp_path: Path) -> None:
    with leftover(tmp_path).open("wb") as file:
        leftover(tmp_path).unlink()
        assert not hold(file.fileno())


def test_open_files_count_in_the_next_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 100_000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit[0]))
    allow_open_files(700)
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        allow_open_files(700)
    assert limits[1] == limits[0] + 2
    assert limits[0] > 1212
