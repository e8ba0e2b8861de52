"""Names that checkpoints and run folders of version 0.1 hold, in today's words.

A class is named by its room (`ser.models.CNNEncoder`), so that its file may change. Version 0.1 named its module.
"""

from collections.abc import Mapping
from typing import Any

_ROOM_OF = {
    "callbacks": "training",
    "data.arrays": "corpora",
    "data.audio_corpus": "corpora",
    "data.banks": "audio",
    "data.corpus": "corpora",
    "data.demo": "synthetic",
    "data.language_demo": "synthetic",
    "data.splits": "splits",
    "data.stream_demo": "synthetic",
    "features.frontend": "models",
    "frame_observers": "training",
    "frame_targets": "targets",
    "losses": "targets",
    "observers": "training",
    "report.tensorboard": "training",
    "schedules": "training",
    "tensorboard": "training",
}
"""Module of version 0.1 -> room, where that is not the first part of its name."""
_MOVED = {"ser.data.corpus.DemoCorpus": "ser.synthetic.DemoCorpus"}


def current_name(name: str) -> str:
    """Return the public name of a class of ours that is named by its module, of today or of version 0.1."""
    package, _, rest = name.partition(".")
    module, _, leaf = rest.rpartition(".")
    if package != "ser" or not module:
        return name
    return _MOVED.get(name, f"ser.{_ROOM_OF.get(module, module.partition('.')[0])}.{leaf}")


def with_current_names(node: Any) -> Any:
    """Return settings in which every `_target_` of ours is a public name of today."""
    if isinstance(node, Mapping):
        renamed = {key: with_current_names(value) for key, value in node.items()}
        if isinstance(name := renamed.get("_target_"), str):
            renamed["_target_"] = current_name(name)
        return renamed
    return [with_current_names(item) for item in node] if isinstance(node, list | tuple) else node
