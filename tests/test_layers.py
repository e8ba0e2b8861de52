"""The layout of the code: which room may import which."""

import ast
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

ROOMS = (
    *("", "runs", "jobs", "config", "features", "targets", "models", "hugging_face", "pretrained", "frozen"),
    *(
        "audio",
        "shards",
        "data",
        "text",
        "splits",
        "audit",
        "batching",
        "catalogue",
        "imports",
        "corpora",
        "mix",
        "synthetic",
        "alignment",
        "report",
    ),
    *("trackers", "comparison", "calibration", "checkpoints", "inference", "evaluation", "html_report"),
    *("embeddings", "export", "training", "pretraining", "search", "serab", "matrix", "server", "scripts"),
)
"""Folders of the package, lowest first; "" is its root. A room imports from itself and from those before it."""
LARGEST_ROOM = 12
MOST_COMMANDS = 16
"""Of scripts, which has a file for each command."""

ONLY = {
    "lightning": {
        "batching",
        "training",
        "pretraining",
        "trackers",
        "search",
        "runs/launcher.py",
    },
    "hydra": {"config", "jobs/launchers.py", "scripts", "search"},
    "omegaconf": {"config", "scripts", "search"},
    "optuna": {"search"},
    "matplotlib": {
        *("calibration/plots.py", "comparison/plots.py", "comparison/write.py"),
        *("html_report/material.py", "report", "search/plots.py", "serab/heat_map.py"),
    },
    "jinja2": {"html_report"},
    "soundfile": {"audio", "export/standalone.py"},
    "soxr": {"audio"},
    "pyarrow": {"imports", "scripts"},
    "opensmile": {"embeddings"},
    "pocketsphinx": {"alignment"},
    "scipy": {"text"},
    "transformers": {"embeddings", "hugging_face", "text"},
    "huggingface_hub": {"hugging_face"},
    "mlflow": {"trackers"},
    "wandb": {"trackers"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "onnxscript": {"export"},
    "starlette": {"server"},
    "uvicorn": {"server"},
}
"""Libraries that stay in few rooms, so that the centre is plain torch."""

PACKAGE = REPOSITORY / "ser"
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(place: str) -> str:
    """The room of a path below the package, or of a dotted name below `ser`."""
    parts = place.replace("/", ".").removesuffix(".py").split(".")
    return parts[0] if parts[0] in ROOMS else ""


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_room_imports_from_lower_rooms_only(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    if place in ("__init__.py", "__main__.py"):  # they only offer what the rooms hold
        return
    own = ROOMS.index(room_of(place))
    used = {room_of(name.removeprefix("ser.")) for name in imports(path) if name.startswith("ser.")}
    assert {room for room in used if ROOMS.index(room) > own} == set()


def test_modules_import_without_circles() -> None:
    graph = {
        module_name(path): {name for name in imported_modules(path) if name != module_name(path)}
        for path in FILES
        if path.name != "__init__.py"
    }
    while leaves := {name for name, used in graph.items() if not used & graph.keys()}:
        graph = {name: used for name, used in graph.items() if name not in leaves}
    assert graph == {}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def imported_modules(path: Path) -> set[str]:
    """The modules of the package that a file imports when it is imported itself."""
    modules = {module_name(file) for file in FILES}
    tree = ast.parse(path.read_text())
    inner = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.FunctionDef)
        or (isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test))
        for node in ast.walk(block)
    }
    names = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and id(node) not in inner
        for alias in node.names
    }
    return {module for name in names for module in (name, name.rpartition(".")[0]) if module in modules}


@pytest.mark.parametrize("library", ONLY)
def test_a_library_is_imported_in_its_rooms_only(library: str) -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert {place for place in users if not {place, room_of(place)} & ONLY[library]} == set()


def test_only_two_scripts_import_another() -> None:
    known = {"scripts/matrix.py": {"ser.scripts.train"}, "scripts/predict.py": {"ser.scripts.evaluate"}}
    for path in FILES:
        names = {name for name in imports(path) if name.startswith("ser.scripts")}
        place = path.relative_to(PACKAGE).as_posix()
        assert {name.rpartition(".")[0] for name in names} <= known.get(place, set()), path


def test_rooms_are_small_and_one_level_deep() -> None:
    for path in FILES:
        assert len(path.relative_to(PACKAGE).parts) <= 2, path
    for room in ROOMS:
        files = [path for path in (PACKAGE / room).glob("*.py") if path.name != "__init__.py"]
        assert 0 < len(files) <= (MOST_COMMANDS if room == "scripts" else LARGEST_ROOM), room
    assert {path.parent.name for path in FILES} == {*ROOMS[1:], "ser"}


def test_no_room_or_file_is_for_odds_and_ends() -> None:
    names = {path.stem for path in FILES} | {*ROOMS}
    assert not names & {"utils", "util", "common", "helpers", "core", "misc"}
