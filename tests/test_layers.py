"""The layout of the code: who may import whom."""

import ast
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LAYERS = [
    ["errors", "names", "settings"],
    [
        "files",
        "handed_over",
        "archive",
        "divergence",
        "environment",
        "signature",
        "randomness",
        "batch",
        "precision",
        "tally",
        "compatible",
        "ranks",
        "palette",
        "sources",
        "yaml_bombs",
    ],
    ["build", "slots"],
    ["metrics", "features", "models", "schedules", "targets"],
    ["losses", "frame_targets"],
    ["data", "plots", "predictions", "architecture"],
    [
        "timeline",
        "sound_plots",
        "tensorboard",
        "progress",
        "task",
        "checkpoint",
        "initialize",
        "run_report",
        "validate",
        "run_folder",
    ],
    ["caveats", "suggestions"],
    ["report"],
    ["callbacks", "observers", "frame_observers", "inference", "streaming", "live", "embeddings", "bundle"],
    ["config", "sweep", "sweep_tables"],
    ["overrides", "path_settings"],
    ["command_line"],
    ["resume", "training", "launcher", "command", "serab"],
    ["ensemble"],
]
"""Rooms of the package; each may use those above it and its neighbours."""
ONLY = {
    "lightning": {
        "data/module.py",
        "task.py",
        "callbacks.py",
        "observers.py",
        "frame_observers.py",
        "training.py",
        "launcher.py",
        "tensorboard.py",
        "progress.py",
    },
    "hydra": {"config.py", "overrides.py", "path_settings.py", "command_line.py", "command.py"},
    "omegaconf": {"config.py", "overrides.py", "command_line.py", "command.py"},
    "matplotlib": {"plots.py", "palette.py", "sound_plots.py", "timeline.py", "serab/heat_map.py"},
    "soundfile": {"data/audio.py"},
    "soxr": {"data/audio.py"},
    "opensmile": {"embeddings/opensmile.py"},
    "transformers": {"embeddings/transformers.py"},
    "onnx": {"bundle/write.py", "bundle/export.py"},
    "onnxruntime": {"bundle/write.py", "bundle/compare.py"},
    "onnxscript": {"bundle/write.py"},
}
"""Libraries that stay in few rooms, so that the centre is plain torch."""

SCRIPTS = {"data/describe.py", "data/export.py", "serab/__main__.py", "bundle/__main__.py"}
"""Run by `python -m`: they stand below everything, and nothing imports them."""

FILES = sorted((REPOSITORY / "ser").rglob("*.py"))


def layer(room: str) -> int:
    return next(depth for depth, rooms in enumerate(LAYERS) if room in rooms)


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_module_imports_only_from_its_own_layer_and_those_above(path: Path) -> None:
    place = path.relative_to(REPOSITORY / "ser")
    room = place.parts[0].removesuffix(".py")
    if room == "__init__" or place.as_posix() in SCRIPTS:
        return
    used = {name.split(".")[1] for name in imports(path) if name.startswith("ser.")} - {room}
    too_low = {other for other in used if layer(other) > layer(room)}
    assert not too_low, f"{path.name} imports {too_low}, which lie below {room}"


@pytest.mark.parametrize("library", ONLY)
def test_a_library_is_imported_in_its_rooms_only(library: str) -> None:
    users = {
        path.relative_to(REPOSITORY / "ser").as_posix()
        for path in FILES
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users - SCRIPTS <= ONLY[library]


def test_nothing_imports_a_script() -> None:
    modules = {f"ser.{place.removesuffix('.py').replace('/', '.')}" for place in SCRIPTS}
    for path in FILES:
        found = {module for name in imports(path) for module in modules if name.startswith(module)}
        assert not found, path


def test_there_are_no_rooms_for_odds_and_ends() -> None:
    names = {path.stem for path in FILES}
    assert not names & {"utils", "util", "common", "helpers", "core", "misc"}
    assert all(len(path.relative_to(REPOSITORY / "ser").parts) <= 2 for path in FILES)
