"""A cache must not outlive the code that filled it."""

import sys
from pathlib import Path

import pytest

from ser.corpora import challenge_reader
from ser.data import feature_store
from ser.embeddings import base
from ser.sources import digest_of_code
from ser.synthetic.generator import hash_generator_code
from tests.conftest import REPOSITORY


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of three modules, of which the first uses the second."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "first.py").write_text(
        "import json\ndef run():\n    from mine import (\n        second,  # late\n    )\n"
    )
    (folder / "second.py").write_text("from json import loads\n")
    (folder / "third.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.mark.parametrize(("changed", "differs"), [("first", True), ("second", True), ("third", False)])
def test_a_digest_follows_the_imports_of_a_module(package: Path, changed: str, differs: bool) -> None:
    before = digest_of_code("mine.first")
    (package / f"{changed}.py").write_text((package / f"{changed}.py").read_text() + "# changed\n")
    assert (digest_of_code("mine.first") != before) == differs
    assert digest_of_code("mine.first", without=["mine.second"]) == digest_of_code(
        "mine.first", without=["mine.second"]
    )


def test_a_module_that_is_left_out_changes_nothing(package: Path) -> None:
    before = digest_of_code("mine.first", without=["mine.second"])
    (package / "second.py").write_text("changed = True\n")
    assert digest_of_code("mine.first", without=["mine.second"]) == before


def test_a_digest_imports_nothing(package: Path) -> None:
    (package / "second.py").write_text("raise RuntimeError\n")
    digest_of_code("mine.first")
    assert not {"mine.first", "mine.second"} & sys.modules.keys()


FEATURES = [
    "features/extractors.py",
    "features/log_compression.py",
    "features/framing.py",
    "features/vad.py",
    "batch.py",
]


@pytest.mark.parametrize(
    ("roots", "files"),
    [
        (
            ["ser.data.feature_store", "ser.features.extractors"],
            [*FEATURES, "audio/reader.py", "audio/mpeg.py", "data/store.py"],
        ),
        (
            ["ser.corpora.challenge_reader"],
            ["corpora/challenge_reader.py", "data/json_stream.py", "data/store_io.py"],
        ),
        (
            ["ser.embeddings.cache", "ser.embeddings.byol"],
            [*FEATURES, "embeddings/base.py", "pretrained/audio_ntt.py"],
        ),
        (
            ["ser.synthetic.challenge"],
            [*FEATURES, "synthetic/prosody.py", "synthetic/espeak.py", "synthetic/sentences.py"],
        ),
    ],
)
def test_what_computes_a_cached_value_is_part_of_its_key(
    monkeypatch: pytest.MonkeyPatch, roots: list[str], files: list[str]
) -> None:
    read: set[str] = set()
    read_bytes = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.add(path.as_posix().removeprefix(f"{REPOSITORY}/ser/"))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    digest_of_code(*roots)
    assert {*files} <= read


def test_readers_of_generated_data_do_not_have_it_generated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.add(path.name) or read_bytes(path))
    hash_generator_code("ser.synthetic.language_stream")
    assert {"language_stream.py", "espeak.py"} <= read
    assert not {"rules.py", "leaks.py", "errors.py"} & read


def test_messages_are_no_part_of_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.add(path.name) or read_bytes(path))
    digest_of_code("ser.data.feature_store")
    assert "reader.py" in read
    assert not {"errors.py", "__init__.py"} & read  # a room re-exports what computes nothing of it


@pytest.mark.parametrize("module", [feature_store, challenge_reader, base])
def test_each_cache_asks_for_the_digest_of_its_code(module: object) -> None:
    assert module.digest_of_code is digest_of_code  # type: ignore[attr-defined]
