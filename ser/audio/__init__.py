"""Find, read and resample recordings. It offers the class that a config may name."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser.audio.noise_bank import FolderBank

__all__ = ["FolderBank"]


def __getattr__(name: str) -> Any:
    """Import FolderBank on first use, because it needs torch (1.4 s), and reading audio does not."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from ser.audio.noise_bank import FolderBank

    return FolderBank
