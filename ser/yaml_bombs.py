"""Refuse YAML from a user that expands without limit, before anything expands it."""

from pathlib import Path
from typing import Any

from ser.errors import DataError

_MOST_VALUES = 100_000  # values of a file; a config has some hundred


def refuse_yaml_bomb(path: Path, text: str) -> None:
    """Refuse YAML whose aliases (`*name`) expand without limit, or that is nested without end.

    Text that is not YAML is not refused here.

    Raises:
        DataError: It holds more than 100,000 values, or itself.
    """
    import yaml  # imported here, as it takes 15 ms and most users of this module do not need it

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = 0 if node is None else _expanded_values(node, {})
    except yaml.YAMLError:
        return
    except RecursionError as error:
        raise DataError(
            f"{path}: is nested too deeply, or contains itself. Write its values out, without `*`."
        ) from error
    if values > _MOST_VALUES:
        raise DataError(
            f"{path}: its aliases (`*name`) stand for more than {_MOST_VALUES} values. Write its values "
            "out, without `*`."
        )


def refuse_yaml_bombs(folder: Path) -> None:
    """Check all YAML files at any depth of a folder of configs; unreadable files are skipped.

    Raises:
        DataError: See `refuse_yaml_bomb`.
    """
    for path in sorted(folder.rglob("*.yaml")):
        try:
            text = path.read_text("utf-8") if path.is_file() else ""
        except (OSError, UnicodeDecodeError):
            continue
        refuse_yaml_bomb(path, text)


def _expanded_values(node: Any, known: dict[int, int]) -> int:
    """Count the values of a node with expanded aliases; a node that contains itself has no end."""
    if id(node) not in known:
        children = node.value if isinstance(node.value, list) else []
        flat = [child for pair in children for child in pair] if node.id == "mapping" else children
        known[id(node)] = 1 + sum(_expanded_values(child, known) for child in flat)
    return known[id(node)]
