"""Generated speech for demonstrations. It offers the classes that a config may name."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser.synthetic.challenge import DemoCorpus
    from ser.synthetic.language_id import LanguageDemoCorpus
    from ser.synthetic.language_stream import LanguageStreamDemoCorpus
    from ser.synthetic.semantic import SemanticDemoCorpus

__all__ = [
    "DemoCorpus",
    "LanguageDemoCorpus",
    "LanguageStreamDemoCorpus",
    "SemanticDemoCorpus",
]

_MODULES = {
    "DemoCorpus": "challenge",
    "LanguageDemoCorpus": "language_id",
    "LanguageStreamDemoCorpus": "language_stream",
    "SemanticDemoCorpus": "semantic",
}


def __getattr__(name: str) -> Any:
    """Import a corpus on first use, because it needs torch (2 s), and speaking in a process of its own does not."""
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
