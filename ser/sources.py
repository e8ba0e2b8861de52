"""Digest the source code of a computation, so that cached results are not used after a change of the code."""

import importlib.util
import re
import sys
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

_COMPUTE_NOTHING = ("ser.errors", "ser.files", "ser.sources")
"""Modules that compute nothing: a changed message must not invalidate hours of cached features."""
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([\w., \t]+))",
    re.MULTILINE,
)


def digest_of_code(*modules: str, without: Collection[str] = ()) -> str:
    """Compute the SHA-256 of the source of modules and of all modules of their packages that they import.

    It takes 2 ms for 20 modules. Imports within functions count. Other packages do not count, as caches check their
    versions separately; nor do messages and the writing of files.

    Args:
        modules: Full names of modules, such as ser.data.feature_store.
        without: Modules that do not affect the result, such as those that read it back; they are not followed.
    """
    sources: dict[str, bytes] = dict.fromkeys((*_COMPUTE_NOTHING, *without), b"")
    waiting = [*modules]
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        path = _path(name)
        sources[name] = b"" if path is None else path.read_bytes()
        package = name.partition(".")[0]
        waiting += [found for found in _imports(sources[name]) if found.partition(".")[0] == package]
    sha = sha256()
    for name, source in sorted(sources.items()):
        sha.update(f"{name} {len(source)}\n".encode() + source)
    return sha.hexdigest()


def _imports(source: bytes) -> list[str]:
    """Return the names of imported modules, and of objects imported from modules, as these may be modules, too."""
    found: list[str] = []
    for origin, names, plain in _IMPORT.findall(source.decode()):
        words = [
            part.split()[0]
            for part in re.sub(r"[()]|#[^\n]*", " ", names or plain).split(",")
            if part.split()
        ]
        modules = [f"{origin}.{word}" for word in words if origin and _path(f"{origin}.{word}")]
        found += modules
        if len(modules) < len(words):  # else the package's own file only re-exports what was imported
            found += [origin] if origin else words
    return found


def _path(name: str) -> Path | None:
    """Find the file of a module without importing it; None if there is no such module."""
    package, _, rest = name.partition(".")
    if package == "__main__":
        file = getattr(sys.modules[package], "__file__", None)
        return None if file is None else Path(file)
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    if rest:
        place = file.parent.joinpath(*rest.split("."))
        file = place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")
    return file if file.suffix == ".py" and file.is_file() else None
