"""Recordings: found, read, cut, resampled. The name that a config may hold."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser.audio.noise_bank import FolderBank

__all__ = ["FolderBank"]


def __getattr__(name: str) -> Any:
    """Import the bank of noises when it is asked for: it needs torch (1.4 s), and reading audio does not."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from ser.audio.noise_bank import FolderBank

    return FolderBank
