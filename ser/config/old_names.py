"""Names that checkpoints and run folders of version 0.1 hold, in today's words.

A class is named by its room (`ser.models.CNNEncoder`), so that its file may change. Version 0.1 named its module, and a
class may get another room.
"""

from collections.abc import Mapping
from typing import Any

_MODULES = {
    "training": "callbacks frame_observers observers report.tensorboard schedules tensorboard",
    "corpora": "data.arrays data.audio_corpus data.corpus",
    "audio": "data.banks",
    "synthetic": "data.demo data.language_demo data.stream_demo",
    "splits": "data.splits",
    "embeddings": ("embeddings.audio_ntt embeddings.opensmile embeddings.statistics embeddings.trained"),
    "features": "features.augment features.extract features.silence features.waveform_augment",
    "models": (
        "features.frontend models.causal_cnn models.causal_transformer models.classifier models.cnn "
        "models.cnn_lstm models.identity models.lstm models.pooling models.transformer "
        "models.waveform_cnn "
    ),
    "targets": "frame_targets losses targets",
}
"""Room -> modules of version 0.1 whose classes it has now."""
_ROOM_OF = {module: room for room, modules in _MODULES.items() for module in modules.split()}
_MOVED = {
    "ser.training.RunLogger": "ser.trackers.TensorBoard",
    "ser.data.corpus.DemoCorpus": "ser.synthetic.DemoCorpus",
    "ser.models.PretrainedEncoder": "ser.pretrained.PretrainedEncoder",
    "ser.embeddings.Transformer": "ser.embeddings.Pretrained",
    "ser.embeddings.transformers.Transformer": "ser.embeddings.Pretrained",
}


def current_name(name: str) -> str:
    """Return the public name of a class that version 0.1 named by its module; other names stay as they are."""
    owner, _, leaf = name.rpartition(".")
    room = _ROOM_OF.get(owner.removeprefix("ser.")) if owner.startswith("ser.") else None
    public = f"ser.{room}.{leaf}" if room else name
    return _MOVED.get(name) or _MOVED.get(public, public)


def with_current_names(node: Any) -> Any:
    """Return settings in which every `_target_` of version 0.1 is a public name of today.

    The node `logger` was one logger; it is now a mapping of several.
    """
    if isinstance(node, Mapping):
        renamed = {key: with_current_names(value) for key, value in node.items()}
        if isinstance(name := renamed.get("_target_"), str):
            renamed["_target_"] = current_name(name)
        if isinstance(logger := renamed.get("logger"), Mapping) and "_target_" in logger:
            renamed["logger"] = _name_logger(logger)
        return renamed
    return [with_current_names(item) for item in node] if isinstance(node, list | tuple) else node


def _name_logger(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return loggers by name, where a logger's own settings stand among them."""
    named = {key: value for key, value in node.items() if isinstance(value, Mapping) and "_target_" in value}
    name = "tensorboard" if node["_target_"] == _MOVED["ser.training.RunLogger"] else "own"
    return {**named, name: {key: value for key, value in node.items() if key not in named}}
