"""Demonstration data, few and short, which each worker generates once."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ser.synthetic import challenge, language_id, language_stream, semantic
from ser.synthetic.sentences import SPLITS
from tests.commands import warm_python


@dataclass(frozen=True)
class Demo:
    """A generator, and what a test may damage of its files.

    Args:
        module: Module with `generate`.
        few: Settings of small data.
        part_size: Utterances of a process, for two processes.
        kept: A file.
        removed: Another one.
        cut: A third one.
        foreign: Message about files of someone else, named as `kept`.
        others: Further settings, by what they change.
    """

    module: ModuleType
    few: Mapping[str, Any]
    part_size: int
    kept: str
    removed: str
    cut: str
    foreign: str
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def generate(self, root: Path, **settings: Any) -> None:
        """Generate small data, with other settings where they are given."""
        self.module.generate(root, **{**self.few, **settings})


_UTTERANCES = dict.fromkeys(SPLITS, 8)
DEMOS = {
    "challenge": Demo(
        challenge,
        {"utterances": _UTTERANCES},
        16,
        kept="train.json",
        removed="gold_2.json",
        cut="dev.json",
        foreign=r"train\.json is not from this generator.*data\.root=DIR",
        others={"size": {"utterances": {**_UTTERANCES, "dev": 9}}},
    ),
    "language_id": Demo(
        language_id,
        {"clips": (8, 4)},
        40,
        kept="inputs_train_fp16.npy",
        removed="speakers_test.json",
        cut="inputs_test_fp16.npy",
        foreign=r"is not from this generator.*language_id_arrays.*data\.root=DIR",
        others={"size": {"clips": (8, 5)}, "gain": {"gain_by_language": True}},
    ),
    "language_stream": Demo(
        language_stream,
        {"minutes": 1.0},
        39,
        kept="hi/hi-f3-0.wav",
        removed="manifest.csv",
        cut="en/en-f4-2.wav",
        foreign=r"is not from this generator.*data=manifest.*data\.root=DIR",
        others={"size": {"minutes": 2.0}},
    ),
    "semantic": Demo(
        semantic,
        {"train": 2, "devel": 1, "test": 1, "seconds": 20.0},
        2,
        kept="audio/Train_01.wav",
        removed="vectors.vec",
        cut="labels/Test_01.csv",
        foreign=r"audio/Train_01\.wav is not from this generator.*Move it elsewhere.*data\.root=DIR",
        others={"size": {"test": 2}, "delay": {"delay_s": 2.4}},
    ),
}


@pytest.fixture(scope="session")
def espeak() -> None:
    """Skip where espeak-ng is missing."""
    pytest.importorskip("espeakng_loader", reason='needs espeak-ng: pip install ".[demo]"')


@pytest.fixture(scope="session")
def folders(espeak: None, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ARG001
    """A function that returns the folder of a generator, spoken by two processes one after the other."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            root = tmp_path_factory.mktemp(name) / "data"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "executable", warm_python())
                patch.setattr(DEMOS[name].module, "PART_SIZE", DEMOS[name].part_size)
                DEMOS[name].generate(root, processes=1)
            made[name] = root
        return made[name]

    return folder


@pytest.fixture
def mute(espeak: None, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:  # noqa: ARG001
    """Let every process of Python fail, as if espeak-ng crashed."""
    script = tmp_path_factory.mktemp("mute") / "python"
    script.write_text("#!/bin/sh\necho 'espeak-ng is hoarse' >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
