"""A digest of the code that computes something: what is kept from before must not outlive it."""

import importlib.util
import re
import sys
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

_COMPUTE_NOTHING = ("ser.errors", "ser.files", "ser.sources")
"""Messages, and ways to write files: a better message must not cost hours of features."""
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([\w., \t]+))",
    re.MULTILINE,
)


def digest_of_code(*modules: str, without: Collection[str] = ()) -> str:
    """Compute SHA-256 of the source of modules and of all that they import from their own packages; 2 ms for 20.

    Imports within functions count. Libraries of others do not: their versions are told apart elsewhere. Nor do messages
    and the writing of files.

    Args:
        modules: full names, such as ser.data.feature_store.
        without: modules that compute nothing of it, such as those that read it back; they are not followed.
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
    """Names of modules, and of what is imported from modules, as that may be a module, too."""
    found: list[str] = []
    for origin, names, plain in _IMPORT.findall(source.decode()):
        words = [
            part.split()[0]
            for part in re.sub(r"[()]|#[^\n]*", " ", names or plain).split(",")
            if part.split()
        ]
        found += [origin, *(f"{origin}.{word}" for word in words)] if origin else words
    return found


def _path(name: str) -> Path | None:
    """Find the file of a module without importing anything; None where there is no such module."""
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
