"""Settings of each script, typed; what they mean stands in conf/*.yaml, as do defaults.

A node with `_target_` stays a spec: the constructor that it names has its types.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from ser.config.slots import resolve

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of a script, built once from its checked config."""

    config: Spec = field(init=False, repr=False)
    """The config as plain containers, as it is written to config.yaml."""

    @classmethod
    def of(cls, config: Spec) -> Self:
        """Build the settings from a checked config; what is not in it is None, or has its default."""
        names = [
            each for each in fields(cls) if each.init and (each.name in config or each.default is MISSING)
        ]
        nodes = {
            each.name: each.type for each in names if isinstance(each.type, type) and is_dataclass(each.type)
        }
        given: dict[str, Any] = {each.name: config.get(each.name) for each in names}
        built = {
            name: node(**given[name]) for name, node in nodes.items() if isinstance(given[name], Mapping)
        }
        settings = cls(**given | built)
        object.__setattr__(settings, "config", config)
        return settings


@dataclass(frozen=True)
class Predict(Settings):
    """Settings of `ser predict`."""

    ckpt: str | list[str]
    input: str | list[str]
    root: str | None
    output: str | None
    overwrite: bool
    scores: bool
    calibrate: bool
    min_probability: float | None
    corpus: str | None
    words: str | None
    transcript: str | None
    turns: str | None
    language: str | None
    align: Literal["uniform", "energy", "dtw", "pocketsphinx"] | None
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
class Serve(Settings):
    """Settings of `ser serve`."""

    ckpt: str | list[str]
    host: str
    port: int
    names: str | list[str]
    window_s: float
    hop_s: float
    max_mb: float
    max_duration_s: float
    timeout_s: float
    max_requests: int
    max_streams: int
    max_stream_s: float
    calibrate: bool
    device: str
    trust: str | list[str]


@dataclass(frozen=True)
class Export(Settings):
    """Settings of `ser export`."""

    ckpt: str
    output: str
    format: Literal["onnx", "encoder"]
    takes: Literal["auto", "waveform", "frames"]
    quantize: Literal["none", "int8"]
    overwrite: bool
    trust: str | list[str]


@dataclass(frozen=True)
class Embed(Settings):
    """Settings of `ser embed`."""

    path: str
    input: str | list[str]
    root: str | None
    output: str
    overwrite: bool
    layer: int | Literal["last"]
    stats: Literal["checkpoint", "corpus", "clip"]
    device: str
    trust: str | list[str]
    cache_dir: str


@dataclass(frozen=True)
class Align(Settings):
    """Settings of `ser align`."""

    audio: str
    transcript: str
    method: Literal["given", "uniform", "energy", "dtw", "pocketsphinx"]
    language: str | None
    output: str | None
    layout: Literal["words", "segmentation"]
    on_error: Literal["raise", "skip"]
    overwrite: bool


@dataclass(frozen=True)
class SerabData:
    """Settings of `ser serab` for all corpora."""

    split: Spec
    label: str | None = None


@dataclass(frozen=True)
class Serab(Settings):
    """Settings of `ser serab`."""

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
    data: SerabData
    extractor: Spec
    trust: str | list[str]


@dataclass(frozen=True)
class Batching:
    """How utterances are put together in batches.

    What each means stands in conf/batching/default.yaml.
    """

    max_frames: int = 16_000
    max_utterances: int = 32
    pool: int = 512
    crop_frames: int | None = None
    cut_frames: int | None = None
    balance: Literal["none", "oversample", "undersample", "corpora"] = "none"
    temperature: float | None = None
    carry_state: bool = False
    overfit: int | None = None
    num_workers: int = 0


@dataclass(frozen=True)
class Sweep:
    """Which jobs of a sweep run again: what each means stands in conf/train.yaml."""

    skip_done: bool = True
    changed: Literal["warn", "rerun"] = "warn"


@dataclass(frozen=True)
class HtmlReport:
    """What report.html of a run holds: what each means stands in conf/train.yaml."""

    html: bool = True
    audio: bool = True


@dataclass(frozen=True)
class Train(Settings):
    """Settings of `ser train` and of the commands that read its data."""

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
    data: Spec
    batching: Batching
    features: Spec
    augment: Spec
    frontend: Spec
    model: Spec
    pooling: Spec
    head: Spec
    target: Spec
    loss: Spec
    optimizer: Spec
    trainer: Spec
    callbacks: Mapping[str, Spec | None]
    schedule: Spec | None = None
    waveform_augment: Spec | None = None
    logger: Mapping[str, Spec | None] | None = None
    pretraining: Spec | None = None
    test_sets: str | list[str] = ()  # type: ignore[assignment]  # no default of a dataclass may be a list
    test_settings: Mapping[str, Mapping[str, Any]] | None = None
    sweep: Sweep = Sweep()
    report: HtmlReport = HtmlReport()

    @property
    def has_validation(self) -> bool:
        """Return whether a validation split chooses the epoch; else its utterances are in train."""
        return self.data.get("validation") != "none"


@dataclass(frozen=True, kw_only=True)
class Describe(Train):
    """Settings of `ser describe`: those of a training, and its own."""

    output: str | None
    overwrite: bool
    audit: bool


@dataclass(frozen=True, kw_only=True)
class Evaluate(Train):
    """Settings of `ser evaluate`: those of a training that are about its data, and its own."""

    ckpt: str | list[str]
    output: str | None
    overwrite: bool
    subset: Literal["all", "train", "validation", "test"]
    by: str | list[str]
    calibrate: bool
    device: str
    max_frames: int | None


def names_of(value: str | list[str]) -> list[str]:
    """Return the names in a setting that takes one name or a list."""
    return [value] if isinstance(value, str) else value


SCHEMAS: dict[str, type[Settings]] = {
    "predict": Predict,
    "serve": Serve,
    "export": Export,
    "embed": Embed,
    "align": Align,
    "serab": Serab,
    "train": Train,
    "describe": Describe,
    "evaluate": Evaluate,
}
"""Primary config -> class of its settings."""


def find_conf(file: Path) -> Path:
    """Return the nearest folder `conf` beside a file or further up: `ser/conf` where installed, else the checkout's."""
    return next(folder / "conf" for folder in file.resolve().parents if (folder / "conf").is_dir())


def option_of(group: str, kind: Any) -> str:
    """Return the option of a group that names a class or function, such as `ccc` of `loss`; else its full name."""
    for file in sorted((find_conf(Path(__file__)) / group).glob("*.yaml")):
        node: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        name = (node.get(group, node) or {}).get("_target_")
        if name and resolve(group, name) is kind:
            return file.stem
    return f"{kind.__module__}.{kind.__qualname__}"
