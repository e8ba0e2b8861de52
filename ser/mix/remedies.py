"""Name settings in messages as they are typed for one corpus of several."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ser.errors import SerError


@contextmanager
def replace_settings(keys: Mapping[str, str]) -> Iterator[None]:
    """Replace settings `data.<key>` in the messages of errors.

    Args:
        keys: Key below `data` -> the whole setting that stands for it.
    """
    try:
        yield
    except SerError as error:
        pattern = rf"\bdata\.({'|'.join(map(re.escape, keys))})\b"
        raise type(error)(re.sub(pattern, lambda found: keys[found[1]], str(error))) from error


def settings_of(name: str) -> dict[str, str]:
    """Return the settings of a corpus of a mix by the keys that it has alone."""
    own = {key: f"data.settings.{name}.{key}" for key in ("label", "label_map", "speaker", "pattern")}
    return {"root": f"data.folders.{name}", "path": f"data.folders.{name}"} | own
