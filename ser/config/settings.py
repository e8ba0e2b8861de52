"""Types of the settings at the top of each script's config; what they mean stands in conf/*.yaml, as do defaults."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Predict:
    """Settings of `ser predict`."""

    ckpt: str | list[str]
    input: str | list[str]
    root: str | None
    output: str | None
    overwrite: bool
    scores: bool
    corpus: str | None
    window_s: float | None
    hop_s: float | None
    stream: bool
    push_ms: float
    sample_rate: int | None
    on_error: Literal["raise", "skip"]
    device: str
    max_frames: int | None
    cache_dir: str
    trust: str | list[str]


@dataclass(frozen=True)
class Export:
    """Settings of `ser export`."""

    ckpt: str
    output: str
    overwrite: bool
    trust: str | list[str]


@dataclass(frozen=True)
class Serab:
    """Settings of `ser serab`, but for those of its groups."""

    experiment_name: str
    corpora: str | list[str]
    corpora_root: str
    allow_partial: bool
    select: Literal["validation", "test"]
    classifiers: str | list[str]
    normalize: Literal["speaker", "global"]
    grid: bool
    jobs: int
    device: str
    cache_dir: str
    folders: dict[str, str | None]
    settings: dict[str, dict[str, Any]]
    published: dict[str, dict[str, Any]]
    trust: str | list[str]


@dataclass(frozen=True)
class Train:
    """Settings of `ser train` and of the commands that read its data, without those of groups."""

    experiment_name: str
    seed: int
    monitor: str
    mode: Literal["max", "min"]
    compile: bool
    test: bool
    init: str | None
    ensemble: int | Literal["auto"] | None
    resume: str | None
    trust: str | list[str]


SCHEMAS = {
    "predict": Predict,
    "export": Export,
    "serab": Serab,
    "train": Train,
}
"""Primary config -> the class of its settings."""


def find_conf(file: Path) -> Path:
    """Return the nearest folder `conf` beside a file or further up: `ser/conf` where installed, else the checkout's."""
    return next(folder / "conf" for folder in file.resolve().parents if (folder / "conf").is_dir())
