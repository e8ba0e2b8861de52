"""Speech emotion recognition. `ser.load(RUN)` returns a trained model; the command `ser` trains one."""

from importlib import import_module
from typing import Any

__all__ = ["Prediction", "Predictor", "load"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use, because torch takes more than a second to import."""
    if name in __all__:
        return getattr(import_module("ser.inference.api"), name)
    raise AttributeError(f"module 'ser' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
