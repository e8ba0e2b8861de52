"""A search on the command line: its space from conf/search, and what it needs, before anything runs."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ser.errors import install_command

SWEEPER = "hydra_plugins.ser.OptunaSweeper"
"""Name of our sweeper, `ser.search.sweeper.OptunaSweeper`, in Hydra's registry."""


def space_beside(sweeper: Mapping[str, Any], typed: Sequence[str]) -> list[str]:
    """Return the space that search=OPTION sets, as overrides; what is typed takes its place."""
    keys = {word.partition("=")[0].lstrip("+~") for word in typed}
    space = (sweeper.get("space") or {}) if sweeper.get("_target_") == SWEEPER else {}
    return [f"{key}={value}" for key, value in space.items() if key not in keys]


def check_search(sweeper: Mapping[str, Any], typed: Sequence[str], *, is_sweep: bool) -> Iterator[str]:
    """Describe what a search lacks, or that an interval stands without a search."""
    if sweeper.get("_target_") != SWEEPER:
        for word in typed if is_sweep else ():
            if _is_interval(word):
                yield f"{word}: an interval has to be searched. Add hydra/sweeper=optuna."
        return
    if not is_sweep:
        yield "hydra/sweeper=optuna: a search trains several times. Add -m."
    elif find_spec("optuna") is None:
        yield f"hydra/sweeper=optuna: needs optuna. Install it: {install_command('search')}"


def _is_interval(word: str) -> bool:
    if "interval" not in word:
        return False
    try:
        return OverridesParser.create().parse_override(word).is_interval_sweep()
    except HydraException:  # its message stands elsewhere
        return False
